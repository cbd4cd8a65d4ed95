package etcdctl

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"etcd2/e2e/pace"
	"etcd2/http/certs/certstest"
)

// ctl runs a command line with nothing on its standard input.
func ctl(environ []string, args ...string) (status int, stdout, stderr string) {
	var out, errs strings.Builder
	status = Run(args, environ, strings.NewReader(""), &out, &errs)
	return status, out.String(), errs.String()
}

// Options.

func TestOptionsMayStandAnywhere(t *testing.T) {
	options := []option{ttlOption, {name: "dir", alias: "d"}, {name: "name", arg: "X", check: text}}
	for _, c := range []struct {
		line    string // words separated by blanks
		foreign int
		want    string // arguments, separated by blanks, and options
		err     string
	}{
		{"a b --ttl 5", 0, "a b | 5 false ", ""},
		{"--ttl=5 a -dir b", 0, "a b | 5 true ", ""},
		{"a -d --name= b", 0, "a b | 0 true ", ""},
		{"a --dir=false --name x --name y b", 0, "a b | 0 false y", ""},
		{"a -- --ttl -x", 0, "a --ttl -x | 0 false ", ""},
		{"a -1 -", 0, "a -1 - | 0 false ", ""},
		{"--ttl -5 a", 0, "a | -5 false ", ""},
		{"a b --ttl 5", 2, "a b --ttl 5 | 0 false ", ""},
		{"a --ttl 5 b -c -- d", 2, "a b -c -- d | 5 false ", ""},
		{"a -- b -c", 2, "a b -c | 0 false ", ""},
		{"a --bogus", 0, "", "flag provided but not defined: -bogus"},
		{"--ttl", 0, "", "flag needs an argument: -ttl"},
		{"--ttl 1.5", 0, "", `invalid value "1.5" for flag -ttl: parse error`},
		{"--dir=maybe", 0, "", `invalid value "maybe" for flag -dir: parse error`},
		{"--=x", 0, "", "flag provided but not defined: -"},
	} {
		v, args, err := parse(options, strings.Fields(c.line), c.foreign)

		if c.err != "" {
			if err == nil || err.Error() != c.err {
				t.Errorf("%s: %v, want %s", c.line, err, c.err)
			}
			continue
		}
		got := strings.Join(args, " ") + " | " + v.text("ttl") + map[bool]string{true: " true ",
			false: " false "}[v.on("dir")] + v.text("name")
		if err != nil || got != c.want {
			t.Errorf("%s: %v, %q, want %q", c.line, err, got, c.want)
		}
	}
}

// words splits a command line as a shell does, up to the first redirection.
func words(line string) (list []string) {
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			list = append(list, part)
			continue
		}
		before, _, redirected := strings.Cut(part, " < ")
		before, _, sent := strings.Cut(before, " > ")
		list = append(list, strings.Fields(before)...)
		if redirected || sent {
			break
		}
	}
	return list
}

func TestEveryExampleParses(t *testing.T) {
	examples := 0
	var visit func(c *command, path []string)
	visit = func(c *command, path []string) {
		if c.run != nil && len(c.examples) == 0 {
			t.Errorf("%v has no example", path)
		}
		for _, e := range c.examples {
			examples++
			_, rest, err := parse(root.options, words(e.line), 1)
			found, there, rest := root.find(rest)
			if err == nil && found.run != nil {
				_, _, err = parse(found.options, rest, found.foreign)
			}
			if err != nil || found.run == nil || c != root && !slices.Equal(there, path) {
				t.Errorf("%s: it is of %v, and leads to %v: %v", e.line, path, there, err)
			}
		}
		status, out, errs := ctl(nil, append(slices.Clone(path), "--help")...)
		if status != 0 || errs != "" || !strings.Contains(out, c.help) || !strings.Contains(out, "USAGE:") {
			t.Errorf("help of %v: status %d, %q, %q", path, status, out, errs)
		}
		for _, sub := range c.family {
			visit(sub, append(slices.Clone(path), sub.name))
		}
	}
	visit(root, nil)
	if examples < 50 {
		t.Errorf("only %d examples", examples)
	}
}

func TestACommandThatDoesNotExistHasNoHelp(t *testing.T) {
	for _, line := range []string{"bogus", "member bogus", "help bogus", "auth x"} {
		args := strings.Fields(line)
		status, out, errs := ctl(nil, args...)

		if want := "No help topic for '" + args[len(args)-1] + "'\n"; status != 0 || out != "" || errs != want {
			t.Errorf("%s: status %d, %q, %q", line, status, out, errs)
		}
	}
}

func TestTheTableCompletesWords(t *testing.T) {
	for line, want := range map[string]string{
		"exec":                      "exec-watch",
		"--endpoints x -o json upd": "update updatedir",
		"member re":                 "remove replace",
		"set /k --swap-with-v":      "--swap-with-value",
		"set s":                     "",
		"ls --":                     "--sort --recursive --p --quorum --limit --after --prefix --count --help",
		"--endp":                    "--endpoints --endpoint",
		"--pass":                    "--password-file",
		"import --from-":            "--from-username --from-password-file",
		"bogus x":                   "",
	} {
		_, out, _ := ctl(nil, "completion", "words", "--", strings.ReplaceAll(line, " ", "\n"))

		if got := strings.Join(strings.Fields(out), " "); got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if _, out, _ := ctl(nil, "completion", shell); !strings.Contains(out, "etcdctl completion words") &&
			!strings.Contains(out, `"$1" completion words`) {
			t.Errorf("%s: %s", shell, out)
		}
	}
}

// Endpoints.

func TestEndpointsHaveAnOrderOfPrecedence(t *testing.T) {
	all := []string{"ETCDCTL_ENDPOINTS=http://b:1", "ETCDCTL_ENDPOINT=http://d:1", "ETCDCTL_PEERS=http://f:1"}
	for _, c := range []struct {
		environ []string
		line    string
		want    string
	}{
		{nil, "", "http://127.0.0.1:2379,http://127.0.0.1:4001"},
		{all, "--endpoints http://a:1,http://a:2 --endpoint http://c:1 --peers http://e:1", "http://a:1,http://a:2"},
		{all, "--endpoint http://c:1 --peers http://e:1", "http://b:1"},
		{all[1:], "--endpoint http://c:1 -C http://e:1", "http://c:1"},
		{all[1:], "-C http://e:1", "http://d:1"},
		{all[2:], "-C http://e:1", "http://e:1"},
		{all[2:], "", "http://f:1"},
		{[]string{"ETCDCTL_ENDPOINTS=", "ETCDCTL_PEERS=http://f:1"}, "", "http://f:1"},
	} {
		global, _, err := parse(root.options, strings.Fields(c.line), 1)
		s := &session{environ: c.environ, global: global}
		got, err2 := s.endpoints()

		if err != nil || err2 != nil || strings.Join(got, ",") != c.want {
			t.Errorf("%v %s: %v %v, %v", c.environ, c.line, err, err2, got)
		}
	}
}

func TestEndpointsComeFromSRVRecords(t *testing.T) {
	answers := map[string][]*net.SRV{"etcd-client-ssl": {{Target: "a.example.", Port: 1}},
		"etcd-client": {{Target: "b.example.", Port: 2}, {Target: "c.example.", Port: 3}}}
	lookup := func(_ context.Context, service, proto, name string) (string, []*net.SRV, error) {
		if answers[service] == nil || proto != "tcp" || name != "example.com" {
			return "", nil, errors.New("no " + service)
		}
		return "", answers[service], nil
	}
	global, _, _ := parse(root.options, []string{"-D", "example.com", "--endpoints", "http://x:1"}, 1)
	s := &session{global: global, lookupSRV: lookup, ctx: t.Context()}

	both, err1 := s.endpoints()
	delete(answers, "etcd-client-ssl")
	one, err2 := s.endpoints()
	delete(answers, "etcd-client")
	_, err3 := s.endpoints()

	if got := strings.Join(both, " "); err1 != nil ||
		got != "https://a.example:1 http://b.example:2 http://c.example:3" {
		t.Errorf("%v %s", err1, got)
	}
	if len(one) != 2 || err2 != nil {
		t.Errorf("%v %v", err2, one)
	}
	if err3 == nil || err3.Error() != "dns lookup errors: no etcd-client-ssl and no etcd-client" {
		t.Error(err3)
	}
}

// silent returns the URL of a server that reads requests and does not answer.
func silent(t *testing.T) string {
	t.Helper()
	ended := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-ended:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(s.Close)
	t.Cleanup(func() { close(ended) })
	return s.URL
}

func TestEveryEndpointIsNamedWithItsReason(t *testing.T) {
	hangs := silent(t)
	status, _, errs := ctl(nil, "--timeout", "50ms", "--endpoints", "http://127.0.0.1:1,"+hangs, "get", "/k")

	lines := strings.Split(errs, "\n")
	if status != statusUnreachable || len(lines) != 5 ||
		lines[0] != "Error:  client: etcd cluster is unavailable or misconfigured" {
		t.Fatalf("status %d: %q", status, errs)
	}
	both := lines[1] + lines[2]
	for _, part := range []string{"error #0: ", "error #1: ", "dial tcp 127.0.0.1:1: connect: connection refused",
		hangs + ": no answer within 50ms"} {
		if !strings.Contains(both, part) {
			t.Errorf("%q lacks %q", both, part)
		}
	}
}

func TestAnEndpointWithoutASchemeIsOneOfHTTP(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte(`{"action":"get","node":{"key":"/k","value":"v","modifiedIndex":1,"createdIndex":1}}`))
	}))
	defer s.Close()

	status, out, errs := ctl(nil, "--no-sync", "--endpoints", strings.TrimPrefix(s.URL, "http://"), "get", "/k")

	if status != 0 || out != "v\n" {
		t.Errorf("status %d: %q %q", status, out, errs)
	}
}

// Only the leader knows how far a learner is behind: it is asked for that, even when another member
// has sent the list.
func TestMembersAreListedWithTheirLag(t *testing.T) {
	var leader *httptest.Server
	member := func(behind string) *httptest.Server {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			first := fmt.Sprintf(`{"id":"a","name":"n1","peerURLs":["http://p:1"],"clientURLs":[%q]}`, leader.URL)
			if r.URL.Path != "/v2/members" {
				io.WriteString(w, first)
				return
			}
			fmt.Fprintf(w, `{"members":[%s,{"id":"b","name":"","peerURLs":["http://p:2"],"clientURLs":[]%s},`+
				`{"id":"c","name":"n3","peerURLs":["http://p:3"],"clientURLs":["http://c:3"],"learner":true},`+
				`{"id":"d","name":"","peerURLs":["http://p:4"],"clientURLs":[]}]}`, first, behind)
		}))
		t.Cleanup(s.Close)
		return s
	}
	leader = member(`,"learner":true,"behind":42`)

	status, out, errs := ctl(nil, "--no-sync", "--endpoints", member("").URL, "member", "list")

	want := "a: name=n1 peerURLs=http://p:1 clientURLs=" + leader.URL + " isLeader=true\n" +
		"b[unstarted]: peerURLs=http://p:2 hasVote=false behind=42\n" +
		"c: name=n3 peerURLs=http://p:3 clientURLs=http://c:3 isLeader=false hasVote=false\n" +
		"d[unstarted]: peerURLs=http://p:4\n"
	if status != 0 || errs != "" || out != want {
		t.Errorf("status %d:\n%s%s, want\n%s", status, out, errs, want)
	}
}

// A write that was sent and not answered may have been executed: it says so.
func TestAWriteWithoutAnAnswerSaysThatItsOutcomeIsNotKnown(t *testing.T) {
	status, _, errs := ctl(nil, "--no-sync", "--timeout", "50ms", "--endpoints", silent(t), "mk", "/k", "v")

	if status != statusRefused || !strings.Contains(errs, "no answer within 50ms") {
		t.Errorf("status %d: %q", status, errs)
	}
}

func TestACertificateIsShownAndOneIsWanted(t *testing.T) {
	dir, ca := t.TempDir(), certstest.NewAuthority(t, "CA")
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca.PEM())
	cert, key := ca.Issue(t, "me").Save(t, dir, "me")
	authorities := certstest.Write(t, dir, "ca.pem", ca.PEM())
	s := httptest.NewUnstartedServer(nil)
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Etcd-Cluster-Id", "c")
		fmt.Fprintf(w, `{"members":[{"id":"a","name":"n","peerURLs":[],"clientURLs":[%q]}],"etcdserver":"2.4.0","health":"true","id":"a","state":"StateLeader"}`, s.URL)
	})
	ends := time.Hour
	s.TLS = &tls.Config{ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
		Certificates: []tls.Certificate{ca.Issue(t, "server", certstest.For("127.0.0.1"), certstest.Valid(-ends,
			ends)).TLS(t)}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()

	all := []string{"--endpoints", s.URL, "--ca-file", authorities, "--cert-file", cert, "--key-file", key}
	status, out, errs := ctl(nil, append(all, "cluster-health")...)
	if status != 0 || !strings.Contains(out, "member a is healthy: got healthy result from https://") {
		t.Errorf("status %d: %s%s", status, out, errs)
	}
	if status, out, _ := ctl(nil, append(all, "doctor")...); status != statusUnwell || !strings.Contains(out,
		"in 0 days clients will refuse") {
		t.Errorf("a certificate that ends in an hour: status %d: %s", status, out)
	}
	if status, _, errs := ctl(nil, "--endpoints", s.URL, "ls"); status != statusUnreachable || !strings.Contains(errs,
		"unknown authority") {
		t.Errorf("without files: status %d: %s", status, errs)
	}
	if status, _, errs := ctl([]string{"ETCDCTL_CA_FILE=" + authorities}, "--endpoints", s.URL,
		"ls"); status != statusUnreachable || !strings.Contains(errs, "certificate") {
		t.Errorf("without a certificate: status %d: %s", status, errs)
	}
}

// A password on the command line is in the list of processes, so there are other ways to give it.
// They have an order of precedence.
func TestAPasswordComesFromWhereItIsGiven(t *testing.T) {
	tree := newFakeTree(t)
	file := filepath.Join(t.TempDir(), "password")
	env := func(list ...string) []string { return list }
	for _, c := range []struct {
		environ       []string
		options       string
		content, want string
	}{
		{nil, "-u root:pw", "", "root:pw"},
		{nil, "-u root:a:b", "", "root:a:b"},
		{nil, "-u root", "", "root:typed"},
		{nil, "-u root --password-file FILE", "filed\n", "root:filed"},
		{nil, "-u root --password-file FILE", " filed \r\n", "root: filed "},
		{nil, "-u root --password-file FILE", "filed\n\n", "root:filed\n"},
		{nil, "-u root --password-file FILE", "filed", "root:filed"},
		{nil, "-u root:pw --password-file FILE", "filed", "root:pw"},
		{env("ETCDCTL_USERNAME=me:pw"), "", "", "me:pw"},
		{env("ETCDCTL_USERNAME=me"), "", "", "me:typed"},
		{env("ETCDCTL_USERNAME=me:pw"), "-u root:other", "", "root:other"},
		{env("ETCDCTL_USERNAME=me", "ETCDCTL_PASSWORD_FILE="+file), "", "filed\n", "me:filed"},
		{env("ETCDCTL_PASSWORD_FILE=/none"), "-u root --password-file FILE", "filed\n", "root:filed"},
		{nil, "--password-file FILE", "filed", "is nobody's"},
		{nil, "-u root --password-file /none", "", "no such file"},
		{nil, "-u root --password-file FILE", "\n", "holds no password"},
		{nil, "-u root --password-file FILE", strings.Repeat("x", 4<<10), "holds no password"},
	} {
		if err := os.WriteFile(file, []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		tree.caller = ""
		var out, errs strings.Builder
		line := strings.Fields(strings.ReplaceAll(c.options, "FILE", file) + " --endpoints " + tree.url + " set /k v")

		status := Run(line, c.environ, strings.NewReader("typed\n"), &out, &errs)

		if tree.caller != c.want && (status == 0 || tree.caller != "" || !strings.Contains(errs.String(), c.want)) {
			t.Errorf("%v %s: %q was sent: %s", c.environ, c.options, tree.caller, &errs)
		}
	}
}

// One hash may take longer than --timeout and --total-timeout, which are as long as a busy machine
// needs to answer what comes before it.
func TestCommandsWaitForTheHashOfAPassword(t *testing.T) {
	pace.LeftOutByShort(t)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == "GET" && strings.HasSuffix(r.URL.Path, "/new"):
			w.WriteHeader(404)
		case r.Method == "GET":
			fmt.Fprint(w, `{"user":"u"}`)
		case r.Method == "PUT":
			select {
			case <-time.After(3200 * time.Millisecond):
			case <-r.Context().Done():
			}
		}
	}))
	t.Cleanup(s.Close)
	for line, want := range map[string]string{
		"user add new:pw": "User new created\n",
		"user passwd u":   "New password: \nPassword updated\n",
		"auth enable":     "Authentication Enabled\n",
	} {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			args := append([]string{"--no-sync", "--timeout", "3s", "--total-timeout", "3s", "--endpoints", s.URL},
				strings.Fields(line)...)

			if status, out, errs := ctl(nil, args...); status != 0 || out != want {
				t.Errorf("status %d: %q %s", status, out, errs)
			}
		})
	}
}

func TestTheBinaryIsEtcdctlByNameOrByWord(t *testing.T) {
	for line, want := range map[string]string{
		"etcdctl get /k":           "[get /k]",
		"/usr/local/bin/etcdctl":   "[]",
		"./etcd2 ctl -o json ls":   "[-o json ls]",
		"etcd2 ctl":                "[]",
		"etcd2 --name ctl":         "no",
		"etcd2 dump ctl":           "no",
		"etcd2":                    "no",
		"/etcdctl/etcd2 --version": "no",
	} {
		got := "no"
		if args, called := Called(strings.Fields(line)); called {
			got = fmt.Sprint(args)
		}
		if got != want {
			t.Errorf("%s: %s, want %s", line, got, want)
		}
	}
}
