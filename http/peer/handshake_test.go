package peer

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"etcd2/raft"
)

func TestARefusedHandshakeGivesOneLineAtEachEnd(t *testing.T) {
	for _, c := range []struct {
		name   string
		reason *refusal
		change func(a, b *member) (called uint64)
	}{
		{"wrong cluster", otherCluster, func(a, b *member) uint64 {
			a.members.Store(&raft.Membership{ClusterID: 0xc2})
			return b.id
		}},
		{"wrong member", otherMember, func(a, b *member) uint64 { return 0xd }}, // pitfall B11
		{"removed", removed, func(a, b *member) uint64 { // pitfall A12
			b.become(nil, []uint64{a.id})
			return b.id
		}},
		{"emptied", emptied, func(a, b *member) uint64 { // pitfall D10
			b.disks.Store(a.id, uint64(0xd15c0))
			a.disks.Store(a.id, uint64(0xd15c1))
			return b.id
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := newMember(t, 0xa), newMember(t, 0xb)
				b.start()
				called := c.change(a, b)
				a.start(at(called, b.url()))

				told := map[*refusal]string{removed: "Expelled(b)", emptied: "Emptied(b)"}[c.reason]
				if told != "" {
					a.await(t, 1, told)
					a.awaitNoPeer(t)
					a.want(t, 1, "(b)")
				} else {
					a.await(t, 4, "cannot connect")
					a.want(t, 0, "Expelled")
					a.want(t, 0, "Emptied")
				}

				a.want(t, 1, "level=WARN")
				b.want(t, 1, "level=WARN")
				words := []string{"level=WARN", "reason=" + c.reason.reason, c.reason.cause, c.reason.remedy,
					"a \\\"na\\\" at " + a.url(), "b \\\"nb\\\" at " + b.url(), fmt.Sprintf("cluster %x",
						a.self.cluster), "cluster c1"}
				a.want(t, 1, append(words, "refused=\"the other member\"")...)
				b.want(t, 1, append(words, "refused=\"this member\"")...)
			})
		})
	}
}

// pitfall D10: two members are connected when one of them hears from a third that the other had
// another disk.
func TestAMemberThatTurnsOutToBeEmptiedIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t)

		b.disks.Store(a.id, uint64(7))
		b.become([]raft.Member{at(a.id, a.url())}, nil)

		b.await(t, 1, "connection of a member has ended", errEmptied.Error())
		b.await(t, 1, "lost the connection to a member", errEmptied.Error())
		a.await(t, 1, "Emptied(b)")
		a.awaitNoPeer(t)
		b.want(t, 0, "Lost")
	})
}

func (m *member) awaitNoPeer(t testing.TB) {
	t.Helper()
	for begun := time.Now(); len(m.Peers()) > 0; time.Sleep(time.Millisecond) {
		if time.Since(begun) > patience {
			t.Fatalf("still there: %v", m.Peers())
		}
	}
}

// head is the handshake of member a with b.
func head(b *member) http.Header {
	h := http.Header{}
	identity{id: 0xa, to: b.id, cluster: testCluster, incarnation: 5, urls: []string{"http://127.0.0.1:1"}}.writeTo(h)
	h.Set("Connection", "Upgrade")
	h.Set("Upgrade", protocolName)
	return h
}

// raw sends a head to a member and returns what it answers.
func raw(t testing.TB, b *member, method, path string, h http.Header) (net.Conn, *http.Response, error) {
	t.Helper()
	conn, err := b.dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	var s strings.Builder
	fmt.Fprintf(&s, "%s %s HTTP/1.1\r\nHost: x\r\n", method, path)
	h.Write(&s)
	io.WriteString(conn, s.String()+"\r\n")
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	return conn, r, err
}

func TestHandshakesAreJudgedByTheirHead(t *testing.T) { // pitfall K5
	for _, c := range []struct {
		change string // of a head that is right
		status int
		reason string
	}{
		{"", 101, ""},
		{"Etcd2-From: c", 101, ""}, // unknown is not removed (D8)
		{"Etcd2-From: d", 410, "removed"},
		{"Etcd2-From: 0", 400, "garbled"},
		{"Etcd2-From: xyz", 400, "garbled"},
		{"Etcd2-Protocol: ", 400, "garbled"},
		{"Etcd2-Protocol: 2", 426, "protocol"},
		{"Upgrade: websocket", 426, "protocol"},
		{"Etcd2-Cluster: c2", 412, "cluster"},
		{"Etcd2-Cluster: ", 412, "cluster"},
		{"Etcd2-Incarnation: 6", 409, "emptied"}, // D10
		{"Etcd2-Incarnation: ", 409, "emptied"},
		{"Etcd2-To: a", 421, "to"},
		{"Etcd2-To: 10000000000000000", 421, "to"},
		{"Etcd2-Peer-Urls: ftp://x,,javascript:1,http://u:p@h/", 101, ""},
	} {
		t.Run(c.change, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newMember(t, 0xb)
				b.start(at(0xa, "http://127.0.0.1:1"))
				b.become([]raft.Member{at(0xa, "http://127.0.0.1:1")}, []uint64{0xd})
				b.disks.Store(uint64(0xa), uint64(5))
				h := head(b)
				if name, value, found := strings.Cut(c.change, ": "); found {
					h.Set(name, value)
				}
				lines := 1
				if c.status == 101 {
					lines = 0
				}
				for range 3 {
					conn, r, err := raw(t, b, "GET", streamPath, h)
					if err != nil || r.StatusCode != c.status {
						t.Fatalf("status %v, %v", r, err)
					}
					if c.status != 101 {
						body, _ := io.ReadAll(r.Body)
						if !strings.HasPrefix(string(body), `{"reason":"`+c.reason+`","message":"`) {
							t.Errorf("answer %s", body)
						}
					}
					conn.Close()
				}
				b.want(t, lines, "level=WARN", "is not let in", "reason="+c.reason)
			})
		})
	}
}

func TestBeforeStartAndAfterCloseTheAnswerIs503(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newMember(t, 0xb)
		b.members.Store(&raft.Membership{ClusterID: testCluster})
		for range 2 {
			_, r, err := raw(t, b, "GET", streamPath, head(b))
			if err != nil || r.StatusCode != 503 {
				t.Errorf("answer %v, %v", r, err)
			}
			b.start()
			b.Close()
		}
	})
}

func TestOtherPathsAreNotFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newMember(t, 0xb)
		b.start()
		for _, request := range []string{"GET /raft", "GET /raft/x", "POST /raft/stream",
			"GET /raft/snapshot", "PUT /"} {
			method, path, _ := strings.Cut(request, " ")
			if _, r, err := raw(t, b, method, path, head(b)); err != nil || r.StatusCode != 404 {
				t.Errorf("%s: %v, %v", request, r, err)
			}
		}
	})
}

func TestMessagesOfAStrangerAreNotTaken(t *testing.T) { // pitfalls B11 and K3
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			kind frameKind
			m    raft.Message
			err  error
		}{
			{frameUrgent, raft.Message{Kind: raft.Heartbeat, From: 0xc, To: 0xb}, errForeign},
			{frameUrgent, raft.Message{Kind: raft.Heartbeat, From: 0xa, To: 0xc}, errForeign},
			{frameUrgent, raft.Message{Kind: raft.Append, From: 0xa, To: 0xb}, errLane},
			{frameBulk, raft.Message{Kind: raft.Vote, From: 0xa, To: 0xb}, errLane},
			{frameUrgent, raft.Message{Kind: raft.InstallSnapshot, From: 0xa, To: 0xb, Snapshot: &raft.Snapshot{}},
				errLane},
		} {
			b := newMember(t, 0xb)
			b.start()
			conn, r, err := raw(t, b, "GET", streamPath, head(b))
			if err != nil || r.StatusCode != 101 {
				t.Fatal(r, err)
			}
			conn.Write(appendFrame(nil, c.kind, 0, raft.AppendMessage(nil, &c.m)))

			b.await(t, 1, "connection of a member has ended", c.err.Error())
			in := bufio.NewReader(conn)
			f, err := readFrame(in)
			for err == nil && (f.kind == frameRead || f.kind == frameCall) {
				f, err = readFrame(in)
			}
			if err != nil || f.kind != frameBye {
				t.Errorf("%v: the last frame is %v, %v", c.m, f, err)
			}
			if len(b.steps) > 0 {
				t.Errorf("%v was taken", <-b.steps)
			}
		}
	})
}

func TestAnAnswerThatIsNoMembersIsAnError(t *testing.T) { // pitfall K6
	synctest.Test(t, func(t *testing.T) {
		elsewhere := &httptest.Server{Listener: listen(t), Config: &http.Server{Handler: http.HandlerFunc(
			func(w http.ResponseWriter, r *http.Request) { t.Errorf("it went to %s", r.URL) })}}
		elsewhere.Start()
		defer elsewhere.Close()
		for _, c := range []struct{ answer, err string }{
			{"HTTP/1.1 302 Found\r\nLocation: " + elsewhere.URL + "/\r\nContent-Length: 0\r\n\r\n", "302"},
			{"HTTP/1.1 101 Switching Protocols\r\n\r\n", garbled.cause},
			{"HTTP/1.1 410 Gone\r\nContent-Length: 20\r\n\r\n" + `{"reason":"removed"}`, "410"},
			{"HTTP/1.1 410 Gone\r\nEtcd2-Protocol: 1\r\nEtcd2-Cluster: c2\r\nEtcd2-From: b\r\nContent-Length: " +
				"20\r\n\r\n" + `{"reason":"removed"}`, "another cluster or member"},
			{"HTTP/1.1 410 Gone\r\nEtcd2-Protocol: 1\r\nEtcd2-Cluster: c1\r\nEtcd2-From: c\r\nContent-Length: " +
				"20\r\n\r\n" + `{"reason":"removed"}`, "another cluster or member"},
			{"HTTP/1.1 409 Conflict\r\nEtcd2-Protocol: 1\r\nEtcd2-Cluster: c1\r\nEtcd2-From: c\r\nContent-Length: " +
				"20\r\n\r\n" + `{"reason":"emptied"}`, "another cluster or member"},
			{"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 2*maxHeadSize), "without end"},
			{"HTTP/1.1 500 Oh\r\nContent-Length: 1000000000\r\n\r\n" + strings.Repeat("\x1b", 2*maxAnswer), "500"},
			{"\x00\x01\x02", "malformed"},
			{"", "timeout"},
		} {
			l := listen(t)
			a := newMember(t, 0xa)
			a.Transport.times.handshake = 200 * time.Millisecond
			go func() {
				for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
					io.WriteString(conn, c.answer)
					if c.answer == "\x00\x01\x02" {
						conn.Close()
					} else {
						defer conn.Close()
					}
				}
			}()
			a.start(at(0xb, "http://"+l.Addr().String()))

			a.await(t, 1, "cannot connect", c.err)
			a.want(t, 0, "Expelled")
			a.want(t, 0, "Emptied")
			a.want(t, 0, "Lost")
			a.want(t, 0, "\x1b")
			a.Close()
			l.Close()
		}
	})
}

func TestAHandshakeThatIsNotFinishedIsEnded(t *testing.T) { // pitfall J1
	synctest.Test(t, func(t *testing.T) {
		b := newMember(t, 0xb)
		b.Transport.times.orphan = 300 * time.Millisecond
		b.Transport.cfg.Silence = 100 * time.Millisecond
		b.start()

		_, r, err := raw(t, b, "GET", streamPath, head(b)) // and nothing more
		if err != nil || r.StatusCode != 101 {
			t.Fatal(r, err)
		}

		b.await(t, 1, "connection of a member has ended", errSilent.Error())
		b.want(t, 0, "Lost")
	})
}

func TestOnlySoManyStrangersAreGuests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newMember(t, 0xb)
		b.start()
		for i := range maxGuests + 1 {
			h := head(b)
			h.Set("Etcd2-From", fmt.Sprintf("%x", 0x100+i))
			want := 101
			if i == maxGuests {
				want = 503
			}
			if _, r, err := raw(t, b, "GET", streamPath, h); err != nil || r.StatusCode != want {
				t.Errorf("guest %d: %v, %v", i, r, err)
			}
		}
	})
}
