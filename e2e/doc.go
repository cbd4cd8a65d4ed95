// Package e2e tests the built binary from outside: real processes, real
// sockets, real disks, real faults. It holds nothing but tests.
//
// # What it is
//
// Every other package is tested by itself. Here stands what the program promises to people who only
// have the binary: one file per promise, named after it. Of the program only two packages for tests
// are imported, raft/linear, which judges histories, and http/certs/certstest, which makes
// certificates, and by backup_test.go what makes and reads backups; what is known of the rest is
// what a client, a shell or systemd can know.
//
// # Picture
//
//	go test ./e2e
//	    │  TestMain: CGO_ENABLED=0 go build, once
//	    ▼
//	 member ── exec ──► etcd2 --data-dir … (its own process group)
//	    │                 │ stderr ──► line by line, awaited by expectLog
//	    │                 │ NOTIFY_SOCKET ──► READY=1, awaited by start
//	    ├── HTTP ────────►│
//	    ├── SIGTERM, SIGKILL, SIGSTOP
//	    └── bits flipped, files cut, disks filled
//
//	 cluster     member ──► proxy ──► member     a network of links, one for each direction of each pair:
//	    │             ◄── proxy ◄──              cut, slow, long, reset
//	    ├── traffic, recorder, watchers, leases  clients at all members
//	    └── nemesis                              all of it at random, from a seed
//
// # Types
//
// A member is one server process with its directory and ports; it can be
// started, killed and started again. A transcript is a recorded conversation
// with etcd 2.3.8, and a player plays one of its scenarios.
//
// A cluster is some members and the network between them. Traffic writes keys and looks for them in
// the end; a recorder is clients whose calls raft/linear judges; watchers go from member to member
// and must miss nothing; a nemesis does bad things to all of them.
//
// Programs that others wrote for etcd 2 are run as they are: etcdctl, python3-etcd, crypt, the
// discovery service, etcd itself, and a patroni, which is some nodes of Patroni with a PostgreSQL
// each. A pythonist is one process of a recipe.
//
// # Life of a test
//
// newMember picks two free ports and a directory, start runs the binary and
// waits for its READY=1. The test talks to it, hurts it, and looks at what a
// client sees. When the test ends the process group is killed, and when it
// failed the end of the member's log is printed.
//
// # Invariants
//
//   - Every wait is for an event, with a deadline that only a failure reaches.
//   - A test owns its member, directory and ports: all may run at once.
//   - The clock is read with -long only, in the process that sends the request;
//     such a test runs alone then.
//
// # What is left out
//
// Names of machines, clocks that run wrong, and disks that stall: the simulation of raft has those.
// What takes long runs with -long only; campaigns are the same tests for longer. What members
// promise that are far apart or under strain is measured, and -v prints the figures:
//
//	go test ./e2e -long
//	go test ./e2e -run Nemesis -long -e2e.time 30m -e2e.seed 1 -timeout 0
//	go test ./e2e -run Snapshot -long -e2e.keys 1000000 -timeout 0
//	go test ./e2e -run 'Far|Strain' -v -long -e2e.wan -timeout 0
package e2e
