package peer

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"testing"
	"time"
)

// toldThrough is an accepted end, and the other end's connection.
func toldThrough(t *testing.T) (*receiver, net.Conn) {
	near, far := net.Pipe()
	r := &receiver{stream: stream{conn: near, tick: time.Hour}, wake: make(chan struct{}, 1)}
	r.start(t.Context(), 16)
	t.Cleanup(func() { near.Close(); far.Close() })
	return r, far
}

// Both ends write until the end, and then say why it came: who hears nothing takes the other one
// for dead.
func TestNoWriteIsBegunAfterTheEnd(t *testing.T) {
	for range 20 { // what is chosen when there is much to do is left to chance
		r, _ := toldThrough(t)
		s := &sender{stream: stream{conn: r.conn, tick: time.Hour}, p: &peer{t: &Transport{},
			wake: make(chan struct{}, 1)}}
		s.start(t.Context(), 16)
		s.wantPing.Store(true)
		s.p.wake <- struct{}{}
		r.wake <- struct{}{}
		r.end(errMoved)
		s.end(errMoved)

		if !r.writeCounts() || !s.write() {
			t.Fatal("a write was begun, and failed")
		}
	}
}

func TestWhatIsBeingWrittenAtTheEndIsWrittenWhole(t *testing.T) {
	r, far := toldThrough(t)
	nudge(r.wake)
	whole := make(chan bool)
	go func() { whole <- r.writeCounts() }()
	first := make([]byte, 1)
	if _, err := far.Read(first); err != nil { // it writes, and waits for the rest to be read
		t.Fatal(err)
	}

	r.end(errMoved)
	go func() { r.close(<-whole) }()

	in := bufio.NewReader(io.MultiReader(bytes.NewReader(first), far))
	for _, want := range []frameKind{frameRead, frameBye} {
		if f, err := readFrame(in); err != nil || f.kind != want {
			t.Fatalf("%+v, %v, want the kind %d", f, err, want)
		}
	}
}
