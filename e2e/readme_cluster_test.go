package e2e

import (
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// bare are the defaults of a server without flags, with the ports that the README's other lines
// use.
const bare = " --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379" +
	" --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 --initial-cluster " +
	"default=http://127.0.0.1:2380"

// TestTheReadmesClusterLines runs the lines of the sections "A cluster" and "Three members", each
// in a process of its own, on free ports. Each block makes a cluster of three: a key that is
// written at one member is read at the others.
func TestTheReadmesClusterLines(t *testing.T) {
	t.Parallel()
	blocks := clusterLines(t)
	if len(blocks) != 2 {
		t.Fatalf("%d blocks of commands", len(blocks))
	}
	for name, lines := range map[string][]string{"list": blocks[0], "join": blocks[1]} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ports := map[string]string{}
			var clients []string
			for _, line := range lines {
				line = regexp.MustCompile(`http://127\.0\.0\.1:\d+`).ReplaceAllStringFunc(line, func(u string) string {
					if ports[u] == "" {
						ports[u] = freeURL()
					}
					return ports[u]
				})
				runLine(t, t.TempDir(), line)
				clients = append(clients,
					regexp.MustCompile(`--advertise-client-urls (\S+)`).FindStringSubmatch(line)[1])
			}

			for _, to := range clients {
				eventually(t, "a write at "+to, patience, func() bool {
					a, err := ask(t.Context(), "PUT", to+"/v2/keys/k", map[string][]string{"value": {to}})
					return err == nil && a.status < 300
				})
				for _, from := range clients {
					var a answer
					eventually(t, "an answer at "+from, patience, func() (serves bool) {
						var err error
						a, err = ask(t.Context(), "GET", from+"/v2/keys/k?quorum=true", nil)
						return err == nil
					})
					if a.status != http.StatusOK || decode(t, a).Node.Value != to {
						t.Errorf("%s after a write at %s: %s", from, to, a.body)
					}
				}
			}
			eventually(t, "the addresses of all three", patience, func() bool {
				a, err := ask(t.Context(), "GET", clients[0]+"/v2/machines", nil)
				return err == nil && strings.Count(a.body, "http://") == 3
			})
		})
	}
}

// clusterLines returns the commands of the section's console blocks, each on one line and without
// the program's name.
func clusterLines(t *testing.T) (blocks [][]string) {
	t.Helper()
	for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(readmeSection(t,
		"A cluster")+readmeSection(t, "Three members"), -1) {
		var lines []string
		for line := range strings.Lines(block[1]) {
			flags, found := strings.CutPrefix(line, "$ ./etcd2")
			if !found {
				t.Fatalf("not a command: %q", line)
			}
			if strings.TrimSpace(flags) == "" {
				flags = bare
			}
			lines = append(lines, flags)
		}
		blocks = append(blocks, lines)
	}
	return blocks
}

// runLine runs the program in a directory until the end of the test, and asks it to stop then. The
// members of a cluster stop one after another: each hands over to one that is still up.
func runLine(t *testing.T, dir, flags string) {
	t.Helper()
	log := newLogLines()
	cmd := exec.Command(binary, strings.Fields(flags)...)
	cmd.Dir, cmd.Stderr, cmd.Stdout = dir, log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		late := time.AfterFunc(patience, func() {
			cmd.Process.Kill()
			t.Errorf("it does not stop within %v:%s", patience, flags)
		})
		cmd.Wait() // its status says no more than the log
		late.Stop()
		if t.Failed() {
			t.Logf("the last lines of the log of%s:\n%s", flags, log.tail(10))
		}
	})
}
