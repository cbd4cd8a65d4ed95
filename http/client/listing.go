package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
)

// A Listing is a node and all nodes below it, read one at a time: it needs memory for the largest
// of them, however many there are. It belongs to one goroutine.
type Listing struct {
	Index uint64 // X-Etcd-Index

	body   io.Closer
	bound  *io.LimitedReader // below tokens; set back to limit for each node
	limit  int64             // bytes
	tokens *json.Decoder
	first  *Node    // is returned next; nil: it was returned
	open   []unread // the nodes whose ends are still to come, each in the one before it
}

// An unread is a node that has begun and not ended.
type unread struct {
	node   *Node
	told   bool // it was returned
	inside bool // the next token is in its list of nodes
}

// mostLevels bounds the depth of a listing. Trees of this program have 512 levels at most, those of
// etcd 4,097.
const mostLevels = 10_000

// query has the first three switches also when they are off, as etcdctl 2.3.8 sends them.
func (o GetOptions) query() url.Values {
	query := url.Values{
		"recursive": {strconv.FormatBool(o.Recursive)},
		"sorted":    {strconv.FormatBool(o.Sorted)},
		"quorum":    {strconv.FormatBool(o.Quorum)},
	}
	number(query, "minIndex", o.MinIndex)
	number(query, "limit", o.Limit)
	number(query, "depth", o.Depth)
	text(query, "after", o.After)
	text(query, "prefix", o.Prefix)
	flag(query, "keysOnly", o.KeysOnly)
	flag(query, "count", o.Count)
	return query
}

// List reads what Get reads, with no bound on the whole. ctx is for the whole listing, which the
// caller must close. The first node that Next returns is the one of the key.
func (c *Client) List(ctx context.Context, key string, o GetOptions) (l *Listing, err error) {
	r := &request{method: "GET", query: o.query(), open: true}
	if r.path, err = c.pathOf(key); err != nil {
		return nil, err
	}
	r.read = func(a *answer) error {
		l = &Listing{Index: headerNumber(a.header, "X-Etcd-Index"), body: a.stream, limit: c.cfg.MaxAnswerBytes}
		l.bound = &io.LimitedReader{R: a.stream, N: l.limit}
		l.tokens = json.NewDecoder(l.bound)
		return l.begin()
	}
	if _, err := c.do(ctx, r); err != nil {
		return nil, err
	}
	return l, nil
}

// Next returns the next node, a directory before what is in it, and io.EOF after the last one. The
// node's Nodes are always nil. The indices of a directory are not known yet, and 0.
func (l *Listing) Next() (*Node, error) {
	if first := l.first; first != nil {
		l.first = nil
		return first, nil
	}
	return l.next()
}

// Close abandons what was not read.
func (l *Listing) Close() error { return l.body.Close() }

// begin reads up to the first node.
func (l *Listing) begin() (err error) {
	for err = l.expect(json.Delim('{')); err == nil && l.tokens.More(); {
		var name json.Token
		if name, err = l.tokens.Token(); err != nil {
			break
		}
		if name == "node" {
			if err = l.push(); err == nil {
				l.first, err = l.next()
			}
			return l.explain(err)
		}
		err = l.tokens.Decode(new(json.RawMessage))
	}
	if err == nil {
		return fmt.Errorf("%w: a listing without a node", ErrBadAnswer)
	}
	return l.explain(err)
}

func (l *Listing) next() (*Node, error) {
	l.bound.N = l.limit
	for len(l.open) > 0 {
		if n, err := l.step(); n != nil || err != nil {
			return n, l.explain(err)
		}
	}
	return nil, io.EOF
}

// step reads one token or field. It returns a node when it is complete, or when its list of nodes
// begins.
func (l *Listing) step() (*Node, error) {
	top := &l.open[len(l.open)-1]
	switch {
	case top.inside && l.tokens.More():
		return nil, l.push()
	case top.inside:
		top.inside = false
		return nil, l.expect(json.Delim(']'))
	case l.tokens.More():
		return l.field(top)
	}
	ended := *top
	l.open = l.open[:len(l.open)-1]
	err := l.expect(json.Delim('}'))
	if ended.told || err != nil {
		return nil, err
	}
	return ended.node, nil
}

// push begins a node.
func (l *Listing) push() error {
	if len(l.open) >= mostLevels {
		return fmt.Errorf("%w: a listing of more than %d levels", ErrBadAnswer, mostLevels)
	}
	l.open = append(l.open, unread{node: new(Node)})
	return l.expect(json.Delim('{'))
}

// field reads one field of a node. When its list of nodes begins, the node is returned.
func (l *Listing) field(top *unread) (*Node, error) {
	name, err := l.tokens.Token()
	n := top.node
	switch {
	case err != nil:
		return nil, err
	case name != "nodes":
		fields := map[json.Token]any{"key": &n.Key, "dir": &n.Dir, "value": &n.Value, "createdIndex": &n.CreatedIndex,
			"modifiedIndex": &n.ModifiedIndex, "expiration": &n.Expiration, "ttl": &n.TTL,
			"more": &n.More, "count": &n.Count}
		into, known := fields[name]
		switch {
		case !known:
			into = new(json.RawMessage)
		case top.told && name != "createdIndex" && name != "modifiedIndex":
			return nil, fmt.Errorf("%w: the %v of a directory behind its nodes", ErrBadAnswer, name)
		}
		return nil, l.tokens.Decode(into)
	}
	begin, err := l.tokens.Token()
	switch {
	case err != nil || begin == nil: // null
		return nil, err
	case begin != json.Delim('[') || top.told || n.Key == "" && len(l.open) > 1:
		return nil, fmt.Errorf("%w: the nodes of a directory before its key", ErrBadAnswer)
	}
	top.told, top.inside = true, true
	return n, nil
}

func (l *Listing) expect(want json.Delim) error {
	got, err := l.tokens.Token()
	if err == nil && got != want {
		err = &json.SyntaxError{}
	}
	return err
}

// explain returns the error that a failure to decode stands for.
func (l *Listing) explain(err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case err == nil || errors.Is(err, ErrBadAnswer):
		return err
	case l.bound.N <= 0:
		return tooLong(l.limit)
	case errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	case errors.As(err, &syntax), errors.As(err, &kind):
		return fmt.Errorf("%w: a body that is not its JSON", ErrBadAnswer)
	}
	return err
}
