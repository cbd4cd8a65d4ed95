package ports

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	nethttp "net/http"
	"runtime"
	"strings"
	"syscall"
	"testing"

	_ "etcd2/e2e/pace" // -long
	"etcd2/http"
	"etcd2/http/certs"
	"etcd2/http/systemd"
)

func TestATakenSecondDefaultPortIsDoneWithout(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	free, busy := "http://127.0.0.1:0", "http://"+taken.Addr().String()
	log := slog.New(slog.DiscardHandler)
	for _, c := range []struct {
		list   []string
		preset bool
		open   int // how many listeners; 0: refused
	}{
		{[]string{free, busy}, true, 1},
		{[]string{busy, free}, true, 0},
		{[]string{free, busy}, false, 0},
		{[]string{free, free}, false, 2},
	} {
		p, err := Open(Config{Client: c.list, ClientChosen: !c.preset, Logger: log}, &systemd.Handover{})

		if (err != nil) != (c.open == 0) {
			t.Errorf("%v, preset %v: %v", c.list, c.preset, err)
		}
		if err != nil {
			continue
		}
		p.Close()
		if len(p.clients) != c.open || len(p.ClientURLs) != c.open {
			t.Errorf("%v, preset %v: %d listeners; %v are open", c.list, c.preset, len(p.clients), p.ClientURLs)
		}
	}
}

// The state of a TCP socket shows whether a client is still connected.
func TestPortsTakeNoConnectionsOfSeveralPaths(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("SO_PROTOCOL is Linux's")
	}
	p, err := Open(Config{Client: []string{"http://127.0.0.1:0"}, ClientChosen: true}, &systemd.Handover{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	raw, err := p.clients[0].Listener.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var protocol int
	// SO_PROTOCOL
	raw.Control(func(fd uintptr) { protocol, err = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, 38) })
	if err != nil || protocol != syscall.IPPROTO_TCP {
		t.Errorf("protocol %d, %v", protocol, err)
	}
}

// The ports answer from the start, with errors until there is a server; a proxy has no peer port.
func TestThePortsAnswerFromTheStart(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	p, err := Open(Config{Client: []string{"http://127.0.0.1:0"}, Peer: []string{"http://127.0.0.1:0"}, Logger: log},
		&systemd.Handover{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if p.ClientTLS, err = certs.Load(certs.Files{}, log); err != nil {
		t.Fatal(err)
	}
	p.PeerTLS = p.ClientTLS
	client, peer := p.clients[0].Addr().String(), p.peers[0].Addr().String()

	p.ServePeers(log)
	p.RefuseClients()
	p.Connect(nethttp.NotFoundHandler())

	expect(t, client, "/version", 503, "this member is starting")
	expect(t, peer, "/version", 503, "")
	expect(t, peer, "/raft", 404, "")

	p.DropPeers()
	if c, err := net.Dial("tcp", peer); err == nil {
		c.Close()
		t.Error("the peer port is still open")
	}
	server, err := http.NewProxy(http.Config{Logger: log}, http.Backend{Handler: nethttp.NotFoundHandler(),
		End: func() {}})
	if err != nil {
		t.Fatal(err)
	}
	p.Serve(server)
	expect(t, client, "/version", 404, "")
	p.clients[0].Close()
	if err := <-p.Ended(); err == nil {
		t.Error("a closed socket is still served")
	}
}

// expect asks, over a connection of its own.
func expect(t *testing.T, address, path string, status int, words string) {
	t.Helper()
	client := nethttp.Client{Transport: &nethttp.Transport{DisableKeepAlives: true}}
	r, err := client.Get("http://" + address + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != status || !strings.Contains(string(body), words) {
		t.Errorf("%s: %d %s (%v), want %d %s", path, r.StatusCode, body, err, status, words)
	}
}

func mustListen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestAPortThatCannotBeOpenedOpensNone(t *testing.T) {
	taken, free := mustListen(t), mustListen(t)
	free.Close()

	_, err := Open(Config{Client: []string{"http://" + free.Addr().String()}, Peer: []string{"http://" +
		taken.Addr().String()}}, &systemd.Handover{})

	if err == nil || !strings.HasPrefix(err.Error(), "--listen-peer-urls=http://"+taken.Addr().String()+": ") {
		t.Errorf("%v", err)
	}
	again, err := net.Listen("tcp", free.Addr().String())
	if err != nil {
		t.Fatalf("the client port was left open: %v", err)
	}
	again.Close()
}

// The advice follows from the errno, and from what else this process listens at.
func TestTheAdviceFollowsFromWhyAPortCannotBeOpened(t *testing.T) {
	taken, free := mustListen(t), mustListen(t)
	free.Close()
	busy, own := "http://"+taken.Addr().String(), "http://"+free.Addr().String()
	everywhere := "http://0.0.0.0:" + port(own)
	for _, c := range []struct {
		client, peer []string
		want         string
	}{
		{[]string{busy}, nil, "--listen-client-urls=" + busy + ": listen tcp " + taken.Addr().String() +
			": bind: address already in use: another process listens there: end it, or give another address"},
		{[]string{"http://192.0.2.1:1"}, nil,
			"--listen-client-urls=http://192.0.2.1:1: listen tcp 192.0.2.1:1: bind: cannot assign requested address: " +
				"this machine has no such address: give one that it has, or 0.0.0.0 for all of them"},
		{[]string{own, everywhere}, nil, "--listen-client-urls=" + everywhere + ": listen tcp 0.0.0.0:" + port(own) +
			": bind: address already in use: this process has opened that port for --listen-client-urls=" + own +
			" already: list it once"},
		{[]string{own}, []string{own}, "--listen-peer-urls=" + own + ": listen tcp " + free.Addr().String() +
			": bind: address already in use: this process has opened that port for --listen-client-urls=" + own +
			" already: list it once"},
		{[]string{"http://nowhere.invalid:1"}, nil,
			"--listen-client-urls=http://nowhere.invalid:1: … the name has no address here: correct it, or the DNS, " +
				"or give an address"},
	} {
		_, err := Open(Config{Client: c.client, ClientChosen: true, Peer: c.peer, PeerChosen: true},
			&systemd.Handover{})

		begin, end, _ := strings.Cut(c.want, "… ")
		if text := fmt.Sprint(err); text != c.want && (end == "" || !strings.HasPrefix(text, begin) ||
			!strings.HasSuffix(text, end)) {
			t.Errorf("got  %v\nwant %s", err, c.want)
		}
	}
	o := opener{opened: new([]listed)}
	for err, want := range map[error]string{
		syscall.EACCES:       "this user may not listen there: give a port from 1024 on, or let systemd open it",
		syscall.EAFNOSUPPORT: "this machine has no addresses of that kind: give one of the other kind (IPv4, IPv6)",
		syscall.EMFILE:       "raise the limit on open files (LimitNOFILE, ulimit -n)",
		syscall.EIO:          "give another address",
	} {
		if got := o.remedy("http://h:1", err); got != want {
			t.Errorf("%v: %s", err, got)
		}
	}
}
