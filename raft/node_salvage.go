package raft

import (
	"fmt"

	"etcd2/wal"
)

// SalvageOptions say where Salvage looks, and what it makes of that.
type SalvageOptions struct {
	WALDir string              // the directory of the log; "": inside the data directory
	State  func() StateMachine // an empty one
	Lost   func(cmd []byte)    // called with each command behind the damage that can be read; it must not keep cmd
}

// Wreck is what is left of a member that does not start.
type Wreck struct {
	*Frozen         // the state up to the first damage, for Found; Index 0: nothing is whole
	Self    Member  // the member as that state has it; its ID is 0 when the state does not have it
	Faults  []Fault // why the member does not start, and each place where something is missing

	Cut  bool   // something may have been written behind the state
	Lost int    // entries behind it that can be read
	Last uint64 // the highest index that is sure to have been written
}

// Salvage reads the data directory of a member that does not start, and makes a state of everything
// that is whole: the newest whole snapshot, and the entries behind it up to the first that is
// damaged or missing. All of these entries count, committed or not, since some of them may have
// been acknowledged, and the cluster that could tell is lost. Salvage changes nothing, and locks
// the directory meanwhile. The error says that (1) a process uses the directory, (2) there is
// nothing, or (3) a member starts in it.
func Salvage(dir string, o SalvageOptions) (*Wreck, error) {
	c := Config{Dir: dir, WALDir: o.WALDir}
	so := c.storage()
	for _, place := range []string{dir, so.walDir()} {
		lock, err := shareLock(place)
		if lock != nil {
			defer lock.Close()
		}
		if err != nil {
			return nil, err
		}
	}
	s, err := surveyDisk(so)
	if err != nil {
		return nil, err
	}
	defer s.close()
	if s.starts {
		return nil, fmt.Errorf("raft: %s: nothing has to be salvaged: a member starts there", dir)
	}
	return salvageDisk(so, o, s)
}

// salvageDisk reads the log again, past the damage that s has found in it.
func salvageDisk(so storageOptions, o SalvageOptions, s *survey) (*Wreck, error) {
	v := salvager{base: &s.newest, replay: replayer{base: &s.newest}, lost: o.Lost}
	v.wreck.Faults = s.report.Faults
	tag, err := wal.Salvage(so.walDir(), so.FS, v.visit)
	if err != nil && s.reader == nil {
		return nil, err
	}
	if err != nil {
		v.addFault(Fault{so.walDir(), 0, err.Error()})
	}
	v.wreck.Cut = v.open || v.over || err != nil
	cluster, member := splitTag(tag)
	if s.reader == nil {
		s.newest.Membership.ClusterID = cluster
	}
	if err := v.apply(s, o.State()); err != nil {
		return nil, err
	}
	v.wreck.Self, _ = v.wreck.Membership.Find(member)
	return &v.wreck, nil
}

// salvager reads the records of a damaged log in order.
type salvager struct {
	wreck  Wreck
	base   *Snapshot
	replay replayer // up to the first damage
	open   bool     // a piece is missing, and no entry behind the snapshot has followed it yet
	over   bool     // one is missing behind the snapshot: what follows is lost
	lost   func(cmd []byte)
}

// visit takes a record, or a place where something is missing.
func (v *salvager) visit(r wal.Salvaged) {
	switch {
	case r.Kind == 0:
		v.gap(Fault{r.File, r.Offset, r.Damage.Reason})
	case v.over || r.Damage != nil:
		v.strayRecord(r)
	default:
		if err := v.replay.record(r.Record); err != nil {
			v.addFault(Fault{r.File, r.Offset, err.Error()})
			v.over = true
			v.strayRecord(r)
		}
		if v.reached() {
			v.open = false
		}
	}
}

// reached reports whether an entry behind the snapshot has been replayed.
func (v *salvager) reached() bool {
	n := len(v.replay.entries)
	return n > 0 && v.replay.entries[n-1].Index > v.base.Index
}

// gap takes a place where something is missing. Before the first entry behind the snapshot, the
// missing piece may have held only what the snapshot has: when the log then goes on right behind
// the snapshot, nothing is lost.
func (v *salvager) gap(f Fault) {
	v.addFault(f)
	v.over = v.over || v.reached()
	if !v.over {
		v.open = true
		v.replay.entries, v.replay.last = nil, 0
	}
}

// addFault adds a fault that is not known yet.
func (v *salvager) addFault(f Fault) {
	for _, known := range v.wreck.Faults {
		if known.File == f.File && known.Offset == f.Offset {
			return
		}
	}
	v.wreck.Faults = append(v.wreck.Faults, f)
}

// strayRecord takes a record that can be read, but can't be replayed. If it is an entry behind the
// snapshot, what is whole ends here. Damage is set if nothing proves that the record belongs to
// this place of the log.
func (v *salvager) strayRecord(r wal.Salvaged) {
	if state, err := decodeState(r.Data); r.Kind == recordState && r.Damage == nil && err == nil {
		v.wreck.Last = max(v.wreck.Last, state.Commit)
	}
	if r.Kind != recordEntry {
		return
	}
	e, err := decodeEntry(r.Data)
	if err != nil || e.Index <= v.base.Index {
		return
	}
	v.over = true
	v.countLost(&e)
	if r.Damage == nil {
		v.wreck.Last = max(v.wreck.Last, e.Index)
	}
}

// countLost counts an entry as lost.
func (v *salvager) countLost(e *Entry) {
	v.wreck.Lost++
	if cmd, err := e.command(); err == nil && len(cmd) > 0 {
		v.lost(cmd)
	}
}

// apply makes the state of everything that is whole.
func (v *salvager) apply(s *survey, sm StateMachine) error {
	if s.reader != nil {
		if err := sm.Restore(s.reader); err != nil {
			return fmt.Errorf("raft: %s: %w", s.reader.Path(), err)
		}
	}
	now := s.newest
	es := v.replay.after()
	for i := range es {
		e := &es[i]
		_, err := applyTo(sm, e)
		if err != nil {
			v.wreck.Cut = true
			v.addFault(Fault{s.logDir, 0, fmt.Sprintf("entry %d: %v", e.Index, err)})
			for ; i < len(es); i++ {
				v.countLost(&es[i])
			}
			break
		}
		now.Index, now.Term, now.Stamp = e.Index, e.Term, e.Stamp
		if c, err := decodeChange(e.Data); e.Kind == EntryChange && err == nil { // applyTo has decoded it
			now.Membership = now.Membership.Apply(c)
		}
	}
	v.wreck.Frozen = NewFrozen(now, sm.Freeze())
	v.wreck.Last = max(v.wreck.Last, s.newest.Index, v.replay.state.Commit)
	if len(es) > 0 {
		v.wreck.Last = max(v.wreck.Last, es[len(es)-1].Index)
	}
	v.wreck.Cut = v.wreck.Cut || v.wreck.Last > now.Index
	return nil
}
