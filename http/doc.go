// Package http is the client API of a member: the etcd 2 keys API and the
// endpoints around it, on net/http alone.
//
// # What it is
//
// A Server turns a request into a store.Command for the node, or into a read of the tree, and the
// result into the bytes that etcd 2 clients expect: field names and their order, omitted fields,
// headers, error codes. The behaviour was recorded from the real servers. "Section" in a comment
// means a section of API.md, "J3" and the like a row of raft/PITFALLS.md.
//
// Inside this package the standard library's package is called nethttp.
//
// # Picture
//
//	connection ──► listener ──► net/http ──► ServeHTTP
//	               (how many)   (heads,        │ catch    a panic becomes a 500
//	                            timeouts)      │ guard    CORS, Host, OPTIONS, cross-site writes
//	                                           │ cleanPath   301
//	                                           ▼
//	                                         routes ──► members, stats, health, metrics, …
//	                                           │
//	                                           ▼
//	                                       serveKeys ── parse: form, query ──► params
//	                      ┌────────────────────┴──────┐
//	                      ▼                           ▼
//	                    write                       read ── catchUp: minIndex, quorum
//	                Node.Propose                ┌─────┴──────────────┐
//	                      │                     ▼                    ▼
//	                      │                    get                 watch
//	                      │              Store.Get: a View   Store.Watch: a cursor
//	                      │                     │                    │
//	                      └──────────► encoder: JSON ◄───────────────┘
//
// # Types
//
//   - Server is the handler and the listener loop; Config says what it serves.
//   - PeerPort is the port for other members: Raft's own paths, and of the API the list of members.
//   - Backend is what serves behind the client port of a proxy, instead of a member.
//   - TLS is the part of certs.Set that is used here: it counts failed handshakes, ends connections
//     whose certificates are revoked, and yields metrics.
//   - Node is the part of raft.Node that is used here, so that tests can pass one of their own.
//   - params are a request's parameters; names and rules are tables of them.
//   - encoder appends the JSON of events and nodes; listing does so for a tree of any size.
//   - feed is the answer to a watch: the next event, a stream of events, or a stream of server-sent
//     events.
//   - hosts are the names of this member, cors the origins of the web pages that may use it.
//   - places.Places counts connections, watches and requests of HTTP/2, so that no address holds
//     all of them.
//   - budget bounds the memory for all that requests have sent; head is the part of it that the
//     unfinished request of one connection holds.
//   - hangups tells connections when their clients leave; departure is what one connection knows of
//     its client's leaving, and ends its watch.
//   - pendingConns are the connections of the peer port that Raft has not taken over.
//   - response remembers the status sent and what the request has acquired; body and conn put a
//     deadline on each piece received or sent.
//   - permit is the right that a request needs, and the last verdict of auth.Keeper on it.
//   - withPath turns a request for a discovery URL into one for the keys that the URL stands for.
//   - family is a row of the table of metrics; scrape collects the values of all rows.
//
// # Life of a PUT
//
// net/http has read the head. guard and cleanPath let the request pass, route finds serveKeys.
// readForm reads the body into a buffer of the pool, up to the limit. scan picks the known names
// from body and query, and check applies the rules in their order: the first that fails is the
// answer. command decides between set, create, update and compareAndSwap. Node.Propose returns when
// this member has applied the entry, with the event or error that the tree made of it. keysHeader
// and the encoder print it, in one write.
//
// When the error of Propose does not tell whether the write was done, nodeError makes code 300 with
// status 500 of it, never a 4xx: a 4xx promises that the write was not done and never will be. A
// write with a name (section 16) can then be repeated: the store answers a name that it remembers
// as it did the first time (G3), and refuses one that it may have forgotten
// (TestARequestFromBeforeTheWindowIsRefused, TestTheNameOfARequestBelongsToItsUser).
//
// # Life of a GET
//
// A plain GET is answered from this member's tree as it is, which may be behind those of other
// members. catchUp waits first when a parameter asks for more (section 16): for quorum=true with
// Node.Read, a round of messages from the leader; for minIndex with Store.WaitIndex, which costs
// the leader nothing. With wait=true the watch begins after that.
//
// # Invariants
//
//   - A member that is out of touch with a leader says so with each answer
//     (TestAMemberOutOfTouchSaysSoWithEachAnswer).
//   - X-Etcd-Index and the body are of one moment: that of the view, of the event, or of the
//     beginning of the watch.
//   - The key is made once, by store.Canonical, from the path that routing saw.
//   - No header holds the bytes of a key unescaped; a redirect stays on this host.
//   - Whatever a client sends or does not read, it holds a bounded amount of memory for a bounded
//     time. Only a watch that waits for an event, and a connection in use, may last longer.
//   - Every wait for the cluster ends by a deadline, or when its client leaves (G1).
//   - /health reads only atomics and the file system, see symptoms. So it answers while the member
//     hangs.
//   - A read or write is judged by the users and roles of the moment at which it is done (K9). A
//     command carries the revision that it was judged by. A read, and each event of a stream, is
//     sent only if the revision is still the same, or after judging it anew.
//   - A client that resumes server-sent events at the last id misses no event and gets none twice
//     (TestServerSentEventsResumeWithoutAGapOrADouble).
//   - A handler holds no lock while it writes to a client.
//   - Memory that tree and history have let go of, and only unfinished answers still hold, is
//     bounded: holding counts it (TestASlowReaderHoldsABoundedPartOfThePast).
//   - The same event prints the same bytes at every member and at every reading, and so does the
//     same node but for its ttl (TestAKeyShowsTheSameEndAtEveryMemberAndReading).
//
// # What is left out
//
// The gRPC API of etcd 3 and its JSON gateway, and what its /v2/keys does otherwise (section 19).
package http
