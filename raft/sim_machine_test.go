package raft

import (
	"encoding/binary"

	"etcd2/raft/linear"
)

// simKeys is the number of registers.
const simKeys = 8

// simOp is one operation on one register. Values are unique over a run; 0 is no value.
type simOp struct {
	linear.Op
	key     uint8
	request uint64 // names the request, so that it may be repeated; 0: it may not
}

// simMachine is what the log is applied to.
type simMachine interface {
	apply(e *Entry) linear.Result
	read(key uint8) linear.Result
	freeze() any
	restore(any)
	digest() uint64         // of the state
	nextDue() (int64, bool) // when the next key expires, by the cluster clock
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
	b[0], b[1] = byte(o.Kind), o.key
	b = binary.LittleEndian.AppendUint64(b, o.Value)
	return binary.LittleEndian.AppendUint64(b, o.Expect)
}

// simRegisters are a few registers, and a digest of all entries that were applied to them.
type simRegisters struct {
	values [simKeys]uint64
	sum    uint64
}

func (r *simRegisters) apply(e *Entry) (result linear.Result) {
	r.sum = simMix(simMix(r.sum, e.Index), e.Term)
	if e.Kind != EntryCommand || e.Data[0] == fillerKind {
		return result
	}
	o := linear.Op{Kind: linear.Kind(e.Data[0]), Value: binary.LittleEndian.Uint64(e.Data[2:]),
		Expect: binary.LittleEndian.Uint64(e.Data[10:])}
	key := e.Data[1]
	r.values[key], result = o.Apply(r.values[key])
	r.sum = simMix(r.sum, r.values[key])
	return result
}

func (r *simRegisters) read(key uint8) linear.Result { return linear.Result{Value: r.values[key]} }
func (r *simRegisters) freeze() any                  { return *r }
func (r *simRegisters) restore(state any)            { *r = state.(simRegisters) }
func (r *simRegisters) digest() uint64               { return r.sum }
func (r *simRegisters) nextDue() (int64, bool)       { return 0, false }
