package peer

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// A frame is a piece of what goes over a connection, in either direction:
//
//	 0      4      8      12     13
//	┌──────┬──────┬──────┬──────┬────────────┐
//	│ CRC  │length│ rest │ kind │ body       │
//	└──────┴──────┴──────┴──────┴────────────┘
//
//	CRC     CRC-32C of everything behind it
//	length  of the body; checked before a byte of it is waited for (K5)
//	rest    bytes of the same message that later frames will bring; 0 in the last one
//	kind    what the body is
//
// Numbers are little-endian.
type frame struct {
	kind frameKind
	rest uint32
	body []byte
}

type frameKind byte

// The kinds, and which end sends them.
const (
	frameUrgent frameKind = iota + 1 // dialler: a whole message, which may pass the bulky ones (B14)
	// dialler: a piece of a bulky message; its pieces come in order, and no other's between them
	frameBulk
	framePing   // dialler: wants a frameRead that counts everything before it
	frameRead   // the other end: how many bytes it has read since the handshake, 8 bytes
	frameBye    // both: this end closes the connection but is alive; the body says why
	frameCall   // the other end: I can't call you, so lend me a connection
	frameNews   // dialler: the URLs of another member that has moved (see news.go)
	frameAsk    // dialler: wants a frameStatus
	frameStatus // the other end: its status (see survey.go)
)

const (
	frameHeader = 13
	maxBody     = 64 << 10 // of a frame, in bytes: an urgent message waits for no more than this of a bulky one
	maxFrame    = frameHeader + maxBody
	maxBye      = 200
)

var (
	castagnoli  = crc32.MakeTable(crc32.Castagnoli)
	errChecksum = errors.New("a frame with a wrong checksum")
	errPieces   = errors.New("pieces of a message that do not fit each other")
)

// appendFrame appends a frame to b.
func appendFrame(b []byte, kind frameKind, rest int, body []byte) []byte {
	var head [frameHeader]byte
	binary.LittleEndian.PutUint32(head[4:], uint32(len(body)))
	binary.LittleEndian.PutUint32(head[8:], uint32(rest))
	head[12] = byte(kind)
	sum := crc32.Update(crc32.Checksum(head[4:], castagnoli), castagnoli, body)
	binary.LittleEndian.PutUint32(head[:], sum)
	return append(append(b, head[:]...), body...)
}

// readFrame reads the next frame. It allocates nothing: the body lies in r's buffer, is valid until
// r is used again, and can be no larger than that.
func readFrame(r *bufio.Reader) (frame, error) {
	head, err := r.Peek(frameHeader)
	if err != nil {
		return frame{}, cutShort(head, err)
	}
	size := int64(binary.LittleEndian.Uint32(head[4:]))
	if size > int64(r.Size()-frameHeader) {
		return frame{}, fmt.Errorf("a frame of %d bytes, more than may be", size)
	}
	b, err := r.Peek(frameHeader + int(size))
	if err != nil {
		return frame{}, cutShort(b, err)
	}
	if crc32.Checksum(b[4:], castagnoli) != binary.LittleEndian.Uint32(b) {
		return frame{}, errChecksum
	}
	r.Discard(len(b)) // it is in the buffer
	return frame{frameKind(b[12]), binary.LittleEndian.Uint32(b[8:]), b[frameHeader:]}, nil
}

// cutShort returns io.ErrUnexpectedEOF for an end in the middle of a frame.
func cutShort(b []byte, err error) error {
	if err == io.EOF && len(b) > 0 {
		return io.ErrUnexpectedEOF
	}
	return err
}

// assembly joins the pieces of bulky messages.
type assembly struct {
	max  int // bytes of a message
	b    []byte
	rest int // bytes to come
}

// add adds a piece, and returns the message with the last one, in memory of its own. It allocates
// at most twice the bytes that have arrived, whatever sizes the pieces announce.
func (a *assembly) add(f frame) ([]byte, error) {
	if size := int64(len(a.b)+len(f.body)) + int64(f.rest); size > int64(a.max) {
		return nil, fmt.Errorf("a message of %d bytes, more than the %d that may be", size, a.max)
	}
	total := len(a.b) + len(f.body) + int(f.rest)
	switch {
	case a.rest > 0 && a.rest != len(f.body)+int(f.rest), len(f.body) == 0:
		return nil, errPieces
	}
	if need := len(a.b) + len(f.body); need > cap(a.b) {
		a.b = append(make([]byte, 0, min(total, max(need, 2*cap(a.b)))), a.b...)
	}
	a.b, a.rest = append(a.b, f.body...), int(f.rest)
	if a.rest > 0 {
		return nil, nil
	}
	b := a.b
	a.b = nil
	return b, nil
}
