package etcdctl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"etcd2/http/client"
)

var importCommand = &command{
	name: "import", help: "copy keys from another cluster that runs, or from a snapshot of etcd 0.4 or 2", run: runImport,
	more: "With --from, any etcd that speaks the v2 API will do. Directories, values and times to live are copied, and names of keys that were made in order;\n" +
		"indices are not. What is there already and equal is left alone, so an import that was broken off is simply started again, and a second one\n" +
		"brings what has changed meanwhile. Nothing is deleted.\n" +
		"No API lists hidden keys: /_etcd and /_coreos.com are looked for, others must be named.\n" +
		"With --snap, the keys come from a file: a snapshot of etcd 0.4 (snapshot/*.ss in its data directory) or of etcd 2 (member/snap/*.snap), or what\n" +
		"etcdctl 2.3.8 takes, the dump of a store in JSON. A snapshot has what was there when it was made, and not what came later. Keys whose time to\n" +
		"live is over by now are left out. Hidden keys that are not named are told.",
	options: []option{
		{name: "from", arg: "URL,...", check: text, help: "members of the cluster to copy from"},
		{name: "from-username", arg: "NAME[:PASSWORD]", check: text, help: "user there"},
		{name: "key", arg: "KEY", check: text, preset: "/", help: "copy what is below this key"},
		{name: "hidden", arg: "KEY", check: text, help: "copy this hidden key, too; may be given often"},
		{name: "c", arg: "N", check: number, preset: "10", help: "writes at a time"},
		{name: "snap", arg: "FILE", check: text, help: "copy from a snapshot of etcd 0.4 or 2"},
	},
	examples: []example{
		{"--endpoints http://10.0.0.1:2379 import --from http://old:2379", "all keys of an old cluster into a new one"},
		{"import --from http://old:2379 --key /app --hidden /app/_locks", "a part, with a hidden key"},
		{"import --snap default.etcd/snapshot/4_120034.ss", "what etcd 0.4 left behind"},
		{"import --snap default.etcd/member/snap/0000000000000002-0000000000027153.snap --hidden /app/_locks", "what etcd 2 left behind"},
	},
}

// hiddenPlaces are hidden keys of programs that many people ran.
var hiddenPlaces = []string{"/_etcd", "/_coreos.com"}

// importPatience is how long one answer may take: it may list a large directory.
const importPatience = 30 * time.Second

// A source is what is copied from: a cluster, by its client, or a file.
type source interface {
	// Get returns a node with the children that are not hidden, or an error for which [client.IsKeyNotFound] is true.
	Get(ctx context.Context, key string, o client.GetOptions) (*client.Response, error)
}

func runImport(s *session, args []string) error {
	from, file := s.opts.text("from"), s.opts.text("snap")
	switch {
	case from != "" && file != "":
		return wrong("one of them required, not both: --from URL or --snap FILE")
	case from == "" && file == "":
		return wrong("what to copy from required: --from URL or --snap FILE")
	case s.opts.number("c") < 1:
		return wrong("at least one write at a time required: -c N")
	}
	ctx, cancel := s.untilInterrupt()
	defer cancel()
	i := &importer{ctx: ctx, room: make(chan struct{}, s.opts.number("c")), places: hiddenPlaces}
	if err := i.open(s, file); err != nil {
		return err
	}
	i.progress = s.progress(func() string {
		return fmt.Sprintf("%d keys seen, %d written", i.seen.Load(), i.written.Load())
	})
	err := i.run(s.opts.text("key"), s.opts.all("hidden"))
	i.progress.end()
	return s.imported(i, err)
}

// imported tells the end of an import.
func (s *session) imported(i *importer, err error) error {
	counts := fmt.Sprintf("%d keys, %d written", i.seen.Load(), i.written.Load())
	if err != nil {
		return &failure{statusWrong, fmt.Sprintf("broken off after %s: %s\nstart it again: it goes on where it was", counts, described(err))}
	}
	fmt.Fprintf(s.stdout, "Imported %s, %d were there already\n", counts, i.seen.Load()-i.written.Load())
	old, fromFile := i.from.(*oldSnapshot)
	if fromFile {
		fmt.Fprintf(s.stdout, "finished importing %d keys\n", i.seen.Load())
	}
	if i.inOrder > i.index {
		fmt.Fprintf(s.stderr, "note: there are keys made in order up to %d, and the index of this cluster is %d: until it is greater, new ones will sort before the old\n", i.inOrder, i.index)
	}
	if fromFile {
		s.leftOut(old)
	}
	return nil
}

// leftOut tells what is in a snapshot and was not copied.
func (s *session) leftOut(o *oldSnapshot) {
	named := s.opts.all("hidden")
	hidden := slices.DeleteFunc(o.hidden, func(key string) bool {
		return key == o.own || slices.Contains(o.places, key) || slices.ContainsFunc(named, func(n string) bool { return strings.Trim(n, "/") == key[1:] })
	})
	for _, left := range []struct {
		keys      []string
		why, todo string
	}{
		{hidden, "hidden", ": name those that you want with --hidden"},
		{o.past, "past their time to live", ""},
	} {
		if keys := slices.Compact(slices.Sorted(slices.Values(left.keys))); len(keys) > 0 {
			fmt.Fprintf(s.stderr, "note: left out, since they are %s: %s%s\n", left.why, some(keys), left.todo)
		}
	}
	if o.users > 0 {
		fmt.Fprintf(s.stderr, "note: the snapshot has users, %d of them, who are not keys: add them with etcdctl user add\n", o.users)
	}
}

// some are the first of many.
func some(keys []string) string {
	const most = 10
	if len(keys) <= most {
		return strings.Join(keys, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(keys[:most], ", "), len(keys)-most)
}

// source is a client of the other cluster. It asks only the endpoints that were given: their advertised addresses may be of another network.
func (s *session) source() (*client.Client, error) {
	cfg, err := s.config(strings.Split(s.opts.text("from"), ","))
	if err != nil {
		return nil, err
	}
	there, err := s.credentials(s.opts.text("from-username"), "Password there: ")
	if err != nil {
		return nil, err
	}
	cfg.Username, cfg.Password = there.name, there.password
	cfg.Timeout = max(cfg.Timeout, importPatience)
	return client.New(cfg)
}

// An importer copies a tree. One goroutine walks through it, directory by directory; up to cap(room) write files.
type importer struct {
	ctx      context.Context
	from     source
	to       *client.Client
	places   []string      // hidden keys that are looked for
	room     chan struct{} // a place for each write under way
	writers  sync.WaitGroup
	progress *progress

	seen, written atomic.Int64
	index         uint64 // of the target, as last heard by the walker
	inOrder       uint64 // the greatest name that was made in order

	mu  sync.Mutex // protects err
	err error      // the first of a writer
}

// open opens the source, which is a file if one was given, and the target. A file is read before anybody is asked.
func (i *importer) open(s *session, file string) (err error) {
	if file != "" {
		err = i.openFile(file)
	}
	if err != nil {
		return err
	}
	if i.to, err = s.cluster(); err != nil {
		return err
	}
	if file == "" {
		i.from, err = s.source()
		return bare(err)
	}
	fmt.Fprintf(s.stdout, "starting to import snapshot %s with %d clients\n", file, cap(i.room))
	return nil
}

// openFile makes a snapshot the source. It is read as a whole: an etcd had it in memory, too.
func (i *importer) openFile(file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return &failure{statusWrong, fmt.Sprintf("cannot read snapshot file %s: %v", file, errors.Unwrap(err))} // which names it, too
	}
	old, err := decodeOldSnapshot(b)
	if err != nil {
		return &failure{statusWrong, fmt.Sprintf("cannot read snapshot file %s: %v: take another copy of it, or an earlier snapshot, or import --from a cluster that has the keys", file, err)}
	}
	i.from, i.places = old, old.places
	return nil
}

// run copies what is below key, and hidden keys. It returns when all writes are done, or one has failed.
func (i *importer) run(key string, hidden []string) error {
	err := i.copy(key, true)
	for _, h := range hidden {
		if err == nil {
			err = i.copy(h, true)
		}
	}
	for _, h := range i.places {
		if err == nil && strings.Trim(key, "/") == "" && !slices.Contains(hidden, h) {
			err = i.copy(h, false)
		}
	}
	i.writers.Wait()
	if err == nil {
		err = i.failed()
	}
	return err
}

// copy copies a key and what is below it. It must be there, or may be missing.
func (i *importer) copy(key string, must bool) error {
	source, deadline, err := i.read(i.from, key)
	if err != nil || source == nil {
		if err == nil && must {
			err = fmt.Errorf("there is no key %s", key)
		}
		return err
	}
	target, _, err := i.read(i.to, key)
	if err != nil {
		return err
	}
	return i.node(source, target, deadline)
}

// read returns a node, nil when it is missing, and when its answer came.
func (i *importer) read(c source, key string) (*client.Node, time.Time, error) {
	resp, err := c.Get(i.ctx, key, client.GetOptions{Quorum: true, Sorted: true})
	now := time.Now()
	var refusal *client.Error
	switch {
	case client.IsKeyNotFound(err):
		errors.As(err, &refusal)
		i.noteIndex(c, refusal.Index)
		return nil, now, nil
	case err != nil:
		return nil, now, fmt.Errorf("%s: %w", key, err)
	}
	i.noteIndex(c, resp.Index)
	return resp.Node, now, nil
}

func (i *importer) noteIndex(c source, index uint64) {
	if c == i.to {
		i.index = max(i.index, index)
	}
}

var madeInOrder = regexp.MustCompile(`/(\d{20})$`)

// node brings one node, as it was read at a moment, and what is below it. target is what is in its place, nil for nothing.
func (i *importer) node(source, target *client.Node, read time.Time) error {
	if err := i.failed(); err != nil {
		return err
	}
	if source.Key != "" {
		i.seen.Add(1)
	}
	if found := madeInOrder.FindStringSubmatch(source.Key); found != nil {
		n, _ := strconv.ParseUint(found[1], 10, 64) // 0 when it is too great to be one
		i.inOrder = max(i.inOrder, n)
	}
	if !source.Dir {
		i.file(source, target, read)
		return nil
	}
	if err := i.dir(source, target, read); err != nil {
		return err
	}
	return i.children(source, target)
}

// children brings what is in a directory, of which only that is known which is listed: it is read again for its own children.
func (i *importer) children(source, target *client.Node) error {
	there := map[string]*client.Node{}
	if target != nil {
		for _, n := range target.Nodes {
			there[n.Key] = n
		}
	}
	read := time.Now()
	for _, n := range source.Nodes {
		if n.Dir {
			if err := i.copy(n.Key, false); err != nil {
				return err
			}
			continue
		}
		if err := i.node(n, there[n.Key], read); err != nil {
			return err
		}
	}
	return nil
}

// dir makes a directory before anything is written into it: its time to live is its own.
func (i *importer) dir(source, target *client.Node, read time.Time) error {
	if source.Key == "" || target != nil && target.Dir && sameLife(source, target) {
		return nil
	}
	o := client.SetOptions{Dir: true, TTL: left(source, read), RequestID: client.NewRequestID()}
	if target != nil && target.Dir {
		o.PrevExist = client.MustExist
	}
	_, err := i.to.Set(i.ctx, source.Key, "", o)
	if err != nil {
		return fmt.Errorf("%s: %w", source.Key, err)
	}
	i.written.Add(1)
	return nil
}

// file has a file written, unless it is there.
func (i *importer) file(source, target *client.Node, read time.Time) {
	if target != nil && !target.Dir && target.Value == source.Value && sameLife(source, target) {
		return
	}
	i.room <- struct{}{}
	i.writers.Go(func() {
		defer func() { <-i.room }()
		o := client.SetOptions{TTL: left(source, read), NoValueOnSuccess: true, RequestID: client.NewRequestID()}
		if _, err := i.to.Set(i.ctx, source.Key, source.Value, o); err != nil {
			i.fail(fmt.Errorf("%s: %w", source.Key, err))
			return
		}
		i.written.Add(1)
	})
}

// lifeSlack is how much two times to live may differ in seconds that are meant to be the same.
const lifeSlack = 5

func sameLife(a, b *client.Node) bool {
	d := a.TTL - b.TTL
	return (a.TTL > 0) == (b.TTL > 0) && -lifeSlack <= d && d <= lifeSlack
}

// left is what is left of a node's time to live, at least a second of it; 0 for a node that stays.
func left(n *client.Node, read time.Time) time.Duration {
	if n.TTL <= 0 {
		return 0
	}
	return max(time.Second, seconds(n.TTL)-time.Since(read))
}

func (i *importer) fail(err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.err == nil {
		i.err = err
	}
}

func (i *importer) failed() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.err
}
