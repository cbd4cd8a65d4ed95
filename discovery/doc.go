// Package discovery answers one question, once, before a member starts for the
// first time: which cluster is it to be in, with whom, and under which id?
//
// # What it is
//
// There are two ways to begin. The founders of a new cluster have never talked to each other, yet
// all of them must begin with the same membership, down to the last bit: it is the first thing in
// every log. They get there without talking, because each computes it from the same list, by the
// same rules. The list is --initial-cluster, or the DNS has it, or the founders write it
// themselves, each its own line, at a meeting point that all know: a directory of keys in another
// cluster, which settles who came first. Everybody who comes later takes a place that the running
// cluster has made, and gets the log from there; it asks the running members, and if need be asks
// them to make the place. A member that finds data on its disk does not ask this package at all:
// then the log knows better.
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
//	                does nobody know better?                     does the list fit?               place ◄─────────┘
//	                      │                                                │                        │
//	                      └────────────────────────────────────────────────┼────────────────────────┘
//	                                                                       ▼
//	                                                                     Plan  ──►  raft.Open
//
// # Types
//
// A [Newcomer] is the member that looks for its cluster; each of its methods is a way to begin. A
// [Plan] is what it finds: itself, the cluster, and whether that runs already. [Static] makes a
// raft.Membership of the text, [Self] finds this member in it, [raft.ParseURL] is the one rule for
// every URL that a member listens on, advertises or is told of. A search is one member's at a
// discovery URL; the registrations that it finds there become the text.
//
// # Life of a first start
//
// The flags give a text and a token. [Newcomer.New] has [Static] split the text at commas and each
// part at its first equals sign, check every URL, gather the URLs that carry the same name, and
// compute the ids. [Self] looks the own name up and compares the advertised URLs with the listed
// ones, as text first and, where that differs, by the addresses that the host names stand for. Then
// all the others are asked, at the same time and for two seconds in all, what they know of the
// cluster. Mostly that is nothing, since they start as well. But when one of them is in another
// cluster, or remembers this member at work or removed, this is no first start, whatever the own
// disk says, and it ends here. Otherwise the membership becomes the first entries of the log, and
// this package is done for the life of the member.
//
// # Life of a discovery URL
//
// Somebody has told the service how many members the cluster will have: that is the key
// _config/size. [Newcomer.Token] has the search look at it, and at the registrations, in the order
// in which they came. If there are as many already, they are the cluster; who is not among them
// came too late, and writes nothing. Otherwise the search writes the member's own line, under the
// id that it will have, unless a line is there already: then a crash or a lost answer came between,
// and the place is kept. And it waits, by a watch on the directory, until all lines are there. Each
// step ends with another look, so there is nothing to remember, and no answer whose loss would
// matter. The lines must be what their owners could have written. From there on it is the life of a
// first start.
//
// # Invariants
//
//   - The same text and token give the same ids on every machine: the order of
//     the text, the names and the own place in it do not enter.
//     (`TestOrderAndNamesDoNotEnterTheIDs`)
//   - No URL belongs to two members, or twice to one.
//     (`TestStaticRefusesWhatIsNotAList`)
//   - Any text gives a membership or an error, and a membership written as text
//     again gives the same one. (`FuzzStatic`, `TestStaticSurvivesAnyText`)
//   - No place is taken that one of those who answer knows as taken before, and
//     a member that joins twice has one place. (`TestOneWhoKnowsIsEnough`,
//     `TestJoiningAgainTakesTheSamePlace`)
//   - All read the same out of the DNS, in whatever order, whoever of the others is resolved.
//     (`TestAllReadTheSameOutOfTheDNS`)
//   - A discovery URL makes one cluster of the size that was wanted; the same name and URLs have
//     the same place each time. (`TestFoundersFindEachOther`, `TestWhoComesAgainHasTheSamePlace`,
//     `TestALatecomerRegistersNothing`)
//   - A service that is wrong, or away for too long, is one short line.
//     (`TestABadServiceIsOneLine`)
//   - Who is asked gets a bounded piece of time and memory, and cannot send the question
//     elsewhere. (`TestAFailureSaysWhyAndNothingOfTheBody`, `TestOneWhoHangsIsWaitedForOnlySoLong`)
//
// # What is left out
//
// TLS of its own: a Newcomer is given a way to call https URLs. The service itself: that is in
// package http, and needs nothing but keys. Of etcd's DNS discovery, that a target without an
// address is left out, which makes different clusters of one set of records; it counts, and is
// warned of. What is never here: membership of a cluster that runs. That is Raft's, in its log.
package discovery
