package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A command is one line of the README's tutorial and what it promises.
type command struct {
	line       string
	background bool     // the line ends in &
	want       []string // lines of output, in which … stands for anything
}

// TestTheTutorialDoesWhatItSays runs every line of the README's tutorial, in
// order, against a fresh server.
func TestTheTutorialDoesWhatItSays(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not installed")
	}
	commands := append(readTutorial(t, "Tutorial"), readTutorial(t, "The page")...)
	if len(commands) < 20 {
		t.Fatalf("only %d commands in the tutorial", len(commands))
	}
	m := startMember(t)
	shell := &shell{t: t, m: m, dir: t.TempDir()}
	for _, c := range commands {
		shell.run(c)
	}
}

// TestTheFrontPageDoesWhatItSays does the same with the lines at the beginning of the front page.
func TestTheFrontPageDoesWhatItSays(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not installed")
	}
	commands := readTutorial(t, "Twelve lines")
	if len(commands) != 12 {
		t.Fatalf("%d commands", len(commands))
	}
	shell := &shell{t: t, m: startMember(t), dir: t.TempDir()}
	for _, c := range commands {
		shell.run(c)
	}
}

// TestTheWalkThroughUsersDoesWhatItSays does the same with the section on users and roles.
func TestTheWalkThroughUsersDoesWhatItSays(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not installed")
	}
	commands := readTutorial(t, "Users and roles")
	if len(commands) < 8 {
		t.Fatalf("only %d commands about users", len(commands))
	}
	shell := &shell{t: t, m: startMember(t), dir: t.TempDir()}
	for _, c := range commands {
		shell.run(c)
	}
}

// readTutorial reads the commands of a section of the README. A command that ends with " &" runs in
// the background.
func readTutorial(t *testing.T, name string) []command {
	t.Helper()
	commands := consoleLines(readmeSection(t, name))
	for i := range commands {
		c := &commands[i]
		c.line, c.background = strings.CutSuffix(c.line, " &")
	}
	return commands
}

// consoleLines reads the commands of a text: in its console blocks, lines that begin with "$ " are
// commands, and the others are output.
func consoleLines(text string) (commands []command) {
	for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(text, -1) {
		for line := range strings.Lines(block[1]) {
			line = strings.TrimSuffix(line, "\n")
			if text, isCommand := strings.CutPrefix(line, "$ "); isCommand {
				commands = append(commands, command{line: text})
				continue
			}
			last := &commands[len(commands)-1]
			last.want = append(last.want, line)
		}
	}
	return commands
}

// A shell runs commands in a directory of its own; at most one of them is in
// the background, and ends after the next one.
type shell struct {
	t   *testing.T
	m   *member
	dir string
	env []string // besides this process's own

	waiting *command
	output  chan string
}

func (s *shell) run(c command) {
	s.t.Helper()
	if c.background {
		s.waiting, s.output = &c, make(chan string, 1)
		go func() { s.output <- s.execute(c.line) }()
		eventually(s.t, "the watch of "+c.line, patience, func() bool { return s.m.metric("etcd_store_watchers") == 1 })
		return
	}
	s.check(c, s.execute(c.line))
	if s.waiting != nil {
		select {
		case got := <-s.output:
			s.check(*s.waiting, got)
		case <-time.After(patience):
			s.t.Fatalf("%s: does not end", s.waiting.line)
		}
		s.waiting = nil
	}
}

// execute runs one line against the member instead of the README's default port.
func (s *shell) execute(line string) string {
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	line = strings.ReplaceAll(line, "http://127.0.0.1:2379", s.m.url)
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), s.env...)
	out, err := cmd.Output()
	if err != nil {
		return err.Error() + "\n" + string(out)
	}
	return string(out)
}

var ttlField = regexp.MustCompile(`"ttl":\d+`)

// orSomewhatLess returns a pattern for the rest of a time to live when the command has taken up to
// a minute.
func orSomewhatLess(field string) string {
	name, number, _ := strings.Cut(field, ":")
	n, _ := strconv.Atoi(number)
	pattern := number
	for less := n - 1; less > 0 && less >= n-60; less-- {
		pattern += fmt.Sprint("|", less)
	}
	return name + ":(" + pattern + ")"
}

func (s *shell) check(c command, got string) {
	s.t.Helper()
	want := regexp.QuoteMeta(strings.Join(c.want, "\n"))
	want = strings.ReplaceAll(want, "…", `[^\n]*`)
	want = ttlField.ReplaceAllStringFunc(want, orSomewhatLess)
	got = strings.TrimSuffix(strings.ReplaceAll(got, "\r\n", "\n"), "\n")
	if !regexp.MustCompile("^" + want + "$").MatchString(got) {
		s.t.Errorf("$ %s\ngot  %s\nwant %s", c.line, got, strings.Join(c.want, "\n"))
	}
}
