package logs

import (
	"bytes"
	"io"
	"sync/atomic"
	"time"
)

// A Sink writes the lines of the log to w, from a goroutine of its own: when w is slow or fails,
// lines are lost, but no caller waits. All methods may be called from any goroutine.
type Sink struct {
	w       io.Writer
	lines   chan []byte // the queue; nil: say on written that all before is written
	written chan struct{}
	lost    atomic.Uint64 // lines that found the queue full, or failed in w
}

// Bounds of a sink.
const (
	sinkLines    = 4096                   // in the queue
	flushTimeout = 300 * time.Millisecond // how long the end of the process waits for w
)

// NewSink returns a sink whose lines go to w.
func NewSink(w io.Writer) *Sink {
	s := &Sink{w: w, lines: make(chan []byte, sinkLines), written: make(chan struct{}, 1)}
	go s.run()
	return s
}

// Write queues one line, or counts it as lost. It never fails.
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

// Flush returns when w has all earlier lines, or after flushTimeout.
func (s *Sink) Flush() {
	late := time.After(flushTimeout)
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

// Lost returns the number of lines that found the queue full, or failed in w.
func (s *Sink) Lost() uint64 { return s.lost.Load() }
