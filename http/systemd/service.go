package systemd

import (
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"
)

// A Condition is how a service is.
type Condition struct {
	Status string        // one line for people
	Doing  string        // what has been under way for the longest
	For    time.Duration // and how long; 0 when nothing is
}

const (
	lookEvery   = time.Second
	extendEvery = 5 * time.Second  // while it starts
	extendBy    = 30 * time.Second // of which a start may be stuck at one thing for a part
	patience    = 20 * time.Second // this much
	sendWithin  = time.Second      // systemd is not waited for longer
)

// A Service tells systemd how this process is. All methods may be called from any goroutine;
// without a systemd that asked to be told, none does anything.
type Service struct {
	log      *slog.Logger
	send     func(state string) error // nil: nobody asked
	watchdog time.Duration            // without a ping for so long systemd ends the process; 0: it does not

	mu     sync.Mutex // protects the rest
	look   func() Condition
	status string    // as last told
	told   time.Time // when it last said that it gets on
	ready  bool
	stuck  bool // as last logged
	broken bool // the last notice was not delivered
}

// New returns the service that this process is by its environment. A notice that can't be
// delivered, and a variable that makes no sense, are warnings in the log.
func New(getenv func(string) string, pid int, log *slog.Logger) *Service {
	s := &Service{log: log, look: func() Condition { return Condition{} }}
	if socket := getenv("NOTIFY_SOCKET"); socket != "" {
		s.send = func(state string) error { return send(socket, state) }
	}
	usec, owner := getenv("WATCHDOG_USEC"), getenv("WATCHDOG_PID")
	if usec == "" || owner != "" && owner != strconv.Itoa(pid) {
		return s
	}
	n, err := strconv.ParseInt(usec, 10, 64)
	if err != nil || n <= 0 || n > int64(1<<63-1)/int64(time.Microsecond) {
		log.Warn("there will be no watchdog: WATCHDOG_USEC is no number of microseconds", "value", usec)
		return s
	}
	s.watchdog = time.Duration(n) * time.Microsecond
	return s
}

// send delivers one datagram. A leading @ of the socket's name stands for an abstract one, as in
// net.
func send(socket, state string) error {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("systemd: %w", err)
	}
	defer conn.Close()
	conn.SetWriteDeadline(time.Now().Add(sendWithin))
	if _, err := conn.Write([]byte(state)); err != nil {
		return fmt.Errorf("systemd: %w", err)
	}
	return nil
}

// Run tells systemd that the service gets on, as long as it does, and what its status is. It
// returns when stop is closed.
func (s *Service) Run(stop <-chan struct{}) {
	if s.send == nil {
		return
	}
	ticker := time.NewTicker(s.lookEvery())
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.beat()
		case <-stop:
			return
		}
	}
}

// lookEvery is so often that a service that has just got on is believed in time.
func (s *Service) lookEvery() time.Duration {
	if s.watchdog == 0 {
		return lookEvery
	}
	return max(min(lookEvery, s.watchdog/4), time.Millisecond)
}

// Follow has the service ask look for its condition from now on. look must not wait.
func (s *Service) Follow(look func() Condition) {
	s.mu.Lock()
	s.look = look
	s.mu.Unlock()
	s.tell(s.news(look()))
}

// Ready says that the service serves.
func (s *Service) Ready() {
	s.mu.Lock()
	s.ready, s.told = true, time.Now() // the watchdog counts from here
	s.mu.Unlock()
	s.tell("READY=1")
}

// Stopping says that the service ends.
func (s *Service) Stopping() { s.tell("STOPPING=1") }

// beat takes one look and tells what follows from it.
func (s *Service) beat() {
	s.mu.Lock()
	look := s.look
	s.mu.Unlock()
	now := look()
	s.tell(s.news(now))
	s.tell(s.pulse(now, time.Now()))
}

// news is the notice of the status; none when it is as before.
func (s *Service) news(c Condition) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.Status == s.status {
		return ""
	}
	s.status = c.Status
	return "STATUS=" + c.Status
}

// pulse is the notice that the service gets on; none when it does not, or has said so a moment ago.
func (s *Service) pulse(c Condition, now time.Time) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	notice, every, limit := fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", extendBy.Microseconds()), extendEvery, patience
	if s.ready {
		notice, every, limit = "WATCHDOG=1", s.watchdog/4, s.watchdog/2
	}
	stuck := limit > 0 && c.For >= limit
	s.logStuck(stuck, c)
	if stuck || every == 0 || now.Sub(s.told) < every {
		return ""
	}
	s.told = now
	return notice
}

// logStuck tells the log when the service gets stuck, and when it gets on. s.mu must be held.
func (s *Service) logStuck(stuck bool, c Condition) {
	switch {
	case stuck && !s.stuck:
		s.log.Warn("systemd is not told any more that this member gets on: it is stuck", "doing", c.Doing,
			"for", c.For.Round(time.Millisecond))
	case !stuck && s.stuck:
		s.log.Info("systemd is told again that this member gets on")
	}
	s.stuck = stuck
}

// tell delivers a notice, if there is one. That it fails is logged once.
func (s *Service) tell(notice string) {
	if s.send == nil || notice == "" {
		return
	}
	err := s.send(notice)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil && !s.broken {
		s.log.Warn("systemd is not told", "notice", notice, "err", err)
	}
	s.broken = err != nil
}
