package peer

import "time"

// window is how many bytes may be in flight to a member, in all buffers between. It follows
// bandwidth × delay: enough for the link to be full, and so little that an urgent message waits for
// at most half a heartbeat, because it can't overtake bytes that are in a kernel or a proxy. After
// a pause of the bulky messages it may wait a round trip more.
//
// The window is updated by marks. A mark says that ahead bytes were in flight, and that the last of
// them was read a time took after it was written. The difference between took and the shortest
// round trip was spent in a queue. Let rate be ahead divided by the time in which these bytes came
// out of the link.
//
//   - When the queue is longer than wait, the link is full: the window becomes rate × (trip +
//     wait), so that the queue will be as long as wait. When ahead is less than half of the window,
//     the reason may also be a pause at the other end: then the window is at most halved, once in a
//     round trip.
//   - When the queue is shorter, the window grows to the same size, or to ahead × wait / (2 ×
//     queue) if that is more. It grows to at most 16 times ahead until the link has been full once,
//     and to at most twice ahead from then on.
//
// Before the first mark the link is assumed to carry 4 MiB/s. A faster link is known after one
// round trip. A link that is n times slower then has a queue of about n round trips, once.
//
// The shortest round trip is valid for ten seconds. If no later one came near it by then, bulky
// messages wait until those before them are read, and a ping measures the empty link: otherwise the
// estimated delay would grow with the queue. That costs one round trip in ten seconds, and nothing
// on a link that is not full.
//
// Invariant: least ≤ size ≤ most.
type window struct {
	size, least, most int           // bytes
	wait              time.Duration // by which bulky messages may lengthen a round trip

	trip    time.Duration // the shortest recent round trip
	renewed time.Time     // when a round trip was last about that short
	halved  time.Time     // when a mark with few bytes last made the window smaller
	wasFull bool          // the link has been full at least once
}

const (
	firstRate = 4 << 20 // bytes a second
	tripAge   = 10 * time.Second
)

// newWindow returns the window of a new connection; trip is how long its handshake took.
func newWindow(c *Config, now time.Time, trip time.Duration) window {
	w := window{
		least: c.Window, most: max(c.Window, c.MaxWindow), wait: c.Heartbeat / 2,
		trip: max(trip, 1), renewed: now,
	}
	w.resize(firstRate * trip.Seconds())
	return w
}

func (w *window) resize(bytes float64) {
	w.size = int(min(max(bytes, float64(w.least)), float64(w.most)))
}

// isOld reports whether the shortest round trip must be measured again.
func (w *window) isOld(now time.Time) bool { return now.Sub(w.renewed) >= tripAge }

// learn takes in a mark whose bytes are known, from now on, to have been read.
func (w *window) update(now time.Time, m *mark) {
	took := max(now.Sub(m.at), 1)
	switch {
	case took <= w.trip, m.empty && w.isOld(now):
		w.trip, w.renewed = took, now
	case took <= w.trip+w.trip/8:
		w.renewed = now
	}
	if m.ahead < w.least/2 { // too few bytes to tell anything about windows of at least least
		return
	}
	ahead, wait, queue := float64(m.ahead), min(w.wait, w.trip), took-w.trip
	since := later(m.at, m.first.Add(w.trip)) // the first of the bytes can't have been acknowledged earlier
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

// growth returns how many times ahead the window may grow to.
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
