package wal

import (
	"encoding/binary"
	"hash/crc32"
)

// A frame is one batch of records on disk, written by one write and made
// durable by one sync. It begins at a multiple of 8:
//
//	 0      4      8             16     20     24
//	┌──────┬──────┬─────────────┬──────┬──────┬─────────┬──────────┐
//	│ CRC  │length│ batch       │ sum  │offset│ payload │ zeros to │
//	│      │      │             │      │  /8  │ records │ 8 bytes  │
//	└──────┴──────┴─────────────┴──────┴──────┴─────────┴──────────┘
//
//	CRC     CRC-32C of bytes 4…24, seeded with the CRC of the segment's header: no bytes
//	        of another segment, or of another place in this one, pass for a frame
//	length  of the payload in bytes; used only when CRC is right (H4)
//	batch   one more than in the frame before, over all segments
//	sum     CRC-32C of the payload, continuing the sum of the frame before, over all segments
//	offset  of the frame itself in its segment, divided by 8
//
// Numbers are little-endian. A frame without records is a mark: it says that
// all before it is durable. A frame with one record of kind 0 is a seal: it
// stands behind the last batch of a segment that another one follows.
type frame struct {
	length int64
	batch  uint64
	sum    uint32
	offset int64
}

const (
	frameHeader = 24
	maxPayload  = 1 << 30 // bytes; far more than a batch ever has
	markSize    = frameHeader
	sealSize    = frameHeader + 8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// place is where a frame of a log stands or will stand, and what it continues.
type place struct {
	offset int64
	batch  uint64 // of that frame
	sum    uint32 // of the frame before
}

// frameSize returns the size of a frame with payload bytes of payload.
func frameSize(payload int64) int64 { return frameHeader + align(payload) }

// align rounds n up to a multiple of 8.
func align(n int64) int64 { return (n + 7) &^ 7 }

// appendFrame appends the frame of the records to b and returns the place after it.
func appendFrame(b []byte, at place, salt uint32, recs ...[]Record) ([]byte, place) {
	start := len(b)
	b = append(b, make([]byte, frameHeader)...)
	for _, part := range recs {
		for _, r := range part {
			b = appendRecord(b, r)
		}
	}
	payload := b[start+frameHeader:]
	f := frame{int64(len(payload)), at.batch, crc32.Update(at.sum, castagnoli, payload), at.offset}
	f.put(b[start:], salt)
	b = append(b, make([]byte, align(f.length)-f.length)...)
	return b, f.after()
}

// after returns the place behind the frame.
func (f frame) after() place {
	return place{f.offset + frameSize(f.length), f.batch + 1, f.sum}
}

// put writes the frame's header to b.
func (f frame) put(b []byte, salt uint32) {
	binary.LittleEndian.PutUint32(b[4:], uint32(f.length))
	binary.LittleEndian.PutUint64(b[8:], f.batch)
	binary.LittleEndian.PutUint32(b[16:], f.sum)
	binary.LittleEndian.PutUint32(b[20:], uint32(f.offset/8))
	binary.LittleEndian.PutUint32(b, crc32.Update(salt, castagnoli, b[4:frameHeader]))
}

// parseFrame reads the header of a frame at offset, and reports whether there is one. No other
// function decides that.
func parseFrame(b []byte, salt uint32, offset int64) (frame, bool) {
	f := frame{
		length: int64(binary.LittleEndian.Uint32(b[4:])),
		batch:  binary.LittleEndian.Uint64(b[8:]),
		sum:    binary.LittleEndian.Uint32(b[16:]),
		offset: int64(binary.LittleEndian.Uint32(b[20:])) * 8,
	}
	// The offset is compared first, since it is cheap: scan calls parseFrame at every eighth byte.
	if f.offset != offset {
		return frame{}, false
	}
	return f, binary.LittleEndian.Uint32(b) == crc32.Update(salt, castagnoli, b[4:frameHeader])
}
