package wal

import "encoding/binary"

// Record is one record of the log: a kind that the caller chooses (1…255), and its data. A caller
// may keep the Data of a record that was read. Records of one batch share one allocation.
type Record struct {
	Kind byte
	Data []byte
}

// kindSeal is the kind of a seal, the only record that the log writes for itself: see frame.
const kindSeal = 0

// A record stands in a frame's payload as
//
//	┌──────┬────────────────┬──────────────┐
//	│ kind │ length uvarint │ data         │
//	└──────┴────────────────┴──────────────┘
func appendRecord(b []byte, r Record) []byte {
	b = append(b, r.Kind)
	b = binary.AppendUvarint(b, uint64(len(r.Data)))
	return append(b, r.Data...)
}

// cutRecord cuts the first record off p. It allocates nothing: the record's data are a part of p.
func cutRecord(p []byte) (r Record, rest []byte, ok bool) {
	if len(p) == 0 {
		return Record{}, nil, false
	}
	length, width := binary.Uvarint(p[1:])
	if width <= 0 || length > uint64(len(p)-1-width) {
		return Record{}, nil, false
	}
	start := 1 + width
	end := start + int(length)
	return Record{Kind: p[0], Data: p[start:end:end]}, p[end:], true
}

// recordsSize returns the number of bytes that appendRecord makes of the caller's records. It
// panics when one has the kind 0.
func recordsSize(recs []Record) int64 {
	var n int64
	for _, r := range recs {
		if r.Kind == kindSeal {
			panic("wal: the kind 0 belongs to the log itself")
		}
		n += 1 + uvarintSize(uint64(len(r.Data))) + int64(len(r.Data))
	}
	return n
}

func uvarintSize(x uint64) int64 {
	n := int64(1)
	for ; x >= 0x80; x >>= 7 {
		n++
	}
	return n
}
