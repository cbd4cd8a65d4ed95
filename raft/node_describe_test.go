package raft

import (
	"fmt"
	"testing"

	"etcd2/wal"
)

func TestEachKindOfEntryIsDescribed(t *testing.T) {
	command := func(b []byte) string { return fmt.Sprintf("command %q", b) }
	for text, e := range map[string]Entry{
		"empty":           {Kind: EntryEmpty},
		`command "clock"`: {Kind: EntryEmpty, Data: []byte("clock")},
		`command "set"`:   {Kind: EntryCommand, Data: []byte("set")},
		"version 2.4.0": {Kind: EntryChange, Data: appendChange(nil, &Change{Kind: ChangeVersion,
			Member: Member{Version: "2.4.0"}})},
		"digest=00000000000000ff member=abc at=10000": {Kind: EntryDigest, Data: appendDigest(nil, 0xabc,
			10_000, 0xff)},
	} {
		e.Index, e.Term, e.Stamp = 7, 3, 5

		got, err := Describe(wal.Record{Kind: recordEntry, Data: appendEntry(nil, &e)}, command)

		if want := "entry    7@3 stamp=5 " + text; got != want || err != nil {
			t.Errorf("%q %v, want %q", got, err, want)
		}
	}
}
