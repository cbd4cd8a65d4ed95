package raft

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"syscall"
	"time"

	"etcd2/snap"
)

// Transport carries messages to the other members; http/peer has one. The node calls its methods,
// from several goroutines, and none of them may wait for the network.
type Transport interface {
	// Start is called once, before all others. From then on the transport may hand what it receives
	// to in.
	Start(in Inbound)
	// Follow names the members that there are now, and the ids that are gone for ever. It is called
	// right after Start and again whenever either changes.
	Follow(m Membership)
	// Send sends the messages in order, each to the member its To names. What finds no connection
	// or no room is dropped: Raft copes. A Propose may wait for a connection that is being made,
	// since it would be sent again only after a while. Nothing is delivered twice. Messages and
	// their entries are shared and must not be written to.
	Send(ms []Message)
	// SendSnapshot sends the size bytes of body beside an InstallSnapshot, on a connection of its
	// own. It closes body, and calls done once, from any goroutine: with nil when the other member
	// has taken all of it. While one transfer to a member is under way, no other one is begun: its
	// done is called with the result of the first. If body has Seek and Sum, a checksum of all of
	// it, the transfer goes on where an earlier one broke. SendSnapshot logs the result.
	SendSnapshot(m Message, body io.ReadCloser, size int64, done func(error))
	// Peers returns what was measured of each member followed. It may be called from any goroutine.
	Peers() map[uint64]PeerStats
	// Close ends all connections and what runs for them. No method of Inbound is called after it
	// has returned.
	Close()
}

// Inbound takes what arrives from other members; *Node is one. Its methods may be called from any
// goroutine.
type Inbound interface {
	ID() uint64
	Membership() Membership
	// Step takes a message. It blocks while more is waiting than the member can take, so that the
	// sender is held up.
	Step(m Message)
	// Lost says that the connection to a member was seen to break, as it does when its process
	// dies. A connection that could not be made, or fell silent, is none that broke.
	Lost(id uint64)
	// Dropped says that messages to a member may be lost, though nothing shows that it has died: a
	// connection ended in another way, or had no room for a message with entries.
	Dropped(id uint64)
	// Kept returns how many bytes of the file with that name are here from a transfer that broke; 0
	// without one. It never blocks.
	Kept(name string) int64
	// ReceiveSnapshot takes an InstallSnapshot and reads the snapshot's file from body, from f.From
	// on. When it returns nil the file is whole and durable, and the message is on its way to the
	// core.
	ReceiveSnapshot(m Message, f SnapshotFile, body io.Reader) error
	// Incarnation returns what is known of a member's disk: of this one's from the disk itself, of
	// another's from the newest configuration in the log, committed or not; 0 when nothing is. It
	// never blocks.
	Incarnation(id uint64) uint64
	// Expelled says that another member knows this one as removed. Of it and Emptied, only the
	// first call counts.
	Expelled(by uint64)
	// Emptied says that another member knows this one in an incarnation that is not that of its
	// disk.
	Emptied(by uint64)
}

// SnapshotFile says which part of a snapshot's file is sent.
type SnapshotFile struct {
	Size int64  // of the whole file, in bytes
	From int64  // offset at which the transfer begins: what is before it was kept from an earlier transfer
	Name string // which no file with other bytes has; empty: the transfer can't be resumed
}

// PeerStats are what a Transport has measured of one other member.
type PeerStats struct {
	Connected bool // there is a connection to it now
	Borrowed  bool // which it has dialled: it can't be called
	Since     time.Time

	Sent, Dropped            uint64 // messages to it
	SentBytes, ReceivedBytes uint64
	Snapshots                uint64 // sent to it whole
	SnapshotsFailed          uint64

	Urgent, Bulky Lane          // messages that wait for the connection; those with entries are bulky
	InFlight      int           // bytes sent and not known to be read
	Window        int           // limit of InFlight; 0: not connected
	Shortest      time.Duration // the shortest recent round trip: the delay of the link without queues

	// Round trips of messages that carried entries, from being written to being read there. Some
	// are measured, and each of these counts for all since the one before.
	Trips                                        uint64
	Current, Average, Deviation, Least, Greatest time.Duration
}

// Lane is the length of a queue of messages to a member, with its limits.
type Lane struct {
	Messages, MaxMessages int
	Bytes, MaxBytes       int // of entries, about
}

// Step takes a message from another member. It waits while too much is waiting already.
func (n *Node) Step(m Message) { n.inbox.step(m, n.quit) }

// Lost says that the connection to a member was seen to break.
func (n *Node) Lost(id uint64) { n.inbox.call(func(c *core) { c.lost(id) }) }

// Dropped says that messages to a member may be lost.
func (n *Node) Dropped(id uint64) { n.inbox.call(func(c *core) { c.dropped(id) }) }

// Expelled ends this member, because another one knows it as removed.
func (n *Node) Expelled(by uint64) {
	n.fail(fmt.Errorf("%w: member %x says so", ErrRemoved, by))
}

// Emptied ends this member, because another one knows that it had another disk before (pitfall
// D10).
func (n *Node) Emptied(by uint64) { n.fail(emptied(n.id, fmt.Sprintf("member %x", by))) }

// Incarnation returns what is known of a member's disk. It counts from the moment that it is in the
// log, like all of a configuration: after a restart of the whole cluster nothing is applied before
// a leader is elected.
func (n *Node) Incarnation(id uint64) uint64 {
	if id == n.id {
		return n.storage.incarnation
	}
	m, _ := n.newest.Load().Find(id)
	return m.Incarnation
}

// Peers returns what the transport has measured of the other members.
func (n *Node) Peers() map[uint64]PeerStats {
	if n.Transport == nil {
		return nil
	}
	return n.Transport.Peers()
}

// ReceiveSnapshot writes a snapshot's file and leaves its message for the core. The order is that
// of pitfall E4: when the core hears of the snapshot, its file is durable and has its name. A
// snapshot that brings nothing new is not read.
func (n *Node) ReceiveSnapshot(m Message, f SnapshotFile, body io.Reader) error {
	if m.Kind != InstallSnapshot || m.Snapshot == nil {
		return fmt.Errorf("raft: %v comes without a snapshot", m.Kind)
	}
	if index, _ := n.Applied(); m.Snapshot.Index > index {
		if err := n.receive(m.Snapshot, f, body); err != nil {
			return err
		}
	}
	n.Step(m)
	return nil
}

// Kept returns how many bytes of the file with that name are here from a transfer that broke.
func (n *Node) Kept(name string) int64 { return n.storage.snaps.Kept(name) }

func (n *Node) receive(s *Snapshot, f SnapshotFile, body io.Reader) error {
	left := f.Size - f.From
	if free, err := FreeBytes(n.storage.dir); err == nil && uint64(left) > free {
		return fmt.Errorf("raft: the snapshot takes %d bytes, and %d are free in %s", left, free, n.Dir)
	}
	r, err := n.beginReceive(f)
	if err != nil {
		return err
	}
	err = n.receiveBody(r, s, f, body)
	n.failOnDiskError(r.Err())
	return err
}

// take writes what is left of the snapshot's file, and gives the file its name when it is whole.
func (n *Node) receiveBody(r *snap.Receiver, s *Snapshot, f SnapshotFile, body io.Reader) error {
	_, err := io.CopyN(r, body, f.Size-f.From)
	switch {
	case err != nil && f.Name == "":
		return errors.Join(err, r.Abort())
	case err != nil:
		return errors.Join(err, r.Keep(f.Name))
	}
	index, err := r.Commit()
	switch {
	case err != nil:
		return errors.Join(err, r.Abort())
	case index != s.Index:
		return fmt.Errorf("raft: the snapshot at %d was announced, and that at %d has come", s.Index, index)
	}
	n.stats.Received.Add(1)
	return nil
}

// failOnDiskError ends the member if the disk has failed while a snapshot was received: what the
// file system then says is no longer to be trusted (pitfall H8). A full disk ends nothing here. The
// log may have room, and the sender is told.
func (n *Node) failOnDiskError(err error) {
	if err != nil && !errors.Is(err, syscall.ENOSPC) {
		n.fail(fmt.Errorf("a snapshot of another member can't be written, so this member stops: %w", err))
	}
}

// beginReceive goes on with the file that was kept, or begins a new one when f.From is 0.
func (n *Node) beginReceive(f SnapshotFile) (*snap.Receiver, error) {
	if f.From == 0 {
		r, err := n.storage.snaps.Receive()
		n.failOnDiskError(err)
		return r, err
	}
	if n.Kept(f.Name) == f.From {
		if r := n.storage.snaps.Resume(f.Name); r != nil {
			return r, nil
		}
	}
	return nil, fmt.Errorf("raft: the first %d bytes of the snapshot's file are no longer here", f.From)
}

// sendMessages gives the core's messages to the transport, and has those asks answered that need
// the disk.
func (n *Node) sendMessages(e *Effects) {
	n.stats.AppendsSent.noteAppends(e.Messages)
	n.Transport.Send(slices.DeleteFunc(e.Messages, func(m Message) bool {
		if m.Kind == InstallSnapshot {
			n.helpers.Go(func() { n.sendSnapshot(m) })
		}
		return m.Kind == InstallSnapshot
	}))
	for _, f := range e.Fetch {
		if n.snapshotIsShorter(f) {
			n.inbox.call(func(c *core) { c.fetched(f.To, nil) })
			continue
		}
		last := n.detachFetcher(f.To)
		n.helpers.Go(func() { n.fetch(f, last) })
	}
}

// shortLog is how many bytes of log are sent although a snapshot would be shorter: a member that
// installs a snapshot replaces its whole state.
const shortLog = 32 << 20

// snapshotIsShorter reports whether the newest snapshot and the log behind it are fewer bytes than
// the log that a member lacks. The shorter of the two is sent.
func (n *Node) snapshotIsShorter(f Fetch) bool {
	newest := n.core.snapshot.Index
	lacked, behind := n.storage.log.Bytes(f.From), n.storage.log.Bytes(newest)
	return newest > f.From && lacked > shortLog && lacked > n.snapshots.size.Load()+behind
}

// sendSnapshot opens the file that a message speaks of and has it sent. What becomes of it on the
// way is the transport's to log.
func (n *Node) sendSnapshot(m Message) {
	done := func(err error) {
		n.inbox.call(func(c *core) { c.sent(m.To, err == nil) })
		if err != nil {
			n.checkSnapshot(m.Snapshot.Index)
		}
	}
	r, err := n.storage.snaps.OpenIndex(m.Snapshot.Index)
	if err != nil {
		n.Logger.Warn("a snapshot can't be opened to be sent", "member", hex(m.To), "index", m.Snapshot.Index,
			"err", err)
		done(err)
		return
	}
	file, size := r.Raw()
	n.Transport.SendSnapshot(m, &snapshotBody{io.NewSectionReader(file, 0, size), r}, size, done)
}

// checkSnapshot reads a snapshot that did not arrive, once. If the disk has changed it nobody takes
// it, and a new one is written from what is in memory (pitfall B15).
func (n *Node) checkSnapshot(index uint64) {
	if n.snapshots.checked.Swap(index) == index {
		return
	}
	r, err := n.storage.snaps.OpenIndex(index)
	if err == nil {
		err = errors.Join(r.Verify(), r.Close())
	}
	if damage := (*snap.Damage)(nil); errors.As(err, &damage) {
		n.Logger.Error("a snapshot that was to be sent is damaged; another one is written", "index", index, "err", err)
		n.stats.Unreadable.Add(1)
		n.snapshots.wanted.Store(true)
		n.inbox.call(func(*core) { n.backlog = append(n.backlog, job{}) }) // so that the applier looks
	}
}

// snapshotBody is a snapshot's file on its way; while it is open the file stays.
type snapshotBody struct {
	*io.SectionReader
	snapshot *snap.Reader
}

// Close closes the file, which may be removed then.
func (b *snapshotBody) Close() error { return b.snapshot.Close() }

// Sum returns a checksum of the whole file.
func (b *snapshotBody) Sum() uint32 { return b.snapshot.Sum() }

// observeMembership follows the membership, and ends a member that is no longer one when it has
// handed over what it led.
func (n *Node) observeMembership() {
	if now := n.core.configs.now().mark(); n.followedConfig != now {
		n.followedConfig = now
		n.publishConfig()
		n.updatePeers()
		n.removed = slices.Contains(n.Membership().Removed, n.id)
	}
	if n.removed && n.core.role != Leader {
		n.fail(fmt.Errorf("%w: its own log says so", ErrRemoved))
	}
}

// publishConfig tells everybody the configuration in force.
func (n *Node) publishConfig() {
	m := n.core.configs.now().membership
	n.newest.Store(&m)
}

// updatePeers tells the transport whom there is to talk to: the members of the newest configuration
// in the log and those of the one that is applied. The one may yet be taken back, and the other
// holds those that don't yet know that they are removed. A leader that has been removed stays as
// long as it leads: it hands over when it has heard that the other one has the whole log.
func (n *Node) updatePeers() {
	if n.Transport == nil {
		return
	}
	m := n.Membership()
	if led, ok := n.followedMembers.Find(n.core.leader); ok && !m.has(led.ID) {
		m.Members = append(slices.Clip(m.Members), led)
	}
	for _, p := range n.core.configs.now().membership.Members {
		if i := slices.IndexFunc(m.Members, func(q Member) bool { return q.ID == p.ID }); i >= 0 {
			m.Members = slices.Clone(m.Members)
			m.Members[i] = p
		} else {
			m.Members = append(slices.Clip(m.Members), p)
		}
	}
	n.followedMembers = m
	n.Transport.Follow(m)
}
