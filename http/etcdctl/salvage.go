package etcdctl

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"

	"etcd2/discovery"
	"etcd2/http/etcdctl/migrate"
	"etcd2/raft"
	"etcd2/store"
)

var salvageCommand = &command{
	name: "salvage", args: "DIR", help: "make a new cluster of the undamaged part of a data directory",
	run: runSalvage,
	more: "This is the last resort, when there is neither a backup nor another member. It takes everything before " +
		"the first damage: the newest whole\n" +
		"snapshot and the log after it. It prints what is lost, with the keys as far as they can be read. DIR is not " +
		"changed, and without --yes nothing\n" +
		"is written. The new cluster has one member, with the name and the peer URLs of the old one, and a new id.",
	options: []option{
		{name: "wal-dir", arg: "DIR", check: text, help: "directory of the log of DIR, when that is elsewhere"},
		{name: "data-dir", arg: "DIR", check: text, help: "new data directory"},
		{name: "yes", help: "make the new cluster, in --data-dir"},
	},
	examples: []example{
		{"salvage /var/lib/etcd", "show what is whole, and what is lost"},
		{"salvage /var/lib/etcd --data-dir /var/lib/etcd.new --yes", "make a cluster without what is lost"},
	},
}

func runSalvage(s *session, args []string) error {
	to, yes := s.opts.text("data-dir"), s.opts.on("yes")
	if len(args) != 1 || yes && to == "" {
		return wrong("a damaged data directory, and with --yes a new one required: salvage DIR --data-dir NEW --yes")
	}
	if err := migrate.Left(args[0], s.opts.text("wal-dir")); err != nil {
		return err
	}
	tree, lost := store.New(store.Limits{}), map[string]bool{}
	w, err := raft.Salvage(args[0], raft.SalvageOptions{
		WALDir: s.opts.text("wal-dir"),
		State:  func() raft.StateMachine { return tree },
		Lost:   func(cmd []byte) { lost[store.Target(cmd)] = true },
	})
	if err != nil {
		return err
	}
	delete(lost, "") // stands for entries that are damaged, or write no key
	s.tellWreck(w, tree.Index(), slices.Sorted(maps.Keys(lost)))
	switch {
	case w.Index == 0:
		return wrong("not even the beginning is whole: there is nothing to make a cluster of")
	case !yes:
		fmt.Fprintln(s.stdout, "nothing was written: --data-dir NEW --yes makes a new cluster of what is whole")
		return nil
	}
	o := alone(w.Self, to)
	made, err := raft.Found(w.Frozen, o)
	if err == nil {
		s.founded("Salvaged", o, made)
	}
	return err
}

// alone returns the options for a cluster of one member, with the name and peer URLs of self, in a
// directory. Its ids are random, so that two clusters made of the same data differ.
func alone(self raft.Member, dir string) (o raft.RestoreOptions) {
	m := raft.Member{Name: cmp.Or(self.Name, "default"), PeerURLs: self.PeerURLs}
	if len(m.PeerURLs) == 0 {
		m.PeerURLs = []string{"http://localhost:2380", "http://localhost:7001"}
	}
	m.ID = discovery.MemberID(m.PeerURLs, rand.Text())
	o.Cluster = raft.Membership{ClusterID: discovery.ClusterID([]raft.Member{m}), Members: []raft.Member{m}}
	o.Places = []raft.Place{{Name: m.Name, Dir: dir}}
	return o
}

// tellWreck prints what is whole, and what is lost. index is the store's.
func (s *session) tellWreck(w *raft.Wreck, index uint64, lost []string) {
	for i := range w.Faults {
		s.tell(s.stdout, "FAULT %s\n", w.Faults[i].Error())
	}
	s.tell(s.stdout, "whole: member %s of cluster %x up to raft index %d, store index %d\n",
		cmp.Or(w.Self.Name, "(unknown)"), w.Membership.ClusterID, w.Index, index)
	switch {
	case !w.Cut:
		fmt.Fprintln(s.stdout, "lost: nothing that was written")
	case w.Lost == 0 && w.Last <= w.Index:
		fmt.Fprintln(s.stdout, "lost: whatever was written behind that; nothing of it can be read")
	default:
		s.tell(s.stdout, "lost: what was written behind that, at least up to raft index %d; %d entries of it can be "+
			"read, and did this:\n",
			w.Last, w.Lost)
	}
	for _, target := range lost {
		s.tell(s.stdout, "  %s\n", target)
	}
}
