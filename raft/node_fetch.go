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

// fetch reads committed entries for a member that lacks them, from f.From up to f.Last: at most
// maxBytes, but at least two entries when there are two. last is the fetcher that the fetch before
// returned, or nil; it is used if it stands at f.From. fetch returns the fetcher for the next one.
// It returns neither entries nor an error when the log does not have the entries: they were
// released, or a received snapshot has taken their place.
func (s *storage) fetch(f Fetch, maxBytes int, last *fetcher) ([]Entry, *fetcher, error) {
	if last.fits(f) {
		if es, err := last.read(f, maxBytes); err == nil && len(es) > 0 {
			return es, last, nil
		} // its segment may be gone, or a snapshot has taken the place of what follows
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

// fits reports whether the fetcher stands where f begins. All that comes before is committed, and
// no later record replaces it.
func (d *fetcher) fits(f Fetch) bool {
	return d != nil && len(d.replay.entries) > 0 && (d.replay.entries[0].Index == f.From ||
		d.replay.entries[0].Index+1 == f.From)
}

// read reads on until it has enough final entries, and returns them. Every checksum is checked
// (pitfall B15).
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

// holds returns the index up to which the entries read are final, and whether they are enough. An
// entry is final when no later record replaces it: that is so for entries at or below the commit
// index of a State, once all of the write that begins with that State was read.
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

// keep drops the entries that were returned, except the last one.
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

// between returns those entries from index from up to and including to that were read.
func (r *replayer) between(from, to uint64) []Entry {
	if len(r.entries) == 0 || from < r.entries[0].Index || from > to {
		return nil
	}
	first, n := r.entries[0].Index, uint64(len(r.entries))
	return r.entries[min(from-first, n):min(to+1-first, n)]
}

// fetcherPatience is how many election timeouts an idle fetcher is kept: its member has caught up,
// is gone, or has no leader.
const fetcherPatience = 10

// fetch reads the entries that a member lacks from the log on disk. When the log does not have
// them, or when the disk has changed what was written, the member gets a snapshot. The latter is
// logged and counted (pitfall B15).
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

// detachFetcher returns the fetcher of a member, for one fetch alone; nil: there is none.
func (n *Node) detachFetcher(to uint64) *fetcher {
	d := n.fetchers[to]
	delete(n.fetchers, to)
	return d
}

// dropIdleFetchers drops the fetchers that have not been used for long.
func (n *Node) dropIdleFetchers(ticks int) {
	for to, d := range n.fetchers {
		if d.idle += ticks; d.idle > fetcherPatience*n.core.ElectionTicks {
			delete(n.fetchers, to)
		}
	}
}
