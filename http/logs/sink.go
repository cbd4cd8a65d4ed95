package logs

import (
	"bytes"
	"io"
	"sync/atomic"
	"time"
)

// A Sink writes the lines of the log to w, from a goroutine of its own: a reader that is gone, or
// that stands still, costs lines and holds up nobody. All methods may be called from any goroutine.
type Sink struct {
	w       io.Writer
	lines   chan []byte   // that wait; what finds no room is lost
	written chan struct{} // answers a nil line
	lost    atomic.Uint64 // lines that w did not take
}

// Bounds of a sink: lines that wait for the reader, and how long the end of the process does.
const (
	sinkLines    = 4096
	sinkPatience = 300 * time.Millisecond
)

// NewSink returns a sink whose lines go to w.
func NewSink(w io.Writer) *Sink {
	s := &Sink{w: w, lines: make(chan []byte, sinkLines), written: make(chan struct{}, 1)}
	go s.run()
	return s
}

// Write takes one line, and never fails.
func (s *Sink) Write(line []byte) (int, error) {
	select {
	case s.lines <- bytes.Clone(line):
	default:
		s.lost.Add(1)
	}
	return len(line), nil
}

// run writes lines for as long as the process lives.
func (s *Sink) run() {
	for line := range s.lines {
		if line == nil {
			s.written <- struct{}{}
			continue
		}
		if _, err := s.w.Write(line); err != nil {
			s.lost.Add(1)
		}
	}
}

// Flush returns when w has all lines from before, or does not take them in time.
func (s *Sink) Flush() {
	late := time.After(sinkPatience)
	select {
	case s.lines <- nil:
	case <-late:
		return
	}
	select {
	case <-s.written:
	case <-late:
	}
}

// Lost returns how many lines w did not take.
func (s *Sink) Lost() uint64 { return s.lost.Load() }
