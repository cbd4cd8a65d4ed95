package store

import (
	"encoding/binary"
	"errors"
	"fmt"
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
}

// commandVersion is the first byte of every command. A member that does not know it stops.
const commandVersion = 1

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
// Path and value stand together, so that one allocation takes both.
func (c *Command) Append(b []byte) []byte {
	b = append(b, commandVersion, byte(c.Op), c.flags())
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
	if len(b) < 3 || b[2] >= flagsEnd {
		return errCommand
	}
	c.Op = Op(b[1])
	c.HasTTL, c.Dir = b[2]&flagHasTTL != 0, b[2]&flagDir != 0
	c.Recursive, c.Refresh = b[2]&flagRecursive != 0, b[2]&flagRefresh != 0
	b = b[3:]
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

// cut takes path, value and the value to compare from b, which they must fill.
func (c *Command) cut(b []byte, path, value, prev uint64) error {
	size := uint64(len(b))
	if path > size || value > size-path || prev != size-path-value {
		return errCommand
	}
	text := string(b[:path+value])
	c.Path, c.Value, c.PrevValue = text[:path], text[path:], string(b[path+value:])
	if !c.valid() {
		return errCommand
	}
	return nil
}

// valid reports whether the command keeps the limits that Command names.
func (c *Command) valid() bool {
	if c.Op == OpAdvance {
		return c.Count <= MaxAdvance
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
	if len(cmd) == 0 || cmd[0] != commandVersion || c.decode(cmd) != nil {
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
	} {
		if part.show {
			text += " " + fmt.Sprintf(part.name, part.arg)
		}
	}
	return text
}
