package linear

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	_ "etcd2/e2e/pace" // -long
)

// The histories are written a call a word: what was called, what came back, from when to when.
//
//	p1:0-2     put 1                         g1:1-3      get gave 1
//	c1>2:0-3   1 was there and became 2      c1>2=5:0-3  that failed, 5 was there
//	d1:0-4     deleted 1                     …:0-?       the outcome is unknown
var knownGood = []string{
	"p1:0-1 g1:2-3",
	"p1:0-3 g0:1-2",
	"p1:0-3 g1:1-2",
	"g0:0-1 p1:2-3 g1:4-5 g1:6-7",
	"p1:0-9 g0:1-2 g1:3-4 g1:5-6",
	"p1:0-5 p2:1-6 g1:7-8",
	"p1:0-5 p2:1-6 g2:7-8",
	"p1:0-1 p2:2-9 g1:3-4 g2:5-6",
	"p1:0-1 c1>2:2-3 g2:4-5",
	"p1:0-1 c3>2=1:2-3 g1:4-5",
	"p1:0-1 c1>2:2-5 c2>3:3-6 g3:7-8",
	"p1:0-1 c1>2:2-5 c1>3=2:3-6 g2:7-8",
	"p1:0-1 d1:2-3 g0:4-5",
	"d0:0-1 p1:2-3 g1:4-5",
	"p1:0-? g0:1-2 g0:3-4",
	"p1:0-? g0:1-2 g1:3-4 g1:5-6",
	"p1:0-? p2:1-2 g2:3-4 g1:5-6",
	"p1:0-1 d1:2-? g1:3-4 g0:5-6",
	"p1:0-1 c1>2:2-? c1>3:3-4 g3:5-6",
	"p1:0-1 c1>2:2-? c2>3:3-4 g3:5-6",
	"p1:0-? d1:1-2 g0:3-4",
}

var knownBad = []string{
	"p1:0-1 g0:2-3",                             // a read that missed a finished write
	"p1:0-1 g2:2-3",                             // out of nowhere
	"g1:0-1 p1:2-3",                             // out of the future
	"p1:0-1 p2:2-3 g1:4-5",                      // an old value
	"p1:0-9 g1:1-2 g0:3-4",                      // back again
	"p1:0-5 p2:1-6 g1:7-8 g2:9-10",              // both orders
	"p1:0-1 p2:2-9 g2:3-4 g1:5-6",               // seen, and gone
	"p1:0-1 c1>2:2-3 g1:4-5",                    // a swap without effect
	"p1:0-1 c2>3:2-3",                           // a swap that should have failed
	"p1:0-1 c1>2=1:2-3",                         // a swap that should have succeeded
	"p1:0-1 c1>2:2-5 c1>3:3-6",                  // two swaps of one value
	"p1:0-1 c3>2=4:2-3",                         // a failure that saw nothing real
	"p1:0-1 d1:2-3 g1:4-5",                      // deleted, and there
	"p1:0-1 d0:2-3",                             // deleted nothing
	"p1:0-1 d1:2-5 d1:3-6",                      // deleted twice
	"p1:0-? g1:1-2 g0:3-4",                      // unknown, seen, and undone
	"p1:2-? g1:0-1",                             // unknown, and seen before
	"p1:0-? p2:1-2 g1:3-4 g2:5-6",               // unknown, and both orders
	"p1:0-1 c1>2:2-? c1>3:3-4 g2:5-6",           // an unknown swap that came too late to succeed
	"p1:0-1 d1:2-? g0:3-4 g1:5-6",               // an unknown deletion, undone
	"p1:0-1 p2:0-1 g1:2-3 g2:2-3 g1:4-5 g2:6-7", // flickers
}

func TestKnownHistoriesAreJudgedRightly(t *testing.T) {
	for want, histories := range map[bool][]string{true: knownGood, false: knownBad} {
		for _, h := range histories {
			if got := Explains(parseHistory(t, h)); got != want {
				t.Errorf("%s: Explains gives %v", h, got)
			}
		}
	}
}

func parseHistory(t *testing.T, s string) (calls []Call) {
	t.Helper()
	for _, word := range strings.Fields(s) {
		what, when, _ := strings.Cut(word, ":")
		from, to, _ := strings.Cut(when, "-")
		c := parseCall(t, what)
		c.Known = to != "?"
		scan(t, from, "%d", &c.From)
		if c.Known {
			scan(t, to, "%d", &c.To)
		}
		calls = append(calls, c)
	}
	return calls
}

func parseCall(t *testing.T, s string) Call {
	t.Helper()
	var c Call
	switch {
	case s[0] == 'g':
		scan(t, s, "g%d", &c.Result.Value)
	case s[0] == 'd':
		c.Kind = Delete
		scan(t, s, "d%d", &c.Result.Value)
	case s[0] == 'p':
		c.Kind = Put
		scan(t, s, "p%d", &c.Op.Value)
	case strings.Contains(s, "="):
		c.Kind = CAS
		scan(t, s, "c%d>%d=%d", &c.Expect, &c.Op.Value, &c.Result.Value)
	default:
		c.Kind, c.OK = CAS, true
		scan(t, s, "c%d>%d", &c.Expect, &c.Op.Value)
	}
	return c
}

func scan(t *testing.T, s, format string, to ...any) {
	t.Helper()
	if _, err := fmt.Sscanf(s, format, to...); err != nil {
		t.Fatalf("%s: %v", s, err)
	}
}

// The search comes to few places: 5,000 calls on 10 keys by 8 clients have many more orders.
func TestLongHistoryIsJudgedInFewSteps(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	places, wrong := 0, 0
	for key := range 10 {
		calls := inventHistory(r, 8, 500)
		sound := newSearch(calls)
		if !sound.from(0, place{}) {
			t.Errorf("key %d: a history that happened is rejected", key)
		}
		spoil(calls)
		spoiled := newSearch(calls)
		if spoiled.from(0, place{}) {
			t.Errorf("key %d: a value out of nowhere is accepted", key)
		}
		places, wrong = places+len(sound.been), wrong+len(spoiled.been)
	}
	t.Logf("%d places of histories that happened, %d of others", places, wrong)
	if places > 30_000 || wrong > 500_000 {
		t.Errorf("the search came to %d places, and to %d in vain", places, wrong)
	}
}

// inventHistory lets clients call a register, each call happening at some moment between its
// beginning and its end; one in twenty never learns of it.
func inventHistory(r *rand.Rand, clients, n int) []Call {
	register, now := uint64(0), 0
	calls := make([]Call, 0, n)
	open := make([]*Call, clients)
	happened := make([]bool, clients)
	for len(calls) < n {
		now++
		i := r.IntN(clients)
		switch c := open[i]; {
		case c == nil:
			op := Op{Kind: Kind(r.IntN(4)), Value: uint64(now), Expect: register}
			if op.Kind == Delete || op.Kind == Get {
				op.Value = 0
			}
			calls = append(calls, Call{Op: op, From: now})
			open[i], happened[i] = &calls[len(calls)-1], false
		case !happened[i]:
			register, c.Result = c.Apply(register)
			happened[i] = true
		default:
			c.Known, c.To = r.IntN(20) > 0, now
			open[i] = nil
		}
	}
	return calls
}

// spoil makes the last read whose answer is known return what nobody ever wrote.
func spoil(calls []Call) {
	for i := len(calls) - 1; i >= 0; i-- {
		if c := &calls[i]; c.Known && c.Kind == Get {
			c.Result.Value = 1 << 60
			return
		}
	}
}
