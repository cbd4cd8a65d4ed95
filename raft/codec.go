package raft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// The codec writes what goes to the disk and over the wire: numbers as uvarints, strings and bytes
// with their length before them. Decoding trusts no input: a length beyond its end is an error
// (pitfall H4).

var errShort = errors.New("raft: the encoding ends early")

// decoder reads from in. After the first error every value that it returns is zero.
type decoder struct {
	in  []byte
	err error
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.in)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.in = d.in[n:]
	return v
}

func (d *decoder) byte() byte {
	if len(d.in) == 0 {
		d.fail()
		return 0
	}
	b := d.in[0]
	d.in = d.in[1:]
	return b
}

// bytes returns a part of the input, not a copy.
func (d *decoder) bytes() []byte {
	n := d.uint()
	if n > uint64(len(d.in)) {
		d.fail()
		return nil
	}
	b := d.in[:n:n]
	d.in = d.in[n:]
	return b
}

func (d *decoder) string() string { return string(d.bytes()) }

// count reads the number of items that follow, each of at least one byte.
func (d *decoder) count() int {
	n := d.uint()
	if n > uint64(len(d.in)) {
		d.fail()
		return 0
	}
	return int(n)
}

// atMost is count with a bound, for items that take more bytes of memory than of the input.
func (d *decoder) atMost(limit int) int {
	n := d.count()
	if n > limit {
		d.in, d.err = nil, fmt.Errorf("raft: the encoding has %d items where at most %d are allowed", n, limit)
		return 0
	}
	return n
}

// maxURLs bounds each list of a member's URLs.
const maxURLs = 1024

func (d *decoder) strings() (list []string) {
	for range d.atMost(maxURLs) {
		list = append(list, d.string())
	}
	return list
}

func (d *decoder) fail() {
	d.in = nil
	if d.err == nil {
		d.err = errShort
	}
}

// end returns the first error, or an error when input is left over.
func (d *decoder) end() error {
	if d.err == nil && len(d.in) > 0 {
		return fmt.Errorf("raft: %d bytes too many in the encoding", len(d.in))
	}
	return d.err
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendStrings(b []byte, list []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, s := range list {
		b = appendString(b, s)
	}
	return b
}

func appendEntry(b []byte, e *Entry) []byte {
	b = binary.AppendUvarint(b, e.Index)
	b = binary.AppendUvarint(b, e.Term)
	b = binary.AppendUvarint(b, uint64(e.Stamp))
	b = append(b, byte(e.Kind))
	b = binary.AppendUvarint(b, e.ID)
	return append(binary.AppendUvarint(b, uint64(len(e.Data))), e.Data...)
}

func (d *decoder) entry() Entry {
	return Entry{Index: d.uint(), Term: d.uint(), Stamp: int64(d.uint()), Kind: d.entryKind(), ID: d.uint(),
		Data: d.bytes()}
}

// entryKind refuses a kind that a newer version may know (pitfall I7).
func (d *decoder) entryKind() EntryKind {
	k := EntryKind(d.byte())
	if d.err == nil && k > EntryDigest {
		d.err = fmt.Errorf("raft: entry of the unknown kind %d: written by a newer version?", k)
	}
	return k
}

func decodeEntry(b []byte) (Entry, error) {
	d := decoder{in: b}
	e := d.entry()
	return e, d.end()
}

func appendState(b []byte, s State) []byte {
	b = binary.AppendUvarint(b, s.Term)
	b = binary.AppendUvarint(b, s.Vote)
	return binary.AppendUvarint(b, s.Commit)
}

func decodeState(b []byte) (State, error) {
	d := decoder{in: b}
	s := State{Term: d.uint(), Vote: d.uint(), Commit: d.uint()}
	return s, d.end()
}

// appendFixed writes a number as 8 bytes, big-endian: the length of a segment's preamble must not
// depend on the number.
func appendFixed(b []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(b, v) }

func decodeFixed(b []byte) (uint64, error) {
	if len(b) != 8 {
		return 0, errShort
	}
	return binary.BigEndian.Uint64(b), nil
}

func appendMember(b []byte, m *Member) []byte {
	b = binary.AppendUvarint(b, m.ID)
	b = appendString(b, m.Name)
	b = appendStrings(b, m.PeerURLs)
	b = appendStrings(b, m.ClientURLs)
	b = appendString(b, m.Version)
	b = appendBool(b, m.Learner)
	return binary.AppendUvarint(b, m.Incarnation)
}

func (d *decoder) member() Member {
	return Member{ID: d.uint(), Name: d.string(), PeerURLs: d.strings(), ClientURLs: d.strings(), Version: d.string(),
		Learner: d.bool(), Incarnation: d.uint()}
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

func (d *decoder) bool() bool { return d.byte() != 0 }

func appendMembership(b []byte, m *Membership) []byte {
	b = binary.AppendUvarint(b, m.ClusterID)
	b = binary.AppendUvarint(b, uint64(len(m.Members)))
	for i := range m.Members {
		b = appendMember(b, &m.Members[i])
	}
	b = binary.AppendUvarint(b, uint64(len(m.Removed)))
	for _, id := range m.Removed {
		b = binary.AppendUvarint(b, id)
	}
	return appendString(b, m.Version)
}

func (d *decoder) membership() Membership {
	m := Membership{ClusterID: d.uint()}
	for range d.count() {
		m.Members = append(m.Members, d.member())
	}
	for range d.count() {
		m.Removed = append(m.Removed, d.uint())
	}
	m.Version = d.string()
	return m
}

func appendChange(b []byte, c *Change) []byte {
	b = append(b, byte(c.Kind))
	b = appendMember(b, &c.Member)
	b = binary.AppendUvarint(b, c.ClusterID)
	return append(binary.AppendUvarint(b, uint64(len(c.Command))), c.Command...)
}

func decodeChange(b []byte) (Change, error) {
	d := decoder{in: b}
	c := Change{Kind: ChangeKind(d.byte()), Member: d.member(), ClusterID: d.uint(), Command: d.bytes()}
	if err := d.end(); err != nil {
		return Change{}, err
	}
	if c.Kind == 0 || c.Kind > ChangeForce {
		return Change{}, fmt.Errorf("raft: change of the unknown kind %d: written by a newer version?", c.Kind)
	}
	return c, nil
}

func appendSnapshot(b []byte, s *Snapshot) []byte {
	b = binary.AppendUvarint(b, s.Index)
	b = binary.AppendUvarint(b, s.Term)
	b = binary.AppendUvarint(b, uint64(s.Stamp))
	return appendMembership(b, &s.Membership)
}

func (d *decoder) snapshot() Snapshot {
	return Snapshot{Index: d.uint(), Term: d.uint(), Stamp: int64(d.uint()), Membership: d.membership()}
}

func decodeSnapshot(b []byte) (Snapshot, error) {
	d := decoder{in: b}
	s := d.snapshot()
	return s, d.end()
}

// AppendMessage appends a message as it goes over the wire to b.
func AppendMessage(b []byte, m *Message) []byte {
	b = append(b, byte(m.Kind))
	for _, v := range [...]uint64{m.From, m.To, m.Term, m.Index, m.LogTerm, m.Hint, m.Commit, m.Round,
		uint64(m.Stamp)} {
		b = binary.AppendUvarint(b, v)
	}
	b = appendBool(b, m.Reject)
	b = appendBool(b, m.Transfer)
	b = binary.AppendUvarint(b, uint64(len(m.Entries)))
	for i := range m.Entries {
		b = appendEntry(b, &m.Entries[i])
	}
	b = appendBool(b, m.Snapshot != nil)
	if m.Snapshot != nil {
		b = appendSnapshot(b, m.Snapshot)
	}
	b = binary.AppendUvarint(b, uint64(len(m.Refused)))
	for _, r := range m.Refused {
		b = append(binary.AppendUvarint(b, r.ID), r.reason)
		b = appendString(b, r.text)
	}
	return b
}

// What one message may hold. A core sends far less. Without a bound, the tiny entries of one frame
// could take a gigabyte of memory.
const (
	maxEntries  = 1 << 16
	maxRefusals = 1 << 19
)

// maxNumber bounds terms and indexes, so that there are always higher ones than those that are
// accepted: a forged term of 2⁶⁴-1 would end all elections, since no term is later.
const maxNumber = 1 << 63

// DecodeMessage decodes a message; its entries share memory with b. It accepts any bytes: what it
// returns without an error can be given to Node.Step.
func DecodeMessage(b []byte) (Message, error) {
	d := decoder{in: b}
	m := Message{Kind: MessageKind(d.byte())}
	for _, v := range [...]*uint64{&m.From, &m.To, &m.Term, &m.Index, &m.LogTerm, &m.Hint, &m.Commit, &m.Round} {
		*v = d.uint()
	}
	m.Stamp = int64(d.uint())
	m.Reject, m.Transfer = d.bool(), d.bool()
	entries := d.atMost(maxEntries)
	m.Entries = slices.Grow(m.Entries, entries)
	for range entries {
		m.Entries = append(m.Entries, d.entry())
	}
	if d.bool() {
		s := d.snapshot()
		m.Snapshot = &s
	}
	for range d.atMost(maxRefusals) {
		m.Refused = append(m.Refused, Refusal{ID: d.uint(), reason: d.byte(), text: d.string()})
	}
	if err := d.end(); err != nil {
		return Message{}, err
	}
	return m, m.check()
}

// check returns why a decoded message can't be one that a core sends; nil when it can be (pitfall
// H4: CVE-2020-15112).
func (m *Message) check() error {
	if m.Kind == 0 || int(m.Kind) >= len(messageNames) {
		return fmt.Errorf("raft: message of the unknown kind %d", m.Kind)
	}
	if (m.Kind == InstallSnapshot) != (m.Snapshot != nil) {
		return fmt.Errorf("raft: %v with or without a snapshot", m.Kind)
	}
	numbers := []uint64{m.Term, m.Index, m.Commit, m.Hint}
	if m.Snapshot != nil {
		numbers = append(numbers, m.Snapshot.Index, m.Snapshot.Term)
	}
	if n := slices.Max(numbers); n >= maxNumber {
		return fmt.Errorf("raft: %v with a term or an index of %d, which none ever reaches", m.Kind, n)
	}
	for i := range m.Entries {
		due := m.Index + uint64(i) + 1
		if m.Kind == Propose {
			due = 0
		}
		if err := m.Entries[i].check(due); err != nil {
			return err
		}
		if e := &m.Entries[i]; e.Term > m.Term {
			return fmt.Errorf("raft: entry %d of term %d in a message of term %d", e.Index, e.Term, m.Term)
		}
	}
	return nil
}

// check returns why a decoded entry can't stand at index; nil when it can.
func (e *Entry) check(index uint64) error {
	if e.Index != index {
		return fmt.Errorf("raft: entry %d where %d is due", e.Index, index)
	}
	if e.Kind != EntryChange {
		return nil
	}
	if _, err := decodeChange(e.Data); err != nil {
		return fmt.Errorf("raft: entry %d: %w", index, err)
	}
	return nil
}
