package migrate

import (
	"slices"
	"strconv"
	"time"

	"etcd2/store"
)

// A request is a request of the API v2 in the log of etcd.
type request struct {
	method, path        string
	value, prevValue    string
	prevIndex           uint64
	dir, recursive      bool
	refresh             bool
	hasExist, prevExist bool
	expiration, time    int64 // in nanoseconds since 1970; time is that of a SYNC
}

// methods are the values of the second field of a request. Other messages have others.
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

// wellFormed returns a text as JSON has it: each byte that is not UTF-8 becomes U+FFFD, as in the
// snapshots of etcd. Without that, one key could become two.
func wellFormed(b []byte) string { return string([]rune(string(b))) }

// permanent is the time before which the expiration of a new node means that it does not expire:
// etcd computed such a time from a time to live that was too long for 64 bits.
var permanent = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()

// command returns the command of the store for a PUT, POST or DELETE. now is the time of the store,
// index the store index that the command will have.
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

// op returns the operation. Comparisons take precedence over prevExist=true.
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
