package ports

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	nethttp "net/http"
	"os"

	"etcd2/http"
	"etcd2/http/certs"
)

// Ports are the open sockets of a process. Its methods are for one goroutine, which calls them in
// the order in which they stand here.
type Ports struct {
	ClientURLs, PeerURLs []string   // the URLs that are open
	ClientTLS, PeerTLS   *certs.Set // set by the caller of Open before it calls another method

	clients, peers []socket
	peer           *http.PeerPort // nil: members are not answered
	started        []func()       // each ends the answers at one socket that this member is starting
	ended          chan error
}

// A socket is an open socket of one of the ports.
type socket struct {
	net.Listener
	secure bool // with TLS
	handed bool // opened by systemd: clients that connect may wait until the member has started
}

// ServePeers answers other members: until Connect and Serve are called, only with the error that
// this member is starting.
func (p *Ports) ServePeers(log *slog.Logger) {
	p.peer = http.NewPeerPort(log, p.PeerTLS)
	for _, s := range p.peers {
		go func() { p.ended <- s.serve(p.peer, p.PeerTLS.Server("http/1.1")) }()
	}
}

// RefuseClients answers clients with the error that this member is starting, until Serve is called.
func (p *Ports) RefuseClients() {
	for _, s := range p.clients {
		if s.handed {
			continue
		}
		var config *tls.Config
		if s.secure {
			config = p.ClientTLS.Server("http/1.1")
		}
		p.started = append(p.started, http.Starting(s.Listener, config))
	}
}

// Connect passes the messages between members to raft from now on.
func (p *Ports) Connect(raft nethttp.Handler) { p.peer.Connect(raft) }

// DropPeers closes the port for members, for a process that is a proxy.
func (p *Ports) DropPeers() {
	if p.peer == nil {
		return
	}
	p.peer.Close()
	for range p.peers {
		<-p.ended
	}
	p.peer, p.peers = nil, nil
}

// Serve lets server answer clients and members from now on.
func (p *Ports) Serve(server *http.Server) {
	if p.peer != nil {
		p.peer.Open(server)
	}
	for _, started := range p.started {
		started()
	}
	for _, s := range p.clients {
		go func() { p.ended <- s.serve(server, p.ClientTLS.Server("h2", "http/1.1")) }()
	}
}

// Ended returns the channel of the errors with which the serving of sockets has ended.
func (p *Ports) Ended() <-chan error { return p.ended }

// Close closes all sockets.
func (p *Ports) Close() {
	if p.peer != nil {
		p.peer.Close() // errors of its listeners no longer matter
	}
	closeAll(p.clients, p.peers)
}

// serve lets a server answer the connections to s, until the server or the listener ends.
func (s socket) serve(server interface {
	Serve(net.Listener) error
	ServeTLS(net.Listener, *tls.Config) error
}, config *tls.Config) error {
	if s.secure {
		return server.ServeTLS(s.Listener, config)
	}
	return server.Serve(s.Listener)
}

// FollowCertificates makes both ports use certificates that change on the disk, and reads them at
// once at each signal, until ctx ends. It does not wait.
func (p *Ports) FollowCertificates(ctx context.Context, signals <-chan os.Signal, log *slog.Logger) {
	go p.ClientTLS.Watch(ctx)
	go p.PeerTLS.Watch(ctx)
	go func() {
		for {
			select {
			case s := <-signals:
				log.Info("reading the certificates again; nothing else is reloaded", "signal", s)
				p.ClientTLS.Reread()
				p.PeerTLS.Reread()
			case <-ctx.Done():
				return
			}
		}
	}()
}
