package e2e

import (
	"os"
	"syscall"
	"testing"
)

// Many supervisors write a log to a pipe, whose reader may go away; and a shell sends a hangup when
// it ends.
func TestAMemberOutlivesTheReaderOfItsLogAndAHangup(t *testing.T) {
	t.Parallel()
	m := newMember(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	m.handed = append(m.handed, w)
	m.wrap = []string{"sh", "-c", `exec "$@" 2>&3 3>&-`, "sh"}
	m.start()
	r.Close()
	w.Close()

	eventually(t, "lines of the log that are lost", patience, func() bool {
		// The member logs each hangup. The first lines may still get through: a process that
		// another test is just starting may hold the pipe open.
		m.signal(syscall.SIGHUP)
		return m.metric("process_log_lines_lost_total") > 0
	})
	m.put("/k", "v")

	if status := m.stop(); status != 0 {
		t.Errorf("it ended with status %d", status)
	}
}

func TestAHangupReadsTheCertificatesAgain(t *testing.T) {
	t.Parallel()
	m := startMember(t)
	since := m.log.count()

	m.signal(syscall.SIGHUP)

	m.expectLog(since, "level=INFO", "reading the certificates again", "signal=hangup")
	m.expectLog(since, "no flag names a certificate to read again", "port=client")
	m.expectLog(since, "no flag names a certificate to read again", "port=peer")
	m.put("/k", "v")
}
