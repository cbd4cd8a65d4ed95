package http

import (
	"encoding/binary"
	"io"
	"slices"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"etcd2/store"
)

// bufferSize is how much of a listing is encoded before it is sent, in bytes. The pool keeps no
// buffer larger than twice that.
const bufferSize = 64 << 10

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

func getBuffer() *[]byte { return buffers.Get().(*[]byte) }

// putBuffer gives b back. A large buffer is left to the garbage collector, so that one large value
// does not occupy memory for ever.
func putBuffer(b *[]byte) {
	if cap(*b) <= 2*bufferSize {
		*b = (*b)[:0]
		buffers.Put(b)
	}
}

// encoder appends the JSON of nodes and events, field by field in the order of section 5.
type encoder struct {
	b   []byte
	out io.Writer // takes b when it is full; nil: b grows
	err error     // the error of out: the client is gone
	now int64     // the cluster time at which ttl is counted, in nanoseconds

	without  []*store.Node // whose value is not shown
	keysOnly bool          // no value is shown
}

// field begins a field; name has its quotes and colon.
func (e *encoder) field(name string) {
	if e.b[len(e.b)-1] != '{' {
		e.b = append(e.b, ',')
	}
	e.b = append(e.b, name...)
}

// number appends a field that is a number.
func (e *encoder) number(name string, n uint64) {
	e.field(name)
	e.b = strconv.AppendUint(e.b, n, 10)
}

// event appends a whole event and the newline after it.
func (e *encoder) event(ev *store.Event) {
	e.now = ev.Stamp
	e.b = append(e.b, `{"action":"`...)
	e.b = append(e.b, ev.Action...)
	e.b = append(e.b, `","node":`...)
	switch ev.Action {
	case store.ActionDelete, store.ActionCompareAndDelete, store.ActionExpire:
		e.removed(ev.Node)
	default:
		e.node(ev.Node)
	}
	if ev.Prev != nil {
		e.b = append(e.b, `,"prevNode":`...)
		e.node(ev.Prev)
	}
	e.b = append(e.b, "}\n"...)
}

// action appends an event that says only what was done (noValueOnSuccess).
func (e *encoder) action(a store.Action) {
	e.b = append(e.b, `{"action":"`...)
	e.b = append(e.b, a...)
	e.b = append(e.b, "\"}\n"...)
}

// node appends n without children.
func (e *encoder) node(n *store.Node) {
	e.open(n)
	e.close(n)
}

// removed appends a node that is gone, without value and expiration.
func (e *encoder) removed(n *store.Node) {
	e.b = append(e.b, '{')
	e.key(n)
	if n.Dir {
		e.field(`"dir":true`)
	}
	e.close(n)
}

// open appends the fields that come before a directory's children.
func (e *encoder) open(n *store.Node) {
	e.b = append(e.b, '{')
	e.key(n)
	if n.Dir {
		e.field(`"dir":true`)
	} else if !e.keysOnly && !slices.Contains(e.without, n) {
		e.value(n)
	}
	if n.Ends != nil {
		e.expiry(n.Ends)
	}
}

// textPiece is how many bytes of a value are encoded between two checks of the buffer. Escaping may
// make them six times as long.
const textPiece = 4 << 10

// value appends the value of a file. Once a value was found to need no escaping, the node remembers
// that.
func (e *encoder) value(n *store.Node) {
	b, known := append(e.b, `,"value":`...), n.Plain()
	if known && len(n.Value) <= textPiece {
		e.b = append(append(append(b, '"'), n.Value...), '"')
		return
	}
	e.b = b
	if e.text(n.Value, known) && !known {
		n.MarkPlain()
	}
}

// text appends a value as appendString does, and reports whether it needed no escaping, which known
// says beforehand. A value of 10 MiB takes no more memory than others while its client reads it
// (J11).
func (e *encoder) text(s string, known bool) bool {
	e.b = append(e.b, '"')
	isPlain := true
	for len(s) > textPiece {
		n := textPiece
		for n > textPiece-utf8.UTFMax && !utf8.RuneStart(s[n]) {
			n--
		}
		isPlain = e.piece(s[:n], known) && isPlain
		e.spill()
		s = s[n:]
	}
	isPlain = e.piece(s, known) && isPlain
	e.b = append(e.b, '"')
	return isPlain
}

// piece appends a piece of a text, and reports whether it needed no escaping, by its length.
func (e *encoder) piece(s string, known bool) bool {
	if known {
		e.b = append(e.b, s...)
		return true
	}
	before := len(e.b)
	e.b = appendText(e.b, s)
	return len(e.b)-before == len(s)
}

// spill sends a full buffer to out, if there is one.
func (e *encoder) spill() {
	if len(e.b) >= bufferSize && e.out != nil {
		e.send()
	}
}

// send sends what the buffer holds, unless an earlier send failed.
func (e *encoder) send() {
	if e.err == nil {
		_, e.err = e.out.Write(e.b)
	}
	e.b = e.b[:0]
}

// close appends the fields that come after the children. The root has none of them (section 3).
func (e *encoder) close(n *store.Node) {
	b := e.b
	if n.Path != "/" {
		b = strconv.AppendUint(append(b, `,"modifiedIndex":`...), n.Modified, 10)
		b = strconv.AppendUint(append(b, `,"createdIndex":`...), n.Created, 10)
	}
	e.b = append(b, '}')
}

func (e *encoder) key(n *store.Node) {
	if n.Path != "/" {
		e.b = appendString(append(e.b, `"key":`...), n.Path)
	}
}

// expiry appends the wall time of the end, and the seconds left, rounded up. When none are left,
// there is no ttl.
func (e *encoder) expiry(ends *store.Ends) {
	e.field(`"expiration":"`)
	e.b = time.Unix(0, ends.Shown).UTC().AppendFormat(e.b, time.RFC3339Nano)
	e.b = append(e.b, '"')
	if left := ends.Due - e.now; left > 0 {
		e.field(`"ttl":`)
		e.b = strconv.AppendInt(e.b, (left-1)/int64(time.Second)+1, 10)
	}
}

// fault appends the error shape of the keys API. A cause may quote two values of 10 MiB each.
func (e *encoder) fault(err *store.Error) {
	e.b = append(e.b, `{"errorCode":`...)
	e.b = strconv.AppendInt(e.b, int64(err.Code), 10)
	e.b = append(e.b, `,"message":`...)
	e.b = appendString(e.b, err.Message())
	if err.Cause != "" {
		e.b = append(e.b, `,"cause":`...)
		e.text(err.Cause, false)
	}
	e.b = append(e.b, `,"index":`...)
	e.b = strconv.AppendUint(e.b, err.Index, 10)
	e.b = append(e.b, "}\n"...)
}

// appendError appends an error whose cause is short.
func appendError(b []byte, err *store.Error) []byte {
	e := encoder{b: b}
	e.fault(err)
	return e.b
}

// plain are the bytes that stand for themselves in a JSON string. The brackets and the ampersand
// don't, as in etcd 2, so that a page that shows an answer runs nothing of it.
var plain = func() (p [utf8.RuneSelf]bool) {
	for c := range p {
		p[c] = c >= ' ' && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&'
	}
	return p
}()

// allPlain reports whether the eight bytes of w are plain. Each sum carries into the top bit of a
// byte unless that byte is below a blank, or is one of those named. The top bit of a byte that is
// not ASCII is set in w itself.
func allPlain(w uint64) bool {
	const each, top = 0x0101010101010101, 0x8080808080808080
	printed := w + (0x80-' ')*each
	noQuote := ((w | 4*each) ^ '&'*each) + 0x7f*each   // nor an ampersand: it differs from the double quote in bit 4
	noBracket := ((w | 2*each) ^ '>'*each) + 0x7f*each // the brackets differ in bit 2
	noBackslash := (w ^ '\\'*each) + 0x7f*each
	return printed&noQuote&noBracket&noBackslash&^w&top == top
}

// appendString appends s as a JSON string by the rules of section 2.
func appendString(b []byte, s string) []byte {
	return append(appendText(append(b, '"'), s), '"')
}

// appendText appends what stands between the quotes of a JSON string. Most text is plain, so it
// checks eight bytes at a time where it can.
func appendText(b []byte, s string) []byte {
	done := 0 // s[:done] is in b
	for i := 0; i < len(s); {
		if i%8 == 0 && len(s)-i >= 8 && allPlain(binary.LittleEndian.Uint64([]byte(s[i:]))) {
			i += 8
			continue
		}
		if c := s[i]; c < utf8.RuneSelf {
			if !plain[c] {
				b = appendEscaped(append(b, s[done:i]...), c)
				done = i + 1
			}
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 || r == '\u2028' || r == '\u2029' {
			b = appendEscapedRune(append(b, s[done:i]...), r)
			done = i + size
		}
		i += size
	}
	return append(b, s[done:]...)
}

func appendEscaped(b []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\t':
		return append(b, `\t`...)
	case '\n':
		return append(b, `\n`...)
	case '\r':
		return append(b, `\r`...)
	}
	return appendEscapedRune(b, rune(c))
}

func appendEscapedRune(b []byte, r rune) []byte {
	const hex = "0123456789abcdef"
	return append(b, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
}

// hexID prints a member's or cluster's id as the API does: lower case, no leading zeros.
func hexID(id uint64) string { return strconv.FormatUint(id, 16) }

// listing encodes a view. It sends the buffer whenever that is full, so that its memory does not
// grow with the tree. Meanwhile the view holds no lock.
type listing struct {
	encoder
	view   store.View
	params *params
}

// answer appends the requested node, with the requested part of its children. The end is left in
// the buffer. Two fields are not etcd's: "count" is the number of children in that part, and "more"
// how many of them limit leaves out.
func (l *listing) answer() {
	n, p := l.view.Node, l.params
	l.b = append(l.b, `{"action":"get","node":`...)
	l.open(n)
	switch {
	case p.count:
		l.number(`"count":`, uint64(l.view.Count(n, p.part())))
	case n.Dir:
		l.more(n)
		l.children(n, p.part(), p.limit, p.levels())
	}
	l.close(n)
	l.b = append(l.b, "}\n"...)
}

// more appends the field more, if limit leaves something out.
func (l *listing) more(n *store.Node) {
	if limit := l.params.limit; limit > 0 {
		if all := uint64(l.view.Count(n, l.params.part())); all > limit {
			l.number(`"more":`, all-limit)
		}
	}
}

// child appends one node, with the given number of levels below it. After an error it appends
// nothing more.
func (l *listing) child(n *store.Node, levels uint64) {
	l.open(n)
	if n.Dir && levels > 0 {
		l.children(n, store.Range{}, 0, levels)
	}
	if l.err != nil {
		return
	}
	l.close(n)
	l.spill()
}

// children appends the field nodes, unless there is none to show: the children in part, at most
// limit (0: all), with the given number of levels.
func (l *listing) children(n *store.Node, part store.Range, limit, levels uint64) {
	shown := uint64(0)
	for c := range l.view.Part(n, part) {
		if shown > 0 {
			l.b = append(l.b, ',')
		} else {
			l.field(`"nodes":[`)
		}
		l.child(c, levels-1)
		if shown++; l.err != nil || shown == limit {
			break
		}
	}
	if shown > 0 {
		l.b = append(l.b, ']')
	}
}
