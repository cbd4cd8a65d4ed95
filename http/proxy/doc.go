// Package proxy is the proxy mode: a process that is no member forwards the requests of clients to
// the members of a cluster, and their answers to the clients.
//
// # What it is
//
// Proxy mode of etcd 2: programs talk to a proxy on their own machine, which knows where the
// cluster is. net/http/httputil does the forwarding; this package decides which member gets a
// request, which requests may be sent twice, and which several clients can share. J14 and the like
// are rows of raft/PITFALLS.md.
//
// # Picture
//
//	client ──► http.Backend ──► Proxy.ServeHTTP ──► ReverseProxy ──► polls ──► forwarder ──► http.Transport ──► member
//	           limits,          loops, the          headers of       the same   which member,
//	           guards           whole body          one hop          poll       and which next
//	                                                                 once           ▲
//	                                                                            endpoints
//	                                                                                ▲
//	                          DIR/proxy/cluster ◄── follow: the list of members ────┘
//
// # Types
//
//   - [Proxy] is the handler; [Config] says where the cluster is, and how to talk to it.
//   - endpoints are the client URLs of the members: which answer, which is next, and which has
//     shown the newest tree.
//   - forwarder sends a request to one endpoint after the other. polls sends one for several
//     clients; a poll is such a request.
//   - A failure is an answer that the proxy itself gives.
//   - remembered is the format of the file with the members' URLs.
//
// # Life of a request
//
// ServeHTTP refuses a request that has this proxy's name in its Via header: then a member
// advertises a URL that leads back here. It reads the whole body, because a second endpoint may
// need it, too. ReverseProxy removes the headers that are for one hop only, and rewrite adds the
// client's address to X-Forwarded-For and this proxy to Via. The forwarder then tries the
// endpoints: for keys in turn, for everything else always beginning with the same one. An endpoint
// that can't be reached is skipped for a while, and the next is tried. A write that may have
// arrived is not sent to another one, unless it has a name (X-Etcd-Request-Id): the answer 502 says
// that its outcome is not known, and 503 that no member has got it. A write with a name carries the
// same X-Etcd-Request-Index to each endpoint: the client's, or else the newest X-Raft-Index that
// the proxy knew before the first try.
//
// Each member answers reads from its own tree, and some are behind. A client must see what it has
// just written through another member. So when an answer is older than what the proxy had shown to
// any client before the request came, the member that showed the newest tree is asked instead.
//
// # Life of a watch
//
// ReverseProxy forwards the head at once, and each event. A long poll with a waitIndex has the same
// answer for all clients, so those that come while it waits share it. The answer is kept until all
// have it, so that a slow reader delays no other. The request to the member ends when the last
// client is gone.
//
// # Invariants
//
//   - The list of endpoints is never empty once it was not: neither an empty list nor a missing
//     answer changes it, and when all have failed, all are tried.
//     (`TestTheLastEndpointIsNeverDropped`)
//   - No request passes through the proxy twice. (`TestAProxyNeverForwardsToItself`)
//   - A password does not go to an http client URL when the proxy was given https URLs.
//     (`TestAPasswordIsNotForwardedOutOfTLS`)
//   - A write is executed at most once, unless it has a name.
//     (`TestOnlyWhatMayBeExecutedTwiceIsSentTwice`)
//   - No client sees an older tree than one that the proxy showed before, as long as the member
//     that has it answers. (`TestNoClientSeesAnOlderTree`)
//   - A client that shares a poll gets the events that it would get alone.
//     (`TestOnlyWhatIsTheSameForAllIsShared`)
//   - A client does not get the rights of the proxy's certificate. (Members enforce that: function
//     forwarded of package http.)
//
// # What is left out
//
// Caching, and HTTP/2 to members. Resuming a watch that broke with its member: the client knows the
// index at which to resume. A proxy does not notice when another cluster has taken over the
// addresses of its own; neither does that of etcd 2.
package proxy
