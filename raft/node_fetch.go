package raft

import (
	"errors"

	"etcd2/wal"
)

// fetcher reads the log on disk for one member that lags. It remembers how far it has read, and
// which entries it has read and not yet returned. So the next piece costs the reading of that
// piece, and not of all that is before it in its segment. It has no file open, and may be dropped
// at any time. It belongs to the loop between two fetches, and to a helper during one.
type fetcher struct {
	reader *wal.Reader // after the last write that is in replay
	replay replayer    // its entries begin with the last one returned: the core asks for that one again, for its term
	bytes  int         // of the entries, about
	idle   int         // ticks since the last fetch
}

// fetchBytes is about how much of the log is read for a member that lags at a time.
const fetchBytes = 4 << 20

// fetch reads committed entries for a member that lacks them, from f.From up to f.Last: no more
// than maxBytes, but at least two when there are two. It goes on with the feed of the last fetch if
// that fits, which may be nil, and returns the feed for the next one. It returns neither entries
// nor an error when the log does not have the entries: they were released, or a received snapshot
// took their place.
func (s *storage) fetch(f Fetch, maxBytes int, last *fetcher) ([]Entry, *fetcher, error) {
	if last.fits(f) {
		if es, err := last.read(f, maxBytes); err == nil && len(es) > 0 {
			return es, last, nil
		} // its segment may be gone, or a snapshot have taken the place of what follows
	}
	d, es := &fetcher{replay: replayer{base: &Snapshot{Index: f.From - 1}}}, []Entry(nil)
	var err error
	if d.reader, err = s.log.Reader(f.From); err == nil {
		es, err = d.read(f, maxBytes)
	}
	switch {
	case errors.Is(err, wal.ErrReleased) || errors.Is(err, errHole):
		return nil, nil, nil
	case err != nil || len(es) == 0:
		return nil, nil, err
	}
	return es, d, nil
}

// fits tells whether the feed goes on where f begins. What comes before is committed, and no later
// record takes its place.
func (d *fetcher) fits(f Fetch) bool {
	return d != nil && len(d.replay.entries) > 0 && (d.replay.entries[0].Index == f.From ||
		d.replay.entries[0].Index+1 == f.From)
}

// read reads on until it knows enough entries that hold, and hands them out. Every checksum is
// checked (pitfall B15).
func (d *fetcher) read(f Fetch, maxBytes int) ([]Entry, error) {
	final, enough := d.holds(f, maxBytes)
	if !enough {
		for batch, err := range d.reader.Batches() {
			if err == nil {
				err = d.add(batch)
			}
			if err != nil {
				return nil, err
			}
			if final, enough = d.holds(f, maxBytes); enough {
				break
			}
		}
	}
	if !enough { // the log ends, and the core asks only for what is committed
		final = f.Last
	}
	es := upTo(maxBytes, d.replay.between(f.From, final))
	d.keep(es)
	return es, nil
}

// holds tells up to where the entries that were read hold, and whether that is enough. What the log
// says of an index holds when no later record takes its place, and none does behind a write (a
// State, and the entries after it) that counts it as committed.
func (d *fetcher) holds(f Fetch, maxBytes int) (final uint64, enough bool) {
	final = min(d.replay.state.Commit, f.Last)
	return final, final == f.Last || final > f.From && d.bytes > maxBytes
}

// add takes in one write.
func (d *fetcher) add(batch []wal.Record) error {
	for _, rec := range batch {
		if err := d.replay.record(rec); err != nil {
			return err
		}
		// The log is read from the beginning of a segment, which may be far before what is wanted.
		if n := len(d.replay.entries); n > 1 && rec.Kind == recordEntry {
			d.bytes += entrySize(&d.replay.entries[n-1])
		}
	}
	return nil
}

// keep forgets what was handed out, but for the last entry.
func (d *fetcher) keep(handed []Entry) {
	if len(handed) == 0 {
		return
	}
	next := handed[len(handed)-1].Index
	d.replay.entries = append([]Entry(nil), d.replay.entries[next-d.replay.entries[0].Index:]...)
	d.bytes = 0
	for i := range d.replay.entries {
		d.bytes += entrySize(&d.replay.entries[i])
	}
}

// between returns the entries from up to and with to, as far as they are there.
func (r *replayer) between(from, to uint64) []Entry {
	if len(r.entries) == 0 || from < r.entries[0].Index || from > to {
		return nil
	}
	first, n := r.entries[0].Index, uint64(len(r.entries))
	return r.entries[min(from-first, n):min(to+1-first, n)]
}

// fetcherPatience is how many election timeouts a feed is kept without use: its member has caught
// up, is gone, or lost its leader.
const fetcherPatience = 10

// fetch reads what a member lacks from the log on disk. When the log no longer has it, the member
// gets a snapshot. So it does when the disk has changed what was written, which is logged and
// counted (pitfall B15).
func (n *Node) fetch(f Fetch, last *fetcher) {
	es, next, err := n.storage.fetch(f, fetchBytes, last)
	if err != nil {
		n.Logger.Error("the log can't be read for a member that lags; it gets a snapshot instead", "member", hex(f.To),
			"from", f.From, "err", err)
		n.stats.Unreadable.Add(1)
		n.snapshots.wanted.Store(true)
	}
	n.inbox.call(func(c *core) {
		c.fetched(f.To, es)
		if es == nil {
			n.backlog = append(n.backlog, job{}) // so that the applier looks whether a snapshot is wanted
		}
		if next != nil {
			next.idle = 0
			n.fetchers[f.To] = next
		}
	})
}

// detachFetcher returns what the last fetch for a member left, for one fetch alone.
func (n *Node) detachFetcher(to uint64) *fetcher {
	d := n.fetchers[to]
	delete(n.fetchers, to)
	return d
}

// dropIdleFetchers forgets the feeds that nobody uses.
func (n *Node) dropIdleFetchers(ticks int) {
	for to, d := range n.fetchers {
		if d.idle += ticks; d.idle > fetcherPatience*n.core.ElectionTicks {
			delete(n.fetchers, to)
		}
	}
}
