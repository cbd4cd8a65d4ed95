package peer

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
)

func TestFramesAreReadAsWritten(t *testing.T) {
	var b []byte
	for i, size := range []int{0, 1, 8, maxBody} {
		b = appendFrame(b, frameKind(i+1), 7*i, bytes.Repeat([]byte{byte(i)}, size))
	}
	in := bufio.NewReaderSize(bytes.NewReader(b), maxFrame)
	for i, size := range []int{0, 1, 8, maxBody} {
		f, err := readFrame(in)
		if err != nil || int(f.kind) != i+1 || int(f.rest) != 7*i || len(f.body) != size {
			t.Errorf("frame %d: %v, %v", i, f.kind, err)
		}
	}
	if _, err := readFrame(in); err != io.EOF {
		t.Errorf("the end is %v", err)
	}
}

func TestAFrameThatIsCutOrChangedIsNoFrame(t *testing.T) {
	b := appendFrame(nil, frameUrgent, 0, []byte("message"))
	for n := 1; n < len(b); n++ {
		if _, err := readFrame(bufio.NewReader(bytes.NewReader(b[:n]))); err != io.ErrUnexpectedEOF {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	for i := range b {
		for bit := range 8 {
			b[i] ^= 1 << bit
			if f, err := readFrame(bufio.NewReader(bytes.NewReader(b))); err == nil {
				t.Errorf("byte %d, bit %d: %v", i, bit, f)
			}
			b[i] ^= 1 << bit
		}
	}
}

func TestPiecesThatDoNotFitAreRefused(t *testing.T) { // pitfall K5
	piece := make([]byte, 10)
	for _, c := range []struct {
		rests []uint32 // of pieces of ten bytes
		whole bool
	}{
		{[]uint32{0}, true},
		{[]uint32{20, 10, 0}, true},
		{[]uint32{20, 0}, false},
		{[]uint32{20, 20}, false},
		{[]uint32{91}, false},
		{[]uint32{1<<32 - 1}, false},
	} {
		a := assembly{max: 100}
		var b []byte
		var err error
		for _, rest := range c.rests {
			if b, err = a.add(frame{frameBulk, rest, piece}); err != nil {
				break
			}
		}
		if (err == nil) != c.whole || c.whole && len(b) != 10*len(c.rests) {
			t.Errorf("%v: %d bytes, %v", c.rests, len(b), err)
		}
	}
	a := assembly{max: 1 << 30}
	if _, err := a.add(frame{frameBulk, 1 << 29, piece}); err != nil || cap(a.b) > 2*len(piece) {
		t.Errorf("%d bytes are taken before they have come, %v", cap(a.b), err)
	}
	if _, err := a.add(frame{frameBulk, 1 << 29, nil}); !errors.Is(err, errPieces) {
		t.Errorf("an empty piece: %v", err)
	}
}

// decode reads frames until something is wrong, as a receiver does, and checks what it holds.
func decode(t testing.TB, b []byte) {
	in := bufio.NewReaderSize(bytes.NewReader(b), maxFrame)
	a := assembly{max: 1 << 20}
	arrived := 0
	for {
		f, err := readFrame(in)
		if err != nil {
			return
		}
		if arrived += frameHeader + len(f.body); arrived > len(b) || len(f.body) > maxBody {
			t.Fatalf("%d bytes of frames in %d", arrived, len(b))
		}
		if _, err := a.add(f); err != nil {
			return
		}
		if cap(a.b) > 2*len(b)+64 {
			t.Fatalf("%d bytes allocated for %d", cap(a.b), len(b))
		}
	}
}

// frameSeeds are good streams.
func frameSeeds() [][]byte {
	long := bytes.Repeat([]byte("x"), maxBody)
	return [][]byte{
		appendFrame(nil, frameUrgent, 0, []byte("a")),
		appendFrame(appendFrame(nil, frameBulk, 3, []byte("abc")), frameBulk, 0, []byte("def")),
		appendFrame(appendFrame(nil, frameBulk, 1, long), frameBulk, 0, []byte("y")),
		appendFrame(appendFrame(nil, framePing, 0, nil), frameBye, 0, []byte("because")),
	}
}

func FuzzFrames(f *testing.F) {
	for _, s := range frameSeeds() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, b []byte) { decode(t, b) })
}

func TestMutatedFramesAreHarmless(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	seeds := frameSeeds()
	for range 5_000 {
		b := bytes.Clone(seeds[r.IntN(len(seeds))])
		for range r.IntN(3) {
			b[r.IntN(min(len(b), 40))] = byte(r.Uint32())
		}
		decode(t, b[:r.IntN(len(b)+1)])
	}
}

// checkIdentity reads an identity from a head and checks what it holds.
func checkIdentity(t testing.TB, head string) {
	h := http.Header{}
	for line := range strings.Lines(head) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		h.Set(name, value)
	}
	i := parseIdentity(h)
	if len(i.name) > 4*maxText || len(i.urls) > maxURLs || strings.ContainsAny(i.name+i.version+i.protocol,
		"\x00\n\x1b") {
		t.Fatalf("%q gives %+v", head, i)
	}
	for _, u := range i.urls {
		if !strings.HasPrefix(strings.ToLower(u), "http") || len(u) > maxText {
			t.Fatalf("%q is a URL", u)
		}
	}
	me := identity{id: 0xb, cluster: testCluster, protocol: protocolVersion}
	if why := me.check(i, []uint64{0xd}, 5); why == nil && (i.cluster != testCluster || i.to != 0xb || i.id == 0 ||
		i.id == 0xd || i.incarnation != 5) {
		t.Fatalf("%+v is let in", i)
	}
}

const goodHead = "Etcd2-Protocol: 1\nEtcd2-From: a\nEtcd2-To: b\nEtcd2-Cluster: c1\nEtcd2-Incarnation: " +
	"5\nEtcd2-Name: n1\nEtcd2-Peer-Urls: http://h:1,https://h:2\n"

func FuzzHandshake(f *testing.F) {
	f.Add(goodHead)
	f.Fuzz(func(t *testing.T, head string) { checkIdentity(t, head) })
}

func TestMutatedHandshakesAreHarmless(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	checkIdentity(t, goodHead)
	for range 20_000 {
		b := []byte(goodHead)
		for range 1 + r.IntN(4) {
			b[r.IntN(len(b))] = byte(r.Uint32())
		}
		checkIdentity(t, string(b))
	}
}
