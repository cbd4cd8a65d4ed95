package http

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	nethttp "net/http"
	"os"
	"strings"
	"testing"
	"time"

	"etcd2/http/certs"
	"etcd2/http/certs/certstest"
)

// main passes a certs.Set as the TLS of a port.
var _ TLS = (*certs.Set)(nil)

// heard is a TLS that passes failures of handshakes on to the test.
type heard struct {
	TLS
	err chan error
}

func newHeard(t TLS) heard { return heard{t, make(chan error, 9)} }

func (h heard) Refused(c net.Conn, err error) { h.err <- err }

func (h heard) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-h.err:
		return err
	case <-time.After(patience):
		t.Fatal("nothing is heard")
		return nil
	}
}

// secured are both ports with TLS, and the failures of their handshakes.
type secured struct {
	client, peer         string // address
	clientHeard, peerHad heard
	set                  *certs.Set
	port                 *PeerPort
	ca                   *certstest.Authority
	dir                  string
}

func newSecured(t *testing.T, b *bench) *secured {
	t.Helper()
	s := &secured{ca: certstest.NewAuthority(t, "CA"), dir: t.TempDir()}
	f := certs.Files{CA: certstest.Write(t, s.dir, "ca.pem", s.ca.PEM()), ClientAuth: true}
	f.CRL = certstest.Write(t, s.dir, "crl.pem", s.ca.Revoke(t))
	f.Cert, f.Key = s.ca.Issue(t, "m0").Save(t, s.dir, "m0")
	var err error
	if s.set, err = certs.Load(f, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	s.clientHeard, s.peerHad = newHeard(s.set), newHeard(s.set)
	b.cfg.TLS = s.clientHeard
	s.port = NewPeerPort(slog.New(slog.DiscardHandler), s.peerHad)
	s.port.Open(b.Server)
	clients, peers := listen(t), listen(t)
	go b.ServeTLS(clients, s.set.Server("h2", "http/1.1"))
	go s.port.ServeTLS(peers, s.set.Server("http/1.1"))
	t.Cleanup(func() { b.server.Close(); s.port.Close() })
	s.client, s.peer = clients.Addr().String(), peers.Addr().String()
	return s
}

// as returns a client that shows a certificate.
func (s *secured) as(t *testing.T, p certstest.Pair) *nethttp.Client {
	pool := x509.NewCertPool()
	pool.AddCert(s.ca.Cert)
	transport := &nethttp.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: pool,
		Certificates: []tls.Certificate{p.TLS(t)}}}
	t.Cleanup(transport.CloseIdleConnections)
	return &nethttp.Client{Transport: transport}
}

func TestBothPortsTellOfHandshakesThatFail(t *testing.T) {
	s := newSecured(t, newBench(t))
	stranger := s.as(t, certstest.NewAuthority(t, "CA").Issue(t, "m0"))
	for address, h := range map[string]heard{s.client: s.clientHeard, s.peer: s.peerHad} {
		if _, err := stranger.Get("https://" + address + "/version"); err == nil {
			t.Errorf("%s is answered", address)
		}
		var wrong *tls.CertificateVerificationError
		if err := h.wait(t); !errors.As(err, &wrong) {
			t.Errorf("heard is %v", err)
		}
		r, err := nethttp.Get("http://" + address + "/version")
		if err == nil {
			r.Body.Close()
		}
		var record tls.RecordHeaderError
		if told := h.wait(t); !errors.As(told, &record) || err != nil || r.StatusCode != 400 {
			t.Errorf("plain HTTP: %v; heard is %v", err, told)
		}
	}
}

func TestBothPlainPortsTellOfTLS(t *testing.T) {
	b := newBench(t)
	clientHeard, peerHeard := newHeard(noTLS{}), newHeard(noTLS{})
	b.cfg.TLS = clientHeard
	port := NewPeerPort(nil, peerHeard)
	clients, peers := listen(t), listen(t)
	go b.Serve(clients)
	go port.Serve(peers)
	defer b.server.Close()
	defer port.Close()
	for ln, h := range map[net.Listener]heard{clients: clientHeard, peers: peerHeard} {
		if _, err := tls.Dial("tcp", ln.Addr().String(), nil); err == nil {
			t.Error("a plain port speaks TLS")
		}
		var record tls.RecordHeaderError
		if err := h.wait(t); !errors.As(err, &record) || record.RecordHeader[0] != 22 || record.RecordHeader[1] != 3 {
			t.Errorf("heard is %v", err)
		}
	}
}

// A client is known by its certificate, over HTTP/2 as well, and good connections outlast a
// renewal.
func TestAConnectionOutlastsTheRenewalOfItsCertificate(t *testing.T) {
	b := newBench(t)
	s := newSecured(t, b)
	client := s.as(t, s.ca.Issue(t, "joe"))
	get := func() *nethttp.Response {
		t.Helper()
		r, err := client.Get("https://" + s.client + "/version")
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, r.Body)
		r.Body.Close()
		return r
	}
	before := get()
	next := s.ca.Issue(t, "m0")
	next.Save(t, s.dir, "m0")
	os.Remove(s.dir + "/ca.pem")

	after := get()

	if before.ProtoMajor != 2 || !after.TLS.PeerCertificates[0].Equal(before.TLS.PeerCertificates[0]) {
		t.Errorf("HTTP/%d, and another connection: %v", before.ProtoMajor, after.TLS.PeerCertificates[0].SerialNumber)
	}
}

func TestTheVerifiedNameOfAClientIsKnownOverHTTP2(t *testing.T) {
	b := newBench(t)
	var name, protocol string
	b.server.Handler = nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
			name, protocol = r.TLS.VerifiedChains[0][0].Subject.CommonName, r.Proto
		}
	})
	s := newSecured(t, b)

	r, err := s.as(t, s.ca.Issue(t, "joe")).Get("https://" + s.client + "/")

	if err != nil || name != "joe" || protocol != "HTTP/2.0" {
		t.Errorf("%v: %q by %s", err, name, protocol)
	}
	if err == nil {
		r.Body.Close()
	}
}

func TestAMemberThatStartsTellsItsClientsSoOverTLS(t *testing.T) {
	b := newBench(t)
	s := newSecured(t, b)
	ln := listen(t)
	started := Starting(ln, s.set.Server("http/1.1"))
	client := s.as(t, s.ca.Issue(t, "joe"))
	get := func() (status int, body string) {
		r, err := client.Get("https://" + ln.Addr().String() + "/version")
		if err != nil {
			return 0, err.Error()
		}
		defer r.Body.Close()
		text, _ := io.ReadAll(r.Body)
		return r.StatusCode, string(text)
	}

	for range 3 {
		eventually(t, "a client that asks soon enough is told", func() bool {
			status, body := get()
			return status == 503 && strings.Contains(body, "this member is starting")
		})
	}
	started()
	go b.ServeTLS(ln, s.set.Server("h2", "http/1.1"))
	if status, body := get(); status != 200 {
		t.Errorf("then: %d %s", status, body)
	}
}

// talkative is a TLS with fixed figures for the metrics.
type talkative struct{ noTLS }

func (talkative) Expiries(yield func(file, subject, serial string, end time.Time)) {
	yield(`/a "b"\c.pem`, "CN=x", "1f", time.Unix(2_000_000_000, 0))
}

func (talkative) Refusals(yield func(reason string, count uint64)) { yield("expired", 3) }

func (talkative) Ended(yield func(reason string, count uint64)) { yield("revoked", 2) }

func TestCertificatesAndRefusalsAreMeasured(t *testing.T) {
	b := newBench(t)
	b.cfg.PeerTLS = talkative{}
	w := b.do("GET", "/metrics", "")

	lines := map[string]bool{}
	for scanner := bufio.NewScanner(w.Body); scanner.Scan(); {
		lines[scanner.Text()] = true
	}
	for _, want := range []string{
		`etcd2_tls_certificate_expiry_timestamp_seconds{port="peer",file="/a \"b\"\\c.pem",subject="CN=x",serial="1f"} ` + fmt.Sprint(2e9),
		`etcd2_tls_handshakes_failed_total{port="peer",reason="expired"} 3`,
		`etcd2_tls_connections_ended_total{port="peer",reason="revoked"} 2`,
	} {
		if !lines[want] {
			t.Errorf("%s is missing", want)
		}
	}
}
