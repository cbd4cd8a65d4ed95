package peer

import "time"

// window is how many bytes may be on their way to a member, in all buffers between. It follows bandwidth × delay: enough for the link to be full,
// and little enough that an urgent message waits for no more than half a heartbeat, or after a pause of the bulk a round trip more: it can't overtake
// what is in a kernel or a proxy.
//
// It learns from marks: ahead bytes were on their way, and the last of them was read `took` after it was written. What took is longer than the
// shortest round trip was spent in queues. Let rate be ahead divided by the time in which these bytes came out of the link.
//
//   - With a queue longer than wait the link is full: the window becomes rate × (trip + wait), which makes the queue as long as wait. With
//     fewer bytes on their way than half of the window, the mark may tell of a pause at the other end as well: then the window is halved at most,
//     and once in a round trip.
//   - With a shorter one more may come: the window grows to as much, or to ahead × wait / 2 queues; to 16 times ahead at most as long as the link has never
//     been full, and then to twice of it.
//
// Before the first mark the link is taken for one of 4 MiB/s. A faster one is known after one round trip; a slower one has then a queue of
// a round trip for each time that it is slower, once.
//
// The shortest round trip counts for ten seconds. If none since came near it, bulky messages wait until those before them are read, and a
// ping measures the link while it is empty: one round trip in ten seconds, and none on a link that is not full. (What counts as the delay
// of the link would otherwise grow with the queue.)
//
// Invariant: least ≤ size ≤ most.
type window struct {
	size, least, most int           // bytes
	wait              time.Duration // that the bulk may add to a round trip

	trip    time.Duration // the shortest lately
	renewed time.Time     // when a round trip was last about as short
	halved  time.Time     // when a mark of few bytes last made the window smaller
	wasFull bool          // the link, at some time
}

const (
	firstRate = 4 << 20 // bytes a second
	tripAge   = 10 * time.Second
)

// newWindow returns the window of a new connection, whose handshake has taken a round trip.
func newWindow(c *Config, now time.Time, trip time.Duration) window {
	w := window{least: c.Window, most: max(c.Window, c.MaxWindow), wait: c.Heartbeat / 2, trip: max(trip, 1), renewed: now}
	w.resize(firstRate * trip.Seconds())
	return w
}

func (w *window) resize(bytes float64) {
	w.size = int(min(max(bytes, float64(w.least)), float64(w.most)))
}

// isOld reports whether the shortest round trip has to be measured anew.
func (w *window) isOld(now time.Time) bool { return now.Sub(w.renewed) >= tripAge }

// learn takes a mark whose bytes are now known to have been read.
func (w *window) learn(now time.Time, m *mark) {
	took := max(now.Sub(m.at), 1)
	switch {
	case took <= w.trip, m.empty && w.isOld(now):
		w.trip, w.renewed = took, now
	case took <= w.trip+w.trip/8:
		w.renewed = now
	}
	if m.ahead < w.least/2 { // no reason for a window below the least
		return
	}
	ahead, wait, queue := float64(m.ahead), min(w.wait, w.trip), took-w.trip
	since := later(m.at, m.first.Add(w.trip)) // the first of the bytes can't have been heard of before
	fits := ahead * float64(w.trip+wait) / float64(max(now.Sub(since), 1))
	switch {
	case queue <= wait:
		grown := max(fits, ahead*float64(wait)/float64(2*queue+1))
		w.resize(max(float64(w.size), min(grown, ahead*w.growth())))
	case m.ahead >= w.size/2:
		w.wasFull = true
		w.resize(fits)
	case now.Sub(w.halved) >= w.trip:
		w.halved = now
		w.resize(max(float64(w.size)/2, fits))
	}
}

// growth is how many times more than what was on its way may be.
func (w *window) growth() float64 {
	if w.wasFull {
		return 2
	}
	return 16
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
