package peer

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// survey returns what the others say, by id.
func (m *member) survey(t *testing.T, patience time.Duration) map[uint64]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	said := map[uint64]string{}
	m.Survey(ctx, func(id uint64, status []byte, trip time.Duration) {
		said[id] = string(status)
		if trip <= 0 || trip > patience {
			t.Errorf("the answer took %v", trip)
		}
	})
	return said
}

func TestASurveyHearsWhoIsConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		says := func(s string) func(*Config) {
			return func(c *Config) { c.Status = func() []byte { return []byte(s) } }
		}
		a, b := newMember(t, 0xa, says("a is well")), newMember(t, 0xb, says("b is well"))
		b.start(at(a.id, a.url()), at(0xc, "http://127.0.0.1:1"))
		a.start(at(b.id, b.url()))
		connected(t, a, b)

		if got := a.survey(t, patience); !maps.Equal(got, map[uint64]string{0xb: "b is well"}) {
			t.Errorf("a hears %v", got)
		}
		if got := b.survey(t, patience); !maps.Equal(got, map[uint64]string{0xa: "a is well"}) {
			t.Errorf("b hears %v", got)
		}
	})
}

func TestASurveyNeedsOneDirectionOfDialling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newMember(t, 0xa)
		b := newMember(t, 0xb, func(c *Config) {
			c.URLs, c.Status = []string{"http://127.0.0.1:1"}, func() []byte { return []byte("b is well") }
		})
		a.start(at(b.id, "http://127.0.0.1:1"))
		b.start(at(a.id, a.url()))
		connected(t, a, b)

		if got := a.survey(t, patience); got[b.id] != "b is well" {
			t.Errorf("a hears %v", got)
		}
	})
}

func TestSurveysAtTheSameTimeShareAQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := make(chan struct{}, 100)
		goOn := make(chan struct{})
		a := newMember(t, 0xa)
		b := newMember(t, 0xb, func(c *Config) {
			c.Status = func() []byte { asked <- struct{}{}; <-goOn; return []byte("b is well") }
		})
		b.start()
		a.start(at(b.id, b.url()))
		connected(t, a)
		heard := make(chan map[uint64]string, 50)

		for range cap(heard) {
			go func() { heard <- a.survey(t, patience) }()
		}
		<-asked
		close(goOn)

		for range cap(heard) {
			if got := <-heard; got[b.id] != "b is well" {
				t.Fatalf("a hears %v", got)
			}
		}
	})
}

func TestASurveyEndsWithItsContextAndTheNextOneAsksAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		a := newMember(t, 0xa)
		b := newMember(t, 0xb, func(c *Config) {
			c.Status = func() []byte { <-hang; return []byte("b is well") }
		})
		b.start()
		a.start(at(b.id, b.url()))
		connected(t, a)

		if got := a.survey(t, 20*time.Millisecond); len(got) > 0 {
			t.Errorf("a hears %v from a member that hangs", got)
		}
		close(hang)
		if got := a.survey(t, patience); got[b.id] != "b is well" {
			t.Errorf("a hears %v", got)
		}
	})
}

func TestAStatusThatIsTooLongIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newMember(t, 0xa)
		b := newMember(t, 0xb, func(c *Config) {
			c.Status = func() []byte { return bytes.Repeat([]byte("x"), MaxStatus+1) }
		})
		b.start()
		a.start(at(b.id, b.url()))
		connected(t, a)

		got := a.survey(t, patience)

		if said, answered := got[b.id]; said != "" || !answered {
			t.Errorf("a hears %d bytes from %v", len(said), slices.Collect(maps.Keys(got)))
		}
		a.want(t, 0, "lost the connection")
	})
}
