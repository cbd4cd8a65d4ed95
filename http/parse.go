package http

import (
	"errors"
	"math"
	"mime"
	nethttp "net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"etcd2/store"
)

// param numbers the parameters of the keys API.
type param int

const (
	pValue param = iota
	pDir
	pTTL
	pPrevExist
	pPrevValue
	pPrevIndex
	pRecursive
	pSorted
	pQuorum
	pWait
	pWaitIndex
	pMinIndex
	pStream
	pRefresh
	pNoValue
	paramCount
)

// names are the parameters' names, exact to the case; all others are ignored.
var names = [paramCount]string{
	pValue: "value", pDir: "dir", pTTL: "ttl", pPrevExist: "prevExist", pPrevValue: "prevValue", pPrevIndex: "prevIndex",
	pRecursive: "recursive", pSorted: "sorted", pQuorum: "quorum", pWait: "wait", pWaitIndex: "waitIndex", pMinIndex: "minIndex",
	pStream: "stream", pRefresh: "refresh", pNoValue: "noValueOnSuccess",
}

// params are the parameters of one request: as sent, then as checked.
type params struct {
	method string
	text   [paramCount]string
	given  [paramCount]bool

	prevIndex, waitIndex, minIndex                  uint64
	recursive, wait, dir, quorum, stream            bool // sorted has no field: listings always are
	noValue, refresh, prevExist, hasTTL, endlessTTL bool
	ttl                                             time.Duration
}

// noParams are those of a request that has none. Nobody writes to it.
var noParams params

// rules are the checks in their order (section 4.2); the first that fails is the answer. A rule is skipped when
// its parameter was not sent; pass keeps what it parsed. They hold for every method alike.
var rules = []struct {
	param param
	pass  func(p *params, text string) bool
	code  int
	cause string
}{
	{pPrevIndex, func(p *params, s string) bool { return number(s, &p.prevIndex) }, store.CodeIndex, `invalid value for "prevIndex"`},
	{pWaitIndex, func(p *params, s string) bool { return number(s, &p.waitIndex) }, store.CodeIndex, `invalid value for "waitIndex"`},
	{pMinIndex, func(p *params, s string) bool { return number(s, &p.minIndex) }, store.CodeIndex, `invalid value for "minIndex"`},
	{pRecursive, func(p *params, s string) bool { return boolean(s, &p.recursive) }, store.CodeField, `invalid value for "recursive"`},
	{pSorted, func(_ *params, s string) bool { return boolean(s, new(bool)) }, store.CodeField, `invalid value for "sorted"`},
	{pWait, func(p *params, s string) bool { return boolean(s, &p.wait) }, store.CodeField, `invalid value for "wait"`},
	{pDir, func(p *params, s string) bool { return boolean(s, &p.dir) }, store.CodeField, `invalid value for "dir"`},
	{pQuorum, func(p *params, s string) bool { return boolean(s, &p.quorum) }, store.CodeField, `invalid value for "quorum"`},
	{pStream, func(p *params, s string) bool { return boolean(s, &p.stream) }, store.CodeField, `invalid value for "stream"`},
	{pNoValue, func(p *params, s string) bool { return boolean(s, &p.noValue) }, store.CodeField, `invalid value for "noValueOnSuccess"`},
	{pWait, func(p *params, _ string) bool { return !p.wait || p.method == "GET" }, store.CodeField, `"wait" can only be used with GET requests`},
	{pPrevValue, func(_ *params, s string) bool { return s != "" }, store.CodePrevValue, `"prevValue" cannot be empty`},
	{pTTL, func(p *params, s string) bool { return p.parseTTL(s) }, store.CodeTTL, `invalid value for "ttl"`},
	{pPrevExist, func(p *params, s string) bool { return boolean(s, &p.prevExist) }, store.CodeField, `invalid value for prevExist`},
	{pRefresh, func(p *params, s string) bool { return boolean(s, &p.refresh) }, store.CodeField, `invalid value for refresh`},
	{pRefresh, func(p *params, _ string) bool { return !p.refresh || p.text[pValue] == "" }, store.CodeRefreshValue, `A value was provided on a refresh`},
	{pRefresh, func(p *params, _ string) bool { return !p.refresh || p.hasTTL || p.endlessTTL }, store.CodeRefreshTTL, `No TTL value set`},
}

// parse reads and checks the parameters of r: those in the body of a PUT or POST, then those in the
// query. Without any it costs nothing.
func (s *Server) parse(w *response, r *nethttp.Request) (*params, *store.Error) {
	form, err := s.readForm(w, r)
	if err != nil {
		return nil, err
	}
	if form == "" && r.URL.RawQuery == "" {
		return &noParams, nil
	}
	p := &params{method: r.Method}
	for _, text := range [...]string{form, r.URL.RawQuery} {
		if err := p.scan(text); err != nil {
			return nil, &store.Error{Code: store.CodeForm, Cause: err.Error()}
		}
	}
	return p, p.check()
}

// check applies the rules.
func (p *params) check() *store.Error {
	for i := range rules {
		rule := &rules[i]
		if p.given[rule.param] && !rule.pass(p, p.text[rule.param]) {
			return &store.Error{Code: rule.code, Cause: rule.cause}
		}
	}
	return nil
}

// scan takes the known parameters from a form or query. The first value of a name counts. Names and values
// that nobody asked for must be well-formed all the same.
func (p *params) scan(text string) error {
	for text != "" {
		var pair string
		pair, text, _ = strings.Cut(text, "&")
		if strings.IndexByte(pair, ';') >= 0 {
			return errors.New("invalid semicolon separator in query")
		}
		name, value, _ := strings.Cut(pair, "=")
		name, err := unescape(name)
		if err != nil {
			return err
		}
		if value, err = unescape(value); err != nil {
			return err
		}
		p.keep(name, value)
	}
	return nil
}

func (p *params) keep(name, value string) {
	if i := slices.Index(names[:], name); i >= 0 && !p.given[i] {
		p.given[i], p.text[i] = true, value
	}
}

// unescape decodes percent escapes and plus signs. Text without any is returned as it is.
func unescape(s string) (string, error) {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s, nil
	}
	return url.QueryUnescape(s)
}

// number parses decimal digits, 0 to 2^64-1: no sign, blank, underscore or prefix.
func number(s string, n *uint64) bool {
	v, err := strconv.ParseUint(s, 10, 64)
	*n = v
	return err == nil
}

func boolean(s string, b *bool) bool {
	v, err := strconv.ParseBool(s)
	*b = v
	return err == nil
}

// parseTTL takes seconds; empty means not given. What a Duration can't hold (292 years) never ends: the
// node gets no expiration.
func (p *params) parseTTL(s string) bool {
	if s == "" {
		return true
	}
	var seconds uint64
	if !number(s, &seconds) {
		return false
	}
	p.endlessTTL = seconds > math.MaxInt64/uint64(time.Second)
	p.hasTTL = !p.endlessTTL
	if p.hasTTL {
		p.ttl = time.Duration(seconds) * time.Second
	}
	return true
}

const formType = "application/x-www-form-urlencoded"

// readForm returns the form in the body of a PUT or POST, "" when there is none: other types of content and other
// methods count as empty (section 4.1).
func (s *Server) readForm(w *response, r *nethttp.Request) (string, *store.Error) {
	if r.Method != "PUT" && r.Method != "POST" || r.Body == nil || r.Body == nethttp.NoBody {
		return "", nil
	}
	if form, err := isForm(r.Header.Get("Content-Type")); !form {
		return "", err
	}
	goOnWithout(r)
	buf := getBuffer()
	defer putBuffer(buf)
	var err error
	switch *buf, err = s.readBody(w, r, *buf); {
	case errors.Is(err, errNoRoom):
		return "", &store.Error{Code: store.CodeRaft, Cause: err.Error()}
	case err != nil:
		return "", &store.Error{Code: store.CodeForm, Cause: err.Error()}
	}
	return string(*buf), nil
}

func isForm(contentType string) (bool, *store.Error) {
	if contentType == formType || contentType == "" {
		return contentType != "", nil
	}
	t, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return false, &store.Error{Code: store.CodeForm, Cause: err.Error()}
	}
	return t == formType, nil
}

// command is the write that method and parameters ask for (sections 8 to 10).
func (p *params) command(method, key string) store.Command {
	c := store.Command{Path: key, Op: p.op(method)}
	switch c.Op {
	case store.OpCompareAndSwap, store.OpCompareAndDelete:
		c.PrevValue, c.PrevIndex = p.text[pPrevValue], p.prevIndex
	case store.OpDelete:
		c.Dir, c.Recursive = p.dir, p.recursive
	}
	if method != "DELETE" {
		c.Value, c.Dir = p.text[pValue], p.dir
		c.TTL, c.HasTTL = p.ttl, p.hasTTL
	}
	switch c.Op {
	case store.OpSet, store.OpUpdate, store.OpCompareAndSwap:
		c.Refresh = p.refresh
	}
	return c
}

func (p *params) op(method string) store.Op {
	compare := p.text[pPrevValue] != "" || p.prevIndex != 0
	switch {
	case method == "POST":
		return store.OpCreateInOrder
	case method == "DELETE" && compare:
		return store.OpCompareAndDelete
	case method == "DELETE":
		return store.OpDelete
	case p.given[pPrevExist] && !p.prevExist:
		return store.OpCreate
	case compare:
		return store.OpCompareAndSwap
	case p.prevExist:
		return store.OpUpdate
	}
	return store.OpSet
}
