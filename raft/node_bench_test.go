package raft

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"time"
)

// nothing is a state machine without a state.
type nothing struct{}

func (nothing) Apply(uint64, time.Time, []byte) any { return nil }
func (nothing) Freeze() func(io.Writer) error       { return func(io.Writer) error { return nil } }
func (nothing) Restore(io.Reader) error             { return nil }
func (nothing) NextDue() (time.Time, bool)          { return time.Time{}, false }

// Durable proposals of 300 bytes by many at once, on one member.
func BenchmarkNodePropose(b *testing.B) {
	n, err := Open(Config{Dir: b.TempDir(), ID: 1, Bootstrap: voters(1), Logger: slog.New(slog.DiscardHandler)},
		nothing{})
	if err != nil {
		b.Fatal(err)
	}
	<-n.Ready()
	b.SetParallelism(128)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := n.Propose(context.Background(), make([]byte, 300)); err != nil {
				b.Error(err)
			}
		}
	})
	b.StopTimer()
	_, writes, _ := n.Stats().Fsync.Snapshot()
	b.ReportMetric(float64(b.N)/float64(writes), "proposals/write")
	if err := n.Stop(context.Background()); err != nil {
		b.Error(err)
	}
}
