package raft

import (
	"io"
	"time"
)

// Transport carries messages to the other members; http/peer has one. The node calls its methods, from several
// goroutines, and none of them may wait for the network.
type Transport interface {
	// Start is called once, before all others. From then on the transport may hand what it receives to in.
	Start(in Inbound)
	// Follow names the members that there are now, and the ids that are gone for ever. It is called right
	// after Start and again whenever either changes.
	Follow(m Membership)
	// Send sends the messages in order, each to the member its To names. What finds no connection or no room is
	// dropped: Raft copes. Messages and their entries are shared and must not be written to.
	Send(ms []Message)
	// SendSnapshot sends the size bytes of body beside an InstallSnapshot, on a connection of its own, closes body, and calls
	// done once from any goroutine: with nil when the other member has taken it whole.
	SendSnapshot(m Message, body io.ReadCloser, size int64, done func(error))
	// Peers returns what was measured of each member followed. It may be called from any goroutine.
	Peers() map[uint64]PeerStats
	// Close ends all connections and what runs for them. No method of Inbound is called after it has returned.
	Close()
}

// Inbound takes what arrives from other members; *Node is one. Its methods may be called from any goroutine.
type Inbound interface {
	ID() uint64
	Membership() Membership
	// Step takes a message. It blocks while more is waiting than the member can take, so that the sender is held up.
	Step(m Message)
	// Lost says that the connection to a member was seen to break, as it does when its process dies. A connection that
	// could not be made, or fell silent, is none that broke.
	Lost(id uint64)
	// ReceiveSnapshot takes an InstallSnapshot and reads the snapshot's file, which is size bytes long, from body. When it returns nil the file is
	// whole and durable, and the message is on its way to the core.
	ReceiveSnapshot(m Message, body io.Reader, size int64) error
	// Expelled says that another member knows this one as removed. Only the first call counts.
	Expelled(by uint64)
}

// PeerStats are what a Transport has measured of one other member.
type PeerStats struct {
	Connected bool // there is a connection to it now
	Since     time.Time
	Address   string // that it is reached at, or was tried last
	Err       string // why there is no connection; empty while there is one

	Sent, Dropped            uint64 // messages to it
	SentBytes, ReceivedBytes uint64
	Snapshots                uint64 // sent to it whole
	SnapshotsFailed          uint64

	// Round trips of messages that carried entries, from being written to being read there.
	Trips                                        uint64
	Current, Average, Deviation, Least, Greatest time.Duration
}
