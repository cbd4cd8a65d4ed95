// Package discovery answers one question, once, before a member starts for the
// first time: which cluster is it to be in, with whom, and under which id?
//
// # What it is
//
// There are two ways to begin. The founders of a new cluster have never talked to each
// other, yet all of them must begin with the same membership, down to the last bit: it is
// the first thing in every log. They get there without talking, because each computes it
// from the same text, --initial-cluster, by the same rules. Everybody who comes later
// takes a place that the running cluster has made, and gets the log from there; it asks
// the running members, and if need be asks them to make the place. A member that finds
// data on its disk does not ask this package at all: then the log knows better.
//
// # Picture
//
//	--initial-cluster-state=new         =existing                 --join
//	           │                            │                       │
//	Static: ids are SHA-1 of URLs      Static: URLs only            │
//	and token, the cluster's id             │                       │
//	is SHA-1 of the members'                │                       │
//	           │                            │                       │
//	survey: GET /v2/members of         survey, until              survey ──► not in it?
//	the others, if they are there      somebody answers             │        POST /v2/members
//	           │                            │                       │              │
//	does nobody know better?           does the list fit?         place ◄──────────┘
//	           │                            │                       │
//	           └────────────────────────────┼───────────────────────┘
//	                                        ▼
//	                                      Plan  ──►  raft.Open
//
// # Types
//
// A [Newcomer] is the member that looks for its cluster; each of its methods is a way to
// begin. A [Plan] is what it finds: itself, the cluster, and whether that runs already. [Static]
// makes a raft.Membership of the text, [Self] finds this member in it, [ParseURL] is the one rule
// for every URL that a member listens on, advertises or is told of.
//
// # Life of a first start
//
// The flags give a text and a token. [Newcomer.New] has [Static] split the text at commas and
// each part at its first equals sign, check every URL, gather the URLs that
// carry the same name, and compute the ids. [Self] looks the own name up and
// compares the advertised URLs with the listed ones, as text first and, where
// that differs, by the addresses that the host names stand for. Then all the others are asked,
// at the same time and for two seconds in all, what they know of the cluster. Mostly that is nothing, since
// they start as well. But when one of them is in another cluster, or remembers this member at work or
// removed, this is no first start, whatever the own disk says, and it ends here. Otherwise the membership
// becomes the first entries of the log, and this package is done for the life of the member.
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
//   - Who is asked gets a bounded piece of time and memory, and cannot send the question
//     elsewhere. (`TestAFailureSaysWhyAndNothingOfTheBody`, `TestOneWhoHangsIsWaitedForOnlySoLong`)
//
// # What is left out
//
// The discovery service and DNS. Each will be one more way of a Newcomer to its Plan. TLS of its own: a Newcomer
// is given a way to call https URLs. What is never here: membership of a
// cluster that runs. That is Raft's, in its log.
package discovery
