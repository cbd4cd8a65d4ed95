package raft

import "etcd2/raft/linear"

// checkHistory fails when no order of the clients' calls explains all answers with each call
// between its beginning and its end. Keys are independent, so each has a history of its own.
func (w *simWorld) checkHistory() {
	var byKey [simKeys][]linear.Call
	for _, c := range w.history {
		if c.known || c.asked {
			byKey[c.op.key] = append(byKey[c.op.key], linear.Call{Op: c.op.Op, Result: c.result, From: c.from, To: c.to,
				Known: c.known})
		}
	}
	for key, calls := range byKey {
		if !linear.Explains(calls) {
			w.violated("linearizability: %d calls on register %d have no order", len(calls), key)
		}
		w.count(countHistories)
	}
}
