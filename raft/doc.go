/*
Package raft is consensus: log, election, replication, membership, reads and
snapshots as a pure core, and the Node that drives it.

# What it is

Several members hold the same log and apply it in the same order, so that their state machines are
equal. A majority decides: while its members reach each other, new entries are committed, and no
entry that was acknowledged is ever lost, whatever the other members, the network and crashes do.
The algorithm is Raft: "§" and "fig." are sections and figures of Ongaro and Ousterhout, "In Search
of an Understandable Consensus Algorithm" (extended version, 2014); "diss." is Ongaro's dissertation
(Stanford, 2014). "Pitfall C4" is a row of PITFALLS.md. README.md has a glossary, a tour for readers
who learn Raft, and one PUT step by step. This comment is for those who change the package.

The package is in two halves. The core decides: it is a state machine without goroutine, clock,
random source of its own, disk or socket. Messages, ticks and proposals go in; one value, [Effects],
comes out, and says all that must now be done. The Node does it. So the whole of consensus can be
played from a script (testdata), simulated from a seed, and checked after every step
(checkInvariants in the tests).

# Picture

	 Propose, Read, Change         messages of other members          ticks
	          │                                │                        │
	══════════╪════════════════════════════════╪════════════════════════╪═════ node*.go above, core below
	          ▼                                ▼                        ▼
	   propose, forward,                     step                     tick
	   read, proposeChange                     │
	          └───────────────►  core  ◄───────┴────────────────────────┘
	                 role, term, vote, log, commit, configs, clock
	                               │
	                            effects
	          ┌──────────┬─────────┴─┬───────────┬──────────┐
	══════════╪══════════╪═══════════╪═══════════╪══════════╪═════════════════ core above, node*.go below
	          ▼          ▼           ▼           ▼          ▼
	       Persist    Messages   Committed     Reads      Fetch
	       disk       network    applier       waiters    disk
	          │                                             │
	          └─► persisted                       fetched ◄─┘

The goroutines of a node, and what each owns:

	goroutine               how many   owns                                  never does
	node loop               1          the core, the log's tail in memory    disk, sockets, Apply
	disk writer             1          the WAL's new end and its fsync       decide
	applier                 1          writes to the state machine           wait for a client
	snapshot writer         0 or 1     a frozen view, the WAL's old end      hold a lock
	helper                  a few      the reads for a member that lags      touch the core
	transport (http/peer)   its own    the connections                       touch the core, block the loop
	handler (in http)       1 a call   the request                           touch the core

The files, in the order in which to read them. The core:

	types.go        what a log, a membership, a snapshot consist of
	message.go      what members say to each other
	raft.go         the core: its state, its inputs, terms and votes
	election.go     PreVote, campaigns, handing over
	replication.go  proposals, Append and its answers, the commit rule
	forward.go      streams of proposals from followers
	progress.go     what a leader knows of each other member: its log, its round trip, what is in flight
	log.go          the tail of the log in memory
	membership.go   configurations and changes of them
	read.go         linearizable reads
	snapshot.go     what the state machine has applied; compaction, sending and installing snapshots
	clock.go        the time that the log carries, and the leader's wall clock
	effects.go      what the driver must do, and what the disk has done
	codec.go        how all of these are encoded

The driver, likewise:

	node.go          one running member: its life, its loop, what others may ask it
	node_config.go   what a node is told when it is made
	node_requests.go proposals and reads on their way to the core
	node_inbox.go    what comes to the loop from other goroutines
	node_waiters.go  the requests whose outcome a caller waits for, and their life as a table
	node_disk.go     the disk writer, and the making of a disk
	node_dirs.go     the directories, which no other process may use
	node_identity.go what ties a data directory to the log of its member
	node_storage.go  the log and the snapshots on disk
	node_rebuild.go  the state machine catches up with the log while that is read
	node_apply.go    the applier; when a snapshot is written and the log is cut
	node_peers.go    the transport, snapshots from and to other members, which members to talk to
	node_fetch.go    reading the log on disk for a member that lags
	node_force.go    a new cluster of one member alone
	node_announce.go what a member tells the cluster about itself, and when it begins to serve clients
	node_clock.go    the clock that all goroutines may read, and when the loop must wake
	node_observe.go  what the loop shows after each turn: to the log, the metrics and other goroutines
	node_digest.go   the digests by which members compare their state
	node_stuck.go    which goroutine is stuck, and since when, for the watchdog
	node_describe.go a record of the log, as one line of text
	node_urls.go     the one form of a member's URL
	stats.go         counters, histograms, and the lengths of all queues

What is done with backups, and with disks while no node runs on them:

	node_audit.go    the rules that all records of a log follow
	node_verify.go   a directory or a backup is read, and checked by these rules
	node_backup.go   a state is written to a file, and a directory is copied
	node_restore.go  the directories of new members are made from a backup
	node_salvage.go  what is whole is saved from the directory of a member that does not start

The tests: testdata holds the scripts, one lesson a file, and script_test.go plays them; the tables
of election_test.go and its neighbours show each rule with its edge cases.

# Types

	core            what one member knows and decides: a pure state machine
	entryLog        the newest entries, in memory
	configStack     the configurations that the log may still go back to
	leadership      what only a leader knows, and progress for each other member, with:
	roundTrip       how long the member takes to answer, which decides when something counts as lost
	readAhead       entries that were read from the disk for it and are not yet sent
	catchUp         one round of a learner's catching up
	proposalStream  how far the proposals that it passes on were taken
	forwarding      the other end of that stream: what a follower has passed on without an answer
	readQueue       reads that a leader has not yet answered
	clusterClock    the time that stamps are taken from
	Message         what members say to each other. Its kinds:

	request           answer            asks for, or says
	PreVote           PreVoteAnswer     could I win the next term?
	Vote              VoteAnswer        your vote in my term
	Append            AppendAnswer      store these entries; my log is yours up to here, on disk
	Heartbeat         HeartbeatAnswer   I lead, this much is committed; this is my log
	InstallSnapshot   AppendAnswer      replace your state by this
	ReadIndex         ReadIndexAnswer   up to where must I have applied before I may read?
	TimeoutNow                          campaign, I hand over to you
	Propose           ProposeAnswer     put these into your log; taken up to here, except these

	Effects         what the driver must do; Persist, SafeRead and Fetch are parts of it
	Node            one running member; StateMachine is what it applies the log to
	waiter          a caller of Propose, Read or Change; it owns the bytes of its request
	Queue           the length and the limit of one queue in a member
	Transport       carries messages and snapshots; Inbound is the node as the transport sees it
	Dirs            the directories of one process, locked; DirError is why one can't be used
	Frozen          a member's state on its way to a backup; Restore makes disks of new members from it
	Wreck           what Salvage found whole on a disk that no member starts from, and what is lost
	Report          what Verify found in a backup or on a disk, by the rules that an audit follows

# Life of an entry

README.md, "A PUT, step by step", names each goroutine and function on the way of an entry, and says
what happens when a message or a leader is lost. What a change to these steps must keep:

  - Proposals are gathered into batches. The loop takes all proposals that wait in the inbox, unless
    it is better for them to wait a moment for the batch before them (Node.proposalsWait).
  - A batch goes to the disk and to the other members at the same time: core.effects hands out one
    write, and Appends for every other member.
  - An answer waits for the disk: core.sendDurable holds it until its entries, term and vote are
    there.
  - Each answer moves that member's match, and the leader's own disk moves log.durable.
    core.advanceCommit takes the highest index that a majority has reached.
  - Followers hear of the commit with the next Append, or at once by a heartbeat if there is none.
  - A follower's proposals are a stream of numbered messages (forward.go). core.tickForwarding sends
    those without an answer again, and waiters.dead finds the proposals that were lost with a leader
    and may be proposed anew. An outcome stays unknown only when the caller no longer waits, the
    member stops, or a snapshot takes the place of entries.

Where the state machine is slower than the clients, it holds them back. A leader lets proposals wait
in the inbox while too many committed entries are not applied (core.isBehind). A follower in that
state takes no more entries (core.isFull), so that its window at the leader fills up, and asks for
more when enough is applied (core.appliedTo). Every queue is bounded, and Status.Queues has each
length and bound.

A member that lags gets entries that have left the leader's memory from the log on disk, as a
pipeline: while Appends are in flight, the entries of the last read wait in readAhead, and the next
read is under way (core.sendFromDisk). If the newest snapshot and the log after it are shorter than
what the member lacks, it gets the snapshot (Node.snapshotIsShorter). An Append without an answer
counts as lost after a time that grows with the round trip and with the bytes in flight
(core.lossTimeout).

# Invariants

Those of one member stand beside the fields, and checkInvariants checks them after every
step of every test:

	applied ≤ applying ≤ commit ≤ last         base ≤ durable ≤ handed ≤ last
	term never falls, one vote a term          match < next ≤ last + 1
	snapshot ≤ commit                          configuration = the last one in the log
	unapplied = bytes of the entries behind applied, up to commit

Those of the cluster are the paper's five (fig. 3): at most one leader a term; a leader only
appends; logs that share an entry share all before it; a committed entry is in every later leader's
log; no two members apply different entries at one index.

What the paper and the dissertation ask for, where it is done, and which test shows it:

	section      rule                                             function                  test
	fig. 2       on disk before it is said                        core.sendDurable          TestVoteIsAnsweredWhenItIsOnDisk
	§5.1         a later term is entered at once                  core.stepHigherTerm       TestScripts/figure_8
	§5.1         an earlier term is refused                       core.stepLowerTerm        TestScripts/term_that_ran_ahead
	§5.2         one vote a term                                  core.castVote             TestVoteIsForgottenOnlyWithItsTerm
	§5.2         a majority elects                                core.countVotes           TestScripts/split_vote
	§5.2         timeouts are random, each time                   core.drawElectionTimeout  TestElectionTimeoutIsDrawnAnewEachTime
	§5.3         the entry before must match                      core.handleAppend         TestAppendToAFollower
	§5.3         drop what conflicts, and nothing else            core.store                TestAppendToAFollower
	§5.3         a refusal says how far to go back                entryLog.findConflict     TestFindConflictReturnsTheLastEntryThatMayAgree
	§5.3         an Append that is lost is sent again             core.overdue              TestWhatIsLateIsNotTakenForLost
	§5.4.1       no vote for an outdated log                      core.upToDate             TestVoteGoesToLogsThatAreUpToDate
	§5.4.2       only entries of the own term commit by counting  core.advanceCommit        TestOnlyEntriesOfTheOwnTermAreCommittedByCounting
	§5.4.2       a term begins with an empty entry                core.becomeLeader         TestLeaderOpensItsTermWithAnEmptyEntry
	§7           a snapshot keeps a log that contains it          core.handleSnapshot       TestSnapshotAtAFollower
	§7           the shorter of log and snapshot is sent          Node.snapshotIsShorter    TestTheShorterOfLogAndSnapshotIsSent
	§8           no read before the term has a committed entry    core.beginReads           TestReadWaitsForAnEntryOfTheOwnTerm
	diss. 3.10   handing over                                     core.transfer             TestScripts/transfer
	diss. 4.1    a configuration counts from append on            configStack.append        TestConfigurationFollowsTheLog
	diss. 4.1    one change at a time, after the first commit     core.proposeChange        TestChangeIsRefusedWhileAnythingBeforeItIsOpen
	diss. 4.2.1  a new member learns before it votes              core.promote              TestLearnerIsPromotedThoughNobodyWrites
	diss. 4.2.1  a round of catching up has a fixed goal          core.promote              TestLearnerFarAwayIsPromotedThoughSomebodyWritesAllTheTime
	diss. 4.2.2  a removed leader does not count itself           core.quorumOf             TestRemovedLeaderDoesNotCountItself
	diss. 4.2.2  a removed leader steps down after the commit     core.configCommitted      TestScripts/leader_removes_itself
	diss. 4.2.3  a member that hears a leader does not unseat it  core.hearsLeader          TestTransferIsVotedForThoughTheLeaderIsHeard
	diss. 6.2    a leader without a majority steps down           core.hasQuorum            TestLeaderWithoutMajorityFallsSilent
	diss. 6.4    a read is confirmed by a round begun after it    core.releaseReads         TestReadIsConfirmedByARoundBegunAfterIt
	diss. 9.6    PreVote changes nothing                          core.handlePreVote        TestPreVoteChangesNothingAtTheVoter
	§8           a follower sends a client's command on           core.forward              TestAProposalIsForwardedToTheLeaderAndTakenInItsTermOnly
	diss. 10.2   the leader writes while it sends                 core.effects              TestScripts/append

Break it: delete a rule and run its test, and the test fails. After a colon stands what the code
does instead.

	delete                                                        in                      test
	the term in core.advanceCommit                                replication.go          TestOnlyEntriesOfTheOwnTermAreCommittedByCounting
	the comparison of logs                                        core.handleVote         TestVoteGoesToLogsThatAreUpToDate
	the vote already given                                        core.handleVote         TestVoteIsForgottenOnlyWithItsTerm
	the search for a doubled answer                               core.handleVoteAnswer   TestDoubledVoteCountsOnce
	the wait for the disk                                         core.sendDurable        TestVoteIsAnsweredWhenItIsOnDisk
	stateDurable: count the own vote at once                      core.countVotes         TestOwnVoteCountsWhenItIsOnDisk
	durable: count the own copy at once                           core.advanceCommit      TestLeaderCountsItselfWhenItsDiskHasAnswered
	the entries that match: truncate at every Append              core.store              TestAppendToAFollower
	the end of the message: commit up to the end of the log       core.handleAppend       TestAppendToAFollower
	the case below the commit index                               core.handleAppend       TestAppendToAFollower
	the writes under way when the log is truncated                core.truncateLog        TestAnswerToAnEntryWaitsForThatVeryEntry
	the durable mark when the log is truncated                    entryLog.truncate       TestTruncationLowersTheDurableMark
	the configurations when the log is truncated                  core.truncateLog        TestConfigurationFollowsTheLog
	the probe that a refusal is for                               core.handleReject       TestRefusalOfAnOldProbeIsIgnored
	match, which a refusal must be above                          core.handleReject       TestLateAnswersDoNotMoveProgress
	the empty entry                                               core.becomeLeader       TestLeaderOpensItsTermWithAnEmptyEntry
	start: read before the term has a committed entry             core.beginReads         TestReadWaitsForAnEntryOfTheOwnTerm
	beat: confirm a read by an earlier round                      core.beginReads         TestReadIsConfirmedByARoundBegunAfterIt
	start: change before the term has a committed entry           core.proposeChange      TestChangeIsRefusedWhileAnythingBeforeItIsOpen
	Learner: let every member vote                                newConfig               TestLearnerDoesNotCount
	hearsLeader: grant every PreVote                              core.handlePreVote      TestPreVoteIsGrantedOnlyWithoutALeader
	hearsLeader: listen to every campaign                         core.stepHigherTerm     TestTransferIsVotedForThoughTheLeaderIsHeard
	PreVote: enter the term that is asked for                     core.stepHigherTerm     TestPreVoteChangesNothingAtTheVoter
	the answer to an Append of an earlier term                    core.stepLowerTerm      TestScripts/term_that_ran_ahead
	hasQuorum                                                     core.tickLeader         TestLeaderWithoutMajorityFallsSilent
	stalled: campaign with a disk that stands still               core.mayCampaign        TestLeaderWithAStalledDiskHandsOverAndStepsDown
	the end of a transfer that takes too long                     core.tickLeader         TestScripts/transfer_timeout_now_lost
	the refusal of proposals during a transfer                    core.propose            TestScripts/transfer
	match: tell every member the whole commit index               core.sendHeartbeat      TestScripts/heartbeat_carries_the_commit
	the search for overdue Appends                                core.overdue            TestScripts/lost_append
	ticks: measure what is overdue in rounds of heartbeats        core.overdue            TestWhatIsLateIsNotTakenForLost
	the goal: judge a learner by the commit index of the moment   core.promote            TestLearnerFarAwayIsPromotedThoughSomebodyWritesAllTheTime
	the reading ahead: fetch only when the window has room        core.sendFromDisk       TestCatchingUpReadsAheadOfTheWindow
	the pause after a snapshot that did not arrive                core.sent               TestScripts/snapshot_receiver_dies
	the case at or below the commit index                         core.handleSnapshot     TestSnapshotAtAFollower
	the log that has the snapshot's last entry                    core.handleSnapshot     TestSnapshotAtAFollower
	the reset of durable when a snapshot is installed             core.install            TestSnapshotIsVouchedForWhenTheDiskHasNotedIt
	the term in clusterClock.observe                              clock.go                TestTimeOfADeposedLeaderDoesNotCount
	the time that is read when proposals are taken                Node.drainInbox         TestAWriteIsNotStampedWithATimeFromBeforeItWasMade
	the limit of what is not committed                            core.propose            TestProposalsAreRefusedWhenTooMuchIsUncommitted
	isFull: take entries however far the state machine lags       core.handleAppend       TestAMemberWhoseStateMachineLagsTakesNoMore
	the term: take proposals that were made in another            core.step               TestAProposalIsForwardedToTheLeaderAndTakenInItsTermOnly
	the number: take every message of proposals                   core.handlePropose      TestAProposalThatComesTwiceIsTakenOnce
	the search for proposals without an answer                    core.tickForwarding     TestAProposalWithoutAnAnswerIsSentAgain
	the former streams                                            progress.stream         TestAProposalOfAFormerLifeIsNotTakenAfterOneOfThePresent
	the answer that a read will never be safe                     core.refuseReads        TestReadsThatWillNeverBeSafeAreToldSo
	the count of the voters that would be left                    core.mayRemove          TestAChangeThatWouldLoseTheQuorumIsRefusedAtAnyMember
	the check that the log has what was acknowledged              core.commitTo           TestAMemberWhoseDiskHasForgottenStops
	dead: wait for proposals that went with their leader          node_apply.go           TestProposalsOutliveTheirLeader
	the look at what the log says of the member's own disk        core.checkIncarnation   TestAMemberThatReadsOfAnotherDiskOfItsOwnSaysNothingMore
	maxHeld: keep every message that waits for the disk           core.sendDurable        TestMessagesThatWaitForTheDiskAreBounded
	longestRTT: campaign within a fifth of a timeout              core.campaignSpread     TestMembersFarApartSpreadTheirCampaigns
	the pause after messages were dropped                         core.dropped            TestWhatIsDroppedIsSentAgainAfterARound
	sendAgain: wait for the timeout after a break                 core.lost               TestABrokenConnectionHasProposalsSentAgainAtOnce
	answers: tell every member that it is heard                   core.sendHeartbeat      TestAMemberThatTheLeaderDoesNotHearIsToldSo
	the silence of a member that does not lead                    core.handlePropose      TestWhoLeadsNoMoreRefusesNothing
	the bound on what is passed on without an answer              core.mayForward         TestForwardingStopsWhenTooMuchIsOnItsWay
	maxReads                                                      core.enqueueRead        TestReadsThatWaitAreBounded
	the limit: propose however far the state machine lags         core.isBehind           TestALeaderWhoseStateMachineLagsLetsProposalsWait
	isMarked: force a new cluster at each start                   Node.force              TestToForceANewClusterAgainChangesNothing
	MayForce: ask nobody                                          Node.force              TestAForceThatIsRefusedChangesNothing
	NameTaken                                                     core.checkChange        TestNamesAreUnique
	overfills                                                     core.checkChange        TestAMembershipTooLargeForASnapshotIsRefused
	wallEntry: open a term without the wall clock                 core.becomeLeader       TestTheLogTellsTheLeadersWallClock
	logWall                                                       core.propose            TestTheLogTellsTheLeadersWallClock
	maxNumber                                                     codec.go                TestNumbersThatNothingReachesAreRefused
	atMost: believe any count                                     codec.go                TestAFrameOfSmallThingsDoesNotBecomeAGigabyte
	the comparison: send the log however long                     Node.snapshotIsShorter  TestTheShorterOfLogAndSnapshotIsSent
	snapshotIsShorter: never ask for it                           Node.sendMessages       TestAMemberThatLacksMuchLogGetsAShorterSnapshot
	Keep: drop what came of a transfer that broke                 Node.receive            TestAnInterruptedSnapshotTransferIsResumed
	the second look at a log that was kept for a member           Node.releaseAgain       TestTheLogIsCutWhenAMemberHasCaughtUp
	living: keep parked requests that nobody waits for            Node.dropDead           TestARequestThatIsAnsweredHoldsNoMemory
	maxWaiters, maxWaitersBytes                                   waiters.add             TestMoreThanMayWaitIsRefusedAtOnce
	request: keep the bytes of what is answered                   waiters.unlink          TestAWaiterThatIsAnsweredHoldsNoRequest
	proposedIn: say of a proposal that hangs it was never made    waiters.propose         TestAProposalThatMayYetBeMadeIsAnsweredAsUnknown
	the moment: sleep when the gathering has just ended           Node.untilGathered      TestTheLoopDoesNotOversleepTheEndOfTheGathering
	readsWait: ask the leader for each read                       Node.dequeueReads       TestReadsThatComeMeanwhileShareOneReadIndex
	the second look at the reads that waited                      Node.turn               TestReadsGoOnWithTheAnswerThatTheyWaitFor
	isBehind: propose however far the state machine lags          Node.drainInbox         TestProposalsWaitInTheInboxWhileTheApplierHangs
	applierWakes: let the applier wake nobody                     Node.waitsForApplier    TestProposalsWaitInTheInboxWhileTheApplierHangs
	return: go on writing after a write that failed               Node.writeDisk          TestAFailedWriteIsNotTakenForOneThatHasEnded
	failPatience: wait for what hangs after a failure             Node.fail               TestAMemberWhoseDiskHangsEndsWhenItFails
	waiters.close: leave the waiters to their deadlines           Node.fail               TestAMemberWhoseDiskHangsEndsWhenItFails
	stopPatience: wait for what hangs in Stop                     Node.Stop               TestStopDoesNotWaitForADiskThatHangs
	the index of the note: take any note for one of base          replayer.detached       TestWhatWasAcknowledgedBehindASnapshotIsThereAfterEachStart
	the gap: read on behind entries that are missing              replayer.makeRoom       TestALogWithAGapIsRefused
	wholeAfter: trust the label of the first segment              storage.first           TestALogIsWholeOnlyBehindAReceivedSnapshot
	errHole: call a gap damage                                    storage.fetch           TestAFetchOfWhatASnapshotReplacedRaisesNoAlarm
	failOnDiskError                                               Node.receive            TestEveryFailureOfTheDiskEndsTheMember
	the note of a snapshot, which a start makes up for            storage.openLog         TestEveryCrashAroundAReceivedSnapshotKeepsWhatWasAcknowledged
	the end of a write: hand on entries in the middle of it       replayer.handOn         TestAStartHandsOnNothingThatAWriteReplaces
	handed: let a later record take the place of what is applied  replayer.makeRoom       TestALogThatReplacesWhatItCountsAsCommittedIsRefused
	rebuilder: keep all of the log until it is read               replayer.handOn         TestAStartHandsOnWhatIsCommittedAsItReads
	maxReplay                                                     muchToReplay            TestMuchLogCausesASnapshotWhateverTheCount
	MaxWriteBytes: write all at once                              core.handToDisk         TestWhatIsWrittenAtOnceIsBounded
	the check of the addressee                                    core.step               TestMessageForAnotherMemberIsDropped
	lock: leave the log's directory to everybody                  Dirs.lockLogDir         TestEveryDirectoryHasOneProcess
	owns: take any log that is there                              node_identity.go        TestALogIsNotAdopted
	made: begin anew where there is no log                        node_identity.go        TestAMemberThatLostItsLogIsNotStartedAnew

# What is left out

Joint consensus: members change one at a time, which needs no second kind of majority. Leases: a
read never trusts a clock. Sessions of clients (diss. 6.3): the state machine may remember requests
by a name (package store does).

Departures from the paper:

  - PreVote and the leader's own check of its majority are always on (diss. 9.6, 6.2). In
    addition a follower that sees the connection to its leader break need not wait for
    the timeout, and grants a PreVote to others on the same evidence.
  - A heartbeat is no empty Append. It carries a round, for reads, and no more of the commit
    index than its receiver is known to have. Its answer says what the member's log is, and
    so makes up for an Append or an answer that was lost.
  - A heartbeat tells a member when the leader has not heard it for an election timeout: such a
    member's state grows old, though it hears heartbeats.
  - A heartbeat tells the longest round trip to a member. When a leader's connection breaks, the
    others wait up to twice that time, so that they do not all campaign within one round trip.
  - Once it is known where the logs agree, entries are sent in a stream, without waiting for
    answers. The bytes in flight are bounded.
  - A refusal names the last entry that may match, so that a probe skips a whole term.
  - A voter judges a candidate by the logs and the timer, not by its own configuration,
    which may be older than the candidate's.
  - A new member has no vote, and the leader gives it one when it has caught up: when one round
    of its catching up took less than an election timeout. There is no limit to the rounds.
  - A member applies what is committed only when it is on its own disk as well.
  - A follower whose state machine lags takes no entries, and a leader whose state machine lags
    takes no proposals, until enough is applied.
  - The commit index is written along with other state, as a lower bound. The paper has it volatile.
  - A leader whose disk stands still for an election timeout hands over.
  - A snapshot is sent as a file beside the messages, not as chunks within them (fig. 13). A
    transfer that broke resumes where it stopped.
  - A follower passes proposals on to the leader, and proposes those anew that were lost with a
    leader. In the paper, the client is sent to the leader, and repeats its request itself.
  - A disk gets a random number when it is made, its incarnation, and its member announces it to the
    others when it starts. A member whose disk was emptied has another number, and may not go on
    under its id: the transports of the others refuse it, the leader refuses its announcement, and
    it ends itself when the log names the former number. The paper takes for granted that a disk
    keeps what was written. A gap remains until the announcement is in the other members' logs: a
    member that lacks it takes the emptied member for the former one. If such members are a
    majority, committed entries may be lost. An old copy of a disk has the same number; only
    core.commitTo can detect it.
  - Members compare digests of their state through the log; a minority that differs stops.
  - Entries carry the time of the cluster's own clock, and the entry that opens a term may carry the
    leader's wall clock. There are no such clocks in the paper.
  - Terms and indexes of 2⁶³ and above are refused: one forged message could end all elections.
*/
package raft
