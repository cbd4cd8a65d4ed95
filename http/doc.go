// Package http is the client API of a member: the etcd 2 keys API and the
// endpoints around it, on net/http alone.
//
// # What it is
//
// A Server turns a request into a store.Command for the node, or into a look at the tree, and
// the result into the bytes that etcd 2 clients expect: field names and their order, omitted
// fields, headers, error codes. The behaviour was recorded from the real servers; "section" in a
// comment means a section of API.md, "J3" and the like a row of raft/PITFALLS.md.
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
//   - PeerPort is what other members see: Raft's own paths, and of the API the list of members.
//   - Backend is what is behind the client port of a proxy, instead of a member.
//   - TLS is the part of certs.Set that is used here: it hears of failed handshakes, ends
//     connections whose certificates are revoked, and yields metrics.
//   - Node is the part of raft.Node that is used here, so that tests bring their own.
//   - params are a request's parameters; names and rules are their table.
//   - encoder appends the JSON of events and nodes; listing does so for a tree of any size.
//   - feed is the answer to a watch: the next event, all of them, or all of them as server-sent
//     events.
//   - hosts are the names of this member, cors the origins of the pages that may use it.
//   - places.Places count connections, watches and requests of HTTP/2, so that no address holds
//     all of them.
//   - budget is the memory for all that requests have sent, and head the part of it that a
//     connection's unfinished request holds.
//   - hangups tells connections when their clients leave; departure is what one knows of it, and
//     ends its watch.
//   - pendingConns are the connections of the peer port that Raft has not taken over.
//   - response remembers the status sent, and what the request has taken; body and conn put a
//     deadline on each piece received or sent.
//   - permit is what a request needs, and the last verdict of auth.Keeper on it.
//   - A discovery URL is another name for a directory of keys, in which the founders of another
//     cluster find each other; withPath returns a request for it.
//   - family is a row of the table of metrics; scrape is one look at all of them.
//
// # Life of a PUT
//
// net/http has read the head. guard and cleanPath let the request pass, route finds serveKeys.
// readForm reads the body into a buffer of the pool, up to the limit; scan picks the known names
// from body and query, and check applies the rules in their order: the first that fails is the
// answer. command decides between set, create, update and compareAndSwap. Node.Propose returns when
// this member has applied the entry, with the event or error that the tree made of it. keysHeader
// and the encoder print it, in one write.
//
// When Propose can't tell what became of the write, the answer is code 300 with status 500, never a
// 4xx: those promise that nothing happened and nothing will. nodeError words it. The client may
// safely send the write again if it had a name, in the header X-Etcd-Request-Id. The store answers
// a name that it remembers as it did the first time (G3), and refuses one that it may have
// forgotten. X-Etcd-Request-Index tells how old a request is
// (TestARequestFromBeforeTheWindowIsRefused). Names belong to their users
// (TestTheNameOfARequestBelongsToItsUser).
//
// # Life of a GET
//
// A plain one is answered from the tree of this member as it is, which may be behind the others'.
// Two parameters ask for more, and catchUp waits for both. quorum=true (Node.Read) wants everything
// that was acknowledged at any member before the request. minIndex=N (Store.WaitIndex) wants no
// more than the store index N: a client that sends the X-Etcd-Index of its last answer reads its
// own writes, and never an older tree than before, from whatever member, and costs the leader
// nothing. With wait=true the watch begins then. What does not come within the request timeout is
// code 300 with the cause "etcdserver: request timed out, waiting for index N".
//
// # Invariants
//
//   - A member out of touch with a leader says so with each answer.
//     (TestAMemberOutOfTouchSaysSoWithEachAnswer)
//   - X-Etcd-Index and the body come from one moment: of the view, the event, or the watch's begin.
//   - The key is made once, by store.Canonical, from the path that routing saw.
//   - No header holds bytes of a key as they are; a redirect stays on this host.
//   - Whatever a client sends or fails to read, it holds a bounded piece of memory for a bounded
//     time; only a watch that waits for an event, and a connection that its client uses, may last.
//   - Every wait for the cluster ends by a deadline, or with its client (G1).
//   - /health asks atomics and the file system alone: symptoms is the list of what it looks for. It
//     answers while the member hangs.
//   - What is read or written is judged by the users and roles of that very moment (K9): a command
//     carries their revision, a read and each event of a stream is followed or preceded by a look
//     whether it still is the one that was judged by.
//   - Behind the last id of server-sent events no event is lost, and none before it is told again.
//     (TestServerSentEventsResumeWithoutAGapOrADouble)
//   - A handler holds no lock while it writes to a client.
//   - Memory that only answers hold, since tree and history have it no longer, is bounded: holding
//     counts it (TestASlowReaderHoldsABoundedPartOfThePast).
//   - The same event prints the same bytes at every member and at every reading, and so does the
//     same node but for its ttl (TestAKeyShowsTheSameEndAtEveryMemberAndReading)
//
// # What is left out
//
// The /v2/keys of etcd 3, its gRPC and its gateway never come.
package http
