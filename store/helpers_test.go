package store

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

// Commands as tests write them: set("/a", "v").ttl(time.Second).

func set(path, value string) Command    { return Command{Op: OpSet, Path: path, Value: value} }
func create(path, value string) Command { return Command{Op: OpCreate, Path: path, Value: value} }
func post(path, value string) Command   { return Command{Op: OpCreateInOrder, Path: path, Value: value} }
func update(path, value string) Command { return Command{Op: OpUpdate, Path: path, Value: value} }
func swap(path, value string) Command   { return Command{Op: OpCompareAndSwap, Path: path, Value: value} }
func del(path string) Command           { return Command{Op: OpDelete, Path: path} }
func compareDelete(path string) Command { return Command{Op: OpCompareAndDelete, Path: path} }
func advance(count uint64) Command      { return Command{Op: OpAdvance, Count: count} }
func offset(d time.Duration) Command    { return Command{Op: OpClock, TTL: d} }

// bytes returns c as it is encoded in the log.
func (c Command) bytes() []byte { return c.Append(nil) }

func (c Command) ttl(d time.Duration) Command { c.TTL, c.HasTTL = d, true; return c }
func (c Command) dir() Command                { c.Dir = true; return c }
func (c Command) recursive() Command          { c.Recursive = true; return c }
func (c Command) refresh() Command            { c.Refresh = true; return c }
func (c Command) named(id string) Command     { c.RequestID = id; return c }
func (c Command) from(user string) Command    { c.User = user; return c }
func (c Command) after(entry uint64) Command  { c.RequestIndex = entry; return c }
func (c Command) in(s Space) Command          { c.Space = s; return c }
func (c Command) frugal() Command             { c.Frugal = true; return c }
func (c Command) judged(rev uint64) Command   { c.Revision = rev; return c }
func (c Command) prev(value string, index uint64) Command {
	c.PrevValue, c.PrevIndex = value, index
	return c
}

// do applies c as the next entry, at the time of the last one.
func (s *Store) do(c Command) any { return s.at(s.now, c) }

// at applies c as the next entry, at this time in nanoseconds.
func (s *Store) at(now int64, c Command) any {
	return s.Apply(s.applied+1, time.Unix(0, now), c.bytes())
}

// tick applies an entry that only carries the time.
func (s *Store) tick(now int64) { s.Apply(s.applied+1, time.Unix(0, now), nil) }

// sketch prints a result, event or node in one line.
func sketch(v any) string {
	switch v := v.(type) {
	case *Event:
		line := fmt.Sprintf("%s %s", v.Action, sketch(v.Node))
		if v.Prev != nil {
			line += " was " + sketch(v.Prev)
		}
		return line
	case *Error:
		return fmt.Sprintf("%d %s at %d", v.Code, v.Cause, v.Index)
	case *Node:
		line := v.Path + "=" + v.Value
		if v.Dir {
			line = stemmed(v.Path) + "/"
		}
		line += fmt.Sprintf(" %d/%d", v.Created, v.Modified)
		if v.Ends != nil {
			line += " until " + time.Duration(v.Ends.Due).String()
		}
		if v.Ends != nil && v.Ends.Shown != v.Ends.Due {
			line += " shown as " + time.Unix(0, v.Ends.Shown).UTC().Format(time.RFC3339Nano)
		}
		return line
	default:
		return fmt.Sprint(v)
	}
}

func stemmed(path string) string { return path[:stem(path)] }

// listing prints all nodes of the store, one a line, hidden ones too.
func (s *Store) listing() string { return s.roots[Keys].listing() }

// secrets prints users and roles in the same way.
func (s *Store) secrets() string { return s.roots[Auth].listing() }

func (n *Node) listing() string {
	var b strings.Builder
	n.walk(func(n *Node) { b.WriteString(sketch(n) + "\n") })
	return b.String()
}

// walk visits what is below n.
func (n *Node) walk(visit func(*Node)) {
	if n.inside == nil {
		return
	}
	for child := range n.inside.children.all {
		visit(child)
		child.walk(visit)
	}
}

// frozenBytes returns the state as Freeze writes it.
func (s *Store) frozenBytes(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := s.Freeze()(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// restored returns a new store with this state.
func restored(t testing.TB, l Limits, state []byte) *Store {
	t.Helper()
	s := New(l)
	if err := s.Restore(bytes.NewReader(state)); err != nil {
		t.Fatal(err)
	}
	return s
}

// drain returns the events that the watcher has now.
func (w *Watcher) drain() (told []string, err error) {
	for {
		e, more, err := w.look()
		if e != nil {
			told = append(told, sketch(e))
		}
		if err != nil || e == nil && !more {
			return told, err
		}
	}
}

// build makes a children of nodes that ascend by name.
func build(epoch uint64, skip int, nodes []*Node) children {
	var l leaves
	l.add(epoch, skip, nodes)
	return l.build(epoch, skip)
}

// expect fails unless got is want.
func expect(t *testing.T, what string, got, want any) {
	t.Helper()
	if got != want {
		t.Errorf("%s\n got %v\nwant %v", what, got, want)
	}
}
