// Package ports opens the sockets of a member or a proxy, and gives each to who answers there at
// the time.
//
// # What it is
//
// Two ports, which may be several sockets each: of the URLs that the flags list, plain and https,
// or opened by systemd. They are opened before anything else is done, so that a taken address costs
// nothing, and answered before there is anything to answer with, so that whoever asks a member that
// starts is told so and not left waiting.
//
// # Picture
//
//	listen flags ──┐                   peers ───► PeerPort: 503 ──► Raft (Connect) ──► questions (Serve)
//	               ├──► Open ──► Ports ─┤
//	systemd ───────┘                   clients ─► Starting: code 300 ───────────────► Server (Serve)
//
// # Types
//
// [Config] says where, [Ports] are the open sockets. socket is one of them.
//
// # Life of a port
//
// [Open] opens all or nothing. [Ports.ServePeers] answers members, and [Ports.RefuseClients]
// clients, as long as their member has nothing to say; [Ports.Serve] then lets a server answer
// both. A process that turns out to be a proxy drops its peers ([Ports.DropPeers]). Whatever ends a
// socket on the way comes out at Ended. [Ports.Close] closes the rest.
//
// # Invariants
//
//   - An address that somebody has chosen opens, or nothing does.
//     (`TestATakenSecondDefaultPortIsDoneWithout`)
//   - A socket that systemd holds open is not refused at: who connects waits until the member
//     answers.
//
// # What is left out
//
// Listening anew while the process runs.
package ports
