package http

import (
	"fmt"
	nethttp "net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// reader calls while once, in the middle of an answer.
type reader struct {
	*httptest.ResponseRecorder
	while func()
}

func (r *reader) Write(b []byte) (int, error) {
	if while := r.while; while != nil {
		r.while = nil
		while()
	}
	return r.ResponseRecorder.Write(b)
}

// A slow answer is broken off when the tree has lost more since it began than answers may hold.
// pitfall J11
func TestASlowReaderHoldsABoundedPartOfThePast(t *testing.T) {
	value := "value=" + strings.Repeat("v", 100_000)
	for _, c := range []struct {
		name, method, target, form string
		after                      time.Duration
		writes                     int
		ended                      bool
	}{
		{"a listing", "GET", "/v2/keys/d", "", 0, 20, true},
		{"of a tree that stays", "GET", "/v2/keys/d", "", 0, 5, false},
		{"that is read at once", "GET", "/v2/keys/d", "", time.Hour, 20, false},
		{"a value", "GET", "/v2/keys/d/1", "", 0, 20, true},
		{"an event of the past", "GET", "/v2/keys/d/1?wait=true&waitIndex=1", "", 0, 20, true},
		{"what a write made", "PUT", "/v2/keys/d/1", value, 0, 20, true},
		{"nothing", "GET", "/health", "", 0, 20, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			b.slow.max, b.slow.after = 1<<20, c.after
			for i := range 10 {
				b.do("PUT", fmt.Sprintf("/v2/keys/d/%d", i), value)
			}
			held := uint64(0)
			w := &reader{httptest.NewRecorder(), func() {
				for i := range c.writes {
					b.do("PUT", fmt.Sprintf("/v2/keys/d/%d", i%10), value)
				}
				held = b.slow.held(b.store.Freed())
			}}
			r := httptest.NewRequest(c.method, c.target, strings.NewReader(c.form))
			r.Header.Set("Content-Type", formType)

			broken := func() (v any) {
				defer func() { v = recover() }()
				b.ServeHTTP(w, r)
				return nil
			}()

			if (broken == nethttp.ErrAbortHandler) != c.ended || b.slow.ended.Load() == 1 != c.ended {
				t.Errorf("%v, %d ended", broken, b.slow.ended.Load())
			}
			if c.after == 0 && held < uint64(c.writes)*100_000 {
				t.Errorf("%d bytes are held", held)
			}
			if len(b.slow.begun) > 0 {
				t.Errorf("%d answers are slow after the end", len(b.slow.begun))
			}
		})
	}
}
