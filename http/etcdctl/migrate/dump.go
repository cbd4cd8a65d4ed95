package migrate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"etcd2/store"
)

// readDump calls visit for each node of a dump, directories before what is in them, and returns the
// store index. A dump is the store of etcd 0.4, 2 or 3 in JSON:
//
//	{"Root":NODE,"WatcherHub":{...},"CurrentIndex":N,"Stats":{...},"CurrentVersion":2}
//
// Root is the node of the root. Each node has its children, by the last element of their keys. A
// file has null for Children, and a node that does not expire the year 1 for ExpireTime. Children
// come last. etcd 0.4 and 2.0 also write an "ACL":"", which they never used:
//
//	{"Path":"/a","CreatedIndex":4,"ModifiedIndex":4,"ExpireTime":"0001-01-01T00:00:00Z","Value":"","Children":{"b":NODE}}
//
// A dump has no checksum. It is read as a stream, and nothing of it is kept.
func readDump(b []byte, visit func(store.Node) error) (index uint64, err error) {
	d := dump{in: json.NewDecoder(bytes.NewReader(b)), visit: visit}
	d.in.UseNumber()
	err = d.object(func(name string) error {
		switch name {
		case "Root":
			return d.node("", 0)
		case "CurrentIndex":
			return d.value(&index)
		default:
			return d.skip()
		}
	})
	if _, after := d.in.Token(); err == nil && after != io.EOF {
		err = errors.New("something follows its end")
	}
	switch {
	case err != nil:
		return 0, fmt.Errorf("the store in it is not the JSON of one: at byte %d: %w", d.in.InputOffset(), err)
	case !d.rooted:
		return 0, errors.New("the store in it has no directory Root")
	}
	return index, nil
}

// dumpIndex finds the store index in a dump, where it comes after the nodes. A value can't contain
// the name with its quotes, since JSON escapes quotes in texts. The caller compares the result with
// that of readDump.
func dumpIndex(b []byte) uint64 {
	const name = `"CurrentIndex":`
	at := bytes.LastIndex(b, []byte(name))
	if at < 0 {
		return 0
	}
	digits := bytes.TrimLeft(b[at+len(name):], " ")
	end := bytes.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' })
	index, _ := strconv.ParseUint(string(digits[:max(0, end)]), 10, 64)
	return index
}

// dump is a dump that is being read.
type dump struct {
	in     *json.Decoder
	visit  func(store.Node) error
	rooted bool // the root has come, a directory
}

var errShape = errors.New("a value there is not of the expected kind")

// object reads an object; member reads the value of each name.
func (d *dump) object(member func(name string) error) error {
	if err := d.open(); err != nil {
		return err
	}
	return d.rest(member)
}

func (d *dump) open() error {
	t, err := d.in.Token()
	if err == nil && t != json.Delim('{') {
		err = errShape
	}
	return err
}

// rest reads an object after its opening brace.
func (d *dump) rest(member func(name string) error) error {
	for d.in.More() {
		t, err := d.in.Token()
		if err != nil {
			return err
		}
		name, _ := t.(string)
		if err := member(name); err != nil {
			return err
		}
	}
	_, err := d.in.Token()
	return err
}

// value reads a text or a number.
func (d *dump) value(into any) error {
	t, err := d.in.Token()
	if err != nil {
		return err
	}
	switch v := into.(type) {
	case *string:
		text, isText := t.(string)
		if *v = text; isText {
			return nil
		}
	case *uint64:
		if n, isNumber := t.(json.Number); isNumber {
			*v, err = strconv.ParseUint(n.String(), 10, 64)
			return err
		}
	}
	return errShape
}

// skip skips a value.
func (d *dump) skip() error {
	for depth := 0; ; {
		t, err := d.in.Token()
		if err != nil {
			return err
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}

// node reads the node at path; depth is the number of elements of path. visit is called when the
// children come, or at the end of the node.
func (d *dump) node(path string, depth int) error {
	n, told := store.Node{Path: store.Canonical(path)}, false
	err := d.object(func(name string) (err error) {
		if told {
			return fmt.Errorf("%s comes after the children of %q", name, path)
		}
		switch name {
		case "CreatedIndex":
			return d.value(&n.Created)
		case "ModifiedIndex":
			return d.value(&n.Modified)
		case "Value":
			return d.value(&n.Value)
		case "ExpireTime":
			n.Ends, err = d.ends()
			return err
		case "Children":
			t, err := d.in.Token()
			if err != nil || t == nil {
				return err
			}
			if told = true; t != json.Delim('{') {
				return errShape
			}
			n.Dir = true
			return d.children(n, path, depth)
		default:
			return d.skip()
		}
	})
	if err == nil && !told {
		err = d.visit(n)
	}
	return err
}

// children reads what is in the directory n.
func (d *dump) children(n store.Node, path string, depth int) error {
	d.rooted = d.rooted || depth == 0
	if err := d.visit(n); err != nil {
		return err
	}
	return d.rest(func(name string) error {
		if name == "" || name == "." || name == ".." || strings.Contains(name, "/") || depth > store.MaxDepth {
			return fmt.Errorf("%.200q in %.200q is no key", name, path)
		}
		return d.node(path+"/"+name, depth+1)
	})
}

// ends reads the time when a node expires; nil: never.
func (d *dump) ends() (*store.Ends, error) {
	var text string
	if err := d.value(&text); err != nil {
		return nil, err
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || at.IsZero() || at.Year() > maxYear {
		return nil, err
	}
	due := max(1, at.UnixNano())
	if at.Year() < 1970 {
		due = 1
	}
	return &store.Ends{Due: due, Shown: due}, nil
}

// maxYear is the last whole year that nanoseconds in 64 bits reach. A node that would expire later
// never expires.
const maxYear = 2261
