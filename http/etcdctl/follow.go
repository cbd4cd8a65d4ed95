package etcdctl

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"etcd2/http/client"
)

// The bounds of what import --follow has read and not yet written. Later events wait in the history
// of the source.
const (
	mostBehind      = 1 << 16  // events
	mostBehindBytes = 64 << 20 // of their values
	mostTogether    = 256      // events of one batch
)

// A tail is the changes of some keys at the source. For each of these keys they are in order.
// Several goroutines read them into events, ahead of the writing; dequeue belongs to one goroutine.
type tail struct {
	key    string // the first of the keys
	start  uint64 // the first event is after this index
	events chan *client.Response
	bytes  atomic.Int64  // of the values in events
	freed  chan struct{} // has an element when bytes has fallen

	once sync.Once
	err  error // why no more events come; is set before events is closed
}

// follow copies the keys, and continues with what changes at the source, until the user interrupts.
// It begins to watch before it copies, so that no change is missed in between. When the source has
// forgotten changes before they were read, it copies again, and deletes the keys that it had seen
// there and that are gone.
func (i *importer) follow(s *session, key string, hidden []string) error {
	ctx := i.ctx
	for i.known = map[uint64]struct{}{}; ; i.repairs = true {
		i.ctx = ctx
		i.seen.Store(0)
		i.written.Store(0)
		listening, stop := context.WithCancel(ctx)
		t, err := i.listen(listening, stop, append([]string{key}, hidden...))
		if err == nil {
			err = i.run(key, hidden)
		}
		if err == nil {
			i.ctx = context.WithoutCancel(ctx) // changes that were read are written even after an interrupt
			err = i.replay(s, t)
		}
		stop()
		if !client.IsHistoryCleared(err) {
			return err
		}
		s.tell(s.stderr, "the source has forgotten changes before they were read: comparing\n")
	}
}

// listen begins to read what changes below the keys from now on, until ctx ends. When one of the
// keys can't be read any longer, it calls stop, which ends ctx.
func (i *importer) listen(ctx context.Context, stop func(), keys []string) (*tail, error) {
	if _, err := i.index(keys[0]); err != nil {
		return nil, err
	}
	from := i.from.(*cluster)
	t := &tail{key: keys[0], start: from.index, events: make(chan *client.Response, mostBehind),
		freed: make(chan struct{}, 1)}
	var readers sync.WaitGroup
	for _, key := range keys {
		w := from.Watch(key, client.WatchOptions{AfterIndex: t.start, Recursive: true})
		readers.Go(func() {
			t.read(ctx, w, canonical(key))
			stop()
		})
	}
	go func() {
		readers.Wait()
		close(t.events)
	}()
	return t, nil
}

// index asks the source for its index.
func (i *importer) index(key string) (uint64, error) {
	l, err := i.from.list(i.ctx, key)
	if err == nil {
		err = l.Close()
	}
	if client.IsKeyNotFound(err) {
		err = nil
	}
	return i.from.(*cluster).index, err
}

// read reads the events of a key and of what is below it, until an error. The first error of all
// keys becomes that of the tail.
func (t *tail) read(ctx context.Context, w *client.Watcher, root string) {
	defer w.Close()
	for {
		e, err := w.Next(ctx)
		if err == nil && e.Node.Key != root && !strings.HasPrefix(e.Node.Key, root+"/") {
			err = fmt.Errorf("%s: the source sends a change of a key that is not in it, %q", root, e.Node.Key)
		}
		if err != nil {
			t.once.Do(func() { t.err = err })
			return
		}
		for t.bytes.Add(int64(len(e.Node.Value))) > mostBehindBytes && len(t.events) > 0 {
			select {
			case <-t.freed:
			case <-ctx.Done():
			}
			if t.bytes.Add(-int64(len(e.Node.Value))); ctx.Err() != nil {
				return
			}
		}
		select {
		case t.events <- e:
		case <-ctx.Done():
			return
		}
	}
}

// dequeue waits for an event, and returns it with those that have already come. It calls idle
// before it waits. The batch is empty when no more events will come.
func (t *tail) dequeue(idle func() error) (batch []*client.Response, err error) {
	for wait := true; len(batch) < mostTogether; wait = false {
		if len(t.events) == 0 {
			if !wait {
				break
			}
			if err := idle(); err != nil {
				return nil, err
			}
		}
		e, open := <-t.events
		if !open {
			break
		}
		batch = append(batch, e)
		t.bytes.Add(-int64(len(e.Node.Value)))
		select {
		case t.freed <- struct{}{}:
		default:
		}
	}
	return batch, nil
}

// replay writes the changes. It returns why no more come, nil when the user interrupts.
func (i *importer) replay(s *session, t *tail) error {
	at, told := t.start, false
	idle := func() error {
		if told {
			return nil
		}
		told = true
		now, err := i.index(t.key) // a key that the user may read
		if err == nil {
			s.tell(s.stderr, "at index %d; source is %d\n", at, now)
		}
		return err
	}
	for {
		batch, err := t.dequeue(idle)
		switch {
		case err != nil:
			return err
		case len(batch) == 0 && errors.Is(t.err, context.Canceled):
			return nil
		case len(batch) == 0:
			return t.err
		}
		if err := i.replayAll(batch); err != nil {
			return err
		}
		at = batch[len(batch)-1].Node.ModifiedIndex
	}
}

// replayAll writes events at the same time where their order does not matter. Of several events of
// one file only the last is written. A change of a directory waits for all events before it, and so
// does a key above or below another one.
func (i *importer) replayAll(batch []*client.Response) error {
	pending := map[string]*client.Response{}
	for _, e := range batch {
		key := e.Node.Key
		isDir := e.Node.Dir || e.PrevNode != nil && e.PrevNode.Dir
		if isDir || related(pending, key) {
			if err := i.flush(pending); err != nil {
				return err
			}
		}
		pending[key] = e
		i.recordKey(key, !isDelete(e))
		if isDir {
			if err := i.flush(pending); err != nil {
				return err
			}
		}
	}
	return i.flush(pending)
}

// related reports whether a key is above or below one in pending.
func related(pending map[string]*client.Response, key string) bool {
	for other := range pending {
		if strings.HasPrefix(other, key+"/") || strings.HasPrefix(key, other+"/") {
			return true
		}
	}
	return false
}

// flush writes what is pending, and empties it.
func (i *importer) flush(pending map[string]*client.Response) error {
	for _, e := range pending {
		i.room <- struct{}{}
		i.writers.Go(func() {
			defer func() { <-i.room }()
			if err := i.replayOne(e); err != nil {
				i.fail(err)
			}
		})
	}
	i.writers.Wait()
	clear(pending)
	return i.failed()
}

// replayOne repeats one change at the target. The target may already be newer than the event. Later
// events then make both the same, so an event that the target refuses for that reason is left out.
func (i *importer) replayOne(e *client.Response) error {
	n := e.Node
	var err error
	if isDelete(e) {
		_, err = i.to.Delete(i.ctx, n.Key, client.DeleteOptions{
			Recursive: n.Dir || e.PrevNode != nil && e.PrevNode.Dir, RequestID: client.NewRequestID(),
		})
	} else {
		o := client.SetOptions{Dir: n.Dir, TTL: seconds(n.TTL), NoValueOnSuccess: true}
		if n.Dir && e.Action == "update" {
			o.PrevExist = client.MustExist
		}
		o.RequestID = client.NewRequestID()
		_, err = i.to.Set(i.ctx, n.Key, n.Value, o)
	}
	switch {
	case err == nil:
		i.replayed.Add(1)
	case !isMisfit(err):
		return fmt.Errorf("%s: %w", n.Key, err)
	}
	return nil
}

// misfits are the codes with which the target refuses an event when it is newer.
var misfits = []int{client.CodeKeyNotFound, client.CodeNotFile, client.CodeNotDirectory, client.CodeNotEmpty,
	client.CodeKeyExists}

func isMisfit(err error) bool {
	var refusal *client.Error
	return errors.As(err, &refusal) && slices.Contains(misfits, refusal.Code)
}

func isDelete(e *client.Response) bool {
	return e.Action == "delete" || e.Action == "compareAndDelete" || e.Action == "expire"
}

var knownSeed = maphash.MakeSeed()

// recordKey records whether the source has a key, when it is followed. It takes about 20 bytes a
// key.
func (i *importer) recordKey(key string, there bool) {
	switch name := maphash.String(knownSeed, key); {
	case i.known == nil:
	case there:
		i.known[name] = struct{}{}
	default:
		delete(i.known, name)
	}
}

// skip moves the target's cursor past a key, or to its end for "", and returns the node of that
// key, if there is one. Nodes before it are not at the source; deleteGone deletes those that were.
func (i *importer) skip(target *cursor, key string) (*client.Node, error) {
	for n := target.node; n != nil && (key == "" || n.Key < key); n = target.node {
		if err := i.deleteGone(n); err != nil {
			return nil, err
		}
		target.step()
	}
	n := target.node
	if n == nil || n.Key != key {
		return nil, nil
	}
	target.step()
	return n, nil
}

// deleteGone deletes a node of the target if changes were missed and the source had it: the source
// has it no longer.
func (i *importer) deleteGone(n *client.Node) error {
	if _, was := i.known[maphash.String(knownSeed, n.Key)]; !i.repairs || !was {
		return nil
	}
	_, err := i.to.Delete(i.ctx, n.Key, client.DeleteOptions{Recursive: n.Dir, RequestID: client.NewRequestID()})
	if err != nil && !client.IsKeyNotFound(err) {
		return fmt.Errorf("%s: %w", n.Key, err)
	}
	i.recordKey(n.Key, false)
	i.replayed.Add(1)
	return nil
}
