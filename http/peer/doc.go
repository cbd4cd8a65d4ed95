/*
Package peer is what members say to each other: Raft's messages and snapshots,
over net/http alone.

# What it is

A [Transport] takes messages from the node and brings them to the members that they
are for; what the others send it hands to the node, which it knows as raft.Inbound.
It may lose messages, and says when that may have happened. It promises three
things beyond that: a member that died is noticed at once, small messages do not
wait behind large ones, and nobody who has no business here is heard.

"A12" and the like are rows of raft/PITFALLS.md.

# Picture

Each pair of members has two connections, one a direction: who has something to
say dials. One that can't dial borrows a connection that the other one has dialled
for it (loan.go): from then on it is the caller, as if it had dialled. Once the
handshake is done, both ends read and write at the same time.

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
	reader of counts             1 a dialled stream      reading what comes back  step
	receiver (net/http's own)    1 an accepted stream    reading, stepping        write
	teller of counts             1 an accepted stream    writing                  wait for the node
	lender                       1 a lent connection     dialling; then it is     step
	                                                     net/http's own
	seeker                       1                       Config.Look              dial
	snapshot                     0 or 1 a member         one connection           buffer the file

The files, in the order in which to read them:

	transport.go  Config, Transport: what the node calls
	handshake.go  who may talk to whom, and what is said to the others
	dial.go       the calling end of a handshake
	handler.go    the called end
	news.go       where members are that have moved
	survey.go     how the other members are, by their own words
	loan.go       calling over a connection that the other end has dialled
	peer.go       one other member: its URLs, its connection, its lanes
	queue.go      a lane
	frame.go      the bytes of a stream
	stream.go     what both ends of a stream do: tick, end, say bye
	window.go     how many bytes may be on their way
	sender.go     the end that sends messages
	receiver.go   the end that takes them
	snapshot.go   a file from member to member
	stats.go      round trips
	notices.go    a log that does not repeat itself

# Types

	Transport   a raft.Transport, and the http.Handler for /raft
	Config      who this member is, and the limits
	identity    what one end of a connection says of itself
	refusal     a reason not to talk, with its likely cause and remedy
	peer        one other member; a guest is one that no membership names yet
	stream      an upgraded connection, at one of its ends: a sender or a receiver
	flight      what was sent and, as far as is known, not yet read
	mark        a write whose round trip is measured
	window      how large a flight may be
	frame       a piece of a stream; assembly makes messages of pieces
	incoming    the body of a snapshot's request

# Life of a message

Send puts it into a lane of the member's: what may bring entries (Append) into the bulky
one, all else into the urgent one. A peer that is not connected drops it, unless it is a
proposal, which waits for the connection that is being made: it would be sent again only after
a while. The sender wakes, takes all urgent messages and as much of the bulky ones as the
window allows, and writes them at once. A bulky message is cut into frames of
64 KiB, and an urgent one that comes in between goes with the next write.

The window bounds the bytes on their way between the sender and the receiver, so that on a slow
link no more than half a heartbeat's worth of them is in kernels and proxies before a heartbeat.
On a far link it grows with bandwidth × delay, so that the link can be full all the same;
window.go has the rule.

The receiver says how many bytes it has read when a ping asks for it, and otherwise once a tick.
These counts also tell that the other end lives, and how long a round trip takes. Each count wakes
goroutines at both ends, which would cost a busy leader as much as the messages do. So pings are
few. One goes (1) with every 64 KiB, (2) with a write that brings entries when none was measured
for 50 ms: its round trip stands for all since the one before, (3) when half of the window is out,
(4) when the link is to be measured empty, and (5) when the member is to be left. A connection
with nothing on it is pinged once in Config.Silence.

The receiver puts the pieces together, checks that the message is from and
to the two of the handshake, and steps it. While the node takes its time, no more is read, and
the sender stops at the window.

When a process dies, its kernel closes its connections, and the reader at the other end sees it in
the same moment: Inbound.Lost. A member that closes a connection and lives on says bye first. A
connection that just falls silent is closed after Config.Silence, and nobody is called lost.
Inbound.Dropped tells of these ends, and of a message with entries that found no room. In any case
the peer dials again, at first after 10 ms, then less and less often up to once a second, and at
once when the other member calls or its URLs change. When none of the member's URLs works, or one
does not answer for a second, and the member has a stream to this one, the peer asks on that stream
for a connection (frameCall). What is queued is dropped, unless DialTLS has ended the connection, as
it does when an authority is taken out: then it goes with the next one.

A snapshot goes over a connection of its own, one at a time to each member. Its file has a name,
made of index, term, size and checksum. When a transfer breaks, the receiver keeps what has come.
The next request for the same file is answered with the number of bytes kept, and the sender goes
on from there (snapshot.go).

# Invariants

Each with the test that turns red without it:

	a sender is judged by its head, before anything else is read (K5)      TestHandshakesAreJudgedByTheirHead
	both ends log a refusal once, with names, cause and remedy             TestARefusedHandshakeGivesOneLineAtEachEnd
	unknown is not removed: who is new is heard and called back (D8)       TestAMemberThatIsNotKnownIsLetInAndCalledBack
	a removed member hears so once, and calls no more (A12, D9)            TestARemovedMemberGetsWhatWasQueuedForIt
	an emptied member is known by its disk, and hears so once (D10)        TestAMemberThatTurnsOutToBeEmptiedIsCutOff
	a message is from and to the two of the handshake (B11, K3)            TestMessagesOfAStrangerAreNotTaken
	only who can know it can tell a member that it is removed or emptied   TestAnAnswerThatIsNoMembersIsAnError
	no redirection is followed, no answer read beyond its limit (K6)       TestAnAnswerThatIsNoMembersIsAnError
	a handshake and an orphaned connection end by themselves (J1)          TestAHandshakeThatIsNotFinishedIsEnded
	no more memory is taken than twice what has come (K5)                  TestPiecesThatDoNotFitAreRefused
	one direction of dialling is enough, for snapshots too                 TestOneDirectionOfCallingIsEnough
	what has dialled is believed no more than what is called (K3)          TestAConnectionIsBorrowedOnlyFromAMemberThatHasShownItsCertificate
	a call that hangs is given up for a loan                               TestACallThatHangsIsGivenUpWhenThereIsAnotherWay
	a connection that nobody wants is refused (J2)                         TestAConnectionThatNobodyWantsIsRefused
	members that have moved find each other through a third one            TestTwoOfThreeThatMovedAtOnceFindEachOther
	when nobody answers, the list or the discovery is asked                TestMembersThatAllMovedAreLookedUpByName
	each lane keeps its order                                              TestLanesKeepTheirOrder
	a heartbeat waits for no more than the window, near and far (B14)      TestHeartbeatsPassTheBulk
	Send never waits: what finds no room is dropped and counted            TestAFullQueueDropsAndCounts
	a busy stream costs few counts, and all messages are measured          TestABusyStreamCostsFewCounts
	the window moves whatever its size                                     TestASmallWindowMoves
	the window follows bandwidth × delay (L7)                              TestTheWindowFollowsBandwidthAndDelay
	a large entry takes no more than two round trips (L7)                  TestALargeEntryIsThereInTwoRoundTrips
	a stream of entries is not held up by its delay (L7)                   TestAStreamIsNotHeldUpByItsDelay
	a slow link is known after its first window                            TestASlowLinkIsKnownAfterItsFirstWindow
	a pause of the other end costs half of the window at most              TestAPauseCostsHalfOfTheWindowAtMost
	a sender that leaves asks whether all is read                          TestLeavingAsksWhetherAllIsRead
	a slow node holds its senders up, and is not given up                  TestASlowNodeHoldsTheSenderUpAndIsNotGivenUp
	a certificate that ends a connection costs no queued message           TestWhatIsQueuedWhenACertificateEndsAConnectionGoesWithTheNextOne
	Lost is for connections that the other end broke                       TestADeadProcessIsSeenAtOnce
	what may be lost in any other way is told, too                         TestOfTwoConnectionsOfAMemberTheNewerStays
	silence is no break                                                    TestASilentConnectionIsClosedAndNobodyIsLost
	after a pause of the process at most one tick is due (A14)             TestAStreamThatWasPausedHearsBeforeItGivesUp
	a file ends only where it was said to end (E9)                         TestASnapshotThatBreaksOffIsNeverWhole
	a transfer that broke goes on where it was (E10)                       TestASnapshotThatBrokeGoesOnWhereItWas
	but not with another file                                              TestAnotherSnapshotBeginsAnew
	one snapshot at a time goes to a member, and its result answers all    TestOneSnapshotAtATime
	a newer transfer of a member takes the older one's place               TestANewerTransferOfTheSameMemberTakesTheOldersPlace
	a transfer lasts as long as bytes arrive, and no longer (E10)          TestASlowSnapshotPassesAsLongAsItGetsOn
	the same                                                               TestASnapshotThatStandsStillIsEnded
	the same, with megabytes in the kernel's buffer (L7)                   TestAPieceMayWaitForTheKernelsBufferAsLongAsBytesArrive
	a snapshot fills a far link (L7)                                       TestASnapshotFillsAFarLink
	Close leaves nothing running                                           TestCloseLeavesNoGoroutine

# What is left out

Compression. Certificates: an https URL is dialled with Config.DialTLS, and what the peer
listener asks of its callers is the listener's. Room on the disk for one: the
node knows the disk, and gets the size before the bytes. Repair: what a broken connection
had in it is lost, and Raft sends it again.
*/
package peer
