// Package ports opens the sockets of a member or a proxy, and passes each to the server that
// answers there: first one that says that the member is starting, then the real one.
//
// # What it is
//
// There are two ports, for clients and for peers. Each may be several sockets: one for each URL
// that the flags list, http or https, or sockets that systemd has opened. They are opened first, so
// that a taken address ends the start before anything is written. They are answered at once, so
// that a client of a member that starts gets an error and does not have to wait.
//
// # Picture
//
//	listen flags ──┐                   peers ───► PeerPort: 503 ──► Raft (Connect) ──► requests (Serve)
//	               ├──► Open ──► Ports ─┤
//	systemd ───────┘                   clients ─► Starting: code 300 ───────────────► Server (Serve)
//
// # Types
//
// [Config] says where to listen, [Ports] are the open sockets, and socket is one of them.
//
// # Life of a port
//
// [Open] opens all sockets or none. [Ports.ServePeers] and [Ports.RefuseClients] tell members and
// clients that this member is starting; then [Ports.Serve] lets a server answer both. A process
// that turns out to be a proxy closes the port for peers ([Ports.DropPeers]). When a socket fails
// meanwhile, its error comes from [Ports.Ended]. [Ports.Close] closes all sockets.
//
// # Invariants
//
//   - Either every address that a flag gives opens, or Open fails; of the default addresses the
//     second may fail. (`TestATakenSecondDefaultPortIsDoneWithout`)
//   - At a socket of systemd's, clients are not refused: they wait until the member answers.
//
// # What is left out
//
// Opening or closing ports while the process runs.
package ports
