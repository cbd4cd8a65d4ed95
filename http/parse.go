package http

import (
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"mime/multipart"
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
	pLimit
	pAfter
	pPrefix
	pKeysOnly
	pCount
	pDepth
	pTimeout
	paramCount
)

// names are the parameters' names, exact to the case; all others are ignored.
var names = [paramCount]string{
	pValue: "value", pDir: "dir", pTTL: "ttl", pPrevExist: "prevExist", pPrevValue: "prevValue",
	pPrevIndex: "prevIndex",
	pRecursive: "recursive", pSorted: "sorted", pQuorum: "quorum", pWait: "wait", pWaitIndex: "waitIndex",
	pMinIndex: "minIndex",
	pStream:   "stream", pRefresh: "refresh", pNoValue: "noValueOnSuccess", pLimit: "limit", pAfter: "after",
	pPrefix:   "prefix",
	pKeysOnly: "keysOnly", pCount: "count", pDepth: "depth", pTimeout: "timeout",
}

// params are the parameters of one request: first as sent, then as parsed.
type params struct {
	method string
	text   [paramCount]string
	given  [paramCount]bool

	prevIndex, waitIndex, minIndex                  uint64
	recursive, wait, dir, quorum, stream            bool // sorted has no field: listings always are
	noValue, refresh, prevExist, hasTTL, endlessTTL bool
	ttl                                             time.Duration

	limit, depth    uint64 // of a listing; 0: none
	keysOnly, count bool
	timeout         time.Duration // of a long poll
	events          bool          // the answer to a watch is server-sent events
}

// noParams are the parameters of all requests that have none. They are never written to.
var noParams params

// rules are the checks in their order (section 4.2); the first that fails is the answer. A rule is
// skipped when its parameter was not sent; pass stores what it parsed. They are the same for every
// method.
var rules = []struct {
	param param
	pass  func(p *params, text string) bool
	code  int
	cause string
}{
	{pPrevIndex, func(p *params, s string) bool { return number(s, &p.prevIndex) }, store.CodeIndex,
		`invalid value for "prevIndex"`},
	{pWaitIndex, func(p *params, s string) bool { return number(s, &p.waitIndex) }, store.CodeIndex,
		`invalid value for "waitIndex"`},
	{pMinIndex, func(p *params, s string) bool { return number(s, &p.minIndex) }, store.CodeIndex,
		`invalid value for "minIndex"`},
	{pRecursive, func(p *params, s string) bool { return boolean(s, &p.recursive) }, store.CodeField,
		`invalid value for "recursive"`},
	{pSorted, func(_ *params, s string) bool { return boolean(s, new(bool)) }, store.CodeField,
		`invalid value for "sorted"`},
	{pWait, func(p *params, s string) bool { return boolean(s, &p.wait) }, store.CodeField, `invalid value for "wait"`},
	{pDir, func(p *params, s string) bool { return boolean(s, &p.dir) }, store.CodeField, `invalid value for "dir"`},
	{pQuorum, func(p *params, s string) bool { return boolean(s, &p.quorum) }, store.CodeField,
		`invalid value for "quorum"`},
	{pStream, func(p *params, s string) bool { return boolean(s, &p.stream) }, store.CodeField,
		`invalid value for "stream"`},
	{pNoValue, func(p *params, s string) bool { return boolean(s, &p.noValue) }, store.CodeField,
		`invalid value for "noValueOnSuccess"`},
	{pWait, func(p *params, _ string) bool { return !p.wait || p.method == "GET" }, store.CodeField,
		`"wait" can only be used with GET requests`},
	{pPrevValue, func(_ *params, s string) bool { return s != "" }, store.CodePrevValue, `"prevValue" cannot be empty`},
	{pTTL, func(p *params, s string) bool { return p.parseTTL(s) }, store.CodeTTL, `invalid value for "ttl"`},
	{pPrevExist, func(p *params, s string) bool { return boolean(s, &p.prevExist) }, store.CodeField,
		`invalid value for prevExist`},
	{pRefresh, func(p *params, s string) bool { return boolean(s, &p.refresh) }, store.CodeField,
		`invalid value for refresh`},
	{pRefresh, func(p *params, _ string) bool { return !p.refresh || p.text[pValue] == "" }, store.CodeRefreshValue,
		`A value was provided on a refresh`},
	{pRefresh, func(p *params, _ string) bool { return !p.refresh || p.hasTTL || p.endlessTTL }, store.CodeRefreshTTL,
		`No TTL value set`},
	{pLimit, func(p *params, s string) bool { return number(s, &p.limit) && p.limit > 0 }, store.CodeField,
		`invalid value for "limit"`},
	{pAfter, func(_ *params, s string) bool { return !strings.Contains(s, "/") }, store.CodeField,
		`"after" is a name, without a slash`},
	{pPrefix, func(_ *params, s string) bool { return !strings.Contains(s, "/") }, store.CodeField,
		`"prefix" begins a name, without a slash`},
	{pKeysOnly, func(p *params, s string) bool { return boolean(s, &p.keysOnly) }, store.CodeField,
		`invalid value for "keysOnly"`},
	{pCount, func(p *params, s string) bool { return boolean(s, &p.count) }, store.CodeField,
		`invalid value for "count"`},
	{pDepth, func(p *params, s string) bool { return number(s, &p.depth) && p.depth > 0 }, store.CodeField,
		`invalid value for "depth"`},
	{pDepth, func(p *params, _ string) bool { return p.recursive }, store.CodeField,
		`"depth" can only be used with "recursive"`},
	{pCount, func(p *params, _ string) bool { return !p.count || !p.lists() }, store.CodeField,
		`"count" can only be used with "after" and "prefix"`},
	{pTimeout, func(p *params, s string) bool { return p.parseTimeout(s) }, store.CodeField,
		`invalid value for "timeout"`},
	{pTimeout, func(p *params, _ string) bool { return p.wait && !p.streams() }, store.CodeField,
		`"timeout" can only be used with "wait", without "stream"`},
	{pWait, func(p *params, _ string) bool { return !p.wait || !p.selects() }, store.CodeField,
		`"wait" can't be used with parameters of a listing`},
}

// lists reports whether the parameters say how to show the children of a directory.
func (p *params) lists() bool { return p.recursive || p.limit > 0 || p.keysOnly }

// selects reports whether a parameter was sent that only listings have.
func (p *params) selects() bool { return slices.Contains(p.given[pLimit:pDepth+1], true) }

// streams reports whether a watch goes on after its first event.
func (p *params) streams() bool { return p.stream || p.events }

// part returns the range of children that a listing shows.
func (p *params) part() store.Range {
	return store.Range{Prefix: p.text[pPrefix], After: p.text[pAfter]}
}

// levels returns how many levels below its directory a listing shows.
func (p *params) levels() uint64 {
	switch {
	case !p.recursive:
		return 1
	case p.depth > 0:
		return p.depth
	}
	return math.MaxUint64
}

// parse reads and checks the parameters of r: those in the body of a PUT or POST, then those in the
// query. A request without any costs nothing. Any other body is read to its end as well: net/http
// notices that a client leaves only when the body is read.
func (s *Server) parse(w *response, r *nethttp.Request) (*params, *store.Error) {
	withBody := r.Body != nil && r.Body != nethttp.NoBody
	if !withBody && r.URL.RawQuery == "" {
		return &noParams, nil
	}
	p := &params{method: r.Method, events: wantsEvents(r)}
	if withBody {
		if err := s.readForm(w, r, p); err != nil {
			return nil, err
		}
	}
	if err := p.scan(r.URL.RawQuery); err != nil {
		return nil, &store.Error{Code: store.CodeForm, Cause: err.Error()}
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

// scan keeps the known parameters of a form or query. The first value of a name counts. Unknown
// names and their values must be well-formed, too.
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

// parseTimeout parses seconds, 0 included, that a Duration can hold.
func (p *params) parseTimeout(s string) bool {
	var seconds uint64
	if !number(s, &seconds) || seconds > math.MaxInt64/uint64(time.Second) {
		return false
	}
	p.timeout = time.Duration(seconds) * time.Second
	return true
}

// parseTTL parses seconds; "" means that there is no TTL. More than a Duration can hold (292 years)
// is endless: the node gets no expiration.
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

// The types of a body that is a form.
const (
	formType      = "application/x-www-form-urlencoded"
	multipartType = "multipart/form-data" // what curl -F sends
)

// maxParts bounds the parts of a multipart form; there are fewer parameters.
const maxParts = 100

// readForm reads the body of a request to its end, and keeps the parameters in that of a PUT or
// POST. A body that is cut short or is no form is an error, so that such a write changes nothing.
// The body of any other method counts as empty, as in etcd 2 (section 4.1).
func (s *Server) readForm(w *response, r *nethttp.Request, p *params) *store.Error {
	if !isRead(r.Method) {
		ignoreHangup(r)
	}
	var body string
	var err error
	if r.Method != "PUT" && r.Method != "POST" {
		err = s.drain(w, r)
	} else if body, err = s.readBody(w, r); err == nil && body != "" {
		err = p.scanBody(body, r.Header)
	}
	switch {
	case errors.Is(err, errOverBudget):
		return &store.Error{Code: store.CodeRaft, Cause: err.Error()}
	case err != nil:
		return &store.Error{Code: store.CodeForm, Cause: err.Error()}
	}
	return nil
}

// scanBody keeps the known parameters of a body, by the type that the headers name.
func (p *params) scanBody(body string, h nethttp.Header) error {
	contentType, encoding := h.Get("Content-Type"), h.Get("Content-Encoding")
	if encoding != "" && encoding != "identity" {
		return fmt.Errorf("a body with Content-Encoding %.100q is not read: send it as it is", encoding)
	}
	if contentType == formType {
		return p.scan(body)
	}
	kind, options, err := mime.ParseMediaType(contentType)
	switch {
	case err != nil && contentType != "":
		return err
	case kind == formType:
		return p.scan(body)
	case kind == multipartType:
		return p.scanParts(multipart.NewReader(strings.NewReader(body), options["boundary"]))
	}
	return fmt.Errorf("a body with Content-Type %.100q is not read: send %s or %s", contentType, formType,
		multipartType)
}

// scanParts keeps the known parameters of a multipart form. The content of a file counts as a
// value.
func (p *params) scanParts(r *multipart.Reader) error {
	for range maxParts {
		part, err := r.NextPart()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if e := part.Header.Get("Content-Transfer-Encoding"); e != "" && !slices.Contains(plainParts, e) {
			return fmt.Errorf("a part with Content-Transfer-Encoding %.100q is not read: send it as it is", e)
		}
		if part.FormName() == "" {
			return errors.New("a part without a name is not read: send Content-Disposition: form-data; name=\"value\"")
		}
		var value strings.Builder
		if _, err := io.Copy(&value, part); err != nil {
			return err
		}
		p.keep(part.FormName(), value.String())
	}
	return fmt.Errorf("the form has more than %d parts", maxParts)
}

// plainParts are the encodings of a part that leave it as it is.
var plainParts = []string{"binary", "8bit", "7bit"}

// command returns the write that method and parameters ask for (sections 8 to 10).
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
