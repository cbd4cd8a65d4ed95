package raft

import (
	"fmt"
	"strings"

	"etcd2/wal"
)

// Describe returns one record of the log as a line, in the notation of the scripts. command returns
// a command of the state machine as text.
func Describe(r wal.Record, command func([]byte) string) (string, error) {
	switch r.Kind {
	case recordState:
		s, err := decodeState(r.Data)
		return fmt.Sprintf("state    term=%d vote=%x commit=%d", s.Term, s.Vote, s.Commit), err
	case recordEntry:
		e, err := decodeEntry(r.Data)
		if err != nil {
			return "", err
		}
		return describeEntry(&e, command)
	case recordSnapshot:
		s, err := decodeSnapshot(r.Data)
		return fmt.Sprintf("snapshot %d@%d received", s.Index, s.Term), err
	case recordIncarnation:
		v, err := decodeFixed(r.Data)
		return fmt.Sprintf("disk     incarnation=%x", v), err
	case recordWhole:
		v, err := decodeFixed(r.Data)
		return fmt.Sprintf("whole    behind=%d", v), err
	}
	return "", fmt.Errorf("raft: record of the unknown kind %d", r.Kind)
}

func describeEntry(e *Entry, command func([]byte) string) (string, error) {
	head := fmt.Sprintf("entry    %d@%d stamp=%d", e.Index, e.Term, e.Stamp)
	switch e.Kind {
	case EntryCommand:
		return head + " " + command(e.Data), nil
	case EntryChange:
		c, err := decodeChange(e.Data)
		return head + " " + c.String(), err
	case EntryDigest:
		member, index, sum, err := decodeDigest(e.Data)
		return fmt.Sprintf("%s digest=%016x member=%x at=%d", head, sum, member, index), err
	}
	if e.Kind == EntryEmpty && len(e.Data) > 0 {
		return head + " " + command(e.Data), nil
	}
	return head + " empty", nil
}

var changeNames = [...]string{ChangeAdd: "add", ChangePromote: "promote", ChangeRemove: "remove",
	ChangeUpdate: "update", ChangeVersion: "version", ChangeForce: "force"}

// String returns the change as a line.
func (c Change) String() string {
	if int(c.Kind) >= len(changeNames) {
		return fmt.Sprintf("change of the unknown kind %d", c.Kind)
	}
	m := &c.Member
	text := fmt.Sprintf("%s member=%x name=%q peers=%s clients=%s", changeNames[c.Kind], m.ID, m.Name,
		strings.Join(m.PeerURLs, ","), strings.Join(m.ClientURLs, ","))
	if m.Incarnation != 0 {
		text += fmt.Sprintf(" incarnation=%x", m.Incarnation)
	}
	switch {
	case c.Kind == ChangeVersion:
		return "version " + m.Version
	case m.Learner:
		return text + " learner"
	}
	return text
}

// DescribeSnapshot returns what the meta of a snapshot file says, as a line.
func DescribeSnapshot(meta []byte) (string, error) {
	s, err := decodeSnapshot(meta)
	return fmt.Sprintf("snapshot %d@%d stamp=%d cluster=%x members=%d removed=%d",
		s.Index, s.Term, s.Stamp, s.Membership.ClusterID, len(s.Membership.Members), len(s.Membership.Removed)), err
}
