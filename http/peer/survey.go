package peer

import (
	"bytes"
	"context"
	"sync"
	"time"
)

// The status of the other members. To show the whole cluster, one member asks all others over the
// streams that it has anyway:
//
//	n1 ──── frameAsk ────► n2
//	   ◄─── frameStatus ──       the result of Config.Status there
//
// So a survey needs no client URL, no credentials and no connection of its own, and it works where
// members can dial in one direction only. This package does not look into a status.

// MaxStatus bounds a status, in bytes. A longer one is not sent.
const MaxStatus = 2 << 10

// statusRequest waits for a member's status. Surveys at the same time share it.
type statusRequest struct {
	asked    time.Time
	answered chan struct{} // closed when the fields below are set
	status   []byte
	trip     time.Duration
}

// Survey asks all other members for their status, and calls visit for each one that answers before
// ctx is done, with the status and the time that the answer took. Calls of visit do not overlap.
// Survey may be called from any goroutine.
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
			if q := p.requestStatus(ctx); q != nil {
				mu.Lock()
				defer mu.Unlock()
				visit(p.id, q.status, q.trip)
			}
		})
	}
	asking.Wait()
}

// requestStatus returns a request that was answered; nil when no answer came.
func (p *peer) requestStatus(ctx context.Context) (q *statusRequest) {
	var out *sender
	p.set(func() {
		if out = p.out; out == nil {
			return
		}
		if p.request == nil {
			p.request = &statusRequest{asked: time.Now(), answered: make(chan struct{})}
		}
		q = p.request
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
		if p.request == q {
			p.request = nil // the next survey sends a new one
		}
	})
	return nil
}

// recordStatus records the member's answer.
func (p *peer) recordStatus(status []byte) {
	p.set(func() {
		if q := p.request; q != nil {
			q.status, q.trip = bytes.Clone(status), time.Since(q.asked)
			close(q.answered)
			p.request = nil
		}
	})
}

// status returns the status of this member.
func (t *Transport) status() []byte {
	b := t.cfg.Status()
	if len(b) > MaxStatus {
		return nil
	}
	return b
}
