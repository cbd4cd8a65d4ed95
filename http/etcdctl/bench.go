package etcdctl

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"etcd2/http/client"
)

var benchOptions = []option{
	{name: "clients", arg: "N", check: number, preset: "32", help: "connections, each with one request at a time"},
	{name: "total", arg: "N", check: number, preset: "10000", help: "requests in all"},
	{name: "size", arg: "BYTES", check: number, preset: "256", help: "length of a value"},
}

var benchCommand = &command{
	name: "bench", help: "measure how fast the cluster is, with keys below a hidden key that it removes at the end",
	family: []*command{
		{
			name: "put", help: "write keys", options: benchOptions, run: runBench(benchPut),
			examples: []example{{"bench put", ""}, {"bench put --clients 256 --total 100000", ""}},
		},
		{
			name: "get", help: "read keys", options: append(slices.Clone(benchOptions),
				quorumOption), run: runBench(benchGet),
			examples: []example{{"bench get", ""}, {"bench get --quorum --clients 64", ""}},
		},
		{
			name: "watch", help: "write to one key that all clients watch: the time from the write to each event",
			options: benchOptions,
			run:     runBench(benchWatch), examples: []example{{"bench watch --clients 1000 --total 20000",
				"1000 watches, 20 writes"}},
		},
	},
}

// A bench is one measurement.
type bench struct {
	s       *session
	ctx     context.Context
	clients []*client.Client
	dir     string // of all its keys
	value   string
	total   int

	done  atomic.Int64
	mu    sync.Mutex      // protects what follows
	times []time.Duration // of requests that succeeded
	fails int
	err   error // the first failure
}

const benchDir = "/_bench"

// benchPatience is how long a cluster under load may take to answer.
const benchPatience = 10 * time.Second

func runBench(measure func(*bench)) func(*session, []string) error {
	return func(s *session, args []string) error {
		clients, total, size := s.opts.number("clients"), s.opts.number("total"), s.opts.number("size")
		if clients < 1 || total < 1 || size < 0 {
			return wrong("at least one client and one request required")
		}
		ctx, cancel := s.untilInterrupt()
		defer cancel()
		b := &bench{s: s, ctx: ctx, dir: benchDir + "/" + rand.Text(), value: strings.Repeat("x", int(size)),
			total: int(total)}
		if err := b.connect(int(clients)); err != nil {
			return err
		}
		p := s.progress(b.text)
		begin := time.Now()
		measure(b)
		took := time.Since(begin)
		p.end()
		b.report(s.stdout, took)
		return b.clean()
	}
}

// connect makes a client for each connection. They begin with different members.
func (b *bench) connect(n int) error {
	c, err := b.s.cluster()
	if err != nil {
		return err
	}
	endpoints := c.Endpoints()
	cfg, err := b.s.userConfig(endpoints)
	if err != nil {
		return err
	}
	cfg.Timeout, cfg.InOrder = max(cfg.Timeout, benchPatience), true
	for i := range n {
		turn := i % len(endpoints)
		cfg.Endpoints = append(slices.Clone(endpoints[turn:]), endpoints[:turn]...)
		c, err := client.New(cfg)
		if err != nil {
			return err
		}
		b.clients = append(b.clients, c)
	}
	return nil
}

// text is what the terminal shows during the measurement.
func (b *bench) text() string {
	done := b.done.Load()
	return fmt.Sprintf("%s %d of %d", bar(float64(done)/float64(b.total)), done, b.total)
}

// each makes all clients send requests, until all are done or the user interrupts.
func (b *bench) each(do func(c *client.Client, i int) error) {
	var next atomic.Int64
	var group sync.WaitGroup
	for _, c := range b.clients {
		group.Go(func() {
			for i := int(next.Add(1)); i <= b.total && b.ctx.Err() == nil; i = int(next.Add(1)) {
				begin := time.Now()
				b.record(begin, do(c, i))
			}
		})
	}
	group.Wait()
}

// record records one request, which ends now.
func (b *bench) record(begin time.Time, err error) {
	took := time.Since(begin)
	b.done.Add(1)
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil {
		b.times = append(b.times, took)
		return
	}
	b.fails++
	if b.err == nil {
		b.err = err
	}
}

const benchKeys = 1000

func (b *bench) key(i int) string { return fmt.Sprintf("%s/%03d", b.dir, i%benchKeys) }

func benchPut(b *bench) {
	b.each(func(c *client.Client, i int) error {
		_, err := c.Set(b.ctx, b.key(i), b.value, client.SetOptions{})
		return err
	})
}

func benchGet(b *bench) {
	if _, err := b.clients[0].Set(b.ctx, b.key(0), b.value, client.SetOptions{}); err != nil {
		b.record(time.Now(), err)
		return
	}
	o := client.GetOptions{Quorum: b.s.opts.on("quorum")}
	b.each(func(c *client.Client, i int) error {
		_, err := c.Get(b.ctx, b.key(0), o)
		return err
	})
}

// benchWatch writes often enough for the total number of events. Each value begins with the time of
// its write.
func benchWatch(b *bench) {
	first, err := b.clients[0].Set(b.ctx, b.key(0), "", client.SetOptions{})
	if err != nil {
		b.record(time.Now(), err)
		return
	}
	writes := (b.total + len(b.clients) - 1) / len(b.clients)
	b.total = writes * len(b.clients)
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	var group sync.WaitGroup
	for _, c := range b.clients {
		group.Go(func() { b.follow(ctx, c, first.Node.ModifiedIndex, writes) })
	}
	writer := b.clients[0]
	for range writes {
		stamp := fmt.Sprintf("%d %s", time.Now().UnixNano(), b.value)
		if _, err := writer.Set(b.ctx, b.key(0), stamp, client.SetOptions{}); err != nil {
			b.record(time.Now(), err)
			cancel() // the other events will not come
			break
		}
	}
	group.Wait()
}

// follow records the events of one watch.
func (b *bench) follow(ctx context.Context, c *client.Client, after uint64, events int) {
	w := c.Watch(b.key(0), client.WatchOptions{AfterIndex: after, Stream: true})
	defer w.Close()
	for range events {
		resp, err := w.Next(ctx)
		if ctx.Err() != nil {
			return
		}
		var written int64
		if err == nil {
			_, err = fmt.Sscan(resp.Node.Value, &written)
		}
		b.record(time.Unix(0, written), err)
		if err != nil {
			return
		}
	}
}

// report prints what was measured.
func (b *bench) report(w io.Writer, took time.Duration) {
	slices.Sort(b.times)
	n := len(b.times)
	fmt.Fprintf(w, "%d clients, %d done in %v: %.0f a second, %d failed\n",
		len(b.clients), n, took.Round(time.Millisecond), float64(n)/took.Seconds(), b.fails)
	if n == 0 {
		return
	}
	fmt.Fprint(w, "latency:")
	for _, q := range []struct {
		name     string
		fraction float64
	}{{"50%", 0.5}, {"90%", 0.9}, {"99%", 0.99}, {"99.9%", 0.999}, {"most", 1}} {
		fmt.Fprintf(w, "  %s %v", q.name, b.times[min(n-1, int(q.fraction*float64(n)))].Round(10*time.Microsecond))
	}
	fmt.Fprint(w, "\n\n")
	histogram(w, b.times)
}

// histogram prints how many of the sorted times lie between two limits, of which each is twice the
// one before.
func histogram(w io.Writer, times []time.Duration) {
	limit := 125 * time.Microsecond
	for ; limit < times[0]; limit *= 2 {
	}
	for rest := times; len(rest) > 0; limit *= 2 {
		n, _ := slices.BinarySearch(rest, limit+1)
		fmt.Fprintf(w, "%10v  %s %d\n", limit, bar(float64(n)/float64(len(times))), n)
		rest = rest[n:]
	}
}

// clean removes the keys. It returns the first error of the requests, or its own.
func (b *bench) clean() error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(b.ctx), benchPatience)
	defer cancel()
	_, err := b.clients[0].Delete(ctx, b.dir, client.DeleteOptions{Recursive: true})
	if client.IsKeyNotFound(err) {
		err = nil
	}
	b.clients[0].Rmdir(ctx, benchDir, client.DeleteOptions{}) // fails while another bench is running
	return refused(errors.Join(b.err, err))
}
