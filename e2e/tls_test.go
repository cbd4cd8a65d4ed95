package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"etcd2/e2e/pace"
	"etcd2/http/certs/certstest"
	etcd "etcd2/http/client"
)

// secured is members that require certificates of clients and of each other, from two authorities,
// and the files with all of these.
type secured struct {
	t             *testing.T
	dir           string
	clients, them *certstest.Authority
	members       []*member
}

// newSecured prepares n members that found a cluster.
func newSecured(t *testing.T, n int) *secured {
	t.Helper()
	s := &secured{t: t, dir: t.TempDir(), clients: certstest.NewAuthority(t, "Client CA"),
		them: certstest.NewAuthority(t, "Peer CA")}
	certstest.Write(t, s.dir, "ca.pem", s.clients.PEM())
	certstest.Write(t, s.dir, "peer-ca.pem", s.them.PEM())
	certstest.Write(t, s.dir, "crl.pem", s.clients.Revoke(t))
	certstest.Write(t, s.dir, "peer-crl.pem", s.them.Revoke(t))
	var founders []string
	for i := range n {
		m := newMember(t) // with the default timing: clients would notice an election during a rotation
		m.name = fmt.Sprint("m", i)
		m.url, m.peer = "https"+strings.TrimPrefix(m.url, "http"), "https"+strings.TrimPrefix(m.peer, "http")
		m.reached = m.peer
		s.issue(m)
		file := func(flag, name string) { m.flags = append(m.flags, "--"+flag+"="+filepath.Join(s.dir, name)) }
		file("cert-file", m.name+".pem")
		file("key-file", m.name+"-key.pem")
		file("trusted-ca-file", "ca.pem")
		file("client-crl-file", "crl.pem")
		file("peer-cert-file", "peer-"+m.name+".pem")
		file("peer-key-file", "peer-"+m.name+"-key.pem")
		file("peer-trusted-ca-file", "peer-ca.pem")
		file("peer-crl-file", "peer-crl.pem")
		m.flags = append(m.flags, "--client-cert-auth", "--peer-client-cert-auth")
		s.members, founders = append(s.members, m), append(founders, m.name+"="+m.reached)
	}
	for _, m := range s.members {
		m.founded = strings.Join(founders, ",")
	}
	return s
}

// issue gives a member new certificates, the keys first.
func (s *secured) issue(m *member) {
	s.t.Helper()
	client, peer := s.clients.Issue(s.t, m.name, certstest.Used(x509.ExtKeyUsageServerAuth)), s.them.Issue(s.t, m.name)
	certstest.Write(s.t, s.dir, m.name+"-key.pem", client.Key)
	certstest.Write(s.t, s.dir, "peer-"+m.name+"-key.pem", peer.Key)
	certstest.Write(s.t, s.dir, m.name+".pem", client.Cert)
	certstest.Write(s.t, s.dir, "peer-"+m.name+".pem", peer.Cert)
}

func (s *secured) start() {
	s.t.Helper()
	for _, m := range s.members {
		m.launch()
	}
	for _, m := range s.members {
		m.ready()
	}
}

// knock opens a connection for one request. It trusts some authorities and shows a certificate, if
// one is given. It returns the server's certificate.
func knock(ctx context.Context, method, target string, form url.Values, trusted []*certstest.Authority,
	shown ...tls.Certificate) (seen *x509.Certificate, a answer, err error) {
	pool := x509.NewCertPool()
	for _, ca := range trusted {
		pool.AddCert(ca.Cert)
	}
	config := &tls.Config{RootCAs: pool, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate,
		error) {
		if len(shown) > 0 {
			return &shown[0], nil
		}
		return new(tls.Certificate), nil
	}}
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(ctx, method, target, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, answer{}, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := (&http.Client{Timeout: patience, Transport: transport}).Do(req)
	if err != nil {
		return nil, answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.TLS.PeerCertificates[0], answer{resp.StatusCode, resp.Header, string(b)}, err
}

// pitfall K3
func TestEveryWrongCertificateIsRefusedWithItsReason(t *testing.T) {
	t.Parallel()
	s := newSecured(t, 1)
	m := s.members[0]
	revoked, revokedPeer := s.clients.Issue(t, "revoked"), s.them.Issue(t, "revoked")
	certstest.Write(t, s.dir, "crl.pem", s.clients.Revoke(t, revoked))
	certstest.Write(t, s.dir, "peer-crl.pem", s.them.Revoke(t, revokedPeer))
	s.start()
	for _, port := range []struct {
		name, url   string
		right, left *certstest.Authority
		revoked     certstest.Pair
	}{
		{"client", m.url, s.clients, s.them, revoked},
		{"peer", m.peer, s.them, s.clients, revokedPeer},
	} {
		right := []*certstest.Authority{port.right}
		if _, a, err := knock(t.Context(), "GET", port.url+"/v2/members", nil, right, port.right.Issue(t,
			"joe").TLS(t)); err != nil || a.status != 200 {
			t.Errorf("%s port: the right one: %v %d", port.name, err, a.status)
		}
		for reason, c := range map[string]struct {
			shown []certstest.Pair
			words []string
		}{
			"expired": {[]certstest.Pair{port.right.Issue(t, "joe", certstest.Valid(-time.Hour, -time.Minute))},
				[]string{"has expired on"}},
			"not-yet-valid": {[]certstest.Pair{port.right.Issue(t, "joe", certstest.Valid(time.Hour, 2*time.Hour))},
				[]string{"valid from"}},
			"authority": {[]certstest.Pair{port.left.Issue(t, "joe")}, []string{"issued by " +
				port.left.Cert.Subject.String(), "trusts " + port.right.Cert.Subject.String()}},
			"usage": {[]certstest.Pair{port.right.Issue(t, "joe", certstest.Used(x509.ExtKeyUsageServerAuth))},
				[]string{"lacks the usage clientAuth"}},
			"revoked":        {[]certstest.Pair{port.revoked}, []string{"CN=revoked", "was revoked"}},
			"self-signed":    {[]certstest.Pair{certstest.SelfSigned(t, "joe")}, []string{"signed by itself"}},
			"no-certificate": {nil, []string{"shows no certificate"}},
		} {
			var shown []tls.Certificate
			for _, p := range c.shown {
				shown = append(shown, p.TLS(t))
			}
			before := m.log.count()
			if _, a, err := knock(t.Context(), "GET", port.url+"/v2/members", nil, right, shown...); err == nil {
				t.Errorf("%s port, %s: %d %s", port.name, reason, a.status, a.body)
			}
			m.expectLog(before, append(c.words, "a TLS handshake failed", "reason="+reason, "127.0.0.1",
				"port="+port.name)...)
		}
		before := m.log.count()
		if _, _, err := knock(t.Context(), "GET", port.url+"/version", nil, []*certstest.Authority{port.left},
			port.right.Issue(t, "joe").TLS(t)); err == nil {
			t.Errorf("%s port: the authorities are mixed up", port.name)
		}
		m.expectLog(before, "reason=refused-there", "CN=m0", "issued by "+port.right.Cert.Subject.String(),
			"port="+port.name)
		before = m.log.count()
		if resp, err := http.Get("http" + strings.TrimPrefix(port.url, "https")); err == nil {
			resp.Body.Close()
		}
		m.expectLog(before, "reason=plain-on-tls", "use an https URL", "port="+port.name)
	}
	_, a, err := knock(t.Context(), "GET", m.url+"/metrics", nil, []*certstest.Authority{s.clients}, s.clients.Issue(t,
		"joe").TLS(t))
	if err != nil || !hasAll(a.body, `etcd2_tls_handshakes_failed_total{port="peer",reason="usage"} 1`,
		`{port="client",file="`+filepath.Join(s.dir, "ca.pem")+`",subject="CN=Client CA"`) {
		t.Errorf("%v: %s", err, a.body)
	}
}

// A member whose certificate is not from the members' authority gets no entry and no vote and
// changes no term, although all have it in their lists. pitfall K3
func TestAMemberWithAWrongCertificateTakesNoPart(t *testing.T) {
	t.Parallel()
	s := newSecured(t, 3)
	wrong := s.members[2]
	certstest.NewAuthority(t, "Other CA").Issue(t, wrong.name).Save(t, s.dir, "peer-"+wrong.name)
	joe, trusted := s.clients.Issue(t, "joe").TLS(t), []*certstest.Authority{s.clients}
	put := func() answer {
		t.Helper()
		_, a, err := knock(t.Context(), "PUT", s.members[0].url+"/v2/keys/secret", url.Values{"value": {"plaintext"}},
			trusted, joe)
		if err != nil || a.status > 201 {
			t.Fatalf("%v: %d %s", err, a.status, a.body)
		}
		return a
	}
	refusals := func(m *member) (n int) {
		t.Helper()
		_, a, err := knock(t.Context(), "GET", m.url+"/metrics", nil, trusted, joe)
		if err != nil {
			t.Fatal(err)
		}
		_, after, _ := strings.Cut(a.body, `etcd2_tls_handshakes_failed_total{port="peer",reason="authority"} `)
		fmt.Sscan(after, &n) // none: 0
		return n
	}
	for _, m := range s.members[:2] {
		m.launch()
	}
	for _, m := range s.members[:2] {
		m.ready()
	}
	wrong.launch() // now that it can reach them: a member logs only once a minute why it can't reach another
	term := put().header.Get("X-Raft-Term")

	for _, m := range s.members[:2] {
		m.expectLog(0, "a TLS handshake failed", "reason=authority", "issued by CN=Other CA", "trusts CN=Peer CA")
		eventually(t, "tries of the wrong one", patience, func() bool { return refusals(m) >= 5 })
	}
	wrong.expectLog(0, "cannot reach a member", "it refuses", "issued by CN=Other CA")
	if after := put().header.Get("X-Raft-Term"); after != term {
		t.Errorf("the term was %s and is %s", term, after)
	}
	wrong.kill()
	if dump, err := exec.Command(binary, "dump", wrong.data()).CombinedOutput(); err != nil ||
		strings.Contains(string(dump), "plaintext") {
		t.Errorf("%v: it has\n%s", err, dump)
	}
}

// rotating is clients that write all the time, each request with the certificates of that moment.
type rotating struct {
	*secured
	wallet  atomic.Pointer[wallet]
	written atomic.Int64
	stop    context.CancelFunc
	running sync.WaitGroup

	mu       sync.Mutex // protects failures
	failures []string
}

// wallet is the certificate that a client shows, and the authorities that it trusts.
type wallet struct {
	shown   tls.Certificate
	trusted []*certstest.Authority
}

func (r *rotating) run(ctx context.Context) {
	ctx, r.stop = context.WithCancel(ctx)
	for i, m := range r.members {
		r.running.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				w := r.wallet.Load()
				_, a, err := knock(context.Background(), "PUT", m.url+fmt.Sprintf("/v2/keys/load/%d-%d", i, n),
					url.Values{"value": {"v"}}, w.trusted, w.shown)
				if err != nil || a.status != http.StatusCreated {
					r.mu.Lock()
					r.failures = append(r.failures, fmt.Sprint(m.name, " ", n, ": ", err, a.body))
					r.mu.Unlock()
				}
				r.written.Add(1)
			}
		})
	}
}

// flows waits for some further writes.
func (r *rotating) flows() {
	r.t.Helper()
	want := r.written.Load() + 30
	eventually(r.t, "more writes", patience, func() bool { return r.written.Load() >= want })
}

// everywhere waits until a condition holds at both ports of all members; seen is the server's
// certificate, as a client of an authority sees it.
func (r *rotating) everywhere(what string, client, peer *certstest.Authority, trusted []*certstest.Authority,
	holds func(seen *x509.Certificate, err error) bool) {
	r.t.Helper()
	asClient, asPeer := client.Issue(r.t, "joe").TLS(r.t), peer.Issue(r.t, "joe").TLS(r.t)
	for _, m := range r.members {
		for address, shown := range map[string]tls.Certificate{m.url: asClient, m.peer: asPeer} {
			eventually(r.t, what+" at "+address, patience, func() bool {
				seen, _, err := knock(r.t.Context(), "GET", address+"/version", nil, trusted, shown)
				return holds(seen, err)
			})
		}
	}
}

// pitfall K2
func TestCertificatesAndAuthoritiesRotateUnderLoad(t *testing.T) {
	pace.NeedsLong(t)
	t.Parallel()
	s := newSecured(t, 3)
	s.start()
	r := &rotating{secured: s}
	oldClients, oldThem := s.clients, s.them
	newClients, newThem := certstest.NewAuthority(t, "New Client CA"), certstest.NewAuthority(t, "New Peer CA")
	all := []*certstest.Authority{oldClients, oldThem, newClients, newThem}
	r.wallet.Store(&wallet{oldClients.Issue(t, "joe").TLS(t), []*certstest.Authority{oldClients}})
	r.run(t.Context())
	r.flows()

	// Members and clients trust both authorities.
	certstest.Write(t, s.dir, "ca.pem", slices.Concat(oldClients.PEM(), newClients.PEM()))
	certstest.Write(t, s.dir, "peer-ca.pem", slices.Concat(oldThem.PEM(), newThem.PEM()))
	r.everywhere("the new authority is trusted", newClients, newThem, all,
		func(_ *x509.Certificate, err error) bool { return err == nil })
	r.wallet.Store(&wallet{oldClients.Issue(t, "joe").TLS(t), []*certstest.Authority{oldClients, newClients}})
	r.flows()

	// All get certificates of the new authorities.
	s.clients, s.them = newClients, newThem
	for _, m := range s.members {
		s.issue(m)
		r.flows()
	}
	r.everywhere("a new certificate is shown", oldClients, oldThem, all, func(seen *x509.Certificate, err error) bool {
		return err == nil && strings.HasPrefix(seen.Issuer.CommonName, "New ")
	})
	r.wallet.Store(&wallet{newClients.Issue(t, "joe").TLS(t), []*certstest.Authority{newClients}})
	r.flows()

	// The old authorities are no longer trusted; their revocation lists go first.
	certstest.Write(t, s.dir, "crl.pem", newClients.Revoke(t))
	certstest.Write(t, s.dir, "peer-crl.pem", newThem.Revoke(t))
	certstest.Write(t, s.dir, "ca.pem", newClients.PEM())
	certstest.Write(t, s.dir, "peer-ca.pem", newThem.PEM())
	r.everywhere("the old authority is refused", oldClients, oldThem, all,
		func(_ *x509.Certificate, err error) bool { return err != nil })
	r.flows()
	r.stop()
	r.running.Wait()

	if len(r.failures) > 0 {
		t.Errorf("%d of %d requests failed: %s", len(r.failures), r.written.Load(), r.failures[0])
	}
	t.Logf("%d requests", r.written.Load())
	for _, m := range s.members { // their connections rest on old certificates, and are opened anew
		m.expectLog(0, "ended connections whose certificate is no longer accepted", "port=peer")
	}
	for _, m := range s.members {
		w := r.wallet.Load()
		eventually(t, "a write at "+m.name+" when the old connections have ended", patience, func() bool {
			_, a, err := knock(t.Context(), "PUT", m.url+"/v2/keys/after/"+m.name, url.Values{"value": {"v"}},
				w.trusted, w.shown)
			return err == nil && a.status/100 == 2
		})
	}
	back := s.members[0]
	back.stop()
	back.start()
	w := r.wallet.Load()
	if _, a, err := knock(t.Context(), "PUT", back.url+"/v2/keys/back", url.Values{"value": {"v"}}, w.trusted,
		w.shown); err != nil || a.status != http.StatusCreated {
		t.Errorf("after a restart: %v: %d %s", err, a.status, a.body)
	}
}

// https and http are served side by side; a joining member asks over TLS; members make their
// certificates themselves.
func TestMembersWithSelfMadeCertificatesJoinAndServe(t *testing.T) {
	t.Parallel()
	first, second := newMember(t, quick...), newMember(t, quick...)
	first.name, second.name = "m0", "m1"
	for _, m := range []*member{first, second} {
		m.peer = "https" + strings.TrimPrefix(m.peer, "http")
		m.reached = m.peer
		secure := "https" + strings.TrimPrefix(freeURL(), "http")
		m.flags = append(m.flags, "--auto-tls", "--peer-auto-tls", "--listen-client-urls="+m.url+","+secure,
			"--advertise-client-urls="+m.url+","+secure)
	}
	first.founded, second.founded = first.name+"="+first.reached, ""
	second.flags = append(second.flags, "--join="+first.peer)

	first.start()
	second.start()

	first.put("/k", "v")
	list := second.get("/v2/members").body
	if value := decode(t, second.get("/v2/keys/k?quorum=true")).Node.Value; value != "v" || !hasAll(list, first.peer,
		second.peer) {
		t.Errorf("%q; %s", value, list)
	}
	pem, err := os.ReadFile(filepath.Join(second.data(), "fixtures", "client", "cert.pem"))
	pool := x509.NewCertPool()
	if err != nil || !pool.AppendCertsFromPEM(pem) {
		t.Fatal(err)
	}
	secure := regexp.MustCompile(`https://[^",]+`).FindString(strings.Split(second.flags[len(second.flags)-3], ",")[1])
	resp, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool},
		DisableKeepAlives: true}}).Get(secure + "/version")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	before := first.log.count()
	if resp, err := http.Get("https" + strings.TrimPrefix(first.url, "http")); err == nil {
		resp.Body.Close()
		t.Error("the http port speaks TLS")
	}
	first.expectLog(before, "reason=tls-on-plain", "use an http URL", "port=client")
}

// TestTheReadmesTLSLines runs the lines of the README's section "TLS" in one directory: openssl
// makes certificates, three members start, and clients talk to them.
func TestTheReadmesTLSLines(t *testing.T) {
	pace.NeedsLong(t)
	t.Parallel()
	if out, err := exec.Command("openssl", "version").Output(); err != nil || !strings.HasPrefix(string(out),
		"OpenSSL 3") {
		t.Skip("openssl 3 is not installed")
	}
	ports := map[string]string{}
	section := regexp.MustCompile(`\b[23]?2(379|380)\b`).ReplaceAllStringFunc(readmeSection(t, "TLS"),
		func(port string) string {
			if ports[port] == "" {
				ports[port] = freeURL()[len("http://127.0.0.1:"):]
			}
			return ports[port]
		})
	var blocks [][]string
	for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(section, -1) {
		lines := strings.Split(strings.TrimSuffix(block[1], "\n"), "\n")
		for i := range lines {
			lines[i] = strings.TrimPrefix(lines[i], "$ ")
		}
		blocks = append(blocks, lines)
	}
	if len(blocks) != 3 || len(blocks[1]) != 3 || len(blocks[2]) != 3 {
		t.Fatalf("the blocks are %q", blocks)
	}
	dir := t.TempDir()
	shell := func(script string) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		cmd := exec.CommandContext(ctx, "sh", "-ec", script)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		return string(out), err
	}

	if out, err := shell(strings.Join(blocks[0], "\n")); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, line := range blocks[1] {
		runLine(t, dir, strings.TrimPrefix(line, "./etcd2"))
	}
	for i, c := range []struct{ probe, lacking string }{
		{"command -v curl", "curl"}, {"command -v etcdctl", "etcd-client"}, {python + " -c 'import etcd'",
			"python3-etcd"},
	} {
		t.Run(c.lacking, func(t *testing.T) {
			if _, err := shell(c.probe); err != nil {
				t.Skipf("%s is not installed", c.lacking)
			}
			line, last := strings.Replace(blocks[2][i], "python3 ", python+" ", 1), ""
			eventually(t, line, patience, func() bool {
				out, err := shell(line)
				if said := fmt.Sprint(err, ": ", out); err != nil && said != last {
					last = said
					t.Log(last)
				}
				return err == nil && strings.Contains(out, "Hello world")
			})
		})
	}
}

// With rights on, the common name of a certificate is a user, and a password in the request takes
// precedence over it. A name that is no user's does not become guest, who may do everything here.
func TestTheNameInACertificateIsAUser(t *testing.T) {
	t.Parallel()
	s := newSecured(t, 1)
	s.start()
	trusted := x509.NewCertPool()
	trusted.AddCert(s.clients.Cert)
	as := func(name, user, password string) *etcd.Client {
		config := &tls.Config{RootCAs: trusted, Certificates: []tls.Certificate{s.clients.Issue(t, name).TLS(t)}}
		c, err := etcd.New(etcd.Config{Endpoints: []string{s.members[0].url}, TLS: config, Username: user,
			Password: password, Timeout: patience})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	ctx, root := t.Context(), as("root", "", "")
	for _, err := range []error{
		root.Auth.AddUser(ctx, "root", "secret"),
		root.Auth.AddUser(ctx, "ann", "hers"),
		root.Auth.AddRole(ctx, "shop"),
		root.Auth.Grant(ctx, "shop", etcd.Access{Read: []string{"/shop/*"}, Write: []string{"/shop/*"}}),
		root.Auth.GrantRoles(ctx, "ann", []string{"shop"}),
		root.Auth.Enable(ctx),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name, user, password string
		shop, other, admin   bool
	}{
		{"root", "", "", true, true, true},
		{"ann", "", "", true, false, false},
		{"bob", "", "", false, false, false}, // bob is no user
		{"ann", "root", "secret", true, true, true},
		{"root", "ann", "hers", true, false, false},
		{"root", "ann", "wrong", false, false, false},
		{"root", "bob", "secret", false, false, false},
	} {
		may := as(c.name, c.user, c.password)
		_, shop := may.Set(ctx, "/shop/x", "1", etcd.SetOptions{})
		_, other := may.Set(ctx, "/other", "1", etcd.SetOptions{})
		_, admin := may.Auth.Users(ctx)
		for i, err := range []error{shop, other, admin} {
			if want := []bool{c.shop, c.other, c.admin}[i]; want != (err == nil) || !want && !etcd.IsUnauthorized(err) {
				t.Errorf("%s's certificate, password of %q: step %d: %v", c.name, c.user, i, err)
			}
		}
	}
}
