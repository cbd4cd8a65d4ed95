package migrate

import (
	"slices"
	"strconv"
	"time"

	"etcd2/store"
)

// A request is one of the API v2 in the log of etcd.
type request struct {
	method, path        string
	value, prevValue    string
	prevIndex           uint64
	dir, recursive      bool
	refresh             bool
	hasExist, prevExist bool
	expiration, time    int64 // in nanoseconds since 1970; time is that of a SYNC
}

// methods are what the second field of a request says; that of another message is something else.
var methods = []string{"PUT", "POST", "DELETE", "QGET", "SYNC"}

// decodeRequest reads a request. It reports whether b is one.
func decodeRequest(b []byte) (q request, isOne bool) {
	q.path = "/"
	whole := fields(b, func(f field) bool {
		q.set(f)
		return true
	})
	return q, whole && slices.Contains(methods, q.method)
}

func (q *request) set(f field) {
	on := f.number != 0
	switch f.id {
	case 2:
		q.method = string(f.text)
	case 3:
		q.path = store.Canonical(wellFormed(f.text))
	case 4:
		q.value = wellFormed(f.text)
	case 5:
		q.dir = on
	case 6:
		q.prevValue = wellFormed(f.text)
	case 7:
		q.prevIndex = f.number
	case 8:
		q.hasExist, q.prevExist = true, on
	case 9:
		q.expiration = int64(f.number)
	case 12:
		q.recursive = on
	case 15:
		q.time = int64(f.number)
	case 17:
		q.refresh = on
	}
}

// wellFormed is a text as JSON shows it: each byte that is no UTF-8 becomes U+FFFD. So it did in
// the snapshots of etcd; with the bytes as they were, one key could become two.
func wellFormed(b []byte) string { return string([]rune(string(b))) }

// permanent is the time before which an end counts as none where a node is made: etcd computed it
// of a time to live that was too long for 64 bits.
var permanent = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()

// command is the command of the store that does what a PUT, POST or DELETE did. now is the time of
// the store; index the one that the command is to take.
func (q *request) command(now int64, index uint64, padded bool) store.Command {
	c := store.Command{
		Op: q.op(), Path: q.path, Value: q.value, PrevValue: q.prevValue, PrevIndex: q.prevIndex,
		Dir: q.dir, Recursive: q.recursive, Refresh: q.refresh,
	}
	makes := c.Op == store.OpSet || c.Op == store.OpCreate || c.Op == store.OpCreateInOrder
	if q.method != "DELETE" && q.expiration != 0 && !(makes && q.expiration < permanent) {
		c.HasTTL, c.TTL = true, 1 // not 0: the next SYNC expires it, and no request before
		if q.expiration > now {
			c.TTL = time.Duration(q.expiration - now)
		}
	}
	if c.Op == store.OpCreateInOrder && !padded {
		c.Op, c.Path = store.OpCreate, store.Canonical(q.path+"/"+strconv.FormatUint(index, 10))
	}
	return c
}

// op is the operation. The comparisons count before prevExist, but for prevExist=false.
func (q *request) op() store.Op {
	compares := q.prevValue != "" || q.prevIndex != 0
	switch {
	case q.method == "POST":
		return store.OpCreateInOrder
	case q.method == "DELETE" && compares:
		return store.OpCompareAndDelete
	case q.method == "DELETE":
		return store.OpDelete
	case q.hasExist && !q.prevExist:
		return store.OpCreate
	case compares:
		return store.OpCompareAndSwap
	case q.hasExist:
		return store.OpUpdate
	default:
		return store.OpSet
	}
}
