package systemd

import (
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"
)

// A Condition is the state of a service at one moment.
type Condition struct {
	Status string        // one line for people
	Doing  string        // the piece of work that has been under way for the longest
	For    time.Duration // how long that has been; 0 when nothing is under way
}

const (
	lookEvery   = time.Second      // between two looks at the condition
	extendEvery = 5 * time.Second  // between two requests for more time, before READY=1
	extendBy    = 30 * time.Second // the time that each of these asks for
	startLimit  = 20 * time.Second // longest time for one piece of work, before READY=1
	sendTimeout = time.Second      // for one notice
)

// A Service reports the condition of this process to systemd. All methods may be called from any
// goroutine; they do nothing when systemd has not asked for notices (NOTIFY_SOCKET).
type Service struct {
	log      *slog.Logger
	send     func(notice string) error // nil: systemd has not asked for notices
	watchdog time.Duration             // systemd ends the process after so long without WATCHDOG=1; 0: never

	mu     sync.Mutex       // protects all below
	look   func() Condition // returns the condition of the process
	status string           // last sent
	fed    time.Time        // when the last notice of progress was sent
	ready  bool
	stuck  bool // last logged
	broken bool // the last notice was not delivered
}

// New returns the service that the variables of the environment describe. It logs a warning for a
// variable that is not valid, and later for a notice that can't be delivered.
func New(getenv func(string) string, pid int, log *slog.Logger) *Service {
	s := &Service{log: log, look: func() Condition { return Condition{} }}
	if socket := getenv("NOTIFY_SOCKET"); socket != "" {
		s.send = func(notice string) error { return send(socket, notice) }
	}
	usec, owner := getenv("WATCHDOG_USEC"), getenv("WATCHDOG_PID")
	if usec == "" || owner != "" && owner != strconv.Itoa(pid) {
		return s
	}
	n, err := strconv.ParseInt(usec, 10, 64)
	if err != nil || n <= 0 || n > int64(1<<63-1)/int64(time.Microsecond) {
		log.Warn("the watchdog is not fed: WATCHDOG_USEC is not a number of microseconds", "value", usec)
		return s
	}
	s.watchdog = time.Duration(n) * time.Microsecond
	return s
}

// send delivers one datagram. A socket whose name begins with @ is an abstract one, as in package
// net.
func send(socket, notice string) error {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("systemd: %w", err)
	}
	defer conn.Close()
	conn.SetWriteDeadline(time.Now().Add(sendTimeout))
	if _, err := conn.Write([]byte(notice)); err != nil {
		return fmt.Errorf("systemd: %w", err)
	}
	return nil
}

// Run sends the status when it changes, and the notices of progress. It returns when stop is
// closed.
func (s *Service) Run(stop <-chan struct{}) {
	if s.send == nil {
		return
	}
	ticker := time.NewTicker(s.lookEvery())
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.tick()
		case <-stop:
			return
		}
	}
}

// lookEvery returns the time between two looks at the condition: short enough that progress is
// reported before the watchdog's time is up.
func (s *Service) lookEvery() time.Duration {
	if s.watchdog == 0 {
		return lookEvery
	}
	return max(min(lookEvery, s.watchdog/4), time.Millisecond)
}

// Follow makes look the function that returns the condition from now on. It must not block.
func (s *Service) Follow(look func() Condition) {
	s.mu.Lock()
	s.look = look
	s.mu.Unlock()
	s.notify(s.statusNotice(look()))
}

// Ready reports to systemd that the service answers.
func (s *Service) Ready() {
	s.mu.Lock()
	s.ready, s.fed = true, time.Now() // the watchdog counts from here
	s.mu.Unlock()
	s.notify("READY=1")
}

// Stopping reports to systemd that the service ends.
func (s *Service) Stopping() { s.notify("STOPPING=1") }

// tick looks at the condition once, and sends the notices that follow from it.
func (s *Service) tick() {
	s.mu.Lock()
	look := s.look
	s.mu.Unlock()
	now := look()
	s.notify(s.statusNotice(now))
	s.notify(s.progressNotice(now, time.Now()))
}

// statusNotice returns the notice of a status; "" when it has not changed.
func (s *Service) statusNotice(c Condition) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.Status == s.status {
		return ""
	}
	s.status = c.Status
	return "STATUS=" + c.Status
}

// progressNotice returns the notice that the service makes progress; "" when it is stuck, or when
// the last such notice is recent enough.
func (s *Service) progressNotice(c Condition, now time.Time) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	notice, every, limit := fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", extendBy.Microseconds()), extendEvery, startLimit
	if s.ready {
		notice, every, limit = "WATCHDOG=1", s.watchdog/4, s.watchdog/2
	}
	stuck := limit > 0 && c.For >= limit
	s.logStuck(stuck, c)
	if stuck || every == 0 || now.Sub(s.fed) < every {
		return ""
	}
	s.fed = now
	return notice
}

// logStuck logs when the service gets stuck, and when that ends. s.mu must be held.
func (s *Service) logStuck(stuck bool, c Condition) {
	switch {
	case stuck && !s.stuck:
		s.log.Warn("systemd's watchdog is no longer fed: it is stuck", "doing", c.Doing,
			"for", c.For.Round(time.Millisecond))
	case !stuck && s.stuck:
		s.log.Info("systemd's watchdog is fed again: this member makes progress again")
	}
	s.stuck = stuck
}

// notify sends a notice, unless it is "". The first of several failures is logged.
func (s *Service) notify(notice string) {
	if s.send == nil || notice == "" {
		return
	}
	err := s.send(notice)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil && !s.broken {
		s.log.Warn("a notice to systemd could not be sent", "notice", notice, "err", err)
	}
	s.broken = err != nil
}
