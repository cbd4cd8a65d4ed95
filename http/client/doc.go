// Package client is how a Go program talks to an etcd2 cluster, and to one of etcd 2, or of etcd
// 3.4 with --enable-v2.
//
// # What it is
//
// A [Client] knows some members of a cluster and asks one of them; when that one does not answer,
// the next. It turns calls into requests of the v2 API, and answers into typed values and errors.
// It has no state of the cluster but the list of its endpoints, starts no goroutine of its own, and
// needs nothing but the standard library.
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
//	                          │         read, or write with a RequestID ── goes on to the next
//	                          │         write that was surely not sent ─── goes on to the next
//	                          │         any other write ────────────────── ErrUnknown
//	                          ▼
//	                         ask      one endpoint: bounded silence, bounded size, no redirect
//	                          ▼
//	          2xx: answer    4xx: *Error    5xx, 429, silence, no connection, nonsense: a Failure
//
// # Types
//
//   - [Config] is whom to ask and how; [Client] asks. Members and Auth are its parts for those two
//     APIs.
//   - [Response] and [Node] are what the keys API answers; the options of each call are a struct
//     whose zero value asks for nothing.
//   - [Listing] is a node and what is below it, as they come: only a single node of it is bounded.
//   - [Watcher] is a place in the history, not a connection.
//   - [Error] is what a member said against it, [ClusterError] what became of each endpoint when
//     none gave a result.
//
// # Life of a write
//
// Set puts conditions into the query and value and time to live into the form, and escapes the key,
// so that whatever characters are in it, it is one key. do asks the endpoint that answered last. If
// no connection comes about, nobody has got the request, and the next endpoint is asked; the same
// holds for an answer of 503 or 429, with which a member refuses before it begins. Once the request
// was sent and no answer comes, or one that says that the outcome is not known (code 300), the
// write is not sent again: it would happen twice. The error then says ErrUnknown, and the caller,
// who knows what the write is for, decides. A caller that gives it a RequestID leaves that to the
// client: a member answers a name that it remembers as it did the first time. Every try carries the
// newest index of the log that the client knew before the first try. Members refuse a request that
// is older than everything they remember. If that was the only try, the client sends it once more,
// with a newer index.
//
// # Life of a watch
//
// The first request has no index; the head of its answer tells the index from which the watch
// counts, or the caller brings one. Every event moves the place in the history behind itself. When
// the connection breaks, the member goes away or its answer makes no sense, the watcher goes to
// another endpoint and asks there for what comes after its place: nothing is lost that the history
// still has, and what it has passed is not told again. A member that no longer has the events says
// so, with code 401; the watcher stays where it is, and its caller has to read the keys anew.
//
// # Invariants
//
//   - A write is executed at most once, unless it carries a name and the server ignores names.
//     (`TestAWriteIsNeverDoubled`)
//   - A watch loses, doubles and swaps no event that the history still has.
//     (`TestNoEventIsLostDoubledOrOutOfOrder`)
//   - Nothing is sent to a host that is neither an endpoint, nor a client URL that a member told.
//     (`TestAReadGoesToTheNextEndpoint`, `TestSyncDoesNotWeaken`)
//   - The password of an https cluster does not go to an http URL that a member told.
//     (`TestAPasswordStaysInTLS`)
//   - Whoever is asked gets a bounded piece of memory, and of time between two signs of life; only
//     a watch may wait. (`TestAReadGoesToTheNextEndpoint`, `TestAnEndlessEventIsNotAnEvent`)
//   - No error and no curl command has a password in it. (`TestThePasswordGoesToTheServerOnly`)
//   - The endpoints of the configuration are never forgotten. (`TestSyncKeepsWhatWasGiven`)
//   - Every key is one key, or refused. (`TestAKeyIsOneKey`, `TestNoKeyLeadsOutOfTheTree`)
//
// # What is left out
//
// Balancing load over members, caching, retrying what failed everywhere: the caller knows its
// patience. HTTP/2. Watching through the proxy mode of etcd 2 from now on: it holds back the head
// of a watch until the first event, so this client takes it for dead. (With an index, nothing is
// lost.) The proxy mode of this program does not.
package client
