package raft

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"testing"
)

var (
	sampleMember = Member{ID: 1 << 63, Name: "a", PeerURLs: []string{"http://a:1", "http://a:2"},
		ClientURLs: []string{"http://a:3"}, Version: "2.4.0", Learner: true, Incarnation: 1 << 63}
	sampleMembership = Membership{ClusterID: 9, Members: []Member{{ID: 1}, sampleMember}, Removed: []uint64{3, 5},
		Version: "2.4.0"}
	sampleSnapshot = Snapshot{Index: 8, Term: 2, Stamp: 1e18, Membership: sampleMembership}
	sampleChange   = Change{Kind: ChangeAdd, Member: sampleMember, ClusterID: 9, Command: []byte("set")}
	sampleEntries  = []Entry{
		{Index: 5, Term: 2, Stamp: -1, Kind: EntryCommand, ID: 1 << 63, Data: []byte("x")},
		{Index: 6, Term: 2, Stamp: 1e18, Kind: EntryChange, Data: appendChange(nil, &sampleChange)},
	}
	sampleMessages = []Message{
		{Kind: PreVote, From: 1, To: 2, Term: 3, Index: 4, LogTerm: 2},
		{Kind: Vote, From: 1, To: 2, Term: 3, Index: 4, LogTerm: 2, Transfer: true},
		{Kind: Append, From: 1, To: 2, Term: 3, Index: 4, LogTerm: 2, Commit: 4, Stamp: 1e18, Entries: sampleEntries},
		{Kind: AppendAnswer, From: 2, To: 1, Term: 3, Index: 9, Hint: 7, LogTerm: 2, Reject: true},
		{Kind: Heartbeat, From: 1, To: 2, Term: 3, Commit: 4, Round: 77, Stamp: -1},
		{Kind: InstallSnapshot, From: 1, To: 2, Term: 3, Snapshot: &sampleSnapshot},
		{Kind: ReadIndexAnswer, From: 1, To: 2, Term: 3, Round: 1 << 63, Index: 8},
	}
)

// format is one of the encodings: read decodes b, and encodes the result once more.
type format struct {
	name    string
	read    func(b []byte) (again []byte, err error)
	samples [][]byte
}

func formats() []format {
	messages := format{name: "message", read: rewrite(DecodeMessage, AppendMessage)}
	for i := range sampleMessages {
		messages.samples = append(messages.samples, AppendMessage(nil, &sampleMessages[i]))
	}
	return []format{
		messages,
		{"entry", rewrite(decodeEntry, appendEntry), [][]byte{appendEntry(nil, &sampleEntries[0]),
			appendEntry(nil, &sampleEntries[1])}},
		{"change", rewrite(decodeChange, appendChange), [][]byte{appendChange(nil, &sampleChange)}},
		{"state", rewrite(decodeState, func(b []byte, s *State) []byte { return appendState(b, *s) }),
			[][]byte{appendState(nil, State{1, 1 << 63, 3})}},
		{"snapshot", rewrite(decodeSnapshot, appendSnapshot), [][]byte{appendSnapshot(nil, &sampleSnapshot)}},
	}
}

func rewrite[T any](decode func([]byte) (T, error), encode func([]byte, *T) []byte) func([]byte) ([]byte, error) {
	return func(b []byte) ([]byte, error) {
		v, err := decode(b)
		if err != nil {
			return nil, err
		}
		return encode(nil, &v), nil
	}
}

func TestDecodedMessageIsTheEncodedOne(t *testing.T) {
	for _, m := range sampleMessages {
		got, err := DecodeMessage(AppendMessage(nil, &m))

		if err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%+v became %+v, %v", m, got, err)
		}
	}
}

// pitfall H4: an encoding that is cut off anywhere is an error and not a guess. Surplus bytes are
// an error, too.
func TestEncodingIsWholeOrRefused(t *testing.T) {
	for _, f := range formats() {
		for _, b := range f.samples {
			again, err := f.read(b)
			if err != nil || !bytes.Equal(again, b) {
				t.Errorf("%s %x became %x, %v", f.name, b, again, err)
			}
			for n := range b {
				if _, err := f.read(b[:n]); err == nil {
					t.Errorf("%s: %d of %d bytes were taken", f.name, n, len(b))
				}
			}
			if _, err := f.read(append(bytes.Clone(b), 0)); err == nil {
				t.Errorf("%s: a byte too many was taken", f.name)
			}
		}
	}
}

// pitfall H4, pitfall I7: a message is checked before the core relies on it.
func TestMessageThatNoCoreSendsIsRefused(t *testing.T) {
	for name, m := range map[string]Message{
		"no kind":             {},
		"an unknown kind":     {Kind: ProposeAnswer + 1},
		"no snapshot":         {Kind: InstallSnapshot},
		"a snapshot too much": {Kind: Append, Snapshot: &sampleSnapshot},
		"a gap":               {Kind: Append, Index: 3, Entries: []Entry{{Index: 5}}},
		"an unknown entry":    {Kind: Append, Entries: []Entry{{Index: 1, Kind: EntryDigest + 1}}},
		"a placed proposal":   {Kind: Propose, Entries: []Entry{{Index: 1}}},
		"a broken change":     {Kind: Append, Entries: []Entry{{Index: 1, Kind: EntryChange, Data: []byte{99}}}},
		"a change of no kind": {Kind: Append, Entries: []Entry{{Index: 1, Kind: EntryChange, Data: appendChange(nil,
			&Change{})}}},
		"a change yet unknown": {Kind: Append, Entries: []Entry{{Index: 1, Kind: EntryChange, Data: appendChange(nil,
			&Change{Kind: 99})}}},
	} {
		if _, err := DecodeMessage(AppendMessage(nil, &m)); err == nil {
			t.Errorf("a message with %s was taken", name)
		}
	}
}

// pitfall H4: no length in the input makes the decoder take more memory than the input is long,
// within a factor.
func TestLengthsInTheInputAreNotBelieved(t *testing.T) {
	huge := []byte{0xff, 0xff, 0xff, 0xff, 0x7f}
	for _, f := range formats() {
		for _, b := range f.samples {
			for at := range b {
				in := append(bytes.Clone(b[:at]), huge...)
				if n := testing.AllocsPerRun(1, func() { _, _ = f.read(in) }); n > 100 {
					t.Errorf("%s: %v allocations for %d bytes", f.name, n, len(in))
				}
			}
		}
	}
}

// check tests what holds for any input: it is refused, or read as a value whose encoding reads as
// the same value.
func (f *format) check(t *testing.T, b []byte) {
	t.Helper()
	once, err := f.read(b)
	if err != nil {
		return
	}
	twice, err := f.read(once)
	if err != nil || !bytes.Equal(once, twice) {
		t.Fatalf("%s: %x was read as %x, and that as %x, %v", f.name, b, once, twice, err)
	}
}

// pitfall H4: every format survives damage to good encodings; about a second of it.
func TestAnyBytesAreReadOrRefused(t *testing.T) {
	rnd, all := rand.New(rand.NewPCG(1, 2)), formats()
	for range 40_000 {
		for _, f := range all {
			b := bytes.Clone(f.samples[rnd.IntN(len(f.samples))])
			for range 1 + rnd.IntN(4) {
				b[rnd.IntN(len(b))] = byte(rnd.Uint32())
			}
			f.check(t, b[:len(b)-rnd.IntN(2)])
		}
	}
}

func fuzzFormat(f *testing.F, i int) {
	format := formats()[i]
	for _, b := range format.samples {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) { format.check(t, b) })
}

func FuzzMessage(f *testing.F)  { fuzzFormat(f, 0) }
func FuzzEntry(f *testing.F)    { fuzzFormat(f, 1) }
func FuzzChange(f *testing.F)   { fuzzFormat(f, 2) }
func FuzzState(f *testing.F)    { fuzzFormat(f, 3) }
func FuzzSnapshot(f *testing.F) { fuzzFormat(f, 4) }

// pitfall H4. A forged term is worse than a crash: it would be persisted, and end all elections.
func TestNumbersThatNothingReachesAreRefused(t *testing.T) {
	const huge = uint64(1) << 63
	for name, m := range map[string]Message{
		"term":           {Kind: Heartbeat, Term: ^uint64(0)},
		"index":          {Kind: Append, Index: huge},
		"commit":         {Kind: Heartbeat, Commit: huge},
		"snapshot":       {Kind: InstallSnapshot, Snapshot: &Snapshot{Index: huge}},
		"an entry's":     {Kind: Append, Term: 1, Entries: []Entry{{Index: 1, Term: 2}}},
		"snapshot, term": {Kind: InstallSnapshot, Snapshot: &Snapshot{Index: 1, Term: huge}},
	} {
		if _, err := DecodeMessage(AppendMessage(nil, &m)); err == nil {
			t.Errorf("%s: it is taken", name)
		}
	}
	if _, err := DecodeMessage(AppendMessage(nil, &Message{Kind: Heartbeat, Term: huge - 1})); err != nil {
		t.Error(err)
	}
}

// pitfall H4: a frame must not hold items that take far more memory than their bytes in the frame.
func TestTheEntriesOfAMessageAreOneAllocation(t *testing.T) {
	m := Message{Kind: Append, From: 1, To: 2, Term: 1, Entries: make([]Entry, 64)}
	for i := range m.Entries {
		m.Entries[i] = Entry{Index: uint64(i + 1), Term: 1, Data: make([]byte, 256)}
	}
	b := AppendMessage(nil, &m)

	allocs := testing.AllocsPerRun(100, func() {
		if _, err := DecodeMessage(b); err != nil {
			t.Fatal(err)
		}
	})

	if allocs > 2 { // one of them for the message
		t.Errorf("%v allocations", allocs)
	}
}

func TestAFrameOfSmallThingsDoesNotBecomeAGigabyte(t *testing.T) {
	entries := Message{Kind: Propose, Entries: make([]Entry, maxEntries+1)}
	refused := Message{Kind: ProposeAnswer, Refused: make([]Refusal, maxRefusals+1)}
	urls := Change{Kind: ChangeAdd, Member: Member{PeerURLs: make([]string, maxURLs+1)}}

	for _, m := range []*Message{&entries, &refused} {
		if _, err := DecodeMessage(AppendMessage(nil, m)); err == nil {
			t.Errorf("%v is taken", m.Kind)
		}
	}
	if _, err := decodeChange(appendChange(nil, &urls)); err == nil {
		t.Error("the change is taken")
	}
}
