package http

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// However long a body is, whether or not that was announced, and however it comes in: all of it is
// read, and about as much room taken as it needs, but for what a buffer of the pool has.
func TestABodyOfAnyLengthIsReadWhole(t *testing.T) {
	s := newBench(t).Server
	readers := map[string]func(io.Reader) io.Reader{
		"at once": func(r io.Reader) io.Reader { return r }, "by halves": iotest.HalfReader,
		"with its end": iotest.DataErrReader, "by single bytes": iotest.OneByteReader,
	}
	for _, size := range []int{0, 1, 1024, bufferSize - 1, bufferSize, 100_000, 1 << 20} {
		text := strings.Repeat("0123456789abcdef", size/16+1)[:size]
		for how, read := range readers {
			for _, announced := range []int{size, -1} {
				name := fmt.Sprintf("%d bytes %s, %d announced", size, how, announced)
				w := &response{server: s}

				got, err := w.text(read(strings.NewReader(text)), int64(announced))

				if err != nil || got != text {
					t.Errorf("%s: %d bytes, %v", name, len(got), err)
				}
				most := size + 2*bufferSize
				if announced < 0 {
					most += size
				}
				if w.taken > int64(most) {
					t.Errorf("%s: %d bytes are taken", name, w.taken)
				}
				s.room.give(w.taken)
			}
		}
	}
}

// pitfall J4
func TestWhatIsOnlyAnnouncedTakesLittleRoom(t *testing.T) {
	const sent = 100_000
	w := &response{server: newBench(t).Server}

	_, err := w.text(io.MultiReader(strings.NewReader(strings.Repeat("x", sent)),
		iotest.ErrReader(io.ErrUnexpectedEOF)), 10<<20)

	if err != io.ErrUnexpectedEOF || w.taken < sent/2 || w.taken > 5*sent {
		t.Errorf("%d bytes are taken, %v", w.taken, err)
	}
}
