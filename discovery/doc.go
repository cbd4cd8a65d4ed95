// Package discovery answers one question, once, before a member starts for the
// first time: which cluster is it to be in, with whom, and under which id?
//
// # What it is
//
// There are two ways to begin. The founders of a new cluster must all begin with the same
// membership, down to the last bit: it is the first thing in every log. They reach that without
// talking to each other, because each computes the membership from the same list, by the same
// rules. The list is --initial-cluster, or comes from the DNS, or the founders write it themselves,
// each its own line, into a directory of keys in another cluster, which decides who came first. A
// member that comes later takes a place that the running cluster has made, and gets the log from
// there: it asks the running members, and if need be asks them to add it. A member that has data on
// its disk does not use this package: then its log has the membership.
//
// # Picture
//
//	--discovery     --discovery-srv     --initial-cluster-state=new     =existing                 --join
//	    │                 │                     │                          │                        │
//	search: look,      records:                 │                          │                        │
//	register, wait     two lookups              │                          │                        │
//	    └─────────────────┼─────────────────────┘                          │                        │
//	                Static: ids are SHA-1 of URLs                Static: URLs only                  │
//	                and token, the cluster's id                            │                        │
//	                is SHA-1 of the members'                               │                        │
//	                      │                                                │                        │
//	                survey: GET /v2/members of                   survey, until                   survey ──► not in it?
//	                the others, if they are there                somebody answers                   │       POST /v2/members
//	                      │                                                │                        │             │
//	                no reason against it?                        does the list fit?               place ◄─────────┘
//	                      │                                                │                        │
//	                      └────────────────────────────────────────────────┼────────────────────────┘
//	                                                                       ▼
//	                                                                     Plan  ──►  raft.Open
//
// # Types
//
// A [Newcomer] is the member that looks for its cluster; each of its methods is a way to begin. A
// [Plan] is the result: itself, the cluster, and whether that runs already. [Static] makes a
// raft.Membership of a list, [Self] finds this member in it, and [raft.ParseURL] is the one rule
// for every URL that a member listens on, advertises or is told. A search is that of one member at
// a discovery URL; the registrations that it finds there become the list.
//
// # Life of a first start
//
// The flags give a list and a token. [Newcomer.New] calls [Static], which splits the list at commas
// and each part at its first equals sign, checks every URL, gathers the URLs with the same name,
// and computes the ids. [Self] finds this member by its name, and compares the advertised URLs with
// the listed ones, first as text and, where that differs, by the addresses of the host names. Then
// all others are asked, at the same time and for two seconds in all, for the members of their
// cluster. Usually none answers, since they start as well. But when one is in another cluster, or
// has this member as active or as removed, this is not a first start, though the disk is empty, and
// the start fails. Otherwise the membership becomes the first entries of the log, and this package
// is not needed again for the life of the member.
//
// # Life of a discovery URL
//
// The key _config/size at the service says how many members the cluster will have. [Newcomer.Token]
// reads it, and the registrations, in the order in which they came. If there are as many already,
// they are the cluster; a member that is not among them comes too late, and writes nothing.
// Otherwise the search writes the member's own line, under the id that it will have, unless the
// line is there already, from before a crash or a lost answer. Then it waits, by a watch on the
// directory, until all lines are there. Each step ends with another look, so there is no state to
// keep, and losing an answer does no harm. Each line must have the id that follows from its URLs.
// The rest is as in a first start.
//
// # Invariants
//
//   - The same list and token give the same ids on every machine, whatever the order of the list
//     and the names. (`TestOrderAndNamesDoNotEnterTheIDs`)
//   - No URL belongs to two members, or twice to one.
//     (`TestStaticRefusesWhatIsNotAList`)
//   - Any text gives a membership or an error, and a membership written as a list gives the same
//     one again. (`FuzzStatic`, `TestStaticSurvivesAnyText`)
//   - A member takes no place that one of the members that answer has as active, and a member that
//     joins twice has one place. (`TestOneWhoKnowsIsEnough`, `TestJoiningAgainTakesTheSamePlace`)
//   - All members read the same from the DNS, whatever the order of its answers, and whichever of
//     the hosts they can resolve. (`TestAllReadTheSameOutOfTheDNS`)
//   - A discovery URL makes one cluster of the size that was set; the same name and URLs have the
//     same place each time. (`TestFoundersFindEachOther`, `TestWhoComesAgainHasTheSamePlace`,
//     `TestALatecomerRegistersNothing`)
//   - A service that answers wrongly, or does not answer for too long, gives an error of one line.
//     (`TestABadServiceIsOneLine`)
//   - A member that is asked has bounded time and memory, and can't redirect the request.
//     (`TestAFailureSaysWhyAndNothingOfTheBody`, `TestOneWhoHangsIsWaitedForOnlySoLong`)
//
// # What is left out
//
// TLS: a Newcomer is given a way to call https URLs. The discovery service: it is in package http,
// and needs nothing but keys. etcd's DNS discovery leaves out a target without an address, which
// can make different clusters of the same records; here such a target counts, with a warning. The
// membership of a running cluster is not here either: it is in Raft's log.
package discovery
