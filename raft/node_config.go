package raft

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"time"

	"etcd2/wal/disk"
)

// Config says what a node is and where it lives. The zero values of the numbers mean their
// defaults.
type Config struct {
	Dir    string // the data directory; the member lives in Dir/member
	WALDir string // the directory of the log; empty means inside Dir/member

	ID         uint64     // of this member; used only when Dir holds no member yet
	Bootstrap  Membership // the cluster's first members, likewise; with Join only its ClusterID is used
	Join       bool       // the cluster runs and has added this member, which gets the log from the leader
	Transport  Transport  // to the other members; nil: there are none
	Self       Member     // name, URLs and version, which this member tells the cluster at every start
	ForceAlone bool       // make a cluster of this member alone of what is on its disk (--force-new-cluster)
	ForceURLs  []string   // with ForceAlone: its peer URLs if Self has none and the log does not have it as a member

	// MayForce returns an error to refuse ForceAlone, for a member and the membership that its log
	// ends with; nil allows it. It may block.
	MayForce func(m Membership, self uint64) error

	Heartbeat      time.Duration // interval of heartbeats; 100 ms
	Election       time.Duration // election timeout; 1 s
	RequestTimeout time.Duration // after which ErrUnknown is the answer; 7 s
	// least number of entries between two snapshots, unless they are many bytes, see muchToReplay;
	// 10,000
	SnapshotCount uint64
	MaxSnapshots  int   // snapshot files kept; 0 keeps all, 1 counts as 2
	MaxWALs       int   // segments of the log kept beyond what is needed; 0 keeps none of them
	SegmentBytes  int64 // of the log; 0 means wal.DefaultSegmentBytes

	// Command returns the state machine's command that goes with a change of the membership; nil:
	// there is none.
	Command func(ChangeKind) []byte

	// WallCommand returns the command that tells the state machine the leader's wall clock minus
	// the cluster clock; nil: none. The leader logs it in the entry that opens its term, and before
	// the next proposal once the offset has changed by more than 100 ms.
	WallCommand func(offset time.Duration) []byte

	// Mark is called by the leader for each command, wherever it was proposed, and returns what
	// goes into the log; nil: the command itself. It may not block, nor change its argument.
	Mark func(cmd []byte) []byte

	// Expect is called with the size of a snapshot's body, in bytes, before the state machine's
	// Restore reads it; nil: it is not.
	Expect func(bytes int64)

	Logger *slog.Logger // nil: slog.Default()

	Dirs *Dirs // the directories, locked; the node closes it at its end. nil: Open locks them itself

	fs disk.FS // of the log and the snapshots; nil: the operating system's
}

func (c Config) withDefaults() Config {
	setDefault(&c.Heartbeat, 100*time.Millisecond)
	setDefault(&c.Election, time.Second)
	setDefault(&c.RequestTimeout, 7*time.Second)
	setDefault(&c.SnapshotCount, 10_000)
	if c.MaxSnapshots == 1 {
		c.MaxSnapshots = 2 // the newest may turn out to be damaged
	}
	if c.Command == nil {
		c.Command = func(ChangeKind) []byte { return nil }
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

func (c *Config) storage() storageOptions {
	return storageOptions{
		Dir: filepath.Join(c.Dir, "member"), WALDir: c.WALDir, FS: c.fs,
		Bytes: c.SegmentBytes, MaxSegments: c.MaxWALs,
	}
}

// lockDirs locks the directories, unless the caller of Open has done so.
func (c *Config) lockDirs() (err error) {
	if c.Dirs != nil {
		return nil
	}
	if c.Dirs, err = LockDir(c.Dir); err != nil {
		return err
	}
	if _, err = c.Dirs.LockLogDir(c.WALDir); err != nil {
		return errors.Join(err, c.Dirs.Close())
	}
	return nil
}

// ticksPerHeartbeat is how many ticks of the core an interval of heartbeats has.
const ticksPerHeartbeat = 4

func (c *Config) coreConfig(id uint64) coreConfig {
	tick := c.Heartbeat / ticksPerHeartbeat
	return coreConfig{
		ID: id, ElectionTicks: max(int(c.Election/tick), 2*ticksPerHeartbeat), HeartbeatTicks: ticksPerHeartbeat,
		Rand: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())), Wall: time.Now().UnixNano(),
		WallCommand:    c.WallCommand,
		Mark:           c.Mark,
		MaxAppendBytes: 1 << 20, MaxWriteBytes: 8 << 20, MaxInflightBytes: 32 << 20, MaxUncommittedBytes: 256 << 20,
		MaxTailBytes: 16 << 20, MaxUnappliedBytes: 64 << 20,
	}
}
