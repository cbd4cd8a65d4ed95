// Package store is the tree of keys: a pure function of (index, time, command).
package store
