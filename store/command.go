package store

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Op is what a command does.
type Op uint8

// The operations. If you add one for clients, put it before OpAdvance, and add a row to operations.
const (
	OpSet              Op = iota + 1
	OpCreate              // fails when the key exists
	OpCreateInOrder       // POST: Path is the directory, the name is the new index in 20 digits
	OpUpdate              // fails when the key is missing
	OpCompareAndSwap      // PrevValue and/or PrevIndex
	OpDelete              // files, empty directories with Dir, anything with Recursive
	OpCompareAndDelete    // PrevValue and/or PrevIndex
	OpAdvance             // takes one index (Count of them) and changes nothing: a change of the membership
	OpClock               // TTL is the leader's wall clock minus the cluster clock; no event, no index
)

// MaxAdvance is the most indices that one OpAdvance takes.
const MaxAdvance = 1 << 16

// The most bytes of a request id, and of the name of the user that it belongs to.
const (
	MaxRequestID = 128
	MaxUser      = 128
)

// Command is one write, as it travels in the log.
type Command struct {
	Op        Op
	Path      string // canonical, see Canonical; at most depthLimit elements
	Value     string
	PrevValue string // "" = not compared
	PrevIndex uint64 // 0 = not compared
	TTL       time.Duration
	HasTTL    bool // TTL 0 is a node that is due at once
	Dir       bool
	Recursive bool
	Refresh   bool
	Count     uint64 // OpAdvance; 0 is 1

	// RequestID, if any, is the client's name for this command, which is executed only once: see
	// window. It may have any bytes, at most MaxRequestID of them. OpAdvance and OpClock have none.
	RequestID string

	// User is the user that the RequestID belongs to; "" stands for all clients without a user. It
	// has at most MaxUser bytes, and is encoded only with a RequestID.
	User string

	// RequestIndex is the index of an entry that was in the log before the request was tried for
	// the first time, at any member; 0: none is known. It is the same in each try.
	RequestIndex uint64

	// Space is the tree that the command is for. In Auth, no command has a ttl or an id.
	Space Space

	// Revision is the revision of the users and roles that the command was checked against; see
	// Apply. OpAdvance and OpClock have none.
	Revision uint64

	// Shallow says that the caller may not write what is below Path. Such a command gives no
	// directory a time to live.
	Shallow bool

	// Frugal says that the command is refused if it makes the tree grow; see Mark.
	Frugal bool

	check [sha256.Size]byte // of all that is executed; set by decode when there is a RequestID
}

// version is the first byte of every command: 0xc marks a command, and 1 is its version. A member
// that finds another byte there stops. Development builds wrote 1 to 4: none of these is read.
const version = 0xc1

// The bits of an encoded command's head: which parts stand between it and the operation.
const (
	headAuth     = 1 << iota // no part: the command's space is Auth
	headRevision             // the revision
	headRequest              // request id, user and request index
	headShallow              // no part: Shallow. Not a flag: check covers flags, and a retry may have other rights
	headFrugal               // no part: Frugal; likewise
	headEnd
)

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
//	┌─────────┬────────┬──────────┬─────────┬────────┬────────┬───────────┬─────────┬─────────┐
//	│ version │ head   │ revision │ request │ op     │ flags  │ prevIndex │ ttl     │ count   │
//	│ 1 byte  │ 1 byte │ uvarint  │         │ 1 byte │ 1 byte │ uvarint   │ uvarint │ uvarint │
//	└─────────┴────────┴──────────┴─────────┴────────┴────────┴───────────┴─────────┴─────────┘
//	┌─────────┬──────────┬──────────────┬──────┬───────┬───────────┐
//	│ length  │ length   │ length of    │ path │ value │ prevValue │
//	│ of path │ of value │ prevValue    │      │       │           │
//	└─────────┴──────────┴──────────────┴──────┴───────┴───────────┘
//
// head says whether revision and request are there. A request is a length and the id, a length and
// the user, and the index as a uvarint. Path and value stand together, so that decode allocates
// both at once.
func (c *Command) Append(b []byte) []byte {
	b = append(b, version, c.head())
	if c.Revision != 0 {
		b = binary.AppendUvarint(b, c.Revision)
	}
	if c.RequestID != "" {
		b = appendText(appendText(b, c.RequestID), c.User)
		b = binary.AppendUvarint(b, c.RequestIndex)
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

// appendText appends a length and the text.
func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func (c *Command) head() byte {
	return byteOf(c.Space == Auth, c.Revision != 0, c.RequestID != "", c.Shallow, c.Frugal)
}

func (c *Command) flags() byte { return byteOf(c.HasTTL, c.Dir, c.Recursive, c.Refresh) }

// byteOf returns the byte in which bit i is set if bits[i] is true.
func byteOf(bits ...bool) (b byte) {
	for i, set := range bits {
		if set {
			b |= 1 << i
		}
	}
	return b
}

// errCommand is the error of bytes that are no command. It gives no reason: no program writes such
// bytes on purpose.
var errCommand = errors.New("store: no command")

// decode reads what Append wrote. It keeps nothing of b, and accepts only a whole and valid
// command.
func (c *Command) decode(b []byte) error {
	b = c.cutHead(b[1:])
	if len(b) < 2 || b[1] >= flagsEnd {
		return errCommand
	}
	if c.RequestID != "" {
		c.check = sha256.Sum256(b)
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
	return c.setTexts(b, v[3], v[4], v[5])
}

// cutHead reads what stands before the operation, and returns the rest of b; nil when it is not
// valid.
func (c *Command) cutHead(b []byte) []byte {
	if len(b) == 0 || b[0] >= headEnd {
		return nil
	}
	head, b := b[0], b[1:]
	c.Shallow, c.Frugal = head&headShallow != 0, head&headFrugal != 0
	if head&headAuth != 0 {
		c.Space = Auth
	}
	if head&headRevision != 0 {
		c.Revision, b = cutNumber(b)
	}
	if head&headRequest != 0 {
		c.RequestID, b = cutText(b, MaxRequestID)
		c.User, b = cutText(b, MaxUser)
		c.RequestIndex, b = cutNumber(b)
	}
	if head != c.head() {
		return nil
	}
	return b
}

// cutNumber cuts a number off the front of b, and returns the rest; nil when there is no number.
func cutNumber(b []byte) (uint64, []byte) {
	v, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil
	}
	return v, b[n:]
}

// cutText cuts a text of at most max bytes off the front of b, and returns the rest; nil when there
// is no such text.
func cutText(b []byte, max uint64) (string, []byte) {
	length, b := cutNumber(b)
	if length > max || length > uint64(len(b)) {
		return "", nil
	}
	return string(b[:length]), b[length:]
}

// setTexts reads path, value and the value to compare, of these lengths, from b. Together they must
// be all of it.
func (c *Command) setTexts(b []byte, path, value, prev uint64) error {
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

// valid reports whether the command keeps the limits that Command states.
func (c *Command) valid() bool {
	if c.Op == OpAdvance || c.Op == OpClock {
		return c.Count <= MaxAdvance && c.RequestID == "" && c.Space == Keys && c.Revision == 0
	}
	if c.Space == Auth && (c.HasTTL || c.Refresh || c.RequestID != "") {
		return false
	}
	depth := strings.Count(c.Path, "/")
	if c.Op == OpCreateInOrder {
		depth++ // of the key that it makes
	}
	return c.Op >= OpSet && c.Op < OpAdvance && Canonical(c.Path) == c.Path && depth <= depthLimit
}

var opNames = [...]string{
	OpSet: "set", OpCreate: "create", OpCreateInOrder: "create-in-order", OpUpdate: "update",
	OpCompareAndSwap: "compare-and-swap",
	OpDelete:         "delete", OpCompareAndDelete: "compare-and-delete", OpAdvance: "advance", OpClock: "clock",
}

// Target returns the operation and the path of an encoded command: `set "/k"`, or `auth set
// "/users/u"`. It returns "" for bytes that are no command, and for a command that writes no node.
func Target(cmd []byte) string {
	var c Command
	if len(cmd) == 0 || cmd[0] != version || c.decode(cmd) != nil || c.Op >= OpAdvance {
		return ""
	}
	return c.target()
}

func (c *Command) target() string {
	return fmt.Sprintf("%s%s %q", spaceNames[c.Space], opNames[c.Op], c.Path)
}

// Describe prints an encoded command in a line, for people. It shows no values of users and roles:
// they hold the hashes of passwords (K11).
func Describe(cmd []byte) string {
	var c Command
	if len(cmd) == 0 || cmd[0] != version || c.decode(cmd) != nil {
		return fmt.Sprintf("no command: %q", cmd)
	}
	switch c.Op {
	case OpAdvance:
		return fmt.Sprintf("advance %d", c.Count)
	case OpClock:
		return fmt.Sprintf("clock offset=%v", c.TTL)
	}
	text := c.target()
	if c.Space == Auth {
		c.Value, c.PrevValue = "", ""
	}
	for _, part := range []struct {
		show bool
		name string
		arg  any
	}{
		{c.Value != "", "value=%q", c.Value}, {c.PrevValue != "", "prevValue=%q", c.PrevValue},
		{c.PrevIndex != 0, "prevIndex=%d", c.PrevIndex}, {c.HasTTL, "ttl=%v", c.TTL},
		{c.Dir, "dir=%v", true}, {c.Recursive, "recursive=%v", true}, {c.Refresh, "refresh=%v", true},
		{c.RequestID != "", "requestId=%q", c.RequestID}, {c.User != "", "user=%q", c.User},
		{c.RequestIndex != 0, "requestIndex=%d", c.RequestIndex}, {c.Revision != 0, "revision=%d", c.Revision},
		{c.Shallow, "shallow=%v", true}, {c.Frugal, "frugal=%v", true},
	} {
		if part.show {
			text += " " + fmt.Sprintf(part.name, part.arg)
		}
	}
	return text
}
