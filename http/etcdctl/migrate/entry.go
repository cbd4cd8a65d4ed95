package migrate

// A position is the index and term of an entry in the log of raft.
type position struct{ index, term uint64 }

// An entry is an entry of the log of raft. Its data is decoded when it is applied.
type entry struct {
	position
	change bool   // it changes the members
	data   []byte // a part of the file
}

// decodeEntry reads a record's data. isOne reports whether it is an entry as etcd writes it.
func decodeEntry(b []byte) (e entry, isOne bool) {
	var kind uint64
	whole, others := message(b, &kind, &e.term, &e.index, &e.data)
	e.change = kind == 1
	return e, whole && !others && kind <= 1 && e.index > 0 && e.term > 0
}

// A hardState is the term, the vote and the commit index that a member has on disk.
type hardState struct{ term, vote, commit uint64 }

func decodeState(b []byte) (s hardState, isOne bool) {
	whole, others := message(b, &s.term, &s.vote, &s.commit)
	return s, whole && !others
}

// follows reports whether state t may come after state s.
func (s hardState) follows(t hardState) bool {
	return t.term >= s.term && t.commit >= s.commit && (t.term > s.term || s.vote == 0 || t.vote == s.vote)
}
