package etcdctl

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"etcd2/http/client"
)

var (
	ttlOption    = option{name: "ttl", arg: "SECONDS", check: number, preset: "0", help: "time to live; 0: for ever"}
	sortOption   = option{name: "sort", help: "in order of names (members of etcd2 always sort)"}
	quorumOption = option{name: "quorum", alias: "q", help: "see every write that was acknowledged before"}
	valueMore    = "If the value is missing, it is read from standard input.\n" +
		"A value that begins with a dash needs -- before the key."
	updateDirMore = "The keys in the directory stay as they are. Without --ttl the directory no longer expires."
)

var keyCommands = []*command{
	{
		name: "mk", args: "KEY [VALUE]", help: "make a key that does not exist", more: valueMore, run: runMk,
		options: []option{{name: "in-order",
			help: "make a key in the directory KEY, with a name that sorts after those made before"}, ttlOption},
		examples: []example{
			{"mk /lock me --ttl 30", "take a lock for half a minute"},
			{"mk --in-order /queue 'job 1'", "append to a queue"},
		},
	},
	{
		name: "mkdir", args: "KEY", help: "make a directory that does not exist", options: []option{ttlOption},
		examples: []example{{"mkdir /app", ""}}, run: writeDir(client.SetOptions{PrevExist: client.MustNotExist}),
	},
	{
		name: "rm", args: "KEY", help: "remove a key, or a directory", run: runRm,
		options: []option{
			{name: "dir", help: "remove an empty directory, too"},
			{name: "recursive", alias: "r", help: "remove a directory with everything in it"},
			{name: "with-value", arg: "VALUE", check: text, help: "only if this is its value"},
			{name: "with-index", arg: "N", check: index, preset: "0", help: "only if this is its modifiedIndex"},
		},
		examples: []example{{"rm /message", ""}, {"rm --recursive /app", ""},
			{"rm --with-value me /lock", "release a lock, if it is still mine"}},
	},
	{
		name: "rmdir", args: "KEY", help: "remove an empty directory, or a key",
		examples: []example{{"rmdir /app", ""}}, run: runRmdir,
	},
	{
		name: "get", args: "KEY", help: "print the value of a key", options: []option{sortOption, quorumOption},
		examples: []example{{"get /message", ""},
			{"get --quorum /message", "with the last acknowledged write, whichever member it went to"}}, run: runGet,
	},
	{
		name: "ls", args: "[KEY]", help: "list a directory", run: runLs,
		options: []option{
			sortOption, {name: "recursive", alias: "r", help: "with all keys below"},
			{name: "p", help: "with a slash after directories"}, quorumOption,
			{name: "limit", arg: "N", check: index, preset: "0",
				help: "at most N children of the directory; 0: all"},
			{name: "after", arg: "NAME", check: text, help: "only children after this one"},
			{name: "prefix", arg: "NAME", check: text,
				help: "only children whose names begin with this; _ shows hidden ones"},
			{name: "count", help: "only the number of children; combines with --after and --prefix"},
		},
		examples: []example{
			{"ls", ""}, {"ls --recursive -p /app", "everything below, directories with a slash"},
			{"ls --limit 100 --after job-0100 /queue", "the next hundred"}, {"ls --count --prefix job- /queue", ""},
		},
	},
	{
		name: "set", args: "KEY [VALUE]", help: "set a key, whether it exists or not", more: valueMore, run: runSet,
		options: []option{
			ttlOption,
			{name: "swap-with-value", arg: "VALUE", check: text, help: "only if this is the value now"},
			{name: "swap-with-index", arg: "N", check: index, preset: "0",
				help: "only if this is the modifiedIndex now"},
		},
		examples: []example{
			{"set /message Hello", ""}, {"set /session open --ttl 60", "for a minute"},
			{"set /motd < file", "the content of a file"}, {"set -- /limit -5", "a value with a dash"},
			{"set --swap-with-value Hello /message Bye", "if nobody has changed it meanwhile"},
		},
	},
	{
		name: "setdir", args: "KEY", help: "make a directory, in place of a key if there is one",
		options:  []option{ttlOption},
		examples: []example{{"setdir /app --ttl 600", ""}}, run: writeDir(client.SetOptions{}),
	},
	{
		name: "update", args: "KEY [VALUE]", help: "set a key that exists", more: valueMore,
		options:  []option{ttlOption},
		examples: []example{{"update /message Bye", ""}}, run: runUpdate,
	},
	{
		name: "updatedir", args: "KEY", help: "give a directory a time to live, or none", more: updateDirMore,
		options:  []option{ttlOption},
		examples: []example{{"updatedir /app --ttl 60", "for one more minute"}},
		run:      writeDir(client.SetOptions{PrevExist: client.MustExist}),
	},
}

// A call sends a request of the keys API.
type call func(ctx context.Context, c *client.Client) (*client.Response, error)

// request calls do with a client of the cluster.
func (s *session) request(do call) (*client.Response, error) {
	c, err := s.cluster()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	resp, err := do(s.ctx, c)
	return resp, refused(err)
}

// setOptions adds --ttl and a RequestID, so that the write may be sent again.
func (s *session) setOptions(o client.SetOptions) client.SetOptions {
	o.TTL = seconds(s.opts.number("ttl"))
	o.RequestID = client.NewRequestID()
	return o
}

func keyOf(args []string) (string, error) {
	if len(args) == 0 {
		return "", wrong("key required")
	}
	return args[0], nil
}

// keyValue returns the two arguments. A missing value is read from standard input.
func (s *session) keyValue(args []string) (key, value string, err error) {
	if key, err = keyOf(args); err != nil {
		return "", "", err
	}
	if len(args) > 1 {
		return key, args[1], nil
	}
	b, err := io.ReadAll(s.stdin)
	if err != nil || len(b) == 0 {
		return "", "", wrong("value required")
	}
	return key, string(b), nil
}

// A writer is a method of a client that writes a key.
type writer func(*client.Client, context.Context, string, string, client.SetOptions) (*client.Response, error)

// write writes a key with its value, and prints the response.
func (s *session) write(args []string, do writer, o client.SetOptions) error {
	key, value, err := s.keyValue(args)
	if err != nil {
		return err
	}
	resp, err := s.request(func(ctx context.Context, c *client.Client) (*client.Response, error) {
		return do(c, ctx, key, value, s.setOptions(o))
	})
	if err != nil {
		return err
	}
	return s.show(resp)
}

func runSet(s *session, args []string) error {
	return s.write(args, (*client.Client).Set, client.SetOptions{
		PrevValue: s.opts.text("swap-with-value"), PrevIndex: s.opts.index("swap-with-index"),
	})
}

func runMk(s *session, args []string) error {
	do := (*client.Client).Create
	if s.opts.on("in-order") {
		do = (*client.Client).CreateInOrder
	}
	return s.write(args, do, client.SetOptions{})
}

func runUpdate(s *session, args []string) error {
	return s.write(args, (*client.Client).Update, client.SetOptions{})
}

// writeDir returns the function of a command that writes a directory, and prints nothing.
func writeDir(o client.SetOptions) func(*session, []string) error {
	return func(s *session, args []string) error {
		key, err := keyOf(args)
		if err != nil {
			return err
		}
		o := s.setOptions(o)
		o.Dir = true
		_, err = s.request(func(ctx context.Context, c *client.Client) (*client.Response, error) {
			return c.Set(ctx, key, "", o)
		})
		return err
	}
}

func runRm(s *session, args []string) error {
	return s.remove(args, client.DeleteOptions{
		Dir: s.opts.on("dir"), Recursive: s.opts.on("recursive"),
		PrevValue: s.opts.text("with-value"), PrevIndex: s.opts.index("with-index"),
	})
}

func runRmdir(s *session, args []string) error {
	return s.remove(args, client.DeleteOptions{Dir: true})
}

// remove removes a node. For a directory it prints nothing.
func (s *session) remove(args []string, o client.DeleteOptions) error {
	key, err := keyOf(args)
	if err != nil {
		return err
	}
	o.RequestID = client.NewRequestID()
	resp, err := s.request(func(ctx context.Context, c *client.Client) (*client.Response, error) {
		return c.Delete(ctx, key, o)
	})
	if err != nil || resp.Node.Dir {
		return err
	}
	return s.show(resp)
}

func runGet(s *session, args []string) error {
	key, err := keyOf(args)
	if err != nil {
		return err
	}
	resp, err := s.request(func(ctx context.Context, c *client.Client) (*client.Response, error) {
		return c.Get(ctx, key, client.GetOptions{Sorted: s.opts.on("sort"), Quorum: s.opts.on("quorum")})
	})
	switch {
	case err != nil:
		return err
	case resp.Node.Dir:
		return &failure{statusWrong, oneLine(resp.Node.Key) + ": is a directory"}
	}
	return s.show(resp)
}

func runLs(s *session, args []string) error {
	key := "/"
	if len(args) > 0 {
		key = args[0]
	}
	c, err := s.cluster()
	if err != nil {
		return err
	}
	defer c.Close()
	// --total-timeout limits only the time until the listing begins: a long one may take longer.
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(s.ctx))
	defer cancel(nil)
	stop := context.AfterFunc(s.ctx, func() { cancel(context.Cause(s.ctx)) })
	l, err := c.List(ctx, key, client.GetOptions{
		Sorted: s.opts.on("sort"), Quorum: s.opts.on("quorum"), Recursive: s.opts.on("recursive"),
		KeysOnly: !s.opts.on("count"),
		Limit:    s.opts.index("limit"), After: nameOf(s.opts.text("after")), Prefix: s.opts.text("prefix"),
		Count: s.opts.on("count"),
	})
	stop()
	if err != nil {
		return refused(err)
	}
	defer l.Close()
	w := bufio.NewWriter(s.stdout)
	left, err := s.list(w, l)
	err = cmp.Or(refused(err), w.Flush())
	if err == nil && left > 0 { // on standard error, since it is not part of the list
		s.tell(s.stderr, "%d more: see --after\n", left)
	}
	return err
}

// nameOf returns the last element of a key as ls prints it, or a name as it is.
func nameOf(key string) string {
	key = strings.TrimSuffix(key, "/")
	return key[strings.LastIndexByte(key, '/')+1:]
}

// list prints the keys of a listing as they come, without the directory itself; or with --count how
// many there are. left is how many children --limit left out.
func (s *session) list(w io.Writer, l *client.Listing) (left uint64, err error) {
	show := s.shower(s.stdout)
	count := uint64(0)
	for first := true; ; first = false {
		n, err := l.Next()
		switch {
		case err == io.EOF && s.opts.on("count"):
			_, err = fmt.Fprintln(w, count)
			return 0, err
		case err == io.EOF:
			return left, nil
		case err != nil:
			return 0, fmt.Errorf("the listing is broken off: %w", err)
		case first && n.Dir:
			left, count = n.More, n.Count
			continue
		case s.opts.on("count"): // a member of etcd ignores the option and lists them
			count++
			continue
		}
		slash := ""
		if n.Dir && s.opts.on("p") {
			slash = "/"
		}
		if _, err := fmt.Fprintln(w, show(n.Key)+slash); err != nil {
			return 0, err
		}
	}
}

// show prints a response in the format of --output.
func (s *session) show(resp *client.Response) error {
	switch format := s.global.text("output"); format {
	case "simple":
		s.showSimple(resp)
	case "extended":
		s.showExtended(resp)
	case "json":
		b, err := json.Marshal(resp)
		if err != nil {
			return err
		}
		s.tell(s.stdout, "%s\n", b)
	default: // 2.3.8 checks the format only here, and ends with status 0
		fmt.Fprintln(s.stderr, "Unsupported output format:", format)
	}
	return nil
}

func (s *session) showSimple(resp *client.Response) {
	if resp.Action == "delete" {
		s.tell(s.stdout, "PrevNode.Value: %s\n", previous(resp).Value)
		return
	}
	s.tell(s.stdout, "%s\n", resp.Node.Value)
}

func (s *session) showExtended(resp *client.Response) {
	n := resp.Node
	s.tell(s.stdout, "Key: %s\nCreated-Index: %d\nModified-Index: %d\n", n.Key, n.CreatedIndex, n.ModifiedIndex)
	if resp.PrevNode != nil {
		s.tell(s.stdout, "PrevNode.Value: %s\n", resp.PrevNode.Value)
	}
	s.tell(s.stdout, "TTL: %d\nIndex: %d\n", n.TTL, resp.Index)
	if resp.Action != "delete" {
		s.tell(s.stdout, "\n%s\n", n.Value)
	}
}

// previous returns the node as it was, or an empty one when the response has none.
func previous(resp *client.Response) *client.Node {
	if resp.PrevNode == nil {
		return new(client.Node)
	}
	return resp.PrevNode
}
