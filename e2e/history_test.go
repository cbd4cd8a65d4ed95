package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"etcd2/raft/linear"
)

// A recorder is clients that read and write a few keys at all members while these may fail, and
// that record each call in the form that raft/linear judges. Every value is written once.
type recorder struct {
	t       *testing.T
	members []*member
	local   bool // a member answers reads from its own tree, without a quorum
	began   time.Time
	value   atomic.Uint64
	cancel  context.CancelFunc
	done    sync.WaitGroup

	mu      sync.Mutex // protects what follows
	calls   [registers][]recorded
	values  map[uint64]uint64 // modifiedIndex → value
	refused map[string]int    // number of answers by which nothing has happened, by text
}

// registers is the number of keys.
const registers = 5

// A recorded call may know only the index of what it saw; the value is looked up at the end.
type recorded struct {
	linear.Call
	sawIndex uint64
}

// A version is what a client has seen of a key: its value and the index of that value.
type version struct{ value, index uint64 }

// record starts clients at the running members, and records their calls.
func (c *cluster) record(clients int) *recorder { return c.recordReads(clients, false) }

func (c *cluster) recordReads(clients int, local bool) *recorder {
	ctx, cancel := context.WithCancel(context.Background())
	r := &recorder{t: c.t, members: c.running(), local: local, began: time.Now(), cancel: cancel,
		values: map[uint64]uint64{}, refused: map[string]int{}}
	c.t.Cleanup(r.stop)
	for range clients {
		r.done.Go(func() {
			var known [registers]version
			for ctx.Err() == nil {
				key := rand.IntN(registers)
				r.call(key, &known[key])
			}
		})
	}
	return r
}

func (r *recorder) stop() {
	r.cancel()
	r.done.Wait()
}

// call makes one call. known is what this client last saw of the key.
func (r *recorder) call(key int, known *version) {
	c := recorded{Call: linear.Call{Op: r.choose(*known)}}
	m := r.members[rand.IntN(len(r.members))]
	method, form, query := asRequest(c.Op, *known)
	c.From = int(time.Since(r.began))
	if r.local {
		query = ""
	}
	a, err := m.attempt(method, fmt.Sprint("/v2/keys/r/", key, query), form)
	c.To = int(time.Since(r.began))
	happened := true
	switch {
	case isDial(err):
		happened = false // nothing listened there
	case err == nil && a.status < 500:
		c.Known, happened = true, c.learn(a, known)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !happened {
		if err == nil {
			r.refused[fmt.Sprint(a.status, " ", a.body)]++
		}
		return
	}
	r.calls[key] = append(r.calls[key], c)
	if old, seen := r.values[known.index]; seen && old != known.value {
		r.t.Errorf("%d and %d were written at the one index %d", old, known.value, known.index)
	}
	if known.index != 0 {
		r.values[known.index] = known.value
	}
}

// isDial reports whether a request failed because nothing listened.
func isDial(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

func (r *recorder) choose(known version) linear.Op {
	switch n := rand.IntN(10); {
	case n < 4:
		return linear.Op{Kind: linear.Get}
	case n < 7 && known.index != 0:
		return linear.Op{Kind: linear.CAS, Value: r.value.Add(1), Expect: known.value}
	case n < 8:
		return linear.Op{Kind: linear.Delete}
	}
	return linear.Op{Kind: linear.Put, Value: r.value.Add(1)}
}

// asRequest is an operation as the keys API has it. Every other swap compares the index.
func asRequest(o linear.Op, known version) (method string, form url.Values, query string) {
	value := url.Values{"value": {fmt.Sprint(o.Value)}}
	switch o.Kind {
	case linear.Get:
		return "GET", nil, "?quorum=true"
	case linear.Delete:
		return "DELETE", nil, ""
	case linear.CAS:
		if o.Value%2 == 0 {
			value.Set("prevIndex", fmt.Sprint(known.index))
		} else {
			value.Set("prevValue", fmt.Sprint(known.value))
		}
	}
	return "PUT", value, ""
}

// learn records an answer, and what it says about the key. It returns false when the answer says
// that nothing has happened.
func (c *recorded) learn(a answer, known *version) bool {
	var e struct {
		event
		Cause string
	}
	if json.Unmarshal([]byte(a.body), &e) != nil {
		return false
	}
	now := version{number64(e.Node.Value), e.Node.ModifiedIndex}
	switch {
	case a.status <= 201 && c.Kind == linear.Get:
		c.Result.Value = now.value
	case a.status <= 201 && c.Kind == linear.Delete:
		c.Result.Value = number64(e.PrevNode.Value)
		now = version{}
	case a.status <= 201:
		c.OK = c.Kind == linear.CAS
	case e.ErrorCode == 100: // nothing is there
		now = version{}
	case e.ErrorCode == 101: // something else is there: [wanted != found]
		_, found, _ := strings.Cut(strings.Trim(e.Cause, "[]"), " != ")
		if c.Op.Value%2 == 0 {
			c.sawIndex = number64(found)
		} else {
			c.Result.Value = number64(found)
		}
		now = *known
	default:
		return false
	}
	*known = now
	return true
}

func number64(s string) uint64 {
	n, _ := strconv.ParseUint(s, 10, 64)
	return n
}

// judge fails the test when no order explains a history, and returns the number of calls.
func (r *recorder) judge() (calls, unknown int) {
	r.t.Helper()
	for key, history := range r.histories() {
		calls += len(history)
		for _, c := range history {
			if !c.Known {
				unknown++
			}
		}
		if !linear.Explains(history) {
			r.t.Errorf("key %d: %d calls have no order:\n%s", key, len(history), describe(history))
		}
	}
	for text, n := range r.refused {
		r.t.Logf("refused %d times: %.200s", n, text)
	}
	return calls, unknown
}

// answered returns how many calls have ended with an answer.
func (r *recorder) answered() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, calls := range r.calls {
		for _, c := range calls {
			if c.Known {
				n++
			}
		}
	}
	return n
}

// histories ends the clients and returns what they have recorded, by key.
func (r *recorder) histories() (all [registers][]linear.Call) {
	r.stop()
	for key := range registers {
		for _, c := range r.calls[key] {
			if c.sawIndex != 0 {
				if c.Result.Value = r.values[c.sawIndex]; c.Result.Value == 0 {
					continue // it has changed nothing, and what it saw is unknown
				}
			}
			all[key] = append(all[key], c.Call)
		}
	}
	return all
}

// The judge finds real faults: reads from a member's own tree are not linearizable when that member
// is cut off.
func TestLocalReadsAtAMemberCutOffAreCaught(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, quick...)
	c.leader().put("/r/0", "1000000")
	cut(c.network.around(c.followers()[0]))
	r := c.recordReads(6, true)
	eventually(t, "enough answers, though writes at the one cut off hold their clients up", patience,
		func() bool { return r.answered() >= 120 })

	for _, history := range r.histories() {
		if !linear.Explains(history) {
			return
		}
	}
	t.Error("every history has an order")
}

// describe returns the end of the shortest part of a history, from its beginning on, that no order
// explains: a line for each call.
func describe(history []linear.Call) string {
	slices.SortFunc(history, func(a, b linear.Call) int { return a.To - b.To })
	n := sort.Search(len(history), func(n int) bool { return !linear.Explains(until(history, history[n].To)) })
	var b strings.Builder
	for _, c := range until(history, history[min(n, len(history)-1)].To)[max(0, n-40):] {
		fmt.Fprintf(&b, "%11.6f to %11.6f  %s\n", time.Duration(c.From).Seconds(), time.Duration(c.To).Seconds(),
			text(c))
	}
	return b.String()
}

// until returns what was known of a history at a moment.
func until(history []linear.Call, now int) (known []linear.Call) {
	for _, c := range history {
		c.Known = c.Known && c.To <= now
		if c.From <= now {
			known = append(known, c)
		}
	}
	return known
}

func text(c linear.Call) string {
	name := []string{"get", "put", "swap", "delete"}[c.Kind]
	switch {
	case !c.Known:
		return fmt.Sprintf("%s %d>%d: unknown", name, c.Expect, c.Op.Value)
	case c.Kind == linear.CAS && c.OK:
		return fmt.Sprintf("swap %d>%d", c.Expect, c.Op.Value)
	case c.Kind == linear.CAS:
		return fmt.Sprintf("swap %d>%d: found %d", c.Expect, c.Op.Value, c.Result.Value)
	case c.Kind == linear.Put:
		return fmt.Sprintf("put %d", c.Op.Value)
	}
	return fmt.Sprintf("%s: %d", name, c.Result.Value)
}
