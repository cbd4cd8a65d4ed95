package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"time"
)

// Op is what a command does.
type Op uint8

// The operations. If you add one, also give it a row in operations.
const (
	OpSet              Op = iota + 1
	OpCreate              // fails when the key exists
	OpCreateInOrder       // POST: Path is the directory, the name is the new index in 20 digits
	OpUpdate              // fails when the key is missing
	OpCompareAndSwap      // PrevValue and/or PrevIndex
	OpDelete              // files, empty directories with Dir, anything with Recursive
	OpCompareAndDelete    // PrevValue and/or PrevIndex
	OpAdvance             // takes one index (Count of them) and changes nothing: a change of the membership
)

// MaxAdvance is the most indices that one OpAdvance takes.
const MaxAdvance = 1 << 16

// MaxRequestID is the most bytes that a request id may have.
const MaxRequestID = 128

// Command is one write, as it travels in the log.
type Command struct {
	Op        Op
	Path      string // canonical, see Canonical; at most MaxDepth elements
	Value     string
	PrevValue string // "" = not compared
	PrevIndex uint64 // 0 = not compared
	TTL       time.Duration
	HasTTL    bool // TTL 0 is a node that is due at once
	Dir       bool
	Recursive bool
	Refresh   bool
	Count     uint64 // OpAdvance; 0 is 1

	// RequestID, if any, is the client's name for this command: while it is remembered (see window), the command is executed only
	// once. Any bytes, at most MaxRequestID; not with OpAdvance.
	RequestID string

	sum uint32 // of path and value, by checksum; only decode sets it
}

// The versions: the first byte of every command. A member that does not know it stops.
const (
	versionPlain = iota + 1
	versionID    // with a request id
	versionsEnd
)

// known reports whether a command of this version can be decoded.
func known(version byte) bool { return version >= versionPlain && version < versionsEnd }

// The bits of an encoded command's flags.
const (
	flagHasTTL = 1 << iota
	flagDir
	flagRecursive
	flagRefresh
	flagsEnd
)

// Append appends the encoded command to b:
//
//	┌─────────┬────┬───────┬───────────┬─────┬───────┬────────┬─────────┬─────────┬────────┬────────┬───────────┐
//	│ version │ op │ flags │ prevIndex │ ttl │ count │ length │ length  │ length  │ path   │ value  │ prevValue │
//	│ 1 byte  │ 1  │ 1     │ uvarint   │ ... │ ...   │ of path│ of value│ of prevV│        │        │           │
//	└─────────┴────┴───────┴───────────┴─────┴───────┴────────┴─────────┴─────────┴────────┴────────┴───────────┘
//
// Path and value stand together, so that one allocation takes both. Version 1 is a command without a request id; in one of version
// 2 the id stands behind the version, as a length (uvarint) and bytes.
func (c *Command) Append(b []byte) []byte {
	if c.RequestID == "" {
		b = append(b, versionPlain)
	} else {
		b = binary.AppendUvarint(append(b, versionID), uint64(len(c.RequestID)))
		b = append(b, c.RequestID...)
	}
	b = append(b, byte(c.Op), c.flags())
	for _, v := range []uint64{c.PrevIndex, uint64(c.TTL), c.Count,
		uint64(len(c.Path)), uint64(len(c.Value)), uint64(len(c.PrevValue))} {
		b = binary.AppendUvarint(b, v)
	}
	b = append(b, c.Path...)
	b = append(b, c.Value...)
	return append(b, c.PrevValue...)
}

func (c *Command) flags() (f byte) {
	for bit, on := range []bool{c.HasTTL, c.Dir, c.Recursive, c.Refresh} {
		if on {
			f |= 1 << bit
		}
	}
	return f
}

// errCommand is the one fault of bytes that are no command: nobody made them on purpose.
var errCommand = errors.New("store: no command")

// decode reads what Append wrote. It keeps nothing of b, and accepts nothing but a whole and valid command.
func (c *Command) decode(b []byte) error {
	b = c.cutID(b)
	if len(b) < 2 || b[1] >= flagsEnd {
		return errCommand
	}
	c.Op = Op(b[0])
	c.HasTTL, c.Dir = b[1]&flagHasTTL != 0, b[1]&flagDir != 0
	c.Recursive, c.Refresh = b[1]&flagRecursive != 0, b[1]&flagRefresh != 0
	b = b[2:]
	var v [6]uint64
	for i := range v {
		n := 0
		if v[i], n = binary.Uvarint(b); n <= 0 {
			return errCommand
		}
		b = b[n:]
	}
	c.PrevIndex, c.TTL, c.Count = v[0], time.Duration(v[1]), v[2]
	return c.cut(b, v[3], v[4], v[5])
}

// cutID takes version and request id from b and returns the rest, nil when they are not right.
func (c *Command) cutID(b []byte) []byte {
	if b[0] == versionPlain {
		return b[1:]
	}
	length, n := binary.Uvarint(b[1:])
	if n <= 0 || length == 0 || length > MaxRequestID || length > uint64(len(b)-1-n) {
		return nil
	}
	id, rest := b[1+n:1+n+int(length)], b[1+n+int(length):]
	c.RequestID = string(id)
	return rest
}

// cut takes path, value and the value to compare from b, which they must fill.
func (c *Command) cut(b []byte, path, value, prev uint64) error {
	size := uint64(len(b))
	if path > size || value > size-path || prev != size-path-value {
		return errCommand
	}
	text := string(b[:path+value])
	c.Path, c.Value, c.PrevValue = text[:path], text[path:], string(b[path+value:])
	c.sum = crc32.Checksum(b[:path+value], castagnoli)
	if !c.valid() {
		return errCommand
	}
	return nil
}

// valid reports whether the command keeps the limits that Command names.
func (c *Command) valid() bool {
	if c.Op == OpAdvance {
		return c.Count <= MaxAdvance && c.RequestID == ""
	}
	return c.Op >= OpSet && c.Op < OpAdvance && Canonical(c.Path) == c.Path && strings.Count(c.Path, "/") <= MaxDepth
}

var opNames = [...]string{
	OpSet: "set", OpCreate: "create", OpCreateInOrder: "create-in-order", OpUpdate: "update", OpCompareAndSwap: "compare-and-swap",
	OpDelete: "delete", OpCompareAndDelete: "compare-and-delete", OpAdvance: "advance",
}

// Describe prints an encoded command in a line, for people.
func Describe(cmd []byte) string {
	var c Command
	if len(cmd) == 0 || !known(cmd[0]) || c.decode(cmd) != nil {
		return fmt.Sprintf("no command: %q", cmd)
	}
	if c.Op == OpAdvance {
		return fmt.Sprintf("advance %d", c.Count)
	}
	text := fmt.Sprintf("%s %q", opNames[c.Op], c.Path)
	for _, part := range []struct {
		show bool
		name string
		arg  any
	}{
		{c.Value != "", "value=%q", c.Value}, {c.PrevValue != "", "prevValue=%q", c.PrevValue},
		{c.PrevIndex != 0, "prevIndex=%d", c.PrevIndex}, {c.HasTTL, "ttl=%v", c.TTL},
		{c.Dir, "dir=%v", true}, {c.Recursive, "recursive=%v", true}, {c.Refresh, "refresh=%v", true},
		{c.RequestID != "", "requestId=%q", c.RequestID},
	} {
		if part.show {
			text += " " + fmt.Sprintf(part.name, part.arg)
		}
	}
	return text
}
