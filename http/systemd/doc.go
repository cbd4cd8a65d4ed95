// Package systemd is what a service and systemd say to each other: whether it is
// ready, whether it gets on, and which sockets are open for it already.
//
// # What it is
//
// The protocols of sd_notify(3), sd_watchdog_enabled(3) and sd_listen_fds(3), which are a few
// variables of the environment, datagrams of text, and descriptors from 3 on. Without these
// variables nothing here does anything.
//
// # Picture
//
//	NOTIFY_SOCKET  ◄── READY=1                     it serves
//	               ◄── STOPPING=1                  it ends
//	               ◄── STATUS=follower of a, …     for systemctl status, when it changes
//	               ◄── EXTEND_TIMEOUT_USEC=…       it is not ready yet, and gets on
//	               ◄── WATCHDOG=1                  it gets on: four times in WATCHDOG_USEC
//
//	LISTEN_FDS, LISTEN_FDNAMES ──► Handover ──► a listener for each URL that one of the sockets covers
//
//	etcd2.service, etcd2.socket                   the units, as the README has them and the test under systemd runs them
//
// # Types
//
// A [Service] tells systemd how it goes, which it finds out by asking for a [Condition]. A
// [Handover] is the sockets that were handed over, and who has taken them.
//
// # Life of a stuck member
//
// The fsync of a log hangs. Each look of the service finds the same piece of work under way, for
// longer each time. At half of WATCHDOG_USEC the service warns in the log, and sends no WATCHDOG=1
// any more. Does the disk come back in time, it sends them again; otherwise systemd ends the
// process when WATCHDOG_USEC has passed since the last one, and starts it anew.
//
// # Invariants
//
//   - What does not get on is not said to, and what only waits is not stuck.
//     (`TestTheWatchdogIsFedOnlyWhileTheServiceGetsOn`)
//   - Variables meant for another process are not for this one.
//     (`TestVariablesOfAnotherProcessDoNotCount`)
//   - A socket of which nobody knows what it is for stops the start.
//     (`TestASocketThatNobodyTakesIsAnError`)
//   - A systemd that does not listen holds nobody up.
//     (`TestASocketThatDoesNotTakeNoticesHoldsNobodyUp`)
//
// # What is left out
//
// RELOADING=1 (the unit has systemd send SIGHUP, which only reads certificates again), keeping
// descriptors over a restart (FDSTORE), and sockets that are no TCP.
package systemd
