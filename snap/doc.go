// Package snap keeps checksummed snapshot files, written whole or not at all.
package snap
