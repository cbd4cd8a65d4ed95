package snap

import (
	"fmt"
	"io"
)

// Stream writes the file of one snapshot to an io.Writer, such as a connection. The file is
// complete only when Close has returned nil: a shorter one has no trailer, and OpenFile refuses it.
// A Stream is not for concurrent use.
type Stream struct {
	out     io.Writer
	err     error // the first one, after which nothing is written
	encoder *encoder
}

// NewStream begins a snapshot, and writes header and meta to out. A meta of more than 1 MiB is an
// error.
func NewStream(out io.Writer, index uint64, meta []byte) (*Stream, error) {
	if err := checkMeta(meta); err != nil {
		return nil, err
	}
	s := &Stream{out: out}
	var err error
	if s.encoder, err = newEncoder(s.put, index, meta); err != nil {
		return nil, fmt.Errorf("snap: stream: %w", err)
	}
	return s, nil
}

func (s *Stream) put(p []byte) error {
	if s.err == nil {
		_, s.err = s.out.Write(p)
	}
	return s.err
}

// Write appends to the body. out gets whole blocks.
func (s *Stream) Write(p []byte) (int, error) { return s.encoder.append(p) }

// Close writes the last block and the trailer. After an error of Write it writes nothing.
func (s *Stream) Close() error {
	if err := s.encoder.end(); err != nil {
		return fmt.Errorf("snap: stream: %w", err)
	}
	return nil
}
