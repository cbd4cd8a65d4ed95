package raft

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"etcd2/raft/linear"
	"etcd2/store"
	"etcd2/wal"
)

// simFiles is a disk with the real log and the real snapshots on it. Its simMemory is the model of
// what it must hold, and provides the entries for members that lag.
type simFiles struct {
	simMemory
	id       uint64
	fs       *simFS
	storage  *storage
	fetchers map[uint64]*fetcher
	options  storageOptions
	founded  []Entry
	half     *Persist // the write that was under way when the power was cut: it is on disk as a whole, or not at all
	rotten   bool     // a bit has been flipped
}

func newSimFiles(memory simMemory, id uint64) *simFiles {
	r, fs := memory.w.rand, newSimFS()
	memory.w.mutant.spoil(fs, r)
	return &simFiles{
		simMemory: memory, id: id, founded: memory.log, fs: fs,
		options: storageOptions{Dir: "m", Bytes: 4096 << r.IntN(4), MaxSegments: r.IntN(2)},
	}
}

func (d *simFiles) must(err error) {
	if err != nil {
		d.w.violated("the disk of n%x: %v", d.id, err)
	}
}

// injected returns the error when it is one that the disk was told to have; no other is allowed.
func (d *simFiles) injected(err error) error {
	if err != nil && !errors.Is(err, syscall.EIO) && !errors.Is(err, syscall.ENOSPC) {
		d.must(err)
	}
	return err
}

// open starts on what is on the disk. Now and then the power fails meanwhile (pitfall H7). There
// must be room enough for a start, however full the disk is (pitfall H9).
func (d *simFiles) open() (boot, any, error) {
	d.options.FS = d.fs
	there, err := storageExists(d.options)
	if err != nil && d.rotten {
		return boot{}, nil, err
	}
	d.must(err)
	if !there {
		d.must(d.fs.Mkdir("m"))
		d.must(createStorage(d.options, simCluster.ClusterID, d.id, d.id, d.founded))
		d.must(d.fs.SyncDir("."))
	}
	if (d.w.on(faultPower) || d.w.profile.callByCall && !d.w.calm) && d.w.chance(0.1) {
		d.startInVain()
	}
	d.w.mutant.beforeOpen(d)
	got := &simReceiver{}
	s, r, err := openStorage(d.options, got)
	if err != nil && d.rotten {
		return boot{}, nil, err
	}
	d.must(err)
	d.storage, d.fetchers = s, map[uint64]*fetcher{}
	if len(r.Damaged) > 0 {
		d.w.count(countOlder)
	}
	if r.Torn != (wal.Repair{}) {
		d.w.count(countTorn)
	}
	got.giveBack(d, r)
	d.compare(r)
	return r.boot, d.body(r), nil
}

// simReceiver keeps the entries that a start hands on while it reads the log.
type simReceiver struct{ entries []Entry }

func (g *simReceiver) restore(*recovery) error { return nil }

func (g *simReceiver) replay(es []Entry) error {
	g.entries = append(g.entries, es...)
	return nil
}

// giveBack puts the entries that were handed on back in front of the rest. They must be all that
// are known to be committed, and no more.
func (g *simReceiver) giveBack(d *simFiles, r *recovery) {
	handed := r.Snapshot.Index + uint64(len(g.entries))
	if handed != r.base().Index || handed != max(r.State.Commit, r.Snapshot.Index) {
		d.w.violated("a start of n%x has handed on %d entries behind %d, and %d is committed", d.id, len(g.entries),
			r.Snapshot.Index, r.State.Commit)
	}
	r.Entries, r.Replayed = append(g.entries, r.Entries...), Snapshot{}
}

// startInVain lets a start fail.
func (d *simFiles) startInVain() {
	cause := errPowerCut
	if d.w.profile.callByCall {
		cause = syscall.EIO
	}
	d.fs.failAfter(d.w.rand.IntN(8), cause)
	_, r, err := openStorage(d.options, &simReceiver{})
	if err == nil && r.Torn != (wal.Repair{}) {
		d.w.count(countTorn)
	}
	if err != nil && !errors.Is(err, cause) && !d.rotten {
		d.must(err)
	}
	d.fs = d.fs.cut(d.w.rand)
	d.options.FS = d.fs
}

// compare fails when something is missing that was synced, or something is there that was never
// written.
func (d *simFiles) compare(r *recovery) {
	if r.Incarnation != d.id { // pitfall D10
		d.w.violated("the disk of n%x has become the incarnation %x", d.id, r.Incarnation)
	}
	before := d.simMemory
	if d.half != nil && r.State.Term == d.half.State.Term && r.State.Vote == d.half.State.Vote {
		d.put(d.half)
	}
	if !d.holds(r) {
		d.simMemory = before
	}
	if !d.holds(r) {
		d.w.violated("the disk of n%x: %+v and %d entries behind %d were found; %+v and entries up to %d behind %d "+
			"were synced",
			d.id, r.State, len(r.Entries), r.Snapshot.Index, d.state, d.last(), d.snapshot.Index)
	}
	if r.First <= d.anew {
		d.w.violated("the log of n%x is said to be whole from %d on, and has nothing up to %d", d.id, r.First, d.anew)
	}
	d.half = nil
	d.state = r.State
	// The start has found more of the log, behind an older snapshot (seed 1795951802757429144, lan,
	// whole).
	if next := r.Snapshot.Index + 1; len(r.Entries) > 0 && next < d.first {
		d.first, d.log = next, append(slices.Clone(r.Entries[:d.first-next]), d.log...)
	}
	if r.Snapshot.Index > d.snapshot.Index { // its file was whole, and nothing in the log knew of it
		d.snapshot = r.Snapshot
	}
	switch {
	case len(r.Entries) == 0:
		d.first, d.log = r.Snapshot.Index+1, nil
	case r.First > d.first: // a release that failed half way
		d.first, d.log = r.First, d.log[r.First-d.first:]
	}
}

// holds reports whether a start has found what the model holds. Instead of a damaged snapshot there
// may be an older one, and more of the log.
func (d *simFiles) holds(r *recovery) bool {
	switch {
	case r.State.Term != d.state.Term || r.State.Vote != d.state.Vote || r.Snapshot.Index < d.snapshot.Index &&
		len(r.Damaged) == 0:
		return false
	case r.Snapshot.Index > d.snapshot.Index && !d.simMemory.has(r.Snapshot.Index, r.Snapshot.Term):
		return len(r.Entries) == 0
	case r.Snapshot.Index+uint64(len(r.Entries)) != max(d.last(), r.Snapshot.Index):
		return false
	}
	for i := range r.Entries {
		e := &r.Entries[i]
		switch {
		case e.Index < d.first && e.Term == d.w.check.agreed[e.Index].term: // behind the older snapshot
		case simSum(e) != simSum(&d.log[e.Index-d.first]) || !d.simMemory.has(e.Index, e.Term):
			return false
		}
	}
	return true
}

// body returns the state in the snapshot that was found.
func (d *simFiles) body(r *recovery) any {
	if r.Reader == nil {
		return []byte(nil)
	}
	b, err := io.ReadAll(r.Reader)
	d.must(errors.Join(err, r.Reader.Close()))
	return b
}

// fetch reads entries from the log as a member does, and compares them with the model's.
func (d *simFiles) fetch(f Fetch) []Entry {
	want := d.simMemory.fetch(f)
	if want == nil {
		return nil
	}
	last := d.fetchers[f.To]
	if last.fits(f) {
		d.w.count(countFed)
	}
	got, next, err := d.storage.fetch(f, d.w.fetchBytes(), last)
	d.fetchers[f.To] = next
	if err != nil && d.rotten || d.injected(err) != nil {
		return nil // pitfall B15
	}
	if least := min(2, f.Last-f.From+1); uint64(len(got)) < least {
		d.w.violated("%d entries were read from %d on, of %d", len(got), f.From, f.Last)
	}
	for i := range got {
		if e := &d.log[f.From-d.first+uint64(i)]; got[i].Index != e.Index || got[i].Term != e.Term ||
			string(got[i].Data) != string(e.Data) {
			d.w.violated("entry %d@%d was read where %d@%d is", got[i].Index, got[i].Term, e.Index, e.Term)
		}
	}
	return got
}

func (d *simFiles) write(q *Persist) error {
	if err := d.injected(d.storage.persist(q)); err != nil {
		d.half = q
		return err
	}
	d.put(q)
	return nil
}

// crash cuts the power, often in the middle of the write that is under way.
func (d *simFiles) crash(q *Persist) {
	if q != nil && d.w.chance(0.8) {
		d.half = q
		d.fs.failAfter(max(0, d.w.rand.IntN(8)-4), errPowerCut)
		_ = d.storage.persist(q) // it fails, or its success is not reported
	}
	d.fs = d.fs.cut(d.w.rand)
}

// save writes a snapshot, and removes all but the two newest.
func (d *simFiles) save(s Snapshot, state any) error {
	frozen := state.(func(io.Writer) error)
	_, err := d.storage.saveSnapshot(s, frozen)
	if err := d.injected(err); err != nil {
		return err
	}
	d.snapshot = s
	d.w.check.frozen(s.Index, frozen)
	return d.injected(d.storage.snaps.Purge(2))
}

// release removes the part of the log that neither of the two newest snapshots needs, nor a member
// that lags.
func (d *simFiles) release(keep uint64) (uint64, error) {
	first, err := d.storage.release(&d.options, keep)
	if err := d.injected(err); err != nil {
		return 0, err
	}
	if first > d.first {
		d.log = d.log[first-d.first:]
		d.first = first
	}
	return max(first, 1), nil
}

// fail lets one of the next changes fail, or leaves no room after the segment that is in
// preparation.
func (d *simFiles) fail(errno syscall.Errno) {
	switch {
	case errno == syscall.ENOSPC && d.w.chance(0.7):
		d.fs.fillUp("m/wal")
	case d.w.profile.callByCall:
		d.fs.failAt(simCallKind(d.w.rand.IntN(int(callKindsEnd))), d.w.rand.IntN(6), errno)
	default:
		d.fs.failAfter(d.w.rand.IntN(6), errno)
	}
}

func (d *simFiles) makeRoom() { d.fs.full, d.fs.fuse = 0, -1 }

func (d *simFiles) rot() {
	d.rotten = true
	d.fs.rot(d.w.rand)
}

// file returns the bytes of a snapshot's file, as they are sent.
func (d *simFiles) file(index uint64) any {
	r, err := d.storage.snaps.OpenIndex(index)
	d.must(err)
	raw, size := r.Raw()
	b := make([]byte, size)
	_, err = raw.ReadAt(b, 0)
	d.must(errors.Join(err, r.Close()))
	return b
}

func (d *simFiles) receive(_ *Snapshot, file any) error {
	r, err := d.storage.snaps.Receive()
	d.must(err)
	if _, err = r.Write(file.([]byte)); err == nil {
		_, err = r.Commit()
	}
	return d.injected(err)
}

func (d *simFiles) restored(index uint64) any {
	r, err := d.storage.snaps.OpenIndex(index)
	d.must(err)
	b, err := io.ReadAll(r)
	d.must(errors.Join(err, r.Close()))
	return b
}

// frozen: a snapshot has the same bytes at the same index at all members, and these bytes hold the
// whole state (pitfalls E7, E8).
func (k *simChecker) frozen(index uint64, state any) {
	write, ok := state.(func(io.Writer) error)
	if !ok {
		return // registers have no bytes
	}
	first, again := &bytes.Buffer{}, &bytes.Buffer{}
	if err := write(first); err != nil {
		k.w.violated("the state at %d can't be written: %v", index, err)
	}
	m := newSimStore(k.w, None)
	m.restore(first.Bytes())
	if err := m.freeze().(func(io.Writer) error)(again); err != nil || !bytes.Equal(first.Bytes(), again.Bytes()) {
		k.w.violated("the state at %d, restored and frozen again, is another one (%v)", index, err)
	}
	sum := sumOf(first.Bytes())
	if known, ok := k.bodies[index]; ok && known != sum {
		k.w.violated("two members have different states at %d", index)
	}
	k.bodies[index] = sum
}

func sumOf(b []byte) (h uint64) {
	for _, c := range b {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

// simLeases is the number of keys that are set to expire.
const simLeases = 4

// simStore is the real store, with what the checker must know of it.
type simStore struct {
	w     *simWorld
	id    uint64 // of the member
	store *store.Store
	sum   uint64           // of all results so far
	due   [simLeases]int64 // when each key with a time to live expires, by the cluster clock; 0: the key does not exist
	stamp int64
	from  uint64 // last entry when it was restored; notYet: it was restored, and no entry applied since
}

const notYet = ^uint64(0)

func newSimStore(w *simWorld, id uint64) *simStore {
	return &simStore{w: w, id: id, store: store.New(store.Limits{Events: 50, Bytes: 1<<16 + 50*w.profile.bulky})}
}

func (m *simStore) freeze() any {
	write, head := m.store.Freeze(), m.head()
	return func(w io.Writer) error {
		if _, err := w.Write(head); err != nil {
			return err
		}
		return write(w)
	}
}

func (m *simStore) head() []byte {
	b := binary.LittleEndian.AppendUint64(nil, m.sum)
	b = binary.LittleEndian.AppendUint64(b, uint64(m.stamp))
	for _, due := range m.due {
		b = binary.LittleEndian.AppendUint64(b, uint64(due))
	}
	return b
}

// restore replaces the state; watchers stay (pitfall E12).
func (m *simStore) restore(state any) {
	b := state.([]byte)
	if len(b) == 0 {
		return
	}
	numbers := make([]uint64, 2+simLeases)
	rest := bytes.NewReader(b)
	err := binary.Read(rest, binary.LittleEndian, numbers)
	if err = errors.Join(err, m.store.Restore(rest)); err != nil {
		panic(simViolation("a snapshot can't be restored: " + err.Error()))
	}
	m.sum, m.stamp, m.from = numbers[0], int64(numbers[1]), notYet
	for i := range m.due {
		m.due[i] = int64(numbers[2+i])
	}
}

func (m *simStore) digest() uint64 { return m.sum }

func (m *simStore) nextDue() (int64, bool) {
	due, ok := m.store.NextDue()
	return due.UnixNano(), ok
}

func simPath(key uint8) string { return "/r/" + strconv.Itoa(int(key)) }
func leasePath(i int) string   { return leases + strconv.Itoa(i) }

// leases is the directory of the keys that expire.
const leases = "/ttl/"

// lease returns a command that sets a key for a while; its value is its time to live in
// nanoseconds.
func (w *simWorld) lease() []byte {
	ttl := w.between(1, 200)
	c := store.Command{Op: store.OpSet, Path: leasePath(w.rand.IntN(simLeases)), HasTTL: true, TTL: time.Duration(ttl),
		Value: strconv.FormatInt(ttl, 10)}
	return c.Append(nil)
}

// simWall returns the command by which a leader tells what its wall clock shows.
func simWall(offset time.Duration) []byte {
	c := store.Command{Op: store.OpClock, TTL: offset}
	return c.Append(nil)
}

// command returns the store's command for an operation.
func (o simOp) command() store.Command {
	c := store.Command{Op: store.OpSet, Path: simPath(o.key), Value: textOf(o.Value)}
	switch o.Kind {
	case linear.CAS:
		c.Op, c.PrevValue = store.OpCompareAndSwap, textOf(o.Expect)
	case linear.Delete:
		c.Op, c.Value = store.OpDelete, ""
	}
	if o.request != 0 {
		c.RequestID = strconv.FormatUint(o.request, 10)
	}
	return c
}

func (m *simStore) apply(e *Entry) linear.Result {
	command := e.Data
	if e.Kind != EntryCommand && e.Kind != EntryEmpty {
		command = nil
	}
	m.stamp = max(m.stamp, e.Stamp)
	if m.from == notYet {
		m.from = e.Index - 1
	}
	expired := m.expired()
	m.w.mutant.beforeExpiry(m, expired)
	executes, before := m.w.check.executes(e), m.store.Index()
	result := m.store.Apply(e.Index, time.Unix(0, e.Stamp), m.w.mutant.command(m, e, command))
	m.sum = simMix(simMix(m.sum, e.Index), e.Term)
	m.tell(before, expired, result, executes)
	defer m.checkLeases(e)
	switch v := result.(type) {
	case *store.Event:
		m.noteLease(v)
		m.sum = simMix(simMix(m.sum, v.Index), uint64(v.Stamp))
		if v.Node.Ends != nil {
			m.sum = simMix(m.sum, uint64(v.Node.Ends.Shown)) // members show the same expiration of a key (pitfall L9)
		}
		return eventResult(v)
	case *store.Error:
		m.sum = simMix(simMix(m.sum, uint64(v.Code)), v.Index)
		return errorResult(v)
	}
	return linear.Result{}
}

func eventResult(e *store.Event) linear.Result {
	switch e.Action {
	case store.ActionDelete:
		return linear.Result{Value: valueOf(e.Prev.Value)}
	case store.ActionCompareAndSwap:
		return linear.Result{OK: true}
	}
	return linear.Result{}
}

// errorResult: the key was missing, or held another value, which stands behind "!=" in the cause.
func errorResult(e *store.Error) linear.Result {
	_, held, _ := strings.Cut(strings.TrimSuffix(e.Cause, "]"), " != ")
	return linear.Result{Value: valueOf(held)}
}

// textOf returns a value as the store has it: a number, and dots behind it that make some values
// longer than a sector.
func textOf(v uint64) string { return strconv.FormatUint(v, 10) + strings.Repeat(".", int(v*v%1200)) }

// valueOf reads a value; it returns 0, which is no value, for all other text.
func valueOf(s string) uint64 {
	v, err := strconv.ParseUint(strings.TrimRight(s, "."), 10, 64)
	if err != nil {
		return 0
	}
	return v
}

func (m *simStore) read(key uint8) linear.Result {
	view, err := m.store.Get(simPath(key))
	if err != nil {
		return linear.Result{}
	}
	return linear.Result{Value: valueOf(view.Node.Value)}
}

func (m *simStore) noteLease(e *store.Event) {
	if key, ok := strings.CutPrefix(e.Node.Path, leases); ok {
		m.due[valueOf(key)] = m.stamp + int64(valueOf(e.Node.Value))
	}
}

// expired returns the keys whose time to live is over, the earliest first.
func (m *simStore) expired() (keys []int) {
	for i, due := range m.due {
		if due != 0 && due <= m.stamp {
			keys = append(keys, i)
		}
	}
	slices.SortStableFunc(keys, func(a, b int) int { return cmp.Compare(m.due[a], m.due[b]) })
	return keys
}

// tell says which events an entry must have made: one for each key that has expired, and one for
// the command, unless that was executed before (pitfalls G3, G5).
func (m *simStore) tell(index uint64, expired []int, result any, executes bool) {
	event, _ := result.(*store.Event)
	if !executes {
		m.w.count(countOnce)
		event = nil
	}
	for _, i := range expired {
		index++
		m.w.check.told(m.id, index, simTold{action: store.ActionExpire, path: leasePath(i)})
		m.due[i] = 0
	}
	if event != nil {
		index++
		m.w.check.told(m.id, index, simTold{event.Action, event.Node.Path, event.Node.Value})
	}
	if index != m.store.Index() {
		m.w.violated("n%x is at event %d, and should be at %d", m.id, m.store.Index(), index)
	}
}

// checkLeases: a key lives exactly as long as its time to live, by the stamps in the log (pitfalls
// I1, I2, I13).
func (m *simStore) checkLeases(e *Entry) {
	for i, due := range m.due {
		if _, err := m.store.Get(leasePath(i)); (err == nil) != (due != 0) {
			m.w.violated("key %d expires at %d, and at %d, after entry %d, n%x has it: %v", i, due, m.stamp, e.Index,
				m.id, err == nil)
		}
	}
}
