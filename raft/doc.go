// Package raft is consensus: log, election, replication, membership, reads and
// snapshots as a pure core, and the Node that drives it.
package raft
