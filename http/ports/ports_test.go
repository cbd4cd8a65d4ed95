package ports

import (
	"io"
	"log/slog"
	"net"
	nethttp "net/http"
	"strings"
	"testing"

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

// At every moment the ports say what can be said, and a proxy's peers are gone.
func TestThePortsAnswerFromTheStart(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	p, err := Open(Config{Client: []string{"http://127.0.0.1:0"}, Peer: []string{"http://127.0.0.1:0"}, Logger: log}, &systemd.Handover{})
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
	server, err := http.NewFront(http.Config{Logger: log}, http.Front{Handler: nethttp.NotFoundHandler(), End: func() {}})
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

func TestAPortThatCannotBeOpenedOpensNone(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free.Close()

	_, err = Open(Config{Client: []string{"http://" + free.Addr().String()}, Peer: []string{"http://" + taken.Addr().String()}}, &systemd.Handover{})

	if err == nil || !strings.HasPrefix(err.Error(), "--listen-peer-urls=http://"+taken.Addr().String()+": ") {
		t.Errorf("%v", err)
	}
	again, err := net.Listen("tcp", free.Addr().String())
	if err != nil {
		t.Fatalf("the client port was left open: %v", err)
	}
	again.Close()
}
