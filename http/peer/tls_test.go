package peer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"etcd2/http/certs"
	"etcd2/http/certs/certstest"
	"etcd2/raft"
)

// secure lets a member listen and call with certificates. It must not be started yet.
func (m *member) secure(t testing.TB, f certs.Files) {
	t.Helper()
	set, err := certs.Load(f, slog.New(slog.NewTextHandler(m.journal, nil)))
	if err != nil {
		t.Fatal(err)
	}
	m.server.Close()
	m.server = &httptest.Server{Listener: mustListen(t), TLS: set.Server("http/1.1"),
		Config: &http.Server{Handler: m.Transport}}
	m.server.StartTLS()
	m.Transport.cfg.DialTLS, m.Transport.cfg.URLs = set.DialTLS, []string{m.url()}
}

func mustListen(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// securePair makes two members with certificates, of one authority, that are not started.
func securePair(t testing.TB, other *certstest.Authority) (a, b *member) {
	t.Helper()
	dir, ca := t.TempDir(), certstest.NewAuthority(t, "Peer CA")
	f := certs.Files{CA: certstest.Write(t, dir, "ca.pem", ca.PEM()), ClientAuth: true, Mutual: true}
	quick := func(c *Config) { c.Silence = 300 * time.Millisecond }
	a, b = newMember(t, 0xa, quick), newMember(t, 0xb, quick)
	f.Cert, f.Key = ca.Issue(t, "a").Save(t, dir, "a")
	a.secure(t, f)
	if other != nil {
		ca = other
	}
	f.Cert, f.Key = ca.Issue(t, "b").Save(t, dir, "b")
	b.secure(t, f)
	return a, b
}

func TestMessagesAndSnapshotsGoOverTLS(t *testing.T) {
	a, b := securePair(t, nil)
	arrived := b.takeAll()
	a.start(at(b.id, b.url()))
	b.start(at(a.id, a.url()))
	connected(t, a, b)

	for i := range uint64(3) {
		a.Send([]raft.Message{appendOf(a, b, i, 1<<20)})
		if m := b.get(t); m.Index != i {
			t.Errorf("%v came", m)
		}
	}
	content := noise(3<<20 + 7)
	if err := install(t, a, b, bytes.NewReader(content), int64(len(content))); err != nil {
		t.Fatal(err)
	}
	if got := <-arrived; got.err != nil || got.sum != sha256.Sum256(content) {
		t.Errorf("the snapshot: %v", got.err)
	}
	before := a.Peers()[b.id].SentBytes
	// pings; the deadlines between do TLS no harm
	a.awaitPeer(t, func(s raft.PeerStats) bool { return s.SentBytes >= before+2*frameHeader })
	a.want(t, 1, "connected to a member")

	b.Close()

	a.await(t, 1, "Lost(b)")
}

// pitfall K3
func TestAMemberOfAnotherAuthorityIsNotLetIn(t *testing.T) {
	a, b := securePair(t, certstest.NewAuthority(t, "Other CA"))
	a.start(at(b.id, b.url()))
	b.start(at(a.id, a.url()))

	a.await(t, 1, "cannot reach a member", "its certificate CN=b was issued by CN=Other CA", "trusts CN=Peer CA")
	b.await(t, 1, "cannot reach a member", "it refuses", "this member, CN=b, was issued by CN=Other CA")
	a.want(t, 0, "x509")
	if s := a.Peers()[b.id]; s.Connected {
		t.Errorf("%+v", s)
	}
}

// endable is a connection that DialTLS may end.
type endable struct {
	net.Conn
	ended  atomic.Bool
	closed chan struct{}
	once   sync.Once
}

func (c *endable) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.ended.Load() {
		return 0, net.ErrClosed
	}
	return n, err
}

func (c *endable) Close() error {
	defer c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// Taking an authority out is no reason to lose a message.
func TestWhatIsQueuedWhenACertificateEndsAConnectionGoesWithTheNextOne(t *testing.T) {
	a, b := securePair(t, nil)
	// a call that fails drops what is queued
	a.Transport.times.dial, a.Transport.times.handshake = time.Minute, time.Minute
	made := make(chan *endable, 9)
	dial := a.Transport.cfg.DialTLS
	a.Transport.cfg.DialTLS = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		e := &endable{Conn: c, closed: make(chan struct{})}
		made <- e
		return e, nil
	}
	a.start(at(b.id, b.url()))
	b.start(at(a.id, a.url()))
	connected(t, a, b)
	first := <-made

	first.ended.Store(true)
	first.Conn.SetReadDeadline(longAgo)
	<-first.closed
	for i := range uint64(10) {
		a.Send([]raft.Message{appendOf(a, b, i, 10)})
	}

	for i := range uint64(10) {
		if m := b.get(t); m.Index != i {
			t.Fatalf("%v came, want %d", m, i)
		}
	}
	if dropped := a.Peers()[b.id].Dropped; dropped > 0 {
		t.Errorf("%d were dropped", dropped)
	}
}
