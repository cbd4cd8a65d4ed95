package snap

import "fmt"

// encoder makes the bytes of one snapshot file, in order, and passes them to write.
type encoder struct {
	write func([]byte) error
	block []byte // the block that is being filled, behind room for its header
	sum   uint32 // of the block before it
	total int64  // bytes of the body in the blocks before it
}

// newEncoder writes the header and the meta.
func newEncoder(write func([]byte) error, index uint64, meta []byte) (*encoder, error) {
	b, sum := appendHeader(nil, index)
	b = append(b, make([]byte, blockHeader)...)
	b = append(b, meta...)
	e := &encoder{
		write: write,
		block: make([]byte, blockHeader, blockHeader+blockBytes),
		sum:   sealBlock(b[headerSize:], sum),
	}
	return e, write(b)
}

// append appends to the body.
func (e *encoder) append(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		n := min(len(p), cap(e.block)-len(e.block))
		e.block = append(e.block, p[:n]...)
		if len(e.block) == cap(e.block) {
			if err := e.flush(); err != nil {
				return written, fmt.Errorf("snap: write: %w", err)
			}
		}
		written += n
		p = p[n:]
	}
	return written, nil
}

// flush writes the block, unless it is empty, and begins the next one.
func (e *encoder) flush() error {
	data := len(e.block) - blockHeader
	if data == 0 {
		return nil
	}
	e.sum = sealBlock(e.block, e.sum)
	if err := e.write(e.block); err != nil {
		return err
	}
	e.total += int64(data)
	e.block = e.block[:blockHeader]
	return nil
}

// end writes the last block and the trailer.
func (e *encoder) end() error {
	if err := e.flush(); err != nil {
		return err
	}
	return e.write(trailer(e.sum, e.total))
}
