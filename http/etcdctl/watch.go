package etcdctl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"etcd2/http/client"
)

var (
	afterIndexOption = option{name: "after-index", arg: "N", check: index, preset: "0",
		help: "begin after the event with this index; 0: now"}
	recursiveOption = option{name: "recursive", alias: "r", help: "also all keys below"}
)

var watchCommands = []*command{
	{
		name: "watch", args: "KEY", help: "wait for a change of a key, and print it", run: runWatch,
		more: "With --forever it continues until it is interrupted, also when members fail and come back.",
		options: []option{
			{name: "forever", alias: "f", help: "continue after the first change"}, afterIndexOption, recursiveOption,
		},
		examples: []example{
			{"watch /message", ""}, {"watch --forever --recursive /app", "all changes below a directory"},
			{"watch --after-index 9 /message", "the first change after the index 9"},
		},
	},
	{
		name: "exec-watch", args: "KEY [--] COMMAND [ARGUMENT...]", help: "run a command at every change of a key",
		foreign: 2, run: runExecWatch,
		more: "The command finds the change in ETCD_WATCH_ACTION, ETCD_WATCH_KEY, ETCD_WATCH_MODIFIED_INDEX and " +
			"ETCD_WATCH_VALUE.\n" +
			"One command runs at a time, in the order of the changes; changes that come meanwhile wait, and none is " +
			"left out. A command that fails does\n" +
			"not end the watch; one that can't be started does. A variable that the environment can't hold, because " +
			"of a NUL or its length (128 KiB on\n" +
			"Linux), is named in ETCD_WATCH_OMITTED, as in ETCD_WATCH_OMITTED=ETCD_WATCH_VALUE, and the value then " +
			"comes on standard input.",
		options: []option{afterIndexOption, recursiveOption},
		examples: []example{
			{"exec-watch --recursive /app -- sh -c 'env | grep ETCD_WATCH'", ""},
			{"exec-watch /config -- systemctl reload shop", ""},
		},
	},
}

// errInterrupted ends a command that runs for ever, with status 0.
var errInterrupted = &failure{0, ""}

// untilInterrupt returns a context that ends when the user interrupts, and not after
// --total-timeout.
func (s *session) untilInterrupt() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.WithoutCancel(s.ctx), os.Interrupt)
}

// events calls f with every event until (1) f returns true or an error, (2) a member refuses, or
// (3) ctx ends, because the user interrupts.
func (s *session) events(
	ctx context.Context, key string, o client.WatchOptions, f func(*client.Response) (enough bool, err error),
) error {
	c, err := s.cluster()
	if err != nil {
		return err
	}
	defer c.Close()
	o.AfterIndex, o.Recursive = s.opts.index("after-index"), s.opts.on("recursive")
	w := c.Watch(key, o)
	defer w.Close()
	for {
		resp, err := w.Next(ctx)
		switch {
		case errors.Is(err, context.Canceled) && ctx.Err() != nil:
			return errInterrupted
		case err != nil:
			return refused(err)
		}
		if enough, err := f(resp); enough || err != nil {
			return err
		}
	}
}

func runWatch(s *session, args []string) error {
	key, err := keyOf(args)
	if err != nil {
		return err
	}
	o := client.WatchOptions{}
	if !s.opts.on("forever") {
		o.Patience = s.global.duration("total-timeout")
	}
	ctx, cancel := s.untilInterrupt()
	defer cancel()
	return s.events(ctx, key, o, func(resp *client.Response) (bool, error) {
		if resp.Node.Dir {
			return false, nil
		}
		if s.opts.on("recursive") {
			s.tell(s.stdout, "[%s] %s\n", resp.Action, resp.Node.Key)
		}
		return !s.opts.on("forever"), s.show(resp)
	})
}

func runExecWatch(s *session, args []string) error {
	if len(args) < 2 {
		return wrong("key and command to exec required")
	}
	key, command := args[0], args[1:]
	if command[0] == "--" {
		command = command[1:]
	}
	ctx, cancel := s.untilInterrupt()
	defer cancel()
	queue := make(chan *client.Response, mostAhead)
	var watched error // is set before queue is closed
	go func() {
		defer close(queue)
		watched = s.events(ctx, key, client.WatchOptions{}, func(resp *client.Response) (bool, error) {
			select {
			case queue <- resp:
			case <-ctx.Done():
			}
			return false, nil
		})
	}()
	for resp := range queue {
		if err := s.execute(ctx, command, resp); err != nil {
			return err
		}
	}
	return watched
}

// mostAhead is how many events exec-watch reads while a command runs. Later ones wait in the
// history of the members.
const mostAhead = 64

// execute runs a command for an event, and waits for its end or for an interrupt. The status of the
// command does not matter, as in 2.3.8.
func (s *session) execute(ctx context.Context, command []string, resp *client.Response) error {
	switch {
	case ctx.Err() != nil:
		return errInterrupted
	case resp.Node.Dir:
		s.tell(s.stderr, "Ignored dir %s change", resp.Node.Key)
		return nil
	}
	cmd, err := s.start(command, resp, false)
	if errors.Is(err, syscall.E2BIG) {
		cmd, err = s.start(command, resp, true)
	}
	if err != nil {
		return bare(err)
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return errInterrupted
	}
}

// start starts a command with an event in its environment. The value is left out if large is set,
// and so is every variable with a NUL, which an environment can't hold. When the value is left out,
// the command gets it on standard input.
func (s *session) start(command []string, resp *client.Response, large bool) (*exec.Cmd, error) {
	n := resp.Node
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = s.stdout, s.stderr
	cmd.WaitDelay = time.Second // for the pipes that its own children hold
	cmd.Env = slices.Clone(s.environ)
	var omitted []string
	for _, v := range []struct{ name, value string }{
		{"ETCD_WATCH_ACTION", resp.Action},
		{"ETCD_WATCH_KEY", n.Key},
		{"ETCD_WATCH_MODIFIED_INDEX", strconv.FormatUint(n.ModifiedIndex, 10)},
		{"ETCD_WATCH_VALUE", n.Value},
	} {
		isValue := v.name == "ETCD_WATCH_VALUE"
		if !strings.Contains(v.value, "\x00") && !(large && isValue) {
			cmd.Env = append(cmd.Env, v.name+"="+v.value)
			continue
		}
		omitted = append(omitted, v.name)
		if isValue {
			cmd.Stdin = strings.NewReader(n.Value)
		}
	}
	if len(omitted) > 0 {
		cmd.Env = append(cmd.Env, "ETCD_WATCH_OMITTED="+strings.Join(omitted, " "))
	}
	err := cmd.Start()
	if err == nil && len(omitted) > 0 {
		fmt.Fprintf(s.stderr, "%q at index %d: the environment can't hold %s (the value has %d bytes)\n",
			n.Key, n.ModifiedIndex, strings.Join(omitted, " and "), len(n.Value))
	}
	return cmd, err
}

// pause waits for d, and reports whether the user has interrupted.
func pause(ctx context.Context, d time.Duration) (interrupted bool) {
	select {
	case <-time.After(d):
		return false
	case <-ctx.Done():
		return true
	}
}
