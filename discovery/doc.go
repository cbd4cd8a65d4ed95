// Package discovery answers one question, once, before a member starts for the
// first time: who forms this cluster, and under which ids?
//
// # What it is
//
// The members of a new cluster have never talked to each other, yet all of them
// must begin with the same membership, down to the last bit: it is the first
// thing in every log. They get there without talking, because each computes it
// from the same text, --initial-cluster, by the same rules. A member that finds
// data on its disk does not ask this package at all: then the log knows better.
//
// # Picture
//
//	--initial-cluster  a=http://10.0.0.1:2380,b=http://10.0.0.2:2380
//	        │                            --initial-cluster-token  etcd-cluster
//	        ▼                                     │
//	   ParseURL, one by one                       │
//	        │                                     │
//	        ▼                                     ▼
//	   member id  = SHA-1( sorted peer URLs, joined, token )[0:8]
//	        │
//	        ▼
//	   cluster id = SHA-1( sorted member ids, 8 bytes each )[0:8]
//	        │
//	        ▼
//	   raft.Membership  ──►  Self: which of them am I?
//
// # Types
//
// There is none of its own: the answer is a raft.Membership, immutable, its
// members sorted by id. [Static] makes it of the text, [Self] finds this member
// in it, [ParseURL] is the one rule for every URL that a member listens on,
// advertises or is told of.
//
// # Life of a bootstrap
//
// The flags give a text and a token. [Static] splits the text at commas and
// each part at its first equals sign, checks every URL, gathers the URLs that
// carry the same name, and computes the ids. [Self] looks the own name up and
// compares the advertised URLs with the listed ones, as text first and, where
// that differs, by the addresses that the host names stand for. The membership
// then becomes the first entries of the log, and this package is done for the
// life of the member.
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
//
// # What is left out
//
// The discovery service, DNS and asking a running cluster. Each will be one more
// source of the same raft.Membership. What is never here: membership of a
// cluster that runs. That is Raft's, in its log.
package discovery
