package raft

import "encoding/binary"

// simKeys is the number of registers.
const simKeys = 8

// simOpKind is what a client wants.
type simOpKind uint8

const (
	simGet simOpKind = iota
	simPut
	simCAS
	simDelete
)

// simOp is one operation on one register. Values are unique over a run; 0 is no value.
type simOp struct {
	kind   simOpKind
	key    uint8
	value  uint64 // put, CAS: to be written
	expect uint64 // CAS: what must be there

	request uint64 // names it, so that it may be asked for again; 0: it may not
}

// simResult is an operation's answer.
type simResult struct {
	value uint64 // get, delete, CAS that failed: what was there
	ok    bool   // CAS: it has written
}

// apply is the meaning of an operation, for the machine.
func (o simOp) apply(value uint64) (uint64, simResult) {
	switch o.kind {
	case simPut:
		return o.value, simResult{}
	case simDelete:
		return 0, simResult{value: value}
	case simCAS:
		if value != o.expect {
			return value, simResult{value: value}
		}
		return o.value, simResult{ok: true}
	}
	return value, simResult{value: value}
}

// simMachine is what the log is applied to.
type simMachine interface {
	apply(e *Entry) simResult
	read(key uint8) simResult
	freeze() any
	restore(any)
	digest() uint64         // of the state
	nextDue() (int64, bool) // when a key expires, by the cluster clock
}

func (w *simWorld) newMachine(id uint64) simMachine {
	if w.whole {
		return newSimStore(w, id)
	}
	return &simRegisters{}
}

func (o simOp) encode(w *simWorld) []byte {
	if w.whole {
		c := o.command()
		return c.Append(nil)
	}
	b := make([]byte, 2, 18)
	b[0], b[1] = byte(o.kind), o.key
	b = binary.LittleEndian.AppendUint64(b, o.value)
	return binary.LittleEndian.AppendUint64(b, o.expect)
}

// simRegisters are a few registers, and a digest of all that was ever applied to them.
type simRegisters struct {
	values [simKeys]uint64
	sum    uint64
}

func (r *simRegisters) apply(e *Entry) (result simResult) {
	r.sum = simMix(simMix(r.sum, e.Index), e.Term)
	if e.Kind != EntryCommand {
		return result
	}
	o := simOp{
		kind: simOpKind(e.Data[0]), key: e.Data[1],
		value: binary.LittleEndian.Uint64(e.Data[2:]), expect: binary.LittleEndian.Uint64(e.Data[10:]),
	}
	r.values[o.key], result = o.apply(r.values[o.key])
	r.sum = simMix(r.sum, r.values[o.key])
	return result
}

func (r *simRegisters) read(key uint8) simResult { return simResult{value: r.values[key]} }
func (r *simRegisters) freeze() any              { return *r }
func (r *simRegisters) restore(state any)        { *r = state.(simRegisters) }
func (r *simRegisters) digest() uint64           { return r.sum }
func (r *simRegisters) nextDue() (int64, bool)   { return 0, false }
