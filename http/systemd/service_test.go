package systemd

import (
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	_ "etcd2/e2e/pace" // -long
)

// environment returns a getenv for variables in the form NAME=VALUE.
func environment(pairs ...string) func(string) string {
	return func(name string) string {
		for _, p := range pairs {
			if value, found := strings.CutPrefix(p, name+"="); found {
				return value
			}
		}
		return ""
	}
}

// A listening records the notices to systemd, and when they came.
type listening struct {
	sync.Mutex
	told  []string
	at    []time.Time
	fails error
}

func (l *listening) send(state string) error {
	l.Lock()
	defer l.Unlock()
	l.told, l.at = append(l.told, state), append(l.at, time.Now())
	return l.fails
}

// received returns the notices since the last call.
func (l *listening) received() []string {
	l.Lock()
	defer l.Unlock()
	told := l.told
	l.told = nil
	return told
}

// run runs a service whose notices are recorded, in the test's own time.
func run(t *testing.T, environ ...string) (*Service, *listening, *strings.Builder) {
	t.Helper()
	systemd, log := &listening{}, &strings.Builder{}
	s := New(environment(environ...), 7, slog.New(slog.NewTextHandler(log, nil)))
	s.send = systemd.send
	stop := make(chan struct{})
	go s.Run(stop)
	t.Cleanup(func() { close(stop) })
	return s, systemd, log
}

func TestTheWatchdogIsFedOnlyWhileTheServiceMakesProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, systemd, log := run(t, "WATCHDOG_USEC=20000000", "WATCHDOG_PID=7")
		begun := time.Now()
		var mu sync.Mutex
		var stuckSince time.Time
		s.Follow(func() Condition {
			mu.Lock()
			defer mu.Unlock()
			if stuckSince.IsZero() {
				return Condition{}
			}
			return Condition{Doing: "a write to the log", For: time.Since(stuckSince)}
		})
		set := func(since time.Time) { mu.Lock(); stuckSince = since; mu.Unlock() }
		s.Ready()
		<-time.After(time.Minute + time.Second)
		if told := systemd.received(); told[0] != "READY=1" || len(told) != 13 || told[12] != "WATCHDOG=1" {
			t.Errorf("in a minute: %q", told)
		}

		set(time.Now())
		<-time.After(10 * time.Second)
		last := systemd.received()
		<-time.After(time.Hour)
		silent := systemd.received()

		if len(last) == 0 || len(silent) != 0 {
			t.Errorf("stuck: %q, then %q", last, silent)
		}
		if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "level=WARN") ||
			!strings.Contains(text, `doing="a write to the log" for=10`) {
			t.Errorf("the log after %v: %s", time.Since(begun), text)
		}

		set(time.Time{})
		<-time.After(10 * time.Second)
		if told := systemd.received(); len(told) < 2 || !strings.Contains(log.String(), "fed again") {
			t.Errorf("it makes progress: %q\n%s", told, log)
		}
	})
}

// Work that takes as long as half of the watchdog's time, now and then, is no reason to end a
// member: no two pings are further apart than the watchdog allows.
func TestLongWorkThatEndsDoesNotStarveTheWatchdog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, systemd, _ := run(t, "WATCHDOG_USEC=4000000")
		begun := time.Now()
		s.Follow(func() Condition { return Condition{For: time.Since(begun) % (2900 * time.Millisecond)} })
		s.Ready()

		<-time.After(5 * time.Minute)

		systemd.Lock()
		defer systemd.Unlock()
		for i := 1; i < len(systemd.at); i++ {
			if gap := systemd.at[i].Sub(systemd.at[i-1]); gap >= 4*time.Second {
				t.Errorf("%v without a ping", gap)
			}
		}
		if n := len(systemd.at); n < 75 {
			t.Errorf("%d pings", n)
		}
	})
}

func TestALongStartAsksForMoreTimeWhileItMakesProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, systemd, _ := run(t, "WATCHDOG_USEC=1000000")
		s.Follow(func() Condition { return Condition{Status: "looking for the cluster"} })
		<-time.After(20 * time.Second)
		waiting := systemd.received()
		begun := time.Now()
		s.Follow(func() Condition { return Condition{Status: "replaying", For: time.Since(begun)} })
		// not at the moment of a tick: its notice might come after READY=1
		<-time.After(time.Minute - time.Millisecond)
		stuck := systemd.received()
		s.Follow(func() Condition { return Condition{Status: "follower"} })
		s.Ready()
		<-time.After(10 * time.Second)
		ready := systemd.received()

		extend := "EXTEND_TIMEOUT_USEC=30000000"
		if want := []string{"STATUS=looking for the cluster", extend, extend, extend, extend}; !slices.Equal(waiting,
			want) {
			t.Errorf("waiting: %q, want %q", waiting, want)
		}
		if want := []string{"STATUS=replaying", extend, extend, extend, extend}; !slices.Equal(stuck, want) {
			t.Errorf("stuck: %q, want %q", stuck, want)
		}
		if len(ready) < 10 || ready[0] != "STATUS=follower" || ready[1] != "READY=1" || slices.Contains(ready, extend) {
			t.Errorf("ready: %q", ready)
		}
	})
}

func TestTheStatusIsSentWhenItChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, systemd, _ := run(t)
		begun := time.Now()
		s.Follow(func() Condition {
			if time.Since(begun) < 90*time.Second {
				return Condition{Status: "follower"}
			}
			return Condition{Status: "leader"}
		})
		s.Ready()

		<-time.After(time.Hour)
		s.Stopping()

		if told, want := systemd.received(), []string{"STATUS=follower", "READY=1", "STATUS=leader",
			"STOPPING=1"}; !slices.Equal(told, want) {
			t.Errorf("%q, want %q", told, want)
		}
	})
}

func TestANoticeThatCannotBeSentIsOneWarning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, systemd, log := run(t, "WATCHDOG_USEC=1000000")
		systemd.fails = errors.New("nobody is there")
		s.Ready()

		<-time.After(time.Hour)

		if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "READY=1") ||
			!strings.Contains(text, "nobody is there") {
			t.Errorf("the log: %s", text)
		}
	})
}

func TestVariablesOfAnotherProcessDoNotCount(t *testing.T) {
	var log strings.Builder
	logger := slog.New(slog.NewTextHandler(&log, nil))
	for text, want := range map[string]time.Duration{
		"WATCHDOG_USEC=3000000 WATCHDOG_PID=7": 3 * time.Second, "WATCHDOG_USEC=3000000": 3 * time.Second,
		"WATCHDOG_USEC=3000000 WATCHDOG_PID=8": 0, "WATCHDOG_PID=7": 0,
	} {
		if got := New(environment(strings.Fields(text)...), 7, logger).watchdog; got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
	if log.Len() > 0 {
		t.Error(log.String())
	}
	for _, value := range []string{"0", "-1", "soon", "9223372036854775807"} {
		log.Reset()
		if s := New(environment("WATCHDOG_USEC="+value), 7, logger); s.watchdog != 0 || !strings.Contains(log.String(),
			"WATCHDOG_USEC") {
			t.Errorf("%s: %v; the log: %s", value, s.watchdog, &log)
		}
	}
	h, err := Sockets(environment("LISTEN_FDS=1", "LISTEN_PID=8"), 7)
	if err != nil || len(h.sockets) > 0 || h.Check() != nil {
		t.Errorf("%+v, %v", h, err)
	}
}

// Nobody reads from the socket, so its queue fills. Then send fails, and does not block for ever.
func TestASocketThatTakesNoNoticesBlocksNobody(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	full := 0
	for send(path, "X=1") == nil {
		if full++; full > 100_000 {
			t.Skip("this socket takes everything")
		}
	}
	if full == 0 {
		t.Error("not even one was taken")
	}
}
