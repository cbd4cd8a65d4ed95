package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"etcd2/http/certs/certstest"
)

// prepare makes what a part of the chapter needs in its directory. When that is not possible here,
// it skips the part.
var prepare = map[string]func(t *testing.T, dir string){
	"A certificate has expired": func(t *testing.T, dir string) {
		certstest.NewAuthority(t, "CA").Issue(t, "a", certstest.Valid(-48*time.Hour, -24*time.Hour)).Save(t, dir, "a")
	},
	"A full disk": func(t *testing.T, dir string) {
		data := filepath.Join(dir, "a.etcd")
		if err := os.Mkdir(data, 0o700); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=128m",
			"tmpfs", data).CombinedOutput(); err != nil {
			t.Skipf("mount is not permitted here: %s", out)
		}
		t.Cleanup(func() { exec.Command("umount", "-l", data).Run() })
	},
}

// TestWhatToDoWhenSomethingIsWrong runs every line of the README's chapter, each part in a
// directory and on ports of its own.
func TestWhatToDoWhenSomethingIsWrong(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"bash", "curl", "openssl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed", program)
		}
	}
	parts := strings.Split(readmeSection(t, "When something is wrong"), "\n### ")
	common := consoleLines(parts[0])
	if len(parts) != 11 || len(common) != 2 {
		t.Fatalf("%d parts, and %d lines before them", len(parts)-1, len(common))
	}
	for _, part := range parts[1:] {
		name, text, _ := strings.Cut(part, "\n")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t)
			if ready := prepare[name]; ready != nil {
				ready(t, s.dir)
			}
			s.begin()
			for _, c := range append(common, consoleLines(text)...) {
				s.check(c)
			}
		})
	}
}

// A story is one shell, in which the members of a part of the chapter run.
type story struct {
	t     *testing.T
	dir   string
	ports map[string]string
	in    io.Writer
	out   *bufio.Reader
}

func newStory(t *testing.T) *story {
	t.Helper()
	dir, err := os.MkdirTemp("", "e2e")
	if err = errors.Join(err, os.Symlink(binary, filepath.Join(dir, "etcd2")), lookAtSources()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return &story{t: t, dir: dir, ports: map[string]string{}}
}

// begin starts the shell. At the end of the test all processes that the shell has started are
// killed.
func (s *story) begin() {
	s.t.Helper()
	cmd := exec.Command("bash")
	cmd.Dir = s.dir
	etcdctl := patiently(s.t, filepath.Join(ours(s.t, "etcdctl"), "etcdctl"))
	cmd.Env = append(os.Environ(), "PATH="+etcdctl+":"+os.Getenv("PATH"),
		"ETCDCTL_ENDPOINTS="+s.located("http://127.0.0.1:2379"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	out, outErr := cmd.StdoutPipe()
	if err := errors.Join(err, outErr, cmd.Start()); err != nil {
		s.t.Fatal(err)
	}
	s.in, s.out = in, bufio.NewReader(out)
	s.t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		cmd.Wait()
		if s.t.Failed() {
			logs, _ := filepath.Glob(filepath.Join(s.dir, "*.log"))
			for _, log := range logs {
				b, _ := os.ReadFile(log)
				s.t.Logf("%s:\n%s", filepath.Base(log), b[max(0, len(b)-3000):])
			}
		}
	})
}

// located returns a text with the ports of this story.
func (s *story) located(text string) string {
	return regexp.MustCompile(`\b[234]?2(379|380)\b`).ReplaceAllStringFunc(text, func(port string) string {
		if s.ports[port] == "" {
			s.ports[port] = freeURL()[len("http://127.0.0.1:"):]
		}
		return s.ports[port]
	})
}

// looks are the commands that change nothing. They are repeated, as a reader would do, until the
// output is what the README says.
var looks = regexp.MustCompile(`^(curl -s http[^|]*|curl -s --cacert [^|]*|etcdctl doctor|etcdctl member list|` +
	`etcdctl (--no-sync --endpoints \S+ )?get|grep|cat) ?`)

func (s *story) check(c command) {
	s.t.Helper()
	want := regexp.QuoteMeta(s.located(strings.Join(c.want, "\n")))
	want = strings.ReplaceAll(want, "0 to note", `\d+ to note`) // a disk is slow on a busy machine
	pattern := regexp.MustCompile("^" + strings.ReplaceAll(want, "…", `[^\n]*`) + "$")
	line := s.located(c.line)
	defer s.awaitMembers(c.line)()
	again := looks.MatchString(c.line) && !strings.Contains(c.line, "-X")
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		got := s.execute(line)
		if pattern.MatchString(got) {
			return
		}
		if !again || time.Now().After(deadline) {
			s.t.Fatalf("$ %s\ngot  %s\nwant %s", line, got, pattern)
		}
	}
}

// awaitMembers returns a function that waits until each member that a line starts serves clients,
// or has logged why it does not.
func (s *story) awaitMembers(line string) func() {
	said := func(name string) int {
		log, _ := os.ReadFile(filepath.Join(s.dir, name+".log")) // before its first start there is none
		return len(regexp.MustCompile(`(?m)msg=serving|^etcd2: `).FindAllIndex(log, -1))
	}
	before := map[string]int{}
	for _, m := range regexp.MustCompile(`\bmember ([abc]) `).FindAllStringSubmatch(line, -1) {
		before[m[1]] = said(m[1])
	}
	return func() {
		for name, n := range before {
			eventually(s.t, "member "+name+" serves", patience, func() bool { return s.t.Failed() || said(name) > n })
		}
	}
}

// ended is the shell's message about a process that it has started, at any line.
var ended = regexp.MustCompile(`(?m)^bash: line \d+: +\d+ (Killed|Terminated) .*\n`)

const endOfOutput = "-- end of the output --"

// execute runs one line, and returns what it prints.
func (s *story) execute(line string) string {
	s.t.Helper()
	fmt.Fprintf(s.in, "{ %s\n} 2>&1; echo; echo '%s'\n", line, endOfOutput)
	var got strings.Builder
	for {
		text, err := s.out.ReadString('\n')
		switch {
		case err != nil:
			s.t.Fatalf("$ %s\nthe shell has ended: %s", line, &got)
		case text == endOfOutput+"\n":
			text = ended.ReplaceAllString(got.String(), "")
			return strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\n")
		}
		got.WriteString(text)
	}
}
