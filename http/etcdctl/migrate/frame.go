package migrate

import (
	"bytes"
	"encoding/binary"
)

// The kinds of records in a log.
const (
	recordMetadata = 1 + iota
	recordEntry
	recordState
	recordChecksum
	recordSnapshot
)

// A frame is one record in a file of a log:
//
//	│ length, 8 bytes little-endian │ record, n bytes of protobuf │ 0 to 7 zeros │
//
// The low 56 bits of the length are n. etcd 2 leaves the highest byte 0 and pads nothing; etcd 3
// has 0x80 plus the number of zeros there, when there are any. Nothing is aligned where etcd 3 went
// on with a file of etcd 2.
type frame struct {
	kind uint64
	sum  uint64 // the checksum, of data and all data before it
	data []byte // a part of the file
	at   int    // offset in the file
	next int    // offset of the frame after it
}

// A flaw is why there is no frame at an offset.
type flaw string

const (
	flawNone  flaw = ""
	flawShort flaw = "fewer than 8 bytes are left of a length"
	flawZero  flaw = "a length is 0"
	flawTop   flaw = "the highest byte of a length is invalid"
	flawLong  flaw = "a record is longer than what is left of the file"
	flawForm  flaw = "a record has not the form of one"
	flawSum   flaw = "a checksum is wrong"
)

const (
	lengthSize = 8
	sectorSize = 512 // bytes that a disk writes whole or not at all
)

// cutFrame returns the frame at an offset of a file, or why there is none. With flawForm, only at
// and next of the frame are valid.
func cutFrame(file []byte, at int) (frame, flaw) {
	if len(file)-at < lengthSize {
		return frame{}, flawShort
	}
	length := binary.LittleEndian.Uint64(file[at:])
	top, size := length>>56, length&(1<<56-1)
	switch {
	case length == 0:
		return frame{}, flawZero
	case top != 0 && (top <= 0x80 || top > 0x87):
		return frame{}, flawTop
	}
	start := at + lengthSize
	if padding := top & 7; size > uint64(len(file)-start) || size+padding > uint64(len(file)-start) {
		return frame{}, flawLong
	}
	f := frame{at: at, next: start + int(size+top&7)}
	if !f.read(file[start : start+int(size)]) {
		return f, flawForm
	}
	return f, flawNone
}

// read reads the fields of the record, of which each may come once. It reports whether there are no
// others.
func (f *frame) read(record []byte) bool {
	seen := uint64(0)
	whole := fields(record, func(v field) bool {
		if v.id > 3 || seen>>v.id&1 == 1 {
			return false
		}
		seen |= 1 << v.id
		switch v.id {
		case 1:
			f.kind = v.number
		case 2:
			f.sum = v.number
		case 3:
			f.data = v.text
		}
		return true
	})
	return whole && f.kind >= recordMetadata && f.kind <= recordSnapshot && f.sum < 1<<32
}

// torn reports whether a crash can have left a flaw at the end of the newest file: there the log
// ends. Any other flaw is damage. f is the frame with flawForm or flawSum.
func (f *frame) torn(file []byte, at int, why flaw) bool {
	switch why {
	case flawShort:
		return true
	case flawZero:
		return isZero(file[at:])
	case flawLong:
		return !recordsFollow(file, at+1)
	case flawForm, flawSum:
		return isZero(file[f.next:]) && hasZeroSector(file, at+lengthSize, f.next)
	}
	return false
}

func isZero(b []byte) bool {
	var zeros [4096]byte
	for len(b) > len(zeros) {
		if !bytes.Equal(b[:len(zeros)], zeros[:]) {
			return false
		}
		b = b[len(zeros):]
	}
	return bytes.Equal(b, zeros[:len(b)])
}

// hasZeroSector reports whether some sector's part of a record is all zero.
func hasZeroSector(file []byte, from, to int) bool {
	for from < to {
		end := min(to, (from/sectorSize+1)*sectorSize)
		if isZero(file[from:end]) {
			return true
		}
		from = end
	}
	return false
}

// recordsFollow reports whether a record begins at or after an offset and reaches the end of the
// file, or the zeros there. Such a log is damaged, and not torn.
func recordsFollow(file []byte, from int) bool {
	end := len(bytes.TrimRight(file, "\x00"))
	for at := end - 1; at >= from; at-- {
		if f, why := cutFrame(file, at); why == flawNone && f.next >= end {
			return true
		}
	}
	return false
}
