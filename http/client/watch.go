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

// WatchOptions are those of a Watch.
type WatchOptions struct {
	// AfterIndex is the index of the last event that is known already: of an event, or the Index of
	// a Response to Get. The first event after it is the first of the watch. 0: watch from now on.
	AfterIndex uint64

	Recursive bool // all below the key, too

	// Stream gets all events over one request, where otherwise each takes one. Members of etcd may
	// lose events of a stream; those of this program do not.
	Stream bool

	// Patience is how long Next goes on when no endpoint answers, before it says so. 0: as long as
	// its context.
	Patience time.Duration
}

// How long a watcher waits before it asks again, when it learnt nothing by the last time.
const (
	leastPause = 50 * time.Millisecond
	mostPause  = 2 * time.Second
)

// A Watcher waits for events. It remembers the index of the last one, and so goes on where it was,
// whatever becomes of the connection and of the member at its other end: no event is lost, doubled,
// or out of order. Its methods belong to one goroutine.
type Watcher struct {
	client *Client
	key    string
	opts   WatchOptions

	after   uint64        // the last event that is known; 0: none, and it begins now
	cluster string        // that the events come from; "" before the first answer
	pause   time.Duration // before the next request

	endpoint string // that is being listened to
	head     *Response
	body     io.ReadCloser // nil: to nobody
	events   *json.Decoder
	bound    *io.LimitedReader // below events
}

// Watch returns a watcher of a key, which need not exist. Nothing is asked before Next.
func (c *Client) Watch(key string, o WatchOptions) *Watcher {
	return &Watcher{client: c, key: key, opts: o, after: o.AfterIndex}
}

// Next waits for the next event. It goes on, at one endpoint after the other, until ctx ends, or a
// member refuses; what it then returns is an *Error, most notably one that IsHistoryCleared. It may
// be called again after any error, and misses nothing.
func (w *Watcher) Next(ctx context.Context) (*Response, error) {
	alone := time.Now() // since when nobody could be listened to
	for {
		err := w.listen(ctx)
		if err == nil {
			var resp *Response
			if resp, err = w.take(ctx); err == nil {
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
		if err := w.rest(ctx); err != nil {
			return nil, err
		}
	}
}

// Index is that of the last event, or the one after which the first will be; 0 as long as nobody
// has told.
func (w *Watcher) Index() uint64 { return w.after }

// Close lets go of a stream. Next would begin another one.
func (w *Watcher) Close() {
	if w.body != nil {
		w.body.Close()
		w.body = nil
	}
}

// listen has somebody tell the events, unless somebody does already.
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
	// A stream outlives this call of Next: it may not end with its context, but for as long as Next
	// waits.
	open, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	a, err := w.client.do(open, &request{method: "GET", path: path, query: query, open: true, endless: true})
	stop()
	if err != nil {
		cancel()
		return err
	}
	if a.stream == nil {
		cancel()
		return fmt.Errorf("%w: status %d to a watch", ErrBadAnswer, a.status)
	}
	w.endpoint, w.head = a.endpoint, a.response()
	w.body = closer{a.stream, cancel}
	w.bound = &io.LimitedReader{R: w.body}
	w.events = json.NewDecoder(w.bound)
	return w.begin()
}

// begin looks at the head: where a watch begins that begins now, and whether its indices are those
// of the same cluster.
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

// take waits for the next event that was not seen yet.
func (w *Watcher) take(ctx context.Context) (*Response, error) {
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

// rest waits, longer each time in a row.
func (w *Watcher) rest(ctx context.Context) error {
	w.pause = min(max(2*w.pause, w.client.pause), mostPause)
	select {
	case <-time.After(w.pause/2 + rand.N(w.pause/2)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// closer ends the request, too.
type closer struct {
	io.ReadCloser
	cancel context.CancelFunc
}

// Close gives the answer up. It may be called from any goroutine, and more than once.
func (c closer) Close() error {
	c.cancel()
	return c.ReadCloser.Close()
}
