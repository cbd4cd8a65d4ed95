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
	"time"

	"etcd2/http/client"
)

var (
	afterIndexOption = option{name: "after-index", arg: "N", check: index, preset: "0", help: "begin after the event with this index; 0: now"}
	recursiveOption  = option{name: "recursive", alias: "r", help: "all keys below, too"}
)

var watchCommands = []*command{
	{
		name: "watch", args: "KEY", help: "wait for a change of a key, and print it", run: runWatch,
		more: "With --forever it goes on, when members fail and come back, too, until it is interrupted.",
		options: []option{
			{name: "forever", alias: "f", help: "go on after the first change"}, afterIndexOption, recursiveOption,
		},
		examples: []example{
			{"watch /message", ""}, {"watch --forever --recursive /app", "all changes below a directory"},
			{"watch --after-index 9 /message", "the first change after the index 9"},
		},
	},
	{
		name: "exec-watch", args: "KEY [--] COMMAND [ARGUMENT...]", help: "run a command at every change of a key", foreign: 2, run: runExecWatch,
		more: "The command finds the change in ETCD_WATCH_ACTION, ETCD_WATCH_KEY, ETCD_WATCH_MODIFIED_INDEX and ETCD_WATCH_VALUE.\n" +
			"Several may run at a time: the next change does not wait for the last command.",
		options: []option{afterIndexOption, recursiveOption},
		examples: []example{
			{"exec-watch --recursive /app -- sh -c 'env | grep ETCD_WATCH'", ""},
			{"exec-watch /config -- systemctl reload shop", ""},
		},
	},
}

// errInterrupted ends what runs for ever: with status 0.
var errInterrupted = &failure{0, ""}

// untilInterrupt returns a context without --total-timeout, which ends when the user interrupts.
func (s *session) untilInterrupt() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.WithoutCancel(s.ctx), os.Interrupt)
}

// events calls f with every event, until f has enough, a member refuses, or the user interrupts.
func (s *session) events(key string, o client.WatchOptions, f func(*client.Response) (enough bool, err error)) error {
	ctx, cancel := s.untilInterrupt()
	defer cancel()
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
	return s.events(key, o, func(resp *client.Response) (bool, error) {
		if resp.Node.Dir {
			return false, nil
		}
		if s.opts.on("recursive") {
			fmt.Fprintf(s.stdout, "[%s] %s\n", resp.Action, resp.Node.Key)
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
	return s.events(key, client.WatchOptions{}, func(resp *client.Response) (bool, error) {
		if resp.Node.Dir {
			fmt.Fprintf(s.stderr, "Ignored dir %s change", resp.Node.Key)
			return false, nil
		}
		return false, s.start(command, resp)
	})
}

// start runs a command for an event, and does not wait for it.
func (s *session) start(command []string, resp *client.Response) error {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = s.stdout, s.stderr
	cmd.Env = append(slices.Clone(s.environ),
		"ETCD_WATCH_ACTION="+resp.Action,
		"ETCD_WATCH_KEY="+resp.Node.Key,
		"ETCD_WATCH_MODIFIED_INDEX="+strconv.FormatUint(resp.Node.ModifiedIndex, 10),
		"ETCD_WATCH_VALUE="+resp.Node.Value)
	if err := cmd.Start(); err != nil {
		return bare(err)
	}
	go cmd.Wait() // its status is nobody's business, but somebody must take it
	return nil
}

// pause waits, and tells whether the user has interrupted.
func pause(ctx context.Context, d time.Duration) (interrupted bool) {
	select {
	case <-time.After(d):
		return false
	case <-ctx.Done():
		return true
	}
}
