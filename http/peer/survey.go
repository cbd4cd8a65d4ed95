package peer

import (
	"bytes"
	"context"
	"sync"
	"time"
)

// How the other members are. Somebody looks at the whole cluster from one member, which asks all
// others over the streams that it has anyway:
//
//	n1 ──── frameAsk ────► n2
//	   ◄─── frameStatus ──       what Config.Status says there
//
// So a survey needs no client URL, no credentials and no connection of its own, and it works where
// only one direction of dialling does. What a status says is not this package's business.

// MaxStatus bounds a status, in bytes. A longer one is not sent.
const MaxStatus = 2 << 10

// question is one that waits for a member's status. Surveys at the same time share it.
type question struct {
	asked    time.Time
	answered chan struct{} // closed when the rest is there
	status   []byte
	trip     time.Duration
}

// Survey asks all other members how they are, and calls visit for each one that answers before ctx
// is done, with the status and the time that the answer took. Calls of visit do not overlap. Survey
// may be called from any goroutine.
func (t *Transport) Survey(ctx context.Context, visit func(id uint64, status []byte, trip time.Duration)) {
	t.mu.RLock()
	var peers []*peer
	for _, p := range t.peers {
		peers = append(peers, p)
	}
	t.mu.RUnlock()
	var asking sync.WaitGroup
	var mu sync.Mutex
	for _, p := range peers {
		asking.Go(func() {
			if q := p.askStatus(ctx); q != nil {
				mu.Lock()
				defer mu.Unlock()
				visit(p.id, q.status, q.trip)
			}
		})
	}
	asking.Wait()
}

// askStatus returns the answered question; nil when no answer came.
func (p *peer) askStatus(ctx context.Context) (q *question) {
	var out *sender
	p.set(func() {
		if out = p.out; out == nil {
			return
		}
		if p.question == nil {
			p.question = &question{asked: time.Now(), answered: make(chan struct{})}
		}
		q = p.question
	})
	if out == nil {
		return nil
	}
	out.wantStatus.Store(true)
	nudge(p.wake)
	select {
	case <-q.answered:
		return q
	case <-out.ended:
	case <-ctx.Done():
	}
	p.set(func() {
		if p.question == q {
			p.question = nil // the next one is asked anew
		}
	})
	return nil
}

// heard takes in the member's answer.
func (p *peer) heard(status []byte) {
	p.set(func() {
		if q := p.question; q != nil {
			q.status, q.trip = bytes.Clone(status), time.Since(q.asked)
			close(q.answered)
			p.question = nil
		}
	})
}

// status is what this member says of itself.
func (t *Transport) status() []byte {
	b := t.cfg.Status()
	if len(b) > MaxStatus {
		return nil
	}
	return b
}
