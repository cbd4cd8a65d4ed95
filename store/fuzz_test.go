package store

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"etcd2/e2e/pace"
)

// mutate returns a seed with some bytes changed, doubled or cut.
func mutate(g *rand.Rand, seeds [][]byte) []byte {
	b := bytes.Clone(seeds[g.IntN(len(seeds))])
	for range 1 + g.IntN(4) {
		if len(b) == 0 {
			return b
		}
		switch i := g.IntN(len(b)); g.IntN(4) {
		case 0:
			b = append(b[:i], b[min(len(b), i+g.IntN(4)):]...)
		case 1:
			b = append(b[:i:i], append([]byte{byte(g.IntN(256))}, b[i:]...)...)
		default:
			b[i] = byte(g.IntN(256))
		}
	}
	return b
}

// onRandomInput runs a fuzz target on mutated seeds for pace.FuzzTime, and on a hundred however
// long that takes. The input that fails is logged.
func onRandomInput(t *testing.T, seeds [][]byte, target func([]byte)) {
	g := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 3))
	var input []byte
	defer func() {
		if t.Failed() {
			t.Logf("on %q", input)
		}
	}()
	over := time.Now().Add(pace.FuzzTime())
	for tried := 0; (tried < 100 || time.Now().Before(over)) && !t.Failed(); tried++ {
		input = mutate(g, seeds)
		target(input)
	}
}

// commandSeeds are logs of a few commands, each behind its length.
func commandSeeds() [][]byte {
	var seeds [][]byte
	for seed := range uint64(20) {
		g, log := newGenerator(seed), []byte(nil)
		for range 8 {
			_, c := g.next(seed)
			cmd := g.secure(c, uint64(g.IntN(4))).bytes()
			log = append(append(log, byte(len(cmd))), cmd...)
		}
		seeds = append(seeds, log)
	}
	return seeds
}

// applyAnything applies the log to two replicas, which must agree and keep the invariants.
func applyAnything(t *testing.T, log []byte) {
	a, b := New(Limits{Events: 5}), New(Limits{Events: 5})
	for index, now := uint64(1), int64(1); len(log) > 0; index, now = index+1, now+int64(log[0])*1e7 {
		n := min(len(log)-1, int(log[0]))
		cmd := log[1 : 1+n]
		x, y := a.Apply(index, time.Unix(0, now), cmd), b.Apply(index, time.Unix(0, now), bytes.Clone(cmd))
		if sketch(x) != sketch(y) {
			t.Fatalf("%s and %s", sketch(x), sketch(y))
		}
		if a.Digest() != b.Digest() {
			t.Fatalf("the digests differ after %s", sketch(x))
		}
		if _, stop := x.(error); stop {
			if _, answer := x.(*Error); !answer && x != ErrRevision {
				break // a command of a later version: the member stops
			}
		}
		if log = log[1+n:]; len(log) == 0 {
			break
		}
	}
	a.check(t)
	state := a.frozenBytes(t)
	if !bytes.Equal(state, b.frozenBytes(t)) {
		t.Fatal("the replicas differ")
	}
	if restored(t, Limits{}, state).Digest() != a.Digest() {
		t.Fatal("the digest is not restored")
	}
}

// pitfall I5
func FuzzApply(f *testing.F) {
	for _, log := range commandSeeds() {
		f.Add(log)
	}
	f.Fuzz(applyAnything)
}

// pitfall I5
func TestApplyTakesAnyBytes(t *testing.T) {
	t.Parallel()
	onRandomInput(t, commandSeeds(), func(b []byte) { applyAnything(t, b) })
}

func canonicalSeeds() [][]byte {
	return [][]byte{[]byte("/a/b"), []byte("//a/./../b/"), []byte("../.."), []byte("/\x00/_h/..."), {}}
}

// canonicalIsStable checks that the canonical form of any text is a key, and its own canonical
// form.
func canonicalIsStable(t *testing.T, b []byte) {
	key := Canonical(string(b))
	bad := strings.Contains(key+"/", "/./") || strings.Contains(key+"/", "/../") || strings.Contains(key, "//")
	if Canonical(key) != key || !strings.HasPrefix(key, "/") || bad || key != "/" && strings.HasSuffix(key, "/") {
		t.Fatalf("Canonical(%q) is %q", b, key)
	}
}

// pitfall J7
func FuzzCanonical(f *testing.F) {
	for _, b := range canonicalSeeds() {
		f.Add(b)
	}
	f.Fuzz(canonicalIsStable)
}

// pitfall J7
func TestCanonicalTakesAnyBytes(t *testing.T) {
	t.Parallel()
	onRandomInput(t, canonicalSeeds(), func(b []byte) { canonicalIsStable(t, b) })
}

func FuzzRestore(f *testing.F) {
	f.Add(varied().frozenBytes(f))
	f.Add(New(Limits{}).frozenBytes(f))
	f.Fuzz(tryRestore)
}

func TestRestoreTakesAnyBytes(t *testing.T) {
	seeds := [][]byte{varied().frozenBytes(t), New(Limits{}).frozenBytes(t)}
	onRandomInput(t, seeds, func(b []byte) { tryRestore(t, b) })
}
