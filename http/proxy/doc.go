// Package proxy is what a process is that belongs to no cluster, and yet answers as one: it hands
// what clients ask to the members, and the members' answers to the clients.
//
// # What it is
//
// Proxy mode of etcd 2: programs talk to a proxy on their own machine, which knows where the
// cluster is. The work of passing on is net/http/httputil's; here is who is asked, what may be
// asked twice, and what several clients can share. "J14" and the like is a row of raft/PITFALLS.md.
//
// # Picture
//
//	client ──► http.Backend ──► Proxy.ServeHTTP ──► ReverseProxy ──► polls ──► forwarder ──► http.Transport ──► member
//	           limits,        itself? its body    headers of       the same   who, and
//	           guards         as a whole          one hop          question   who next?
//	                                                               once           ▲
//	                                                                          endpoints
//	                                                                              ▲
//	                          DIR/proxy/cluster ◄── follow: who are the members? ─┘
//
// # Types
//
//   - [Proxy] is the handler; [Config] says where the cluster is, and how to talk to it.
//   - endpoints are the client URLs of the members: which answer, whose turn it is, and who showed
//     the newest tree.
//   - forwarder sends a request to one endpoint after the other. polls sends one for several
//     clients; a poll is such a request.
//   - A failure is an answer of the proxy's own.
//   - The file that remembers the members is drawn at remembered.
//
// # Life of a request
//
// ServeHTTP refuses a request that has this proxy's name in its Via: a member advertises a URL that
// leads back here. It reads the whole body, since a second endpoint may need it, too. ReverseProxy
// takes away what is for one hop only, and rewrite adds the client's address to X-Forwarded-For and
// this proxy to Via. The forwarder then tries the endpoints, for keys in turn, for all else from
// the same one on. When one can't be reached it is left alone for a while and the next is tried. A
// write that may have arrived goes nowhere else, unless it has a name (X-Etcd-Request-Id): the
// answer 502 says that its outcome is not known, and 503 that no member has got it. A write with a
// name carries the same X-Etcd-Request-Index to each endpoint: the client's, or else the newest
// X-Raft-Index that the proxy knew before the first try.
//
// Each member answers reads from its own tree, and some are behind. So that a client sees what it
// has just written through another member, an answer that is older than what the proxy has shown to
// anybody, before the request came, is asked for once more where the newest one was shown.
//
// # Life of a watch
//
// ReverseProxy sends the head on at once, and each event. A long poll with a waitIndex has the same
// answer for all who may ask: whoever comes while it waits shares it. What came of the answer is
// kept until all have it, so a slow reader is alone with its slowness. When the last client is
// gone, so is the request at the member.
//
// # Invariants
//
//   - The last endpoints are never forgotten: neither an empty list nor silence changes them, and
//     when all have failed, all are tried. (`TestTheLastEndpointIsNeverDropped`)
//   - Nothing is sent to the proxy itself, but to find out that it is the proxy itself.
//     (`TestAProxyNeverForwardsToItself`)
//   - A password does not go to an http client URL when the proxy was given https URLs.
//     (`TestAPasswordIsNotForwardedOutOfTLS`)
//   - A write is executed at most once, unless it has a name.
//     (`TestOnlyWhatMayBeExecutedTwiceIsSentTwice`)
//   - No client sees an older tree than one that the proxy showed before, as long as the member
//     that has it answers. (`TestNobodySeesAnOlderTree`)
//   - Nobody gets an event from before it came, or misses one that it should get, by sharing.
//     (`TestOnlyWhatIsTheSameForAllIsShared`)
//   - A proxy's certificate is nobody else's. (Its members see to that: function forwarded of
//     package http.)
//
// # What is left out
//
// Caching, and speaking HTTP/2 to members. Asking again for a watch that broke off with its member:
// the client knows where it was. Following another cluster that has come to the addresses of the
// old one is not prevented; etcd 2 does not either.
package proxy
