// Package wal is a segmented, checksummed, append-only log of records.
//
// It stores (kind, bytes) and does not know what they mean; see the contract
// in log.go. This file becomes the package's essay.
package wal
