package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
)

// maxEvent bounds the answer that is kept for the clients that share it. No member has larger
// events.
const maxEvent = 256 << 20

// polls sends one request for several clients whose long polls are the same.
//
// A poll is shared when its answer does not depend on the client and the time: the first event at
// an index or after it. A watch from now on is not shared, because "now" differs for each client:
// one that came later could get an event from before. Nor is a stream, which a later client would
// get without its beginning. Nor is a poll with a timeout, which begins with each client. All
// clients that share a poll are the same user, or none.
type polls struct {
	next http.RoundTripper

	mu   sync.Mutex       // protects all below, and readers in every poll
	open map[string]*poll // those without a complete answer, by what they ask for
}

// A poll is one request for several clients. Its answer is kept until the last of them has it or is
// gone, so that each reads as fast as it can and none waits for another.
type poll struct {
	key     string
	readers int                // number of clients that share it
	cancel  context.CancelFunc // ends the request

	mu   sync.Mutex     // protects all below
	news chan struct{}  // closed and replaced when a part of the answer has come
	head *http.Response // nil before it comes
	body []byte         // the part that has come
	err  error          // why no more will come: io.EOF at the end of the answer
}

var errTooLong = errors.New("proxy: the event is too large to be shared")

// RoundTrip sends a request, or shares one that is the same.
func (p *polls) RoundTrip(r *http.Request) (*http.Response, error) {
	key := shared(r)
	if key == "" {
		return p.next.RoundTrip(r)
	}
	one := p.join(key, r)
	head, err := one.wait(r.Context())
	if err != nil {
		p.leave(one)
		return nil, err
	}
	answer := *head
	answer.Header = head.Header.Clone()
	answer.Request = r
	answer.Body = &reader{polls: p, poll: one, ctx: r.Context()}
	return &answer, nil
}

// shared returns a key for the polls that may share a request with r; "" when none may.
func shared(r *http.Request) string {
	query := r.URL.Query()
	stream := query.Get("stream")
	events := strings.Contains(r.Header.Get("Accept"), "text/event-stream") // which are a stream
	if events || r.Method != "GET" || !isKeys(r) || waitIndex(r) == 0 || stream != "" && stream != "false" ||
		query.Has("timeout") || r.ContentLength != 0 {
		return ""
	}
	return strings.Join(append([]string{r.URL.EscapedPath(), r.URL.RawQuery}, r.Header["Authorization"]...), "\n")
}

// join returns the open poll with the key, and begins one if there is none.
func (p *polls) join(key string, r *http.Request) *poll {
	p.mu.Lock()
	defer p.mu.Unlock()
	one := p.open[key]
	if one == nil {
		ctx, cancel := context.WithCancel(context.Background())
		one = &poll{key: key, cancel: cancel, news: make(chan struct{})}
		p.open[key] = one
		go p.run(one, r.Clone(ctx))
	}
	one.readers++
	return one
}

// leave removes one reader from a poll, and ends the poll with the last.
func (p *polls) leave(one *poll) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if one.readers--; one.readers == 0 {
		p.forget(one)
		one.cancel()
	}
}

// forget lets no other reader join a poll. p.mu must be held.
func (p *polls) forget(one *poll) {
	if p.open[one.key] == one {
		delete(p.open, one.key)
	}
}

// count returns the number of open polls.
func (p *polls) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.open)
}

// run sends the request, and receives the answer.
func (p *polls) run(one *poll, r *http.Request) {
	err := one.receive(p.next, r)
	p.mu.Lock()
	p.forget(one)
	p.mu.Unlock()
	one.update(func() { one.err = err })
}

// receive receives the answer until its end, for which it returns io.EOF.
func (one *poll) receive(next http.RoundTripper, r *http.Request) error {
	resp, err := next.RoundTrip(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	one.update(func() { one.head = resp })
	var piece [4 << 10]byte
	for {
		n, err := resp.Body.Read(piece[:])
		if n > 0 {
			one.update(func() { one.body = append(one.body, piece[:n]...) })
		}
		switch {
		case err != nil:
			return err
		case len(one.body) > maxEvent: // no lock: only this goroutine changes body
			return errTooLong
		}
	}
}

// update changes what one.mu protects, and wakes the readers that wait.
func (one *poll) update(set func()) {
	one.mu.Lock()
	defer one.mu.Unlock()
	set()
	close(one.news)
	one.news = make(chan struct{})
}

// wait waits for the head of the answer.
func (one *poll) wait(ctx context.Context) (*http.Response, error) {
	for {
		one.mu.Lock()
		head, err, news := one.head, one.err, one.news
		one.mu.Unlock()
		switch {
		case head != nil:
			return head, nil
		case err != nil:
			return nil, err
		}
		select {
		case <-news:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// A reader is the body of the answer, for one of the clients that share it.
type reader struct {
	polls *polls
	poll  *poll
	ctx   context.Context
	read  int
	once  sync.Once
}

// Read returns the next part of the answer, and waits for it if need be.
func (r *reader) Read(b []byte) (int, error) {
	for {
		r.poll.mu.Lock()
		rest, err, news := r.poll.body[r.read:], r.poll.err, r.poll.news
		r.poll.mu.Unlock()
		switch {
		case len(rest) > 0:
			n := copy(b, rest)
			r.read += n
			return n, nil
		case err != nil:
			return 0, err
		}
		select {
		case <-news:
		case <-r.ctx.Done():
			return 0, r.ctx.Err()
		}
	}
}

// Close leaves the poll.
func (r *reader) Close() error {
	r.once.Do(func() { r.polls.leave(r.poll) })
	return nil
}

var _ io.ReadCloser = (*reader)(nil)
