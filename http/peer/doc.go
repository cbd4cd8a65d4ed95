/*
Package peer carries Raft's messages and snapshots between members, over HTTP connections of
net/http.

# What it is

A [Transport] takes messages from the node and sends them to their members; messages from the other
members it passes to the node, which it knows as raft.Inbound. It may lose messages, and reports
when that may have happened. It promises three things beyond that: a member that died is noticed at
once, small messages do not wait behind large ones, and only members of the cluster are heard.

A12 and the like are rows of raft/PITFALLS.md.

# Picture

Each pair of members has two connections, one for each direction: the sender of the messages dials.
A member that can't dial borrows a connection that the other one dials for it (loan.go); from then
on it is the caller, as if it had dialled. After the handshake both ends read and write at the same
time.

	n1                                                                     n2
	─────────────────────────────────┐             ┌─────────────────────────
	Send ─► urgent ─┐                │   frames    │
	        bulky ──┴─► sender ──────┼────────────►┼──► receiver ──► Inbound.Step
	                      ▲          │  messages   │        │
	            window ───┘◄─────────┼◄────────────┼────────┘
	                                 │ bytes read  │
	SendSnapshot ────────────────────┼────────────►┼──► Inbound.ReceiveSnapshot
	                                 │ one request │
	─────────────────────────────────┘             └─────────────────────────
	                  n2's messages for n1 go over a connection that n2 dials

	goroutine                    how many                owns                     never does
	peer, and sender in it       1 a member              dialling, writing        block Send: a full queue drops
	reader of counts             1 a dialled stream      reading the counts       step
	receiver (net/http's own)    1 an accepted stream    reading, stepping        write
	writer of counts             1 an accepted stream    writing                  wait for the node
	lender                       1 a lent connection     dialling; then it is     step
	                                                     net/http's own
	seeker                       1                       Config.Look              dial
	snapshot                     0 or 1 a member         one connection           buffer the file

The files, in the order in which to read them:

	transport.go  Config, Transport: what the node calls
	handshake.go  which members talk to each other, and the reasons for a refusal
	dial.go       the calling end of a handshake
	handler.go    the called end
	news.go       new URLs of members that have moved
	survey.go     the status of the other members, as they report it
	loan.go       calling over a connection that the other end has dialled
	peer.go       one other member: its URLs, its connection, its lanes
	queue.go      a lane
	frame.go      the bytes of a stream
	stream.go     what both ends of a stream do: tick, end, say bye
	window.go     how many bytes may be in flight
	sender.go     the end that sends messages
	receiver.go   the end that receives them
	snapshot.go   a file from member to member
	stats.go      round trips, and counters
	notices.go    lines that are not logged twice

# Types

	Transport   a raft.Transport, and the http.Handler for /raft
	Config      who this member is, and the limits
	identity    what one end of a connection says about itself
	refusal     a reason to refuse a member, with its likely cause and remedy
	peer        one other member; a guest is one that the membership does not name yet
	stream      an upgraded connection, at one of its ends: a sender or a receiver
	flight      the bytes that were sent and, as far as is known, not yet read
	mark        a write whose round trip is measured
	window      how large a flight may be
	frame       a piece of a stream; assembly makes messages of pieces
	incoming    the body of a snapshot's request

# Life of a message

Send puts it into one of the member's two lanes: messages that may bring entries (Append) into the
bulky one, all others into the urgent one. A peer that is not connected drops the message, unless it
is a proposal. A proposal waits for the connection that is being made, because the node would send
it again only after a while. The sender wakes, takes all urgent messages and as much of the bulky
ones as the window allows, and writes them at once. A bulky message is cut into frames of 64 KiB,
and an urgent one that comes meanwhile goes with the next write.

The window bounds the bytes in flight between the sender and the receiver, so that on a slow link a
heartbeat waits for at most half a heartbeat's time behind bytes in kernels and proxies. On a far
link the window grows with bandwidth × delay, so that the link can be full all the same; window.go
has the rule.

The receiver reports how many bytes it has read when a ping asks for it, and otherwise once a tick.
These counts also show that the other end lives, and how long a round trip takes. Each count wakes
goroutines at both ends, which would cost a busy leader as much as the messages do. So there are few
pings. A ping goes (1) with every 64 KiB; (2) with a write that has entries, when no round trip was
measured for 50 ms: its round trip counts for all messages since the last one; (3) when half of the
window is in flight; (4) when the empty link is to be measured; (5) before the member is left. A
connection on which nothing is sent is pinged once in Config.Silence.

The receiver joins the pieces, checks that the message is from and to the two members of the
handshake, and steps it. While the node is busy with a message, no more is read, and the sender
stops at the window.

When a process dies, its kernel closes its connections, and the reader at the other end notices at
once: Inbound.Lost. A member that closes a connection and lives on sends a bye first. A connection
on which nothing arrives is closed after Config.Silence, without a report that the member is lost.
Inbound.Dropped reports these two ends, and a message with entries that found the lane full. In any
case the peer dials again, at first after 10 ms, then less and less often up to once a second, and
at once when the other member calls or its URLs change. When none of the member's URLs works, or one
does not answer for a second, and the member has a stream to this one, the peer asks on that stream
for a connection (frameCall). Queued messages are dropped, unless DialTLS has ended the connection,
as it does when an authority is removed: then they go with the next connection.

A snapshot goes over a connection of its own, one at a time to each member. Its file has a name,
made of index, term, size and checksum. When a transfer breaks, the receiver keeps the bytes that
have come. The next request for the same file is answered with the number of bytes kept, and the
sender goes on from there (snapshot.go).

# Invariants

Each with the test that turns red without it:

	a caller is checked by its head, before anything else is read (K5)     TestHandshakesAreJudgedByTheirHead
	both ends log a refusal once, with names, cause and remedy             TestARefusedHandshakeGivesOneLineAtEachEnd
	unknown is not removed: a new member is heard and called back (D8)     TestAMemberThatIsNotKnownIsLetInAndCalledBack
	a removed member learns it once, and stops calling (A12, D9)           TestARemovedMemberGetsWhatWasQueuedForIt
	an emptied member is known by its disk, and learns it once (D10)       TestAMemberThatTurnsOutToBeEmptiedIsCutOff
	a message is from and to the two of the handshake (B11, K3)            TestMessagesOfAStrangerAreNotTaken
	only a member of the cluster can tell one that it is removed, emptied  TestAnAnswerThatIsNoMembersIsAnError
	no redirection is followed, no answer read beyond its limit (K6)       TestAnAnswerThatIsNoMembersIsAnError
	a handshake and an orphaned connection end by themselves (J1)          TestAHandshakeThatIsNotFinishedIsEnded
	a message takes at most twice the memory of what has come of it (K5)   TestPiecesThatDoNotFitAreRefused
	one direction of dialling is enough, for snapshots too                 TestOneDirectionOfCallingIsEnough
	a lender is verified as strictly as a member that is called (K3)       TestAConnectionIsBorrowedOnlyFromAMemberThatHasShownItsCertificate
	a call that hangs is given up for a loan                               TestACallThatHangsIsGivenUpWhenThereIsAnotherWay
	a loan that nobody asked for is refused (J2)                           TestAConnectionThatNobodyWantsIsRefused
	members that have moved find each other through a third one            TestTwoOfThreeThatMovedAtOnceFindEachOther
	when nobody answers, the list or the discovery is asked                TestMembersThatAllMovedAreLookedUpByName
	each lane keeps its order                                              TestLanesKeepTheirOrder
	a heartbeat waits for no more than the window, near and far (B14)      TestHeartbeatsPassTheBulk
	Send never waits: a message for a full lane is dropped and counted     TestAFullQueueDropsAndCounts
	a busy stream costs few counts, and all messages are measured          TestABusyStreamCostsFewCounts
	the window moves whatever its size                                     TestASmallWindowMoves
	the window follows bandwidth × delay (L7)                              TestTheWindowFollowsBandwidthAndDelay
	a large entry takes no more than two round trips (L7)                  TestALargeEntryIsThereInTwoRoundTrips
	a stream of entries is not held up by its delay (L7)                   TestAStreamIsNotHeldUpByItsDelay
	a slow link is known after its first window                            TestASlowLinkIsKnownAfterItsFirstWindow
	a pause of the other end costs half of the window at most              TestAPauseCostsHalfOfTheWindowAtMost
	a sender that leaves asks whether all is read                          TestLeavingAsksWhetherAllIsRead
	a slow node delays its senders, which keep the connection              TestASlowNodeHoldsTheSenderUpAndIsNotGivenUp
	a certificate that ends a connection costs no queued message           TestWhatIsQueuedWhenACertificateEndsAConnectionGoesWithTheNextOne
	Lost is for connections that the other end broke                       TestADeadProcessIsSeenAtOnce
	what may be lost in any other way is reported, too                     TestOfTwoConnectionsOfAMemberTheNewerStays
	silence is not reported as Lost                                        TestASilentConnectionIsClosedAndNobodyIsLost
	after a pause of the process at most one tick is due (A14)             TestAStreamThatWasPausedHearsBeforeItGivesUp
	a file ends only at its announced size (E9)                            TestASnapshotThatBreaksOffIsNeverWhole
	a transfer that broke is resumed (E10)                                 TestASnapshotThatBrokeGoesOnWhereItWas
	but not with another file                                              TestAnotherSnapshotBeginsAnew
	one snapshot at a time goes to a member, and its result answers all    TestOneSnapshotAtATime
	a newer transfer from a member replaces the older one                  TestANewerTransferOfTheSameMemberTakesTheOldersPlace
	a transfer lasts as long as bytes arrive, and no longer (E10)          TestASlowSnapshotPassesAsLongAsItGetsOn
	the same                                                               TestASnapshotThatStandsStillIsEnded
	the same, with megabytes in the kernel's buffer (L7)                   TestAPieceMayWaitForTheKernelsBufferAsLongAsBytesArrive
	a snapshot fills a far link (L7)                                       TestASnapshotFillsAFarLink
	Close leaves nothing running                                           TestCloseLeavesNoGoroutine

# What is left out

Compression. Certificates: https URLs are dialled with Config.DialTLS, and the peer listener
verifies its callers. Room on the disk for a snapshot: the node knows the disk, and gets the size
before the bytes. Repeating: messages in a connection that breaks are lost, and Raft sends them
again.
*/
package peer
