package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"time"
)

// WatchOptions are the options of Watch.
type WatchOptions struct {
	// AfterIndex is the ModifiedIndex of the last event that the caller knows, or the Index of a
	// Response to Get. The watch begins with the first event after it. 0: watch from now on.
	AfterIndex uint64

	Recursive bool // all keys below, too

	// Stream reads all events from one request; without it, each event takes a request. Members of
	// etcd may lose events of a stream; members of this program do not.
	Stream bool

	// Patience is how long Next tries when no endpoint answers, before it returns the error. 0: as
	// long as its context.
	Patience time.Duration
}

// Bounds of the time that a watcher waits before it asks again, after a request without an event.
const (
	leastPause = 50 * time.Millisecond
	mostPause  = 2 * time.Second
)

// A Watcher waits for events. It remembers the index of the last one, so when the connection or the
// member fails it continues elsewhere: no event is lost, doubled, or out of order. Its methods
// belong to one goroutine.
type Watcher struct {
	client *Client
	key    string
	opts   WatchOptions

	after   uint64        // index of the last event that is known; 0: none, and the watch begins now
	cluster string        // id of the cluster that the events come from; "" before the first answer
	pause   time.Duration // before the next request

	endpoint string // that was asked last
	head     *Response
	body     io.ReadCloser // nil: no request is open
	events   *json.Decoder
	bound    *io.LimitedReader // below events
}

// Watch returns a watcher of a key, which need not exist. It sends nothing before Next.
func (c *Client) Watch(key string, o WatchOptions) *Watcher {
	return &Watcher{client: c, key: key, opts: o, after: o.AfterIndex}
}

// Next waits for the next event. It tries one endpoint after the other until (1) ctx ends, (2) a
// member refuses, which is an *Error, most notably one for IsHistoryCleared, or (3) Patience ends.
// It may be called again after any error, and misses nothing.
func (w *Watcher) Next(ctx context.Context) (*Response, error) {
	alone := time.Now() // since when no endpoint answered
	for {
		err := w.listen(ctx)
		if err == nil {
			var resp *Response
			if resp, err = w.receive(ctx); err == nil {
				return resp, nil
			}
			alone = time.Now()
		}
		w.Close()
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case !isFailure(err), w.opts.Patience > 0 && time.Since(alone) >= w.opts.Patience:
			return nil, err
		}
		w.client.avoid(w.endpoint)
		if err := w.backOff(ctx); err != nil {
			return nil, err
		}
	}
}

// Index returns the index of the last event, or before the first event the index after which the
// watch begins; 0 when no member has told it yet.
func (w *Watcher) Index() uint64 { return w.after }

// Close ends the open request. Next would begin another one.
func (w *Watcher) Close() {
	if w.body != nil {
		w.body.Close()
		w.body = nil
	}
}

// listen begins a request for events, unless one is open.
func (w *Watcher) listen(ctx context.Context) error {
	if w.body != nil {
		return nil
	}
	path, err := w.client.pathOf(w.key)
	if err != nil {
		return err
	}
	query := url.Values{"wait": {"true"}}
	flag(query, "recursive", w.opts.Recursive)
	flag(query, "stream", w.opts.Stream)
	if w.after > 0 {
		number(query, "waitIndex", w.after+1)
	}
	// A stream outlives this call of Next, so it must not end with its context. Only while this
	// call waits for the answer does the end of the context cancel the request.
	open, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	a, err := w.client.do(open, &request{method: "GET", path: path, query: query, open: true, endless: true})
	stop()
	if err != nil {
		cancel()
		return err
	}
	w.endpoint, w.head = a.endpoint, a.response()
	w.body = closer{a.stream, cancel}
	w.bound = &io.LimitedReader{R: w.body}
	w.events = json.NewDecoder(w.bound)
	return w.begin()
}

// begin reads the head: the index at which a watch from now on begins, and the id of the cluster,
// which must be the one of the events before.
func (w *Watcher) begin() error {
	if w.after == 0 {
		w.after = w.head.Index
	}
	if w.cluster == "" {
		w.cluster = w.head.ClusterID
	}
	if w.cluster != w.head.ClusterID {
		return fmt.Errorf("%w: %s belongs to cluster %q, and the watch to %q", ErrBadAnswer, w.endpoint,
			w.head.ClusterID, w.cluster)
	}
	return nil
}

// receive waits for the next event that was not returned yet.
func (w *Watcher) receive(ctx context.Context) (*Response, error) {
	body := w.body
	defer context.AfterFunc(ctx, func() { body.Close() })()
	for {
		w.bound.N = w.client.cfg.MaxAnswerBytes
		resp := *w.head
		if err := w.events.Decode(&resp); err != nil {
			if w.bound.N <= 0 {
				err = tooLong(w.client.cfg.MaxAnswerBytes)
			}
			return nil, err
		}
		if resp.Node == nil {
			return nil, fmt.Errorf("%w: an event without a node", ErrBadAnswer)
		}
		if resp.Node.ModifiedIndex > w.after {
			w.after, w.pause = resp.Node.ModifiedIndex, 0
			if !w.opts.Stream {
				w.Close()
			}
			return &resp, nil
		}
	}
}

// backOff waits before the next request, longer each time in a row.
func (w *Watcher) backOff(ctx context.Context) error {
	w.pause = min(max(2*w.pause, w.client.pause), mostPause)
	select {
	case <-time.After(w.pause/2 + rand.N(w.pause/2)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A closer is a body that cancels its request when it is closed.
type closer struct {
	io.ReadCloser
	cancel context.CancelFunc
}

// Close abandons the answer. It may be called from any goroutine, and more than once.
func (c closer) Close() error {
	c.cancel()
	return c.ReadCloser.Close()
}
