package peer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"etcd2/http/certs"
	"etcd2/http/certs/certstest"
	"etcd2/raft"
)

// nowhere is a URL at which nobody answers.
const nowhere = "http://127.0.0.1:1"

// oneWay makes two members of which only b can call the other.
func oneWay(t testing.TB, change ...func(*Config)) (a, b *member) {
	t.Helper()
	a, b = newMember(t, 0xa, change...), newMember(t, 0xb,
		append(change, func(c *Config) { c.URLs = []string{nowhere} })...)
	a.start(at(b.id, nowhere))
	b.start(at(a.id, a.url()))
	connected(t, a, b)
	return a, b
}

func TestOneDirectionOfCallingIsEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := oneWay(t)
		arrived := b.takeAll()

		const n = 200
		for i := range uint64(n) {
			a.Send([]raft.Message{appendOf(a, b, i, int(i*37%20_000))})
			b.Send([]raft.Message{appendOf(b, a, i, 10)})
		}
		for i := range uint64(n) {
			if to, from := b.get(t), a.get(t); to.Index != i || from.Index != i {
				t.Fatalf("%v and %v after %d", to, from, i)
			}
		}
		content := noise(3<<20 + 7)
		if err := install(t, a, b, bytes.NewReader(content), int64(len(content))); err != nil {
			t.Fatal(err)
		}
		if got := <-arrived; got.err != nil || got.sum != sha256.Sum256(content) {
			t.Errorf("the snapshot: %v", got.err)
		}
		a.want(t, 1, "level=WARN", "cannot reach a member at its peer URLs", nowhere)
		a.want(t, 1, "connected to a member", loan)

		b.Close()

		a.await(t, 1, "Lost(b)")
		b.want(t, 0, "Lost")
	})
}

// A filter swallows what is sent to b, so that the call does not even fail.
func TestACallThatHangsIsGivenUpWhenThereIsAnotherWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newMember(t, 0xa), newMember(t, 0xb)
		a.Transport.times.dial = time.Hour
		a.Transport.dialTCP = func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		a.start(at(b.id, nowhere))
		b.start(at(a.id, a.url()))

		connected(t, a, b)
		a.Send([]raft.Message{heartbeat(a, b, 1)})

		b.get(t)
	})
}

func TestALentConnectionThatBreaksIsLentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newMember(t, 0xa)
		k := newLink(t, a, 0)
		b := newMember(t, 0xb, func(c *Config) { c.URLs = nil })
		a.start(at(b.id, nowhere))
		b.start(at(a.id, k.url()))
		connected(t, a, b)

		k.cut()
		a.await(t, 2, "connected to a member", loan)
		a.Send([]raft.Message{heartbeat(a, b, 1)})

		b.get(t)
		a.Close()
		b.Close()
		if n := b.Transport.peers[a.id].loans.Load(); n != 0 {
			t.Errorf("%d connections count as lent", n)
		}
	})
}

// pitfall K3: what would not be believed of a member that is called is not believed of one that
// calls.
func TestAConnectionIsBorrowedOnlyFromAMemberThatHasShownItsCertificate(t *testing.T) {
	for _, c := range []struct {
		name   string
		hosts  []string // of b's certificate
		mutual bool     // a asks for certificates
		lends  bool
	}{
		{"the certificate is for the host of the member's URL", []string{"127.0.0.1"}, true, true},
		{"it is for another host", []string{"b.example"}, true, false},
		{"none was asked for", []string{"127.0.0.1"}, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, ca := t.TempDir(), certstest.NewAuthority(t, "Peer CA")
			trusted := certstest.Write(t, dir, "ca.pem", ca.PEM())
			a, b := newMember(t, 0xa), newMember(t, 0xb)
			f := certs.Files{}
			f.Cert, f.Key = ca.Issue(t, "a").Save(t, dir, "a")
			if c.mutual {
				f.CA = trusted
			}
			a.secure(t, f)
			f = certs.Files{CA: trusted}
			f.Cert, f.Key = ca.Issue(t, "b", certstest.For(c.hosts...)).Save(t, dir, "b")
			b.secure(t, f)
			dead := "https://127.0.0.1:1"
			b.Transport.cfg.URLs = []string{dead}
			a.start(at(b.id, dead))
			b.start(at(a.id, a.url()))
			connected(t, b)

			if c.lends {
				a.await(t, 1, "connected to a member", loan)
				return
			}
			a.await(t, 3, "cannot connect")
			if ways := a.Transport.peers[b.id].candidates(); slices.Contains(ways, loan) {
				t.Errorf("it would call by %v", ways)
			}
		})
	}
}

// pitfall J2: whoever calls may not leave connections here.
func TestAConnectionThatNobodyWantsIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newMember(t, 0xb)
		b.start()

		_, r, err := raw(t, b, "GET", loanPath, head(b))

		if err != nil || r.StatusCode != 503 {
			t.Errorf("answer %v, %v", r, err)
		}
	})
}
