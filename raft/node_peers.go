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

// Transport carries messages to the other members; http/peer has one. The node calls its methods
// from several goroutines. None of them may wait for the network.
type Transport interface {
	// Start is called once, before all others. From then on the transport may give what it receives
	// to in.
	Start(in Inbound)
	// Follow tells the members that there are now, and the ids of those that were removed. It is
	// called right after Start, and again whenever either changes.
	Follow(m Membership)
	// Send sends the messages in order, each to the member in its To. A message that finds no
	// connection or no room is dropped: Raft makes up for it. A Propose may wait for a connection
	// that is being made, since it would be sent again only after a while. Nothing is delivered
	// twice. Messages and their entries are shared, and must not be written to.
	Send(ms []Message)
	// SendSnapshot sends an InstallSnapshot, and the size bytes of body, on a connection of their
	// own. It closes body. It calls done once, from any goroutine: with nil when the other member
	// has taken all of it. While one transfer to a member is under way, no other one is begun: its
	// done is called with the result of the first. If body has the methods Seek and Sum (a checksum
	// of all of it), an interrupted transfer is resumed. SendSnapshot logs the result.
	SendSnapshot(m Message, body io.ReadCloser, size int64, done func(error))
	// Peers returns what was measured for each followed member. It may be called from any
	// goroutine.
	Peers() map[uint64]PeerStats
	// Close ends all connections and their goroutines. No method of Inbound is called after it
	// has returned.
	Close()
}

// Inbound takes what arrives from other members; *Node is one. Its methods may be called from any
// goroutine.
type Inbound interface {
	ID() uint64
	Membership() Membership
	// Step takes a message. It blocks while too much waits for the member, which holds up the
	// sender.
	Step(m Message)
	// Lost says that the connection to a member broke, as it does when its process dies. It is not
	// called for a connection that could not be made, or that fell silent.
	Lost(id uint64)
	// Dropped says that messages to a member may be lost, and that the member has probably not
	// died: a connection ended in another way, or had no room for a message with entries.
	Dropped(id uint64)
	// Kept returns how many bytes of the file with that name an interrupted transfer has left; 0:
	// there was none. It never blocks.
	Kept(name string) int64
	// ReceiveSnapshot takes an InstallSnapshot, and reads the snapshot's file from body, from
	// f.From on. When it returns nil, the file is whole and durable, and the message is on its way
	// to the core.
	ReceiveSnapshot(m Message, f SnapshotFile, body io.Reader) error
	// Incarnation returns the incarnation of a member's disk: of this member from the disk itself,
	// of another one from the newest configuration in the log, committed or not; 0 when it is not
	// known. It never blocks.
	Incarnation(id uint64) uint64
	// Expelled says that another member knows this one as removed. Only the first call of Expelled
	// and Emptied counts.
	Expelled(by uint64)
	// Emptied says that another member knows another incarnation of this member than that of its
	// disk.
	Emptied(by uint64)
}

// SnapshotFile describes the part of a snapshot's file that is sent.
type SnapshotFile struct {
	Size int64  // of the whole file, in bytes
	From int64  // offset at which the transfer begins: an earlier transfer has left what is before it
	Name string // no file with other bytes has it; empty: the transfer can't be resumed
}

// PeerStats are what a Transport has measured of one other member.
type PeerStats struct {
	Connected bool // there is a connection to it now
	Borrowed  bool // the other member has dialled that connection: this one can't reach it
	Since     time.Time

	Sent, Dropped            uint64 // messages to it
	SentBytes, ReceivedBytes uint64
	Snapshots                uint64 // sent to it whole
	SnapshotsFailed          uint64

	Urgent, Bulky Lane          // messages that wait for the connection; those with entries are bulky
	InFlight      int           // bytes sent that are not known to be read
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

// Step takes a message from another member. It blocks while too much waits for the loop.
func (n *Node) Step(m Message) { n.inbox.step(m, n.quit) }

// Lost says that the connection to a member broke.
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

// Incarnation returns the incarnation of a member's disk. That of another member is known from the
// moment that it is in the log, applied or not: after a restart of the whole cluster nothing is
// applied before a leader is elected.
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

// ReceiveSnapshot writes a snapshot's file, and then leaves its message for the core. The order is
// that of pitfall E4: when the core hears of the snapshot, its file is durable and has its name. A
// snapshot that is not newer than what is applied is not read.
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

// Kept returns how many bytes of the file with that name an interrupted transfer has left.
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

// receiveBody writes the rest of the snapshot's file, and gives the file its name when it is whole.
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

// failOnDiskError ends the member if the disk has failed while a snapshot was received: whatever
// the file system says after that can't be trusted (pitfall H8). A full disk does not end the
// member: the log may have room, and the sender is told.
func (n *Node) failOnDiskError(err error) {
	if err != nil && !errors.Is(err, syscall.ENOSPC) {
		n.fail(fmt.Errorf("a snapshot of another member can't be written, so this member stops: %w", err))
	}
}

// beginReceive resumes the file of an interrupted transfer, or begins a new one when f.From is 0.
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

// sendMessages gives the core's messages to the transport. Helpers carry out what needs the disk:
// the sending of snapshots, and fetches.
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

// shortLog is how many bytes of log are sent even if a snapshot would be shorter: a member that
// installs a snapshot replaces its whole state.
const shortLog = 32 << 20

// snapshotIsShorter reports whether the newest snapshot and the log behind it are fewer bytes than
// the log that a member lacks. The shorter of the two is sent.
func (n *Node) snapshotIsShorter(f Fetch) bool {
	newest := n.core.snapshot.Index
	lacked, behind := n.storage.log.Bytes(f.From), n.storage.log.Bytes(newest)
	return newest > f.From && lacked > shortLog && lacked > n.snapshots.size.Load()+behind
}

// sendSnapshot opens the file that a message names, and has the transport send it. The transport
// logs what becomes of it.
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

// checkSnapshot verifies a snapshot that did not arrive, once. If its file is damaged, no member
// can take it, and a new snapshot is written from what is in memory (pitfall B15).
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

// snapshotBody is a snapshot's file that is being sent. While it is open, the file is not removed.
type snapshotBody struct {
	*io.SectionReader
	snapshot *snap.Reader
}

// Close closes the file, which may then be removed.
func (b *snapshotBody) Close() error { return b.snapshot.Close() }

// Sum returns a checksum of the whole file.
func (b *snapshotBody) Sum() uint32 { return b.snapshot.Sum() }

// observeMembership shows changes of the membership to other goroutines and to the transport. It
// ends a member that was removed, once it does not lead any more.
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

// publishConfig shows the configuration in force to other goroutines.
func (n *Node) publishConfig() {
	m := n.core.configs.now().membership
	n.newest.Store(&m)
}

// updatePeers tells the transport which members there are to talk to: those of the newest
// configuration in the log, which may yet be taken back, and those of the applied one, some of
// which may not know yet that they are removed. A leader that has been removed stays as long as it
// leads: it hands over when it knows that the other member has the whole log.
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
