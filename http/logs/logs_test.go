package logs

import (
	"fmt"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "etcd2/e2e/pace" // -long
)

func TestAPackageMayHaveALogLevelOfItsOwn(t *testing.T) {
	var out strings.Builder
	sink := NewSink(&out)
	l := New(sink, false, map[string]slog.Level{"raft": slog.LevelDebug, "http": slog.LevelError})
	for _, pkg := range []string{"raft", "http", "main"} {
		l.Logger(pkg).Debug("quiet")
		l.Logger(pkg).Warn("loud")
	}
	if err := l.SetLevel("debug"); err != nil {
		t.Fatal(err)
	}
	l.Logger("main").Debug("now")
	sink.Flush()

	for _, want := range []string{"quiet pkg=raft", "loud pkg=raft", "loud pkg=main", "now pkg=main"} {
		if !strings.Contains(out.String(), "msg="+want) {
			t.Errorf("%q is missing in\n%s", want, &out)
		}
	}
	if n := strings.Count(out.String(), "\n"); n != 4 {
		t.Errorf("%d lines:\n%s", n, &out)
	}
}

// No level, set by the API or at the start, suppresses a line about security.
func TestLinesAboutSecurityPassAtEveryLevel(t *testing.T) {
	var out strings.Builder
	sink := NewSink(&out)
	l := New(sink, false, map[string]slog.Level{"certs": levels["CRITICAL"]})
	if err := l.SetLevel("CRITICAL"); err != nil {
		t.Fatal(err)
	}
	for _, pkg := range []string{"auth", "certs", "http"} {
		l.Logger(pkg).Debug("detail")
		l.Logger(pkg).Info("security")
	}
	sink.Flush()

	if got := out.String(); strings.Count(got, "\n") != 2 || !strings.Contains(got, "msg=security pkg=auth") ||
		!strings.Contains(got, "msg=security pkg=certs") {
		t.Errorf("the log has\n%s", got)
	}
}

// A stalled is a writer that waits until it is closed, and then fails.
type stalled chan struct{}

func (s stalled) Write([]byte) (int, error) { <-s; return 0, syscall.EPIPE }

func TestALogThatNobodyReadsHoldsUpNobody(t *testing.T) {
	stands := make(stalled)
	s := NewSink(stands)
	for range sinkLines + 10 {
		fmt.Fprintln(s, "a line")
	}
	begun := time.Now()
	s.Flush()
	took := time.Since(begun)
	waiting := s.lost.Load()
	close(stands)
	s.Flush()

	if took > 10*flushTimeout || waiting < 9 || s.lost.Load() != sinkLines+10 {
		t.Errorf("flushed in %v, %d lost while it stood, %d after", took, waiting, s.lost.Load())
	}
}
