package etcdctl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"etcd2/http/client"
	"etcd2/http/etcdctl/migrate"
)

var importCommand = &command{
	name: "import", help: "copy keys from another cluster that runs, or from a snapshot of etcd 0.4 or " +
		"2", run: runImport,
	more: "With --from, any etcd that speaks the v2 API will do. Directories, values and times to live are copied, " +
		"and the names of keys that were made in\n" +
		"order, but no indices. A key that is already there and equal is not written, so an interrupted import is " +
		"simply started again, and a second one\n" +
		"copies what has changed meanwhile. Nothing is deleted.\n" +
		"With --follow it continues with what changes there: keys that are set, deleted or expire. It prints when it " +
		"has caught up. An interrupt ends it with\n" +
		"status 0 after all changes that were read are written. If the source has forgotten changes before they were " +
		"read, it compares both clusters, and\n" +
		"deletes keys that it had seen at the source and that are gone there. A time to live that is only refreshed " +
		"there is no change: here the key expires\n" +
		"by the last set. Hidden keys are followed if they are named.\n" +
		"No API lists hidden keys: the command looks for /_etcd and /_coreos.com, and others must be named.\n" +
		"With --snap, the keys come from a file: a snapshot of etcd 0.4 (snapshot/*.ss in its data directory) or of " +
		"etcd 2 (member/snap/*.snap), or what\n" +
		"etcdctl 2.3.8 takes, the dump of a store in JSON. A snapshot does not have what was written after it. Keys " +
		"whose time to live is over are left\n" +
		"out. The command prints the hidden keys that it left out.",
	options: []option{
		{name: "from", arg: "URL,...", check: text, help: "members of the cluster to copy from"},
		{name: "from-username", arg: "NAME[:PASSWORD]", check: text, help: "user of that cluster"},
		{name: "from-password-file", arg: "FILE", check: text, help: "file with the password of that user"},
		{name: "key", arg: "KEY", check: text, preset: "/", help: "copy this key and all keys below it"},
		{name: "hidden", arg: "KEY", check: text, help: "copy this hidden key, too; may be given several times"},
		{name: "follow", help: "continue with what changes there, until it is interrupted"},
		{name: "c", arg: "N", check: number, preset: "10", help: "writes at a time"},
		{name: "snap", arg: "FILE", check: text, help: "copy from a snapshot of etcd 0.4 or 2"},
	},
	examples: []example{
		{"--endpoints http://10.0.0.1:2379 import --from http://old:2379", "all keys of an old cluster into a new one"},
		{"import --from http://old:2379 --follow", "move programs from one cluster to another one while they run"},
		{"import --from http://old:2379 --key /app --hidden /app/_locks", "a part, with a hidden key"},
		{"import --snap default.etcd/snapshot/4_120034.ss", "from a snapshot of etcd 0.4"},
		{"import --snap default.etcd/member/snap/0000000000000002-0000000000027153.snap --hidden /app/_locks",
			"from a snapshot of etcd 2"},
	},
}

// hiddenPlaces are hidden keys of widespread programs.
var hiddenPlaces = []string{oldBookkeeping, "/_coreos.com"}

// oldBookkeeping is where etcd 0.4 keeps its machines and configuration, and where etcd 2 may have
// keys of a discovery service.
const oldBookkeeping = "/_etcd"

// importPatience is how long a member may be silent before it answers: listing a large directory
// takes time.
const importPatience = 30 * time.Second

// A source is what import copies from: a cluster, by its client, or a file.
type source interface {
	// list returns a node, and after it its children that are not hidden, ordered by name. If the
	// key does not exist, the error is one for [client.IsKeyNotFound].
	list(ctx context.Context, key string) (listing, error)
}

// A listing is a [client.Listing], or the nodes of a file.
type listing interface {
	Next() (*client.Node, error) // io.EOF after the last one
	Close() error
}

func runImport(s *session, args []string) error {
	from, file := s.opts.text("from"), s.opts.text("snap")
	switch {
	case from != "" && file != "":
		return wrong("one of them required, not both: --from URL or --snap FILE")
	case from == "" && s.opts.on("follow"):
		return wrong("a cluster to follow required: --from URL")
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
	copyAll := i.run
	if s.opts.on("follow") {
		copyAll = func(key string, hidden []string) error { return i.follow(s, key, hidden) }
	}
	err := copyAll(s.opts.text("key"), s.opts.all("hidden"))
	i.progress.end()
	return s.imported(i, err)
}

// imported prints the result of an import, or returns its error with the advice.
func (s *session) imported(i *importer, err error) error {
	counts := fmt.Sprintf("%d keys, %d written", i.seen.Load(), i.written.Load())
	if err != nil {
		advice := "when that is repaired, start it again: it continues where it was"
		if errors.Is(err, client.ErrTooLong) {
			advice = "one key has a value of that size, and starting again does not help: copy other keys with --key"
		}
		return &failure{statusWrong, fmt.Sprintf("broken off after %s: %s\n%s", counts, described(err), advice)}
	}
	s.tell(s.stdout, "Imported %s, %d were there already\n", counts, i.seen.Load()-i.written.Load())
	if i.known != nil {
		s.tell(s.stdout, "Followed %d changes\n", i.replayed.Load())
	}
	if i.old != nil {
		s.tell(s.stdout, "finished importing %d keys\n", i.seen.Load())
	}
	if i.inOrder > i.to.index {
		s.tell(s.stderr, "note: there are keys made in order up to %d, and the index of this cluster is %d: until it "+
			"is greater, new ones will sort before the old\n", i.inOrder, i.to.index)
	}
	if i.old != nil {
		s.leftOut(i.old)
	}
	return nil
}

// source returns a client of the other cluster. It asks only the endpoints that were given: the
// addresses that members advertise may belong to another network.
func (s *session) source() (*cluster, error) {
	cfg, err := s.config(strings.Split(s.opts.text("from"), ","))
	if err != nil {
		return nil, err
	}
	there, err := s.credentials(s.opts.text("from-username"), s.opts.text("from-password-file"), "Password there: ")
	if err != nil {
		return nil, err
	}
	cfg.Username, cfg.Password = there.name, there.password
	cfg.Timeout = max(cfg.Timeout, importPatience)
	c, err := client.New(cfg)
	return &cluster{Client: c}, err
}

// A cluster is the source or the target of an import. It belongs to the goroutine that walks.
type cluster struct {
	*client.Client
	index uint64 // the highest store index of an answer
}

func (c *cluster) list(ctx context.Context, key string) (listing, error) {
	l, err := c.List(ctx, key, client.GetOptions{Quorum: true, Sorted: true})
	var refusal *client.Error
	switch {
	case err == nil:
		c.index = max(c.index, l.Index)
		return l, nil
	case client.IsKeyNotFound(err) && errors.As(err, &refusal):
		c.index = max(c.index, refusal.Index)
	}
	return nil, err
}

// An importer copies a tree. One goroutine walks through it, directory by directory; up to
// cap(room) others write files.
type importer struct {
	ctx      context.Context
	from     source
	old      *migrate.Result // the content of from when it is a file; nil: from is a cluster
	to       *cluster
	places   []string      // hidden keys to look for
	room     chan struct{} // has an element for each write under way
	writers  sync.WaitGroup
	progress *progress

	seen, written atomic.Int64        // keys
	replayed      atomic.Int64        // changes that were followed
	known         map[uint64]struct{} // hashes of the keys that the source had; nil: it is not followed
	repairs       bool                // changes were missed: delete what the source had and has no longer
	inOrder       uint64              // the greatest name that was made in order

	mu  sync.Mutex // protects err
	err error      // the first error of a writer
}

// open opens the source, which is a file if one was given, and the target. The file is read before
// any request is sent.
func (i *importer) open(s *session, file string) (err error) {
	if file != "" {
		err = i.openFile(file)
	}
	if err != nil {
		return err
	}
	to, err := s.cluster()
	if err != nil {
		return err
	}
	i.to = &cluster{Client: to}
	if file == "" {
		i.from, err = s.source()
		return bare(err)
	}
	s.tell(s.stdout, "starting to import snapshot %s with %d clients\n", file, cap(i.room))
	return nil
}

// run copies key and what is below it, and hidden keys. It returns when all writes are done, or one
// has failed.
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

// mostDirs is how many subdirectories of one directory are remembered at a time.
const mostDirs = 10_000

// A tour is the state of copying one directory. Its children are not kept: the listings of source
// and target are read side by side.
type tour struct {
	key  string
	done string   // the last child that was copied, or is in dirs
	dirs []string // children that are directories and still have to be copied
}

// copy copies a key and what is below it. With must, the key has to exist. If a listing breaks
// after some of its nodes, for example because writing them takes longer than the source waits, it
// is requested again.
func (i *importer) copy(key string, must bool) error {
	w := &tour{key: key}
	for {
		begun := w.done
		again, err := i.walk(w, must)
		if err != nil && (w.done == begun || i.failed() != nil) {
			return err
		}
		for _, dir := range w.dirs {
			if err := i.copy(dir, false); err != nil {
				return err
			}
		}
		w.dirs = nil
		if err == nil && !again {
			return nil
		}
	}
}

// walk continues after w.done. again reports whether it stopped before the end of the directory.
func (i *importer) walk(w *tour, must bool) (again bool, err error) {
	source, err := i.openAt(i.from, w.key)
	if err != nil || source.node == nil {
		if err == nil && must {
			err = fmt.Errorf("there is no key %s", w.key)
		}
		return false, err
	}
	defer source.Close()
	if got := source.node.Key; strings.TrimSuffix(got, "/") != canonical(w.key) {
		return false, fmt.Errorf("%s: the source answers with another key, %q", w.key, got)
	}
	read := time.Now()
	target, err := i.openAt(i.to, w.key)
	if err != nil {
		return false, err
	}
	defer target.Close()
	if w.done == "" {
		if err := i.node(source.node, target.node, read); err != nil || !source.node.Dir {
			return false, err
		}
	}
	return i.children(w, source, target, read)
}

// canonical returns a key as members name it; "" is the root.
func canonical(key string) string { return strings.TrimSuffix(path.Clean("/"+key), "/") }

// isChild reports whether a key is directly in a directory. A source could name other keys, which
// the user has not asked to copy.
func isChild(key, dir string) bool {
	name, found := strings.CutPrefix(key, dir+"/")
	return found && name != "" && name != "." && name != ".." && !strings.Contains(name, "/")
}

// children copies the files of a directory, and remembers its subdirectories.
func (i *importer) children(w *tour, source, target *cursor, read time.Time) (again bool, err error) {
	target.step()
	for last := ""; source.step(); last = source.node.Key {
		n := source.node
		switch {
		case !isChild(n.Key, canonical(w.key)):
			return false, fmt.Errorf("%s: the source lists a key that is not in it, %q", w.key, n.Key)
		case n.Key <= last:
			return false, fmt.Errorf("%s: the listing is in no order: %s comes after %s", w.key, n.Key, last)
		}
		here, err := i.skip(target, n.Key)
		switch {
		case err != nil:
			return false, err
		case n.Key <= w.done:
			continue
		case n.Dir && len(w.dirs) == mostDirs:
			return true, nil
		case n.Dir:
			w.dirs = append(w.dirs, n.Key)
		default:
			if err := i.node(n, here, read); err != nil {
				return false, err
			}
		}
		w.done = n.Key
	}
	for _, c := range []*cursor{source, target} {
		if c.err != nil {
			return false, fmt.Errorf("%s: %w", w.key, c.err)
		}
	}
	_, err = i.skip(target, "")
	return false, err
}

// A cursor is a position in a listing.
type cursor struct {
	listing
	node *client.Node // nil after the last one, and when the key is missing
	err  error        // of a listing that broke before its end
}

// openAt returns a cursor whose node is the key itself.
func (i *importer) openAt(from source, key string) (*cursor, error) {
	l, err := from.list(i.ctx, key)
	switch {
	case client.IsKeyNotFound(err):
		return &cursor{listing: &nodes{}}, nil
	case err != nil:
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	c := &cursor{listing: l}
	if !c.step() {
		c.Close()
		return nil, fmt.Errorf("%s: %w", key, cmp.Or(c.err, client.ErrBadAnswer))
	}
	return c, nil
}

// step goes to the next node, and reports whether there is one.
func (c *cursor) step() bool {
	if c.err != nil {
		return false
	}
	n, err := c.Next()
	if c.node = n; err != nil && err != io.EOF {
		c.err = err
	}
	return err == nil
}

var madeInOrder = regexp.MustCompile(`/(\d{20})$`)

// node copies one node, which was read at a moment, without what is below it. target is the node
// that the target has at that key, nil for none.
func (i *importer) node(source, target *client.Node, read time.Time) error {
	if err := i.failed(); err != nil {
		return err
	}
	if target != nil && target.Dir && !source.Dir {
		if err := i.deleteGone(target); err != nil {
			return err
		}
	}
	if source.Key != "" {
		i.seen.Add(1)
		i.recordKey(source.Key, true)
	}
	if found := madeInOrder.FindStringSubmatch(source.Key); found != nil {
		if n, err := strconv.ParseUint(found[1], 10, 64); err == nil {
			i.inOrder = max(i.inOrder, n)
		}
	}
	if source.Dir {
		return i.dir(source, target, read)
	}
	i.file(source, target, read)
	return nil
}

// dir makes a directory. It is done before anything is written into it, because of its time to
// live.
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

// file starts to write a file, unless the target has an equal one.
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

// lifeSlack is by how many seconds two times to live may differ and count as equal.
const lifeSlack = 5

func sameLife(a, b *client.Node) bool {
	d := a.TTL - b.TTL
	return (a.TTL > 0) == (b.TTL > 0) && -lifeSlack <= d && d <= lifeSlack
}

// left returns the rest of a node's time to live, at least a second; 0 for a node without one.
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
