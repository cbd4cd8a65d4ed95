// Package client is a client of etcd's v2 API for Go programs: of a cluster of etcd2, of etcd 2, or
// of etcd 3.4 with --enable-v2.
//
// # What it is
//
// A [Client] knows some members of a cluster. It asks one of them, and the next when that one does
// not answer. It turns calls into requests of the v2 API, and answers into typed values and errors.
// Of the cluster it keeps only the list of endpoints and the newest log index. It starts no
// goroutine of its own, and needs only the standard library.
//
//	c, err := client.New(client.Config{Endpoints: []string{"http://10.0.0.1:2379", "http://10.0.0.2:2379"}})
//	resp, err := c.Set(ctx, "/message", "Hello", client.SetOptions{TTL: time.Minute})
//	if client.IsKeyExists(err) { … }
//
// # Picture
//
//	Get, Set, …   Watcher.Next   Members.List   Auth.Users   Version
//	     │             │              │             │           │
//	     └─────────────┴──────┬───────┴─────────────┴───────────┘
//	                          ▼
//	                         do       one endpoint after the other, from the one that answered last:
//	                          │         read, or write with a RequestID ──── tries the next
//	                          │         write that was certainly not sent ── tries the next
//	                          │         any other write ───────────────────── ErrUnknown
//	                          ▼
//	                         ask      one endpoint: bounded silence, bounded size, no redirect
//	                          ▼
//	          2xx: answer    4xx: *Error    5xx, 429, silence, no connection, nonsense: a Failure
//
// # Types
//
//   - [Config] says which endpoints to ask, and how; [Client] asks. Members and Auth are its parts
//     for those two APIs.
//   - [Response] and [Node] are what the keys API answers; the options of each call are a struct
//     whose zero value asks for nothing.
//   - [Listing] is a node and all nodes below it, read one by one: only each node is bounded.
//   - [Watcher] is a position in the history, not a connection.
//   - [Error] is the refusal of a member; [ClusterError] has the error of each endpoint when none
//     gave a result.
//
// # Life of a write
//
// Set puts conditions into the query, and value and time to live into the form. It escapes the key,
// so that it is one key, whatever characters it has. do asks the endpoint that answered last. If no
// connection can be made, no server has received the request, and the next endpoint is asked. The
// same holds for an answer of 503 or 429, with which a member refuses before it begins.
//
// When the request was sent and no answer comes, or the answer says that the outcome is not known
// (code 300), the write is not sent again: it might be executed twice. The error then is
// ErrUnknown, and the caller decides. A write with a RequestID is sent again: a member that
// remembers the name answers as it did the first time. Every try carries the newest log index that
// the client knew before the first try. Members refuse a request that is older than everything they
// remember. If that was the only try, the client sends it once more, with a newer index.
//
// # Life of a watch
//
// The watch begins after an index: the caller's, or the one in the head of the first answer. Every
// event moves the position of the watcher. When the connection breaks, the member fails or its
// answer makes no sense, the watcher asks another endpoint for the events after its position: no
// event is lost that the history still has, and none comes twice. A member that no longer has the
// events answers with code 401; the watcher keeps its position, and its caller has to read the keys
// again.
//
// # Invariants
//
//   - A write is executed at most once, unless it has a RequestID and the server ignores those.
//     (`TestAWriteIsNeverDoubled`)
//   - A watch neither loses, doubles nor reorders an event that the history still has.
//     (`TestNoEventIsLostDoubledOrOutOfOrder`)
//   - Requests go only to endpoints and to client URLs that members advertise.
//     (`TestAReadGoesToTheNextEndpoint`, `TestSyncDoesNotWeaken`)
//   - The password of an https cluster does not go to an http URL that a member advertises.
//     (`TestAPasswordStaysInTLS`)
//   - The memory for an answer is bounded, and so is the time between two pieces of it; only a
//     watch may wait. (`TestAReadGoesToTheNextEndpoint`, `TestAnEndlessEventIsNotAnEvent`)
//   - No error and no curl command has a password in it. (`TestThePasswordGoesToTheServerOnly`)
//   - The endpoints of the configuration are always kept. (`TestSyncKeepsWhatWasGiven`)
//   - Every key is one key, or refused. (`TestAKeyIsOneKey`, `TestNoKeyLeadsOutOfTheTree`)
//
// # What is left out
//
// Balancing load over members; caching; retrying what failed at every endpoint, since only the
// caller knows how long to try; HTTP/2. A watch from now on does not work through the proxy mode of
// etcd 2: that proxy sends the head of the answer only with the first event, so this client gives
// up waiting. A watch with an index works, and so does every watch through the proxy mode of this
// program.
package client
