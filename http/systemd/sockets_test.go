package systemd

import (
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

// handOver makes a Handover of listeners as systemd does: by consecutive descriptors, with names.
func handOver(t *testing.T, names string, listeners ...net.Listener) (*Handover, error) {
	t.Helper()
	const first = 200 // beyond what a test has open
	for i, l := range listeners {
		var file *os.File
		var err error
		switch l := l.(type) {
		case *net.TCPListener:
			file, err = l.File()
		case *net.UnixListener:
			file, err = l.File()
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Dup3(int(file.Fd()), first+i, 0); err != nil {
			t.Fatal(err)
		}
		file.Close()
	}
	h, err := sockets(environment("LISTEN_PID=7", fmt.Sprint("LISTEN_FDS=", len(listeners)), "LISTEN_FDNAMES="+names),
		7, first)
	if err == nil {
		t.Cleanup(func() {
			for _, s := range h.sockets {
				s.Close()
			}
		})
	}
	return h, err
}

func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Skipf("this machine can't listen at %s: %v", address, err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func port(l net.Listener) string { return fmt.Sprint(l.Addr().(*net.TCPAddr).Port) }

func TestASocketIsForTheAddressesThatItCovers(t *testing.T) {
	for _, c := range []struct {
		socket, address string
		want            bool
	}{
		{"127.0.0.1:", "127.0.0.1:", true},
		{"127.0.0.1:", "localhost:", true},
		{"127.0.0.1:", "0.0.0.0:", false},
		{"127.0.0.1:", "[::1]:", false},
		{"0.0.0.0:", "127.0.0.1:", true},
		{"0.0.0.0:", "0.0.0.0:", true},
		{"0.0.0.0:", "[::1]:", false},
		{"[::]:", "0.0.0.0:", true},
		{"[::]:", "[::]:", true},
		{"[::]:", "any.invalid:", true},
		{"[::1]:", "[::1]:", true},
		{"[::1]:", "127.0.0.1:", false},
	} {
		l := listen(t, "tcp", c.socket+"0")
		if l.Addr().(*net.TCPAddr).IP.To4() == nil && strings.HasPrefix(c.socket, "0.0.0.0") {
			l = listen(t, "tcp4", c.socket+"0") // Go takes both families for any address
		}
		if got := covers(l.Addr(), c.address+port(l)); got != c.want {
			t.Errorf("%s covers %s: %v", c.socket, c.address, got)
		}
		if covers(l.Addr(), c.address+"1") || covers(l.Addr(), c.address) || covers(l.Addr(), "nonsense") {
			t.Errorf("%s covers another port", c.socket)
		}
	}
}

func TestASocketServesWhatItIsNamedFor(t *testing.T) {
	client, peer, other := listen(t, "tcp", "127.0.0.1:0"), listen(t, "tcp", "127.0.0.1:0"), listen(t, "tcp",
		"127.0.0.1:0")
	h, err := handOver(t, "client:peer:etcd2.socket", client, peer, other)
	if err != nil {
		t.Fatal(err)
	}

	if _, covered := h.Claim(Client, "127.0.0.1:"+port(peer)); covered {
		t.Error("the peers' socket serves clients")
	}
	if _, covered := h.Claim(Client, "127.0.0.1:1"); covered {
		t.Error("a socket covers a port that was not handed over")
	}
	l, covered := h.Claim(Peer, "127.0.0.1:"+port(other))
	if !covered || l.Addr().String() != other.Addr().String() {
		t.Errorf("the third: %v, %v", l, covered)
	}
	if l, covered := h.Claim(Client, "localhost:"+port(other)); l != nil || !covered {
		t.Errorf("the third once more: %v, %v", l, covered)
	}
	if rest := h.ClaimNamed(Client); len(rest) != 1 || rest[0].Addr().String() != client.Addr().String() ||
		len(h.ClaimNamed(Client)) != 0 {
		t.Errorf("the rest for clients: %v", rest)
	}
	if !h.HasNamed(Peer) || h.HasNamed("etcd2") {
		t.Error("names")
	}
	if err := h.Check(); err == nil || !strings.Contains(err.Error(), `"peer" at `+peer.Addr().String()) ||
		strings.Contains(err.Error(), port(client)) {
		t.Errorf("the second is left: %v", err)
	}
}

func TestASocketThatNoURLClaimsIsAnError(t *testing.T) {
	l := listen(t, "tcp", "127.0.0.1:0")
	h, err := handOver(t, "", l)
	if err != nil {
		t.Fatal(err)
	}

	err = h.Check()

	if err == nil || !strings.Contains(err.Error(), l.Addr().String()) || strings.Contains(err.Error(), "\n") {
		t.Errorf("%v", err)
	}
	if (&Handover{}).Check() != nil {
		t.Error("nothing was handed over")
	}
}

func TestWhatIsHandedOverMustBeListeningSockets(t *testing.T) {
	tcp, unix := listen(t, "tcp", "127.0.0.1:0"), listen(t, "unix", t.TempDir()+"/s")
	for _, c := range []struct {
		names string
		list  []net.Listener
		words string
	}{
		{"client:peer", []net.Listener{tcp}, "LISTEN_FDNAMES=client:peer LISTEN_FDS=1"},
		{"client", []net.Listener{unix}, `"client" ListenStream=HOST:PORT`},
	} {
		_, err := handOver(t, c.names, c.list...)
		for word := range strings.FieldsSeq(c.words) {
			if err == nil || !strings.Contains(err.Error(), word) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v lacks %s", err, word)
			}
		}
	}
	for _, count := range []string{"many", "-1"} {
		if _, err := Sockets(environment("LISTEN_PID=7", "LISTEN_FDS="+count), 7); err == nil ||
			!strings.Contains(err.Error(), count) {
			t.Errorf("%s: %v", count, err)
		}
	}
	// A descriptor that is none, and one that is no socket.
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Dup3(int(null.Fd()), 220, 0); err != nil {
		t.Fatal(err)
	}
	null.Close()
	for _, first := range []int{220, 221} {
		if _, err := sockets(environment("LISTEN_PID=7", "LISTEN_FDS=1"), 7, first); err == nil {
			t.Errorf("descriptor %d is taken", first)
		}
	}
}
