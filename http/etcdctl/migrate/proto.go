package migrate

import "encoding/binary"

// A field is a field of a protobuf message.
type field struct {
	id     uint64
	number uint64 // of a varint
	text   []byte // of bytes, a string or a message; a part of the message
}

// The types of fields, the lowest 3 bits of a tag.
const (
	typeVarint  = 0
	typeFixed64 = 1
	typeBytes   = 2
	typeFixed32 = 5
)

// fields calls visit for each field of a message, in order, until that returns false. It reports
// whether b is a whole message and visit always returned true.
func fields(b []byte, visit func(field) bool) bool {
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 || tag>>3 == 0 {
			return false
		}
		f := field{id: tag >> 3}
		size := f.cut(tag&7, b[n:])
		if size < 0 || !visit(f) {
			return false
		}
		b = b[n+size:]
	}
	return true
}

// message reads the fields 1, 2 and so on of a message into variables, each a *uint64 or a *[]byte;
// nil skips a field. It reports whether b is a whole message, and whether it has other fields.
func message(b []byte, into ...any) (whole, others bool) {
	whole = fields(b, func(f field) bool {
		if f.id > uint64(len(into)) {
			others = true
			return true
		}
		switch v := into[f.id-1].(type) {
		case *uint64:
			*v = f.number
		case *[]byte:
			*v = f.text
		}
		return true
	})
	return whole, others
}

// cut reads the value at the beginning of b and returns its length, negative when there is none.
func (f *field) cut(kind uint64, b []byte) int {
	switch kind {
	case typeVarint, typeBytes:
		v, n := binary.Uvarint(b)
		switch {
		case n <= 0:
			return -1
		case kind == typeVarint:
			f.number = v
			return n
		case v > uint64(len(b)-n):
			return -1
		}
		f.text = b[n : n+int(v) : n+int(v)]
		return n + int(v)
	case typeFixed64, typeFixed32:
		size := 8
		if kind == typeFixed32 {
			size = 4
		}
		if size <= len(b) {
			return size
		}
	}
	return -1
}
