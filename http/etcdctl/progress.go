package etcdctl

import (
	"fmt"
	"io"
	"strings"
	"time"
)

const progressInterval = 200 * time.Millisecond

// A progress shows on a terminal how far a command is, in one line that it rewrites. Without a
// terminal it shows nothing.
type progress struct {
	stop, stopped chan struct{} // nil without a terminal
}

// progress shows what text returns, until end is called.
func (s *session) progress(text func() string) *progress {
	if !isTerminal(s.stderr) {
		return &progress{}
	}
	p := &progress{make(chan struct{}), make(chan struct{})}
	go p.run(s.stderr, text)
	return p
}

func (p *progress) run(w io.Writer, text func() string) {
	defer close(p.stopped)
	tick := time.NewTicker(progressInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			fmt.Fprintf(w, "\r\x1b[K%s", text())
		case <-p.stop:
			fmt.Fprint(w, "\r\x1b[K")
			return
		}
	}
}

// end removes the line.
func (p *progress) end() {
	if p.stop != nil {
		close(p.stop)
		<-p.stopped
	}
}

// bar draws a fraction from 0 to 1.
func bar(fraction float64) string {
	const width = 30
	full := int(min(1, max(0, fraction)) * width)
	return "[" + strings.Repeat("=", full) + strings.Repeat(" ", width-full) + "]"
}
