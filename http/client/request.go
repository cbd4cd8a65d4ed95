package client

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// A request is sent to one endpoint after the other, unchanged.
type request struct {
	method, path string // the path is not escaped
	query        url.Values
	form         url.Values    // the body, or
	json         []byte        // the body; nil with form: there is none
	name         string        // X-Etcd-Request-Id: a server that knows it executes the request once
	index        uint64        // X-Etcd-Request-Index: the newest X-Raft-Index that was known before the first try
	open         bool          // the body of a success is left to the caller, as answer.stream
	endless      bool          // with open: the endpoint may be silent for any time
	secret       bool          // the body is not for Debug
	patience     time.Duration // instead of Config.Timeout when it is longer: the server has long work to do

	read func(*answer) error // reads a success, and returns an error when it makes no sense; nil: nothing to read
}

// mayRepeat reports whether the request may be sent twice: it reads, or has a name.
func (r *request) mayRepeat() bool { return r.method == "GET" || r.name != "" }

// An answer is what one endpoint answered.
type answer struct {
	endpoint string
	status   int
	header   http.Header
	tls      *tls.ConnectionState
	body     []byte
	stream   io.ReadCloser // instead of body, when the request is open and the status 200
}

// do asks one endpoint after the other until one answers. A write goes to another endpoint only
// when it has a name, or was certainly not executed. The answer has a status of 2xx and was read;
// everything else is an error.
func (c *Client) do(ctx context.Context, r *request) (*answer, error) {
	failed := &ClusterError{}
	tried := r.index != 0 // perhaps: an earlier call may have sent it
	if !tried {
		r.index = c.logIndex.Load()
	}
	for _, endpoint := range c.Endpoints() {
		a, err := c.ask(ctx, endpoint, r)
		if has(err, CodeForgotten) {
			a, err = c.renew(ctx, r, a, err, tried || failed.Unknown)
		}
		if err == nil || !isFailure(err) {
			c.prefer(endpoint)
			return a, err
		}
		sent := !errors.As(err, new(notSent)) && !refused(err)
		failed.Failures = append(failed.Failures, Failure{endpoint, err})
		failed.Unknown = failed.Unknown || sent && r.method != "GET"
		if sent && !r.mayRepeat() || ctx.Err() != nil {
			break
		}
	}
	return nil, failed.orRefusal()
}

// renew handles a refusal with CodeForgotten: members remember no request as old as the index of
// this one. If there was no other try, it sends the request once more, with the index of the
// refusal. Otherwise it is not known whether the other try was executed.
func (c *Client) renew(ctx context.Context, r *request, refusal *answer, err error, tried bool) (*answer, error) {
	index := headerNumber(refusal.header, "X-Raft-Index")
	if tried || index == 0 {
		err.(*Error).unknown = tried
		return refusal, err
	}
	r.index = index
	c.logIndex.Store(index) // the former one was older, or of another cluster
	return c.ask(ctx, refusal.endpoint, r)
}

// isFailure reports whether another endpoint may do better after this error. Other errors are for
// the caller.
func isFailure(err error) bool {
	var e *Error
	switch {
	case errors.Is(err, ErrBadKey):
		return false
	case !errors.As(err, &e):
		return true
	}
	full := e.Status == http.StatusInsufficientStorage // at every member alike
	return e.foreign || e.Status/100 == 5 && !full || e.Status == http.StatusTooManyRequests
}

// refused reports whether err is the answer of an endpoint that has not begun to execute the
// request.
func refused(err error) bool {
	var e *Error
	return errors.As(err, &e) && (e.Status == http.StatusServiceUnavailable || e.Status == http.StatusTooManyRequests)
}

// ask sends the request to one endpoint, and reads its answer.
func (c *Client) ask(parent context.Context, endpoint string, r *request) (*answer, error) {
	ctx, cancel := context.WithCancelCause(parent)
	timeout := max(c.cfg.Timeout, r.patience)
	patience := time.AfterFunc(timeout, func() { cancel(silence(timeout)) })
	resp, err := c.send(ctx, endpoint, r)
	if err != nil {
		patience.Stop()
		cancel(nil)
		return nil, err
	}
	body := &body{resp.Body, ctx, cancel, patience, timeout}
	a := &answer{endpoint: endpoint, status: resp.StatusCode, header: resp.Header, tls: resp.TLS}
	c.observeLogIndex(headerNumber(a.header, "X-Raft-Index"))
	if r.open && a.status == http.StatusOK {
		return r.leaveOpen(a, body)
	}
	defer body.Close()
	a.body, err = io.ReadAll(io.LimitReader(body, c.cfg.MaxAnswerBytes+1))
	switch {
	case err != nil:
		return nil, err
	case int64(len(a.body)) > c.cfg.MaxAnswerBytes:
		return nil, tooLong(c.cfg.MaxAnswerBytes)
	}
	err = a.fault()
	switch {
	case err == nil && r.open:
		err = fmt.Errorf("%w: status %d of %s", ErrBadAnswer, a.status, r.path)
	case err == nil && r.read != nil:
		err = r.read(a)
	}
	return a, err
}

// leaveOpen returns the answer with its body open.
func (r *request) leaveOpen(a *answer, body *body) (*answer, error) {
	a.stream = body
	if r.endless {
		body.disableTimeout()
	}
	if r.read == nil {
		return a, nil
	}
	if err := r.read(a); err != nil {
		body.Close()
		return nil, err
	}
	return a, nil
}

// observeLogIndex records the log index of an answer, if it is the newest.
func (c *Client) observeLogIndex(index uint64) {
	for {
		seen := c.logIndex.Load()
		if index <= seen || c.logIndex.CompareAndSwap(seen, index) {
			return
		}
	}
}

// send sends the request and returns the head of the answer. The error is a notSent when no
// connection could be made.
func (c *Client) send(ctx context.Context, endpoint string, r *request) (*http.Response, error) {
	var connected atomic.Bool
	req, err := c.build(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	}), endpoint, r)
	if err != nil {
		return nil, notSent{err}
	}
	resp, err := c.transport.RoundTrip(req) // which follows no redirect (pitfall K6)
	if err != nil {
		err = cause(ctx, err)
		if !connected.Load() {
			return nil, notSent{err}
		}
		return nil, err
	}
	return resp, nil
}

// build makes the HTTP request, and passes it to Debug.
func (c *Client) build(ctx context.Context, endpoint string, r *request) (*http.Request, error) {
	target := endpoint + (&url.URL{Path: r.path, RawQuery: r.query.Encode()}).String()
	text, kind := string(r.json), "application/json"
	if r.form != nil {
		text, kind = r.form.Encode(), "application/x-www-form-urlencoded"
	}
	req, err := http.NewRequestWithContext(ctx, r.method, target, strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	if r.form != nil || r.json != nil {
		req.Header["Content-Type"] = []string{kind}
	}
	if r.name != "" {
		req.Header["X-Etcd-Request-Id"] = []string{r.name}
		req.Header["X-Etcd-Request-Index"] = []string{strconv.FormatUint(r.index, 10)}
	}
	if c.cfg.Username != "" && MaySendPassword(c.given, endpoint) {
		req.SetBasicAuth(c.cfg.Username, c.cfg.Password)
	}
	if c.cfg.Debug != nil {
		c.cfg.Debug(r.curl(target, text))
	}
	return req, nil
}

// curl returns the request as a command, quoted where a shell would split or expand something. Only
// the & in the query of a read is not quoted, since etcdctl 2.3.8 prints it so; a write is quoted,
// because half of it would be another write. A form is printed as etcdctl does, between double
// quotes: it is escaped, so it has no character that a shell expands.
func (r *request) curl(target, text string) string {
	words := []string{"curl", "-X", r.method}
	if r.json != nil {
		words = append(words, "-H", "'Content-Type: application/json'")
	}
	exposed, _, _ := strings.Cut(target, "?")
	if r.method != "GET" {
		exposed = target
	}
	if strings.ContainsAny(exposed, "&;'()*!$`") {
		target = quoted(target)
	}
	words = append(words, target)
	switch {
	case r.secret && text != "":
		words = append(words, "-d", quoted("…"))
	case r.json != nil:
		words = append(words, "-d", quoted(text))
	case text != "":
		words = append(words, "-d", `"`+text+`"`)
	}
	return strings.Join(words, " ")
}

func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// A body is the body of an answer. Reading it fails when nothing comes for too long.
type body struct {
	io.ReadCloser
	ctx      context.Context
	cancel   context.CancelCauseFunc
	patience *time.Timer
	timeout  time.Duration // for each piece; 0: none
}

// disableTimeout lets the endpoint be silent for any time.
func (b *body) disableTimeout() {
	b.timeout = 0
	b.patience.Stop()
}

// Read reads the next piece. How long the caller takes between two pieces does not count.
func (b *body) Read(p []byte) (int, error) {
	if b.timeout > 0 {
		b.patience.Reset(b.timeout)
	}
	n, err := b.ReadCloser.Read(p)
	b.patience.Stop()
	if err != nil && err != io.EOF {
		err = cause(b.ctx, err)
	}
	return n, err
}

// Close abandons the answer, and closes the connection if the body was not read to its end.
func (b *body) Close() error {
	b.patience.Stop()
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}

// cause returns why ctx ended, or err when it has not ended.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// silence is the error of an endpoint that sent nothing for this long.
type silence time.Duration

// Error tells the time.
func (s silence) Error() string { return "no answer within " + time.Duration(s).String() }

// Timeout is true, as for net.Error.
func (s silence) Timeout() bool { return true }

// fault returns the error that an answer stands for, nil for a success. A body that has not the
// form of the API is not quoted in it (pitfall K6).
func (a *answer) fault() error {
	switch {
	case a.status/100 == 2:
		return nil
	case a.status == http.StatusBadRequest && string(a.body) == plainOnTLS:
		return notSent{errSpeaksTLS}
	}
	e := &Error{Status: a.status}
	if json.Unmarshal(a.body, e) != nil || e.Message == "" {
		e = &Error{Status: a.status, Message: fmt.Sprintf("status %d (%s)", a.status, http.StatusText(a.status)),
			foreign: true}
	}
	return e
}

// decode reads the JSON of a success.
func (a *answer) decode(v any) error {
	if err := json.Unmarshal(a.body, v); err != nil {
		return fmt.Errorf("%w: status %d, and a body that is not its JSON", ErrBadAnswer, a.status)
	}
	return nil
}
