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
	WALDir string // of the log, when it is not to be in there

	ID         uint64     // of this member; looked at only when Dir holds no member yet
	Bootstrap  Membership // the cluster's first members, likewise; with Join its id alone counts
	Join       bool       // the cluster runs already, and has taken this member in: all comes from its leader
	Transport  Transport  // to the other members; nil: there are none
	Self       Member     // what this member tells the cluster of itself at every start: name, URLs, version
	ForceAlone bool       // make a cluster of this member alone out of what is on its disk (--force-new-cluster)
	ForceURLs  []string   // with ForceAlone: its peer URLs if Self has none and the log does not know it, or no more

	// MayForce refuses ForceAlone, by an error, for a member and the membership that its log ends
	// with; nil allows it. It may take its time.
	MayForce func(m Membership, self uint64) error

	Heartbeat      time.Duration // interval of heartbeats; 100 ms
	Election       time.Duration // election timeout; 1 s
	RequestTimeout time.Duration // after which ErrUnknown is the answer; 7 s
	// least number of entries between two snapshots, unless they are many bytes: see muchToReplay;
	// 10,000
	SnapshotCount uint64
	MaxSnapshots  int   // snapshot files kept; 0 keeps all, 1 counts as 2
	MaxWALs       int   // segments of the log kept beyond what is needed; 0 keeps none of them
	SegmentBytes  int64 // of the log; 0 means wal.DefaultSegmentBytes

	// Command gives the state machine's command that goes with a change of the membership; nil:
	// none.
	Command func(ChangeKind) []byte

	// WallCommand gives the command that tells the state machine the leader's wall clock minus the
	// cluster clock; nil: none. The leader logs it in the entry that opens its term, and before the
	// next proposal once the offset has changed by more than 100 ms.
	WallCommand func(offset time.Duration) []byte

	// Mark returns a command as the leader puts it into its log, wherever it was proposed; nil: as
	// it is. It may not wait, and not change its argument.
	Mark func(cmd []byte) []byte

	// Expect is told the size of a snapshot's body, in bytes, before the state machine's Restore
	// gets it; nil: nobody is.
	Expect func(bytes int64)

	Logger *slog.Logger // nil: slog.Default()

	Dirs *Dirs // the directories, occupied; the node closes it in the end. nil: Open occupies them itself

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

// lockDirs sees to it that the directories are this process's.
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

// ticksPerHeartbeat is how finely the core's time is cut.
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
