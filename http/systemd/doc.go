// Package systemd is how a service and systemd talk to each other: whether the service is ready,
// whether it makes progress, and which sockets systemd has opened for it.
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
//	               ◄── EXTEND_TIMEOUT_USEC=…       it is not ready yet, but makes progress
//	               ◄── WATCHDOG=1                  it makes progress: four times in WATCHDOG_USEC
//
//	LISTEN_FDS, LISTEN_FDNAMES ──► Handover ──► a listener for each URL that one of the sockets covers
//
//	etcd2.service, etcd2.socket                   the units, as the README has them and a test runs them
//
// # Types
//
// A [Service] reports to systemd the [Condition] of the process, which it asks for regularly. A
// [Handover] is the sockets that systemd has opened, and which of them a URL has claimed.
//
// # Life of a stuck member
//
// The fsync of a log hangs. Each time that the service asks, the same piece of work is under way,
// for longer than before. When that is half of WATCHDOG_USEC, the service warns in the log, and
// stops sending WATCHDOG=1. If the fsync returns in time, it sends them again; otherwise systemd
// ends the process when WATCHDOG_USEC has passed since the last one, and restarts it.
//
// # Invariants
//
//   - The watchdog is fed while the service makes progress, and only then. Waiting is progress.
//     (`TestTheWatchdogIsFedOnlyWhileTheServiceMakesProgress`)
//   - Variables that name another process are ignored.
//     (`TestVariablesOfAnotherProcessDoNotCount`)
//   - A socket of systemd's that no URL claims stops the start.
//     (`TestASocketThatNoURLClaimsIsAnError`)
//   - A systemd that does not read its socket blocks nobody for long.
//     (`TestASocketThatTakesNoNoticesBlocksNobody`)
//
// # What is left out
//
// RELOADING=1 (the unit has systemd send SIGHUP, which only reads certificates again), keeping
// descriptors over a restart (FDSTORE), and sockets other than TCP.
package systemd
