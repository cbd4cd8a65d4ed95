package e2e

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"etcd2/e2e/pace"
)

// A pythonist is a process that runs testdata/python_recipes.py.
type pythonist struct {
	t    *testing.T
	name string
	said *logLines
	cmd  *exec.Cmd
	done chan struct{}
}

// pythonists starts n processes of one recipe. Each asks a different member first.
func (c *cluster) pythonists(n int, recipe string) (list []*pythonist) {
	c.t.Helper()
	skipWithoutPythonEtcd(c.t)
	for i := range n {
		p := &pythonist{t: c.t, name: fmt.Sprint("python", i), said: newLogLines(), done: make(chan struct{})}
		args := []string{"testdata/python_recipes.py", recipe, p.name}
		for j := range c.members {
			args = append(args, c.members[(i+j)%len(c.members)].url)
		}
		p.cmd = exec.Command(python, args...)
		p.cmd.Stdout, p.cmd.Stderr = p.said, p.said
		p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := p.cmd.Start(); err != nil {
			c.t.Fatal(err)
		}
		go func() {
			p.cmd.Wait() // killed, in the end
			close(p.done)
		}()
		c.t.Cleanup(func() {
			p.kill()
			if c.t.Failed() {
				c.t.Logf("%s said:\n%s", p.name, p.said.tail(20))
			}
		})
		list = append(list, p)
	}
	return list
}

// kill ends the process, which releases nothing.
func (p *pythonist) kill() {
	p.cmd.Process.Kill()
	<-p.done
}

// leave lets the process release what it holds, and end.
func (p *pythonist) leave() {
	p.t.Helper()
	p.cmd.Process.Signal(syscall.SIGTERM)
	p.expect(0, "released")
	<-p.done
}

// expect waits for a line from the n-th on.
func (p *pythonist) expect(n int, word string) {
	p.t.Helper()
	if _, err := p.said.await(n, word); err != nil {
		p.t.Fatalf("%s: %v", p.name, err)
	}
}

func (p *pythonist) has(word string) bool { return slices.Contains(p.said.since(0), word) }

// theOne waits until one of the processes has printed a word, which no other process may have
// printed.
func theOne(t *testing.T, list []*pythonist, word string) (one *pythonist) {
	t.Helper()
	eventually(t, "somebody "+word, patience, func() bool {
		one = onlyOne(t, list, word)
		return one != nil
	})
	return one
}

// onlyOne returns the process that has printed a word, which no other process may have printed; nil
// when none has.
func onlyOne(t *testing.T, list []*pythonist, word string) (one *pythonist) {
	t.Helper()
	for _, p := range list {
		if p.has(word) {
			if one != nil {
				t.Fatalf("%s and %s: %s", one.name, p.name, word)
			}
			one = p
		}
	}
	return one
}

// expectRenewals waits for more renewals than fit into a time to live. Meanwhile no other process
// may print the word.
func (p *pythonist) expectRenewals(list []*pythonist, word string) {
	p.t.Helper()
	renewals := func() (n int) {
		for _, line := range p.said.since(0) {
			if line == "renewed" {
				n++
			}
		}
		return n
	}
	before := renewals()
	eventually(p.t, "renewals by "+p.name, patience, func() bool { return renewals() >= before+18 })
	if one := onlyOne(p.t, list, word); one != p {
		p.t.Errorf("not %s but %s: %s", p.name, one.name, word)
	}
}

// The recipes of python3-etcd that choose one of many: its lock, which is a queue of keys in order,
// and an election, which is a key that is created and then refreshed. A process that renews its key
// keeps it, also when a member dies. A process that dies loses it when its time to live is over,
// and one that leaves releases it at once.
func TestPythonsLockAndElectionSurviveAMember(t *testing.T) {
	pace.NeedsLong(t)
	t.Parallel()
	for recipe, word := range map[string]string{"lock": "holds", "election": "leads"} {
		t.Run(recipe, func(t *testing.T) {
			t.Parallel()
			c := startCluster(t, 3, quick...)
			list := c.pythonists(3, recipe)
			first := theOne(t, list, word)
			for _, p := range without(list, first) {
				p.expect(0, "stands")
			}
			// a lock that does not find its entry makes another one, and then the first entry
			// blocks the queue
			c.allHaveApplied()

			c.leader().kill()
			first.expectRenewals(list, word)

			first.kill()
			list = without(list, first)
			second := theOne(t, list, word)

			second.leave()
			theOne(t, without(list, second), word)
		})
	}
}

// An eternal watch of python3-etcd moves from member to member and misses nothing.
func TestPythonsEternalWatchMissesNothing(t *testing.T) {
	pace.NeedsLong(t)
	t.Parallel()
	c := startCluster(t, 3, quick...)
	list := c.pythonists(3, "watch")
	var want []string
	write := func(m *member, n int) {
		for range n {
			value := fmt.Sprint("event ", len(want))
			m.put("/w/k", value)
			want = append(want, value)
		}
	}
	arrived := func() {
		t.Helper()
		for _, p := range list {
			p.expect(0, want[len(want)-1])
		}
	}
	write(c.members[0], 20)
	arrived()

	for range 3 {
		m := c.leader()
		m.kill()
		other := c.running()[0]
		other.serves()
		write(other, 20)
		arrived()
		m.start()
	}

	for _, p := range list {
		if got := strings.Join(p.said.since(1), "\n"); got != strings.Join(want, "\n") {
			t.Errorf("%s saw\n%s", p.name, got)
		}
	}
}
