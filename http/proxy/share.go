package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
)

// maxEvent is how much of an answer is kept for those who share it. No member has larger events.
const maxEvent = 256 << 20

// polls let long polls that ask for the same share one: it is the part of a Proxy that sends a
// request once for several clients.
//
// Shared is what has the same answer whoever asks and whenever: the first event at an index or
// after it. A watch from now on is not, since "now" is another moment for each client: one that
// joined could be told of an event from before it came. Nor is a stream, which would have begun
// without who comes later. Nor is a poll with a timeout, which begins with each client. All who
// share one are the same user, or all nobody.
type polls struct {
	next http.RoundTripper

	mu   sync.Mutex       // protects all below, and readers in every poll
	open map[string]*poll // those that are not answered yet, by what they ask
}

// A poll is one request for several clients. Its answer is kept until the last of them has it or is
// gone, so that each reads as fast as it can and none waits for another.
type poll struct {
	key     string
	readers int                // who share it
	cancel  context.CancelFunc // ends the request

	mu   sync.Mutex     // protects all below
	news chan struct{}  // closed and replaced when something of it has come
	head *http.Response // nil before it comes
	body []byte         // what has come so far
	err  error          // why there will be no more: io.EOF at the end of the answer
}

var errTooLong = errors.New("proxy: the event is too large to be shared")

// RoundTrip shares what can be shared.
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

// shared is what a long poll asks, "" when it can't be shared.
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

// join returns the poll that asks the same, which it begins if there is none.
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

// leave takes one reader from a poll, and ends the poll with the last.
func (p *polls) leave(one *poll) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if one.readers--; one.readers == 0 {
		p.forget(one)
		one.cancel()
	}
}

// forget lets nobody else join. p.mu must be held.
func (p *polls) forget(one *poll) {
	if p.open[one.key] == one {
		delete(p.open, one.key)
	}
}

// count is how many requests there are.
func (p *polls) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.open)
}

// run sends the request, and takes in the answer.
func (p *polls) run(one *poll, r *http.Request) {
	err := one.fill(p.next, r)
	p.mu.Lock()
	p.forget(one)
	p.mu.Unlock()
	one.come(func() { one.err = err })
}

// fill takes in the answer until its end, which is io.EOF.
func (one *poll) fill(next http.RoundTripper, r *http.Request) error {
	resp, err := next.RoundTrip(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	one.come(func() { one.head = resp })
	var piece [4 << 10]byte
	for {
		n, err := resp.Body.Read(piece[:])
		if n > 0 {
			one.come(func() { one.body = append(one.body, piece[:n]...) })
		}
		switch {
		case err != nil:
			return err
		case len(one.body) > maxEvent: // nobody else writes it
			return errTooLong
		}
	}
}

// come takes in something, and wakes who waits.
func (one *poll) come(set func()) {
	one.mu.Lock()
	defer one.mu.Unlock()
	set()
	close(one.news)
	one.news = make(chan struct{})
}

// wait returns the head of the answer.
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

// A reader is the body of the answer for one of those who share it.
type reader struct {
	polls *polls
	poll  *poll
	ctx   context.Context
	read  int
	once  sync.Once
}

// Read waits for the next piece.
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
