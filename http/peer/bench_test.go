package peer

import (
	"testing"
	"time"

	_ "etcd2/e2e/pace" // -long
	"etcd2/raft"
)

// BenchmarkAppends sends single entries of 300 bytes, as small writes make them, as fast as the
// other end takes them.
func BenchmarkAppends(b *testing.B) {
	one, two := pair(b)
	go func() {
		for range two.steps {
		}
	}()
	ms := make([]raft.Message, 64)
	for i := range ms {
		ms[i] = appendOf(one, two, 1, 300)
	}
	b.SetBytes(300)
	b.ReportAllocs()
	for sent := uint64(0); sent < uint64(b.N); {
		one.Send(ms)
		sent += uint64(len(ms))
		for sent-one.Peers()[two.id].Sent > 10_000 {
			time.Sleep(100 * time.Microsecond)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}

// BenchmarkRoundTrip sends one Append after the other, each when the one before was taken.
func BenchmarkRoundTrip(b *testing.B) {
	one, two := pair(b)
	ms := []raft.Message{appendOf(one, two, 1, 300)}
	b.ReportAllocs()
	for b.Loop() {
		one.Send(ms)
		<-two.steps
	}
}

// BenchmarkLargeAppends sends Appends of 1 MiB.
func BenchmarkLargeAppends(b *testing.B) {
	one, two := pair(b)
	ms := []raft.Message{appendOf(one, two, 1, 1<<20)}
	b.SetBytes(1 << 20)
	b.ReportAllocs()
	one.Send(ms)
	for b.Loop() {
		one.Send(ms)
		<-two.steps
	}
}
