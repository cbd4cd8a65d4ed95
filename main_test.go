package main

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"etcd2/discovery"
	_ "etcd2/e2e/pace" // -long
	"etcd2/http/certs/certstest"
	"etcd2/http/flags"
	"etcd2/raft"
)

func TestABadConfigurationIsOneLine(t *testing.T) {
	for _, c := range []struct {
		args, environ string // separated by blanks
		words         string // that the line must have
	}{
		{"--bogus", "", "-bogus"},
		{"--name", "", "-name"},
		{"extra", "", `"extra"`},
		{"--debug false", "", `"false"`},
		{"--debug=maybe", "", "-debug true"},
		{"--name=a,b", "", "-name comma"},
		{"--snapshot-count=0", "", "-snapshot-count from 1"},
		{"--snapshot-count=many", "", `"many" from 1`},
		{"--wal-dir=x.etcd/. --data-dir=x.etcd", "", "--wal-dir=x.etcd/. is data own out"},
		{"--listen-peer-urls=http://127.0.0.1:70000", "", "-listen-peer-urls 65535 http://127.0.0.1:70000"},
		{"--max-wals=-1", "", "-max-wals from 0"},
		{"--heartbeat-interval=1.5", "", "-heartbeat-interval whole"},
		{"--election-timeout=50000", "", "-election-timeout 49999"},
		{"--election-timeout=400", "", "--election-timeout=400 --heartbeat-interval=100 500"},
		{"--heartbeat-interval=300", "", "--election-timeout=1000 1500"},
		{"--initial-cluster-state=old", "", "-initial-cluster-state existing"},
		{"--join=http://a:1 --initial-cluster=default=http://b:1", "", "--join --initial-cluster contradict one"},
		{"--join=http://a:1", "ETCD_INITIAL_CLUSTER_STATE=existing",
			"--join --initial-cluster-state=existing contradict one"},
		{"--join=a:1", "", "-join URL"},
		{"--discovery=http://h:1", "", "-discovery token"},
		{"--discovery=discovery.etcd.io/t", "", "-discovery URL"},
		{"--discovery=http://u:p@h:1/t", "", "-discovery nothing path"},
		{"--join=http://a:1,http://u:p@h:1", "", "-join user xxxxx@h:1"},
		{"--cors=http://u:p@h:1", "", "-cors http://HOST"},
		{"--discovery-fallback=maybe", "", "-discovery-fallback exit proxy"},
		{"--discovery-proxy=ftp://h:1", "", "-discovery-proxy http://HOST:PORT"},
		{"--discovery-srv=http://h", "", "-discovery-srv domain"},
		{"--proxy=maybe", "", "-proxy off readonly on"},
		{"--proxy-dial-timeout=0", "", "-proxy-dial-timeout from 1"},
		{"--discovery=http://h:1/t --discovery-fallback=exit --listen-client-urls=http://127.0.0.1:1", "",
			"--advertise-client-urls"},
		{"--discovery=http://h:1/t --discovery-srv=h", "", "multiple discovery initial-cluster discovery-srv"},
		{"--discovery=http://h:1/t", "ETCD_INITIAL_CLUSTER=default=http://b:1", "multiple discovery"},
		{"--discovery-srv=h --join=http://a:1", "", "--discovery-srv --join one"},
		{"--discovery=http://h:1/t --initial-cluster-state=existing", "", "--discovery existing one"},
		{"--join=http://a:1/v2", "", "-join path"},
		{"--listen-client-urls=http://127.0.0.1:1", "", "--advertise-client-urls"},
		{"--listen-client-urls=127.0.0.1:1 --advertise-client-urls=http://a:1", "", "-listen-client-urls URL"},
		{"--listen-peer-urls=https://127.0.0.1:1", "",
			"--listen-peer-urls=https://127.0.0.1:1 certificate --peer-cert-file --peer-key-file --peer-auto-tls http"},
		{"--listen-client-urls=http://a:1,https://b:1 --advertise-client-urls=http://a:1", "",
			"--listen-client-urls=https://b:1 certificate --cert-file --auto-tls"},
		{"--advertise-client-urls=http://a", "", "host:port"},
		{"--advertise-client-urls=http://a:1,http://a:1", "", "twice"},
		{"--advertise-client-urls=http://a:1/path", "", "path"},
		{"--cors=example", "", "-cors http://HOST"},
		{"--host-whitelist=*.example.com", "", "-host-whitelist db.example.com"},
		{"--max-request-bytes=1e6", "", "-max-request-bytes"},
		{"--event-history=0", "", "-event-history"},
		{"--log-package-levels=raft=LOUD", "", "-log-package-levels DEBUG"},
		{"--cert-file=x", "", "--cert-file=x --key-file both"},
		{"--peer-key-file=x", "", "--peer-key-file=x --peer-cert-file both"},
		{"--client-cert-auth", "", "--client-cert-auth --trusted-ca-file"},
		{"--peer-client-cert-auth", "", "--peer-client-cert-auth --peer-trusted-ca-file"},
		{"--client-crl-file=x", "", "--client-crl-file=x --trusted-ca-file"},
		{"--peer-crl-file=x", "", "--peer-crl-file=x --peer-trusted-ca-file"},
		{"--auto-tls --cert-file=x --key-file=y", "", "--auto-tls --cert-file=x contradict one"},
		{"--peer-auto-tls --peer-trusted-ca-file=x", "", "--peer-auto-tls --peer-trusted-ca-file=x contradict"},
		{"--ca-file=x --trusted-ca-file=y", "", "--ca-file=x --trusted-ca-file=y contradict"},
		{"--addr=localhost:4001", "", `"localhost:4001" -addr bad IP specification IP:PORT`},
		{"--addr=10.0.0.1", "", "-addr missing port address"},
		{"--peer-addr=10.0.0.1:many", "", "-peer-addr bad port specification"},
		{"--peer-bind-addr=10.0.0.1:65536", "", "-peer-bind-addr bad port"},
		{"--bind-addr=::1:4001", "", "-bind-addr colons"},
		{"--addr=10.0.0.1:1 --advertise-client-urls=http://a:1", "",
			"set only one of flags -advertise-client-urls and -addr"},
		{"--bind-addr=10.0.0.1:1 --listen-client-urls=http://a:1", "",
			"set only one of flags -listen-client-urls and -bind-addr"},
		{"--addr=10.0.0.1:1", "ETCD_LISTEN_CLIENT_URLS=http://a:1",
			"set only one of flags -listen-client-urls and -addr"},
		{"--peer-addr=10.0.0.1:1", "ETCD_INITIAL_ADVERTISE_PEER_URLS=http://a:1",
			"set only one of flags -initial-advertise-peer-urls and -peer-addr"},
		{"--peer-bind-addr=10.0.0.1:1 --listen-peer-urls=http://a:1", "",
			"set only one of flags -listen-peer-urls and -peer-bind-addr"},
		{"--peers=10.0.0.1:7001", "", `"10.0.0.1:7001" -peers supported --initial-cluster --join`},
		{"--peers-file=f", "", "-peers-file supported"},
		{"", "ETCD_PEERS=10.0.0.1:7001", "ETCD_PEERS supported"},
		{"--snapshot false", "", `"false"`},
		{"", "ETCD_ELECTION_TIMEOUT=abc", `"abc" ETCD_ELECTION_TIMEOUT`},
		{"", "ETCD_LISTEN_CLIENT_URLS=http://a:1", "--advertise-client-urls"},
	} {
		var out, line strings.Builder
		status := run(strings.Fields(c.args), strings.Fields(c.environ), &out, &line)

		if status != 1 || out.Len() > 0 || strings.Count(line.String(), "\n") != 1 {
			t.Errorf("%s%s: status %d, output %q, errors %q", c.args, c.environ, status, &out, &line)
		}
		for word := range strings.FieldsSeq(c.words) {
			if !strings.Contains(line.String(), word) {
				t.Errorf("%s%s: %q lacks %q", c.args, c.environ, &line, word)
			}
		}
	}
}

func TestNoTextShowsAPassword(t *testing.T) {
	for _, value := range []string{
		"http://user:secret@h:1", "user:secret@h:1", "http://user:sec%20ret@h:1", `http://user:sec"ret@h:1`,
		`user:sec\ret@h:1`, "user:secret@@h:1",
		"http://user:sec/ret@h:1", "user: secret@h:1", "http://user:secret@h:many", "http://user:sec,ret@h:1",
		"http://user:sec=ret@h:1",
	} {
		var out, line strings.Builder
		data := "ETCD_DATA_DIR=" + t.TempDir() + "/new"
		for _, name := range []string{"JOIN", "CORS", "DISCOVERY", "DISCOVERY_PROXY", "INITIAL_CLUSTER",
			"LISTEN_CLIENT_URLS", "BOGUS"} {
			flag := "--" + strings.ToLower(strings.ReplaceAll(name, "_", "-"))
			run([]string{"--check-config", flag + "=" + value}, []string{data}, &out, &line)
			run([]string{"--check-config"}, []string{data, "ETCD_" + name + "=" + value}, &out, &line)
		}
		run([]string{"--check-config", "--initial-cluster=a=" + value, value}, []string{data}, &out, &line)
		run([]string{"--check-config", "--initial-cluster=a=" + value}, []string{data}, &out, &line)
		args := strings.Join(flags.Shown([]string{"etcd2", "--discovery-proxy=" + value, "--discovery-proxy", value}),
			" ")

		if all := out.String() + line.String() + args; strings.Contains(all, "sec") || strings.Contains(all, "ret@") {
			t.Errorf("%s: %s", value, all)
		}
		if end := value[strings.LastIndex(value,
			"@"):]; args != "etcd2 --discovery-proxy=xxxxx"+end+" --discovery-proxy xxxxx"+end {
			t.Errorf("%s: %s", value, args)
		}
	}
	for _, value := range []string{"", "/data/etcd@1", "a=http://a:1,b=http://b:2", `C:\data`} {
		if shown := discovery.WithoutPassword(value); shown != value {
			t.Errorf("%q is shown as %q", value, shown)
		}
	}
}

// A start in a data directory of etcd, empty or not, ends with one line, and nothing in there has
// changed: it is neither damaged nor a new member's.
func TestADirectoryOfEtcdIsRefusedUnchanged(t *testing.T) {
	// The checksum and the metadata that a log of etcd 2 begins with.
	head := "\x04\x00\x00\x00\x00\x00\x00\x00\x08\x04\x10\x00" +
		"\x0e\x00\x00\x00\x00\x00\x00\x00\x08\x01\x10\xd9\xea\xc4\xbf\x0a\x1a\x04\x08\x01\x10\x02"
	for _, log := range []string{"member/wal", "wal"} {
		dir := t.TempDir()
		file := filepath.Join(dir, log, "0000000000000000-0000000000000000.wal")
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(head),
			0o600)); err != nil {
			t.Fatal(err)
		}
		for _, given := range []string{dir, filepath.Dir(filepath.Dir(file))} {
			var out, line strings.Builder

			status := run([]string{"--data-dir", given}, nil, &out, &line)

			want := "etcdctl migrate " + given + " --data-dir NEW"
			if status != 1 || strings.Count(line.String(), "\n") != 1 || !strings.Contains(line.String(), want) {
				t.Errorf("status %d, %q%q, want %q", status, &out, &line, want)
			}
		}
		names, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil || len(names) != 1 {
			t.Errorf("%q is there, %v", names, err)
		}
	}
}

// A trial says what a start would do, and refuses what a start would refuse, in the same words.
func TestATrialOfTheConfigurationDoesNothing(t *testing.T) {
	dir := t.TempDir()
	cert, key := certstest.NewAuthority(t, "CA").Issue(t, "m0").Save(t, t.TempDir(), "m0")
	data := filepath.Join(dir, "new")
	always := []string{"--check-config", "--data-dir=" + data}
	for _, c := range []struct {
		flags  string
		status int
		out    string // lines that it must have, or of the error
	}{
		{"", 0, "role: member|clients: listening at http://localhost:2379,http://localhost:4001; advertised as " +
			"http://localhost:2379,http://localhost:4001|" +
			"data: " + data + ": no data of a member yet|log: " + data + "/member/wal: no log yet|" +
			"cluster: begins as 7e27652122e8b2ae, with 1 members: " +
			"default=http://localhost:2380,default=http://localhost:7001|verdict: no fault found"},
		{"--proxy=on --initial-cluster=a=http://h:1", 0,
			"role: proxy (on)|cluster: the one that a proxy has remembered in " + data + ", or else a=http://h:1"},
		{"--join=http://h:1", 0, "cluster: asked for at http://h:1"},
		{"--discovery-srv=h", 0, "cluster: asked for at the DNS for h"},
		{"--auto-tls --peer-cert-file=" + cert + " --peer-key-file=" + key, 0,
			"certificates: client port: self-made, in " + data +
				"/fixtures/client, renewed automatically|certificates: peer port: " + cert + ", CN=m0, until "},
		{"--initial-cluster-state=existing", 1,
			"etcd2: --initial-cluster=default=http://localhost:2380,default=http://localhost:7001: nobody but this " +
				"member is listed: list the running members as well, or start it with --join instead"},
		{"--name=b --initial-cluster=a=http://h:1", 1,
			"etcd2: --initial-cluster=a=http://h:1: this member's name is not listed: \"b\": add it, or give its name as " +
				"--name"},
		{"--force-new-cluster", 1, "etcd2: --force-new-cluster: " + data + " has no data of a member: give its data " +
			"directory as --data-dir"},
		{"--cert-file=" + data + " --key-file=" + key, 1, "etcd2: --cert-file=" + data +
			": no such file or directory: give a file that this process may read"},
		{"--election-timeout=400", 1,
			"etcd2: --election-timeout=400 is less than five times --heartbeat-interval=100: give at least 500 " +
				"(etcd2 --help lists the flags)"},
	} {
		var out, errs strings.Builder

		status := run(append(strings.Fields(c.flags), always...), nil, &out, &errs)

		said := regexp.MustCompile(": +").ReplaceAllString(out.String(), ": ") + errs.String()
		if status != c.status || status == 1 && !strings.HasSuffix(said, c.out+"\n") {
			t.Errorf("%s: status %d: %s", c.flags, status, said)
		}
		for line := range strings.SplitSeq(c.out, "|") {
			if !strings.Contains(said, line) {
				t.Errorf("%s: %q is missing in\n%s", c.flags, line, said)
			}
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("%s: it has made %s", c.flags, left[0].Name())
		}
	}
}

func TestARemovedMemberEndsWithAStatusOfItsOwn(t *testing.T) {
	for err, want := range map[error]int{nil: 0, errors.New("x"): 1, fmt.Errorf("%w: gone", raft.ErrRemoved): 3} {
		if got := status(err); got != want {
			t.Errorf("%v: %d, want %d", err, got, want)
		}
	}
	for file, text := range map[string]string{"http/systemd/README.md": "A member that was removed ends with status " +
		"%d,", "http/systemd/etcd2.service": "\nRestartPreventExitStatus=%d\n"} {
		if text = fmt.Sprintf(text, statusRemoved); !strings.Contains(read(t, file), text) {
			t.Errorf("%s lacks %q", file, text)
		}
	}
}

// pitfall L2
func TestAFailureShortensTheWaitForRequestsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangs := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		failed, begun := make(chan struct{}), time.Now()
		time.AfterFunc(time.Second, func() { close(failed) })

		_ = stopInTime(failed, hangs)

		if took := time.Since(begun); took != time.Second+failTimeout {
			t.Errorf("it ends %v after the beginning", took)
		}
	})
}

func TestVersionIsFourLines(t *testing.T) {
	var out strings.Builder
	status := run([]string{"--version"}, []string{"ETCD_NAME=,"}, &out, &out)

	lines := strings.Split(out.String(), "\n")
	if status != 0 || len(lines) != 5 || lines[0] != "etcd Version: "+flags.Version {
		t.Errorf("status %d: %q", status, lines)
	}
}

// House rules: what no test enforces does not hold.

// A source is one Go file of the repository.
type source struct {
	path string // slashes, relative to the root
	pkg  string // its directory; "main" for the root
	test bool
	file *ast.File
	fset *token.FileSet
}

// sources parses the repository once.
var sources = sync.OnceValues(func() (list []source, err error) {
	fset := token.NewFileSet()
	err = filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || d.Name() == ".git"):
			return fs.SkipDir
		case !strings.HasSuffix(path, ".go"):
			return nil
		}
		file, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
		pkg := filepath.ToSlash(filepath.Dir(path))
		if pkg == "." {
			pkg = "main"
		}
		list = append(list, source{filepath.ToSlash(path), pkg, strings.HasSuffix(path, "_test.go"), file, fset})
		return err
	})
	return list, err
})

func repository(t *testing.T) []source {
	t.Helper()
	list, err := sources()
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// forTests are the packages that only tests may import.
var forTests = []string{"etcd2/wal/disk/disktest", "etcd2/raft/linear", "etcd2/http/certs/certstest",
	"etcd2/discovery/dnstest", "etcd2/e2e/pace", "etcd2/e2e/pipes"}

// drawing is the import graph of the repository. main may import everything but what is for tests.
var drawing = map[string][]string{
	"discovery": {"http/client", "raft"},
	"http":      {"raft", "store", "http/auth", "http/page", "http/places"},
	"http/peer": {"raft"},
	"http/auth": {"store", "http/places"}, "http/places": {},
	"http/ports": {"http", "http/certs", "http/systemd"},
	"http/proxy": {"http/client", "wal/disk"},
	"http/flags": {"discovery", "http/certs", "http/logs", "http/proxy", "raft"}, "http/logs": {},
	// all but the first two for what is done without a server
	"http/etcdctl": {"http/client", "http/certs", "discovery", "raft", "store", "snap", "wal", "wal/disk",
		"http/etcdctl/migrate"},
	"raft": {"wal", "snap", "wal/disk"}, "raft/linear": {},
	"wal": {"wal/disk"}, "snap": {"wal/disk"}, "wal/disk/disktest": {"wal/disk"},
	"store": {}, "wal/disk": {}, "http/client": {}, "http/page": {}, "http/certs": {"wal/disk"},
	"http/certs/certstest": {}, "discovery/dnstest": {}, "http/systemd": {"raft"}, "e2e": {}, "e2e/pace": {},
	"e2e/pipes":            {},
	"http/etcdctl/migrate": {"store", "http/auth"},
}

func TestImportsRunDownward(t *testing.T) {
	drawn, found := map[string]bool{}, map[string]bool{}
	for _, s := range repository(t) {
		found[s.pkg] = true
		for _, imported := range imports(s) {
			if !s.test && slices.Contains(forTests, imported) {
				t.Errorf("%s imports %s, which is for tests", s.path, imported)
			}
		}
		if s.test || s.pkg == "main" {
			continue
		}
		if _, known := drawing[s.pkg]; !known {
			t.Errorf("%s: package %s is not in the drawing", s.path, s.pkg)
		}
		for _, imported := range imports(s) {
			if pkg, ours := strings.CutPrefix(imported, "etcd2/"); ours {
				drawn[s.pkg+" → "+pkg] = true
				if !slices.Contains(drawing[s.pkg], pkg) {
					t.Errorf("%s imports %s, which is not drawn", s.path, pkg)
				}
			}
		}
	}
	for pkg, below := range drawing {
		for _, b := range below {
			if found[pkg] && found[b] && !drawn[pkg+" → "+b] {
				t.Errorf("%s → %s is drawn, and nothing imports it", pkg, b)
			}
		}
	}
}

// Lines can be read beside each other: comments have 100 columns at most, and code 120, where a tab
// counts four. Drawings and tables in comments are as wide as they must be, and so are raw strings
// and what tests quote.
func TestLinesFit(t *testing.T) {
	for _, s := range repository(t) {
		drawn := drawnLines(s)
		for i, line := range strings.Split(read(t, s.path), "\n") {
			width := utf8.RuneCountInString(strings.ReplaceAll(line, "\t", "    "))
			isComment := strings.HasPrefix(strings.TrimSpace(line), "//")
			switch {
			case drawn[i+1]:
			case isComment && width > 100:
				t.Errorf("%s:%d: a comment of %d columns", s.path, i+1, width)
			case !isComment && !s.test && width > 120:
				t.Errorf("%s:%d: code of %d columns", s.path, i+1, width)
			}
		}
	}
}

// drawnLines are the lines of a file that TestLinesFit leaves alone.
func drawnLines(s source) map[int]bool {
	drawn := map[int]bool{}
	for _, group := range s.file.Comments {
		for _, c := range group.List {
			for i, line := range strings.Split(c.Text, "\n") {
				text := strings.TrimPrefix(line, "//")
				if strings.HasPrefix(text, "\t") || strings.HasPrefix(text, "    ") {
					drawn[s.fset.Position(c.Pos()).Line+i] = true
				}
			}
		}
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		if lit, is := n.(*ast.BasicLit); is && lit.Kind == token.STRING && lit.Value[0] == '`' {
			for line := s.fset.Position(lit.Pos()).Line; line <= s.fset.Position(lit.End()).Line; line++ {
				drawn[line] = true
			}
		}
		return true
	})
	return drawn
}

func TestOnlyTheStandardLibrary(t *testing.T) {
	for _, s := range repository(t) {
		for _, imported := range imports(s) {
			first, _, _ := strings.Cut(imported, "/")
			foreign := strings.Contains(first, ".")
			if foreign && !(s.test && strings.HasPrefix(imported, "github.com/stretchr/testify/")) {
				t.Errorf("%s imports %s", s.path, imported)
			}
		}
	}
}

func imports(s source) (paths []string) {
	for _, spec := range s.file.Imports {
		path, _ := strconv.Unquote(spec.Path.Value) // the parser has checked it
		paths = append(paths, path)
	}
	return paths
}

// purely is all that raft's core may import: no disk, socket, logger or lock.
var purely = []string{"cmp", "encoding/binary", "errors", "fmt", "maps", "math", "math/bits", "math/rand/v2", "slices",
	"sort", "strconv", "strings", "time"}

// drivers are the files of raft that are not the core.
func isDriver(path string) bool {
	name := strings.TrimPrefix(path, "raft/")
	return strings.HasPrefix(name, "node") || name == "stats.go" // counters that the driver shares with http
}

func TestRaftsCoreIsPure(t *testing.T) {
	core := 0
	for _, s := range repository(t) {
		if s.pkg != "raft" || s.test || isDriver(s.path) {
			continue
		}
		core++
		for _, imported := range imports(s) {
			if !slices.Contains(purely, imported) {
				t.Errorf("%s imports %s", s.path, imported)
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n.(type) {
			case *ast.GoStmt, *ast.SelectStmt, *ast.SendStmt, *ast.ChanType:
				t.Errorf("%s: a goroutine or channel in the core", s.fset.Position(n.Pos()))
			}
			return true
		})
		forbid(t, s, "time", "Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTicker", "NewTimer")
		forbid(t, s, "rand", "Int", "IntN", "Int64", "Int64N", "Uint32", "Uint64", "Uint64N", "Float64", "Perm",
			"Shuffle", "N")
	}
	if core < 5 {
		t.Errorf("only %d files of a core", core)
	}
}

func TestTheLowerPackagesHaveNoClockAndTheirTestsDoNotSleep(t *testing.T) {
	for _, s := range repository(t) {
		if s.test && slices.Contains([]string{"wal", "wal/disk", "snap", "store", "raft"}, s.pkg) {
			forbid(t, s, "time", "Sleep")
		}
		if !s.test && slices.Contains([]string{"wal", "wal/disk", "snap", "store"}, s.pkg) {
			forbid(t, s, "time", "Now", "Since", "Until")
		}
	}
}

// forbid reports uses of functions of a package.
func forbid(t *testing.T, s source, pkg string, names ...string) {
	t.Helper()
	ast.Inspect(s.file, func(n ast.Node) bool {
		selector, _ := n.(*ast.SelectorExpr)
		if selector == nil {
			return true
		}
		if x, isName := selector.X.(*ast.Ident); isName && x.Name == pkg && x.Obj == nil && slices.Contains(names,
			selector.Sel.Name) {
			t.Errorf("%s: %s.%s", s.fset.Position(n.Pos()), pkg, selector.Sel.Name)
		}
		return true
	})
}

func TestEveryExportedNameHasAComment(t *testing.T) {
	for _, s := range repository(t) {
		if s.test {
			continue
		}
		for _, d := range s.file.Decls {
			for _, id := range undocumented(d) {
				t.Errorf("%s: %s has no comment", s.fset.Position(id.Pos()), id.Name)
			}
		}
	}
}

// undocumented lists the exported names of a declaration that no comment is attached to.
func undocumented(d ast.Decl) (names []*ast.Ident) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Doc == nil && d.Name.IsExported() && receiverIsExported(d) {
			names = append(names, d.Name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				if spec.Name.IsExported() && d.Doc == nil && spec.Doc == nil {
					names = append(names, spec.Name)
				}
			case *ast.ValueSpec:
				if spec.Names[0].IsExported() && d.Doc == nil && spec.Doc == nil && spec.Comment == nil {
					names = append(names, spec.Names[0])
				}
			}
		}
	}
	return names
}

func receiverIsExported(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	receiver := d.Recv.List[0].Type
	if pointer, isPointer := receiver.(*ast.StarExpr); isPointer {
		receiver = pointer.X
	}
	id, isName := receiver.(*ast.Ident)
	return isName && id.IsExported()
}

// headings are those of every package comment, in this order; what follows
// "Life of" is the package's own.
var headings = []string{"# What it is\n", "# Picture\n", "# Types\n", "# Life of ", "# Invariants\n",
	"# What is left out\n"}

func TestEveryPackageCommentIsAnEssay(t *testing.T) {
	essays := map[string]bool{}
	for _, s := range repository(t) {
		essays[s.pkg] = essays[s.pkg] || !s.test && isEssay(s.file.Doc.Text())
	}
	for pkg, found := range essays {
		if !found && pkg != "e2e/pace" { // a flag and three functions
			t.Errorf("package %s: its comment lacks one of %q, in this order", pkg, headings)
		}
	}
}

func isEssay(text string) bool {
	for _, h := range headings {
		_, rest, found := strings.Cut(text, h)
		if !found {
			return false
		}
		text = rest
	}
	return true
}

// read returns a file of the root.
func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// documents are the texts in Markdown, by file.
func documents(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == "testdata" {
			return fs.SkipDir
		}
		if err == nil && filepath.Ext(path) == ".md" {
			texts[filepath.ToSlash(path)] = read(t, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return texts
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	noSlug  = regexp.MustCompile(`[^\p{L}\p{N}_\- ]`)
)

// Every link from one text to another, or to a section, leads somewhere.
func TestEveryLinkLeadsSomewhere(t *testing.T) {
	texts := documents(t)
	for path, text := range texts {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			file, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(m[1], "://") {
				continue
			}
			to := path
			if file != "" {
				to = filepath.ToSlash(filepath.Join(filepath.Dir(path), file))
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s: %v", path, err)
			} else if anchor != "" && !slices.Contains(anchors(texts[to]), anchor) {
				t.Errorf("%s: there is no section %s", path, m[1])
			}
		}
	}
}

// anchors are the names of a text's sections in links.
func anchors(text string) (names []string) {
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		names = append(names, strings.ReplaceAll(noSlug.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-"))
	}
	return names
}

// essays are the texts and the package comments, by file.
func essays(t *testing.T) map[string]string {
	t.Helper()
	texts := documents(t)
	for _, s := range repository(t) {
		if !s.test && s.file.Doc != nil {
			texts[s.path] = s.file.Doc.Text()
		}
	}
	return texts
}

var testName = regexp.MustCompile(`\b(?:Test|Fuzz|Benchmark)[A-Z]\w+`)

func TestEveryTestThatATextNamesExists(t *testing.T) {
	tests := map[string]bool{}
	for _, s := range repository(t) {
		for _, d := range s.file.Decls {
			if f, isFunc := d.(*ast.FuncDecl); isFunc && s.test {
				tests[f.Name.Name] = true
			}
		}
	}
	for path, text := range essays(t) {
		for _, name := range testName.FindAllString(text, -1) {
			if !tests[name] {
				t.Errorf("%s names %s, which does not exist", path, name)
			}
		}
	}
}

var section = regexp.MustCompile(`§\d+(?:\.\d+)*`)

// An essay that says in which order to read the files leaves none out, and names none that is gone.
func TestAnEssayThatListsFilesListsAll(t *testing.T) {
	listed, there := map[string][]string{}, map[string][]string{}
	for _, s := range repository(t) {
		name := filepath.Base(s.path)
		switch {
		case s.test:
		case name == "doc.go":
			for _, m := range fileInEssay.FindAllStringSubmatch(s.file.Doc.Text(), -1) {
				listed[s.pkg] = append(listed[s.pkg], m[1])
			}
		default:
			there[s.pkg] = append(there[s.pkg], name)
		}
	}
	for pkg, files := range listed {
		slices.Sort(files)
		slices.Sort(there[pkg])
		if !slices.Equal(files, there[pkg]) {
			t.Errorf("%s/doc.go lists %v, and there are %v", pkg, files, there[pkg])
		}
	}
	if len(listed) < 2 {
		t.Errorf("only these list their files: %v", listed)
	}
}

var fileInEssay = regexp.MustCompile(`(?m)^\t(\w+\.go) `)

func TestEverySectionThatRaftsTableCitesStandsInTheCode(t *testing.T) {
	cited, inCode := "", ""
	for _, s := range repository(t) {
		switch {
		case s.path == "raft/doc.go":
			cited = s.file.Doc.Text()
		case s.pkg == "raft" && !s.test:
			inCode += read(t, s.path)
		}
	}
	code := section.FindAllString(inCode, -1)
	for _, number := range section.FindAllString(cited, -1) {
		if !slices.Contains(code, number) {
			t.Errorf("raft/doc.go cites %s, which stands at no line of the code", number)
		}
	}
}

var (
	pitfallRow = regexp.MustCompile(`(?m)^\| ([A-L]\d+) \|`)
	pitfall    = regexp.MustCompile(`\b[A-L]\d{1,2}\b`) // in a comment: "pitfall X4", "(X4, X10)"
	scenario   = regexp.MustCompile(`TestScripts/(\w+)`)
	mutant     = regexp.MustCompile(`\bM\d+\b`)
)

// Every row of raft/PITFALLS.md that a comment cites is there, and a test cites each that is there.
func TestEveryPitfallHasARowAndATest(t *testing.T) {
	tested := map[string]bool{}
	for _, m := range pitfallRow.FindAllStringSubmatch(read(t, "raft/PITFALLS.md"), -1) {
		tested[m[1]] = false
	}
	for _, s := range repository(t) {
		for _, group := range s.file.Comments {
			for _, id := range pitfall.FindAllString(group.Text(), -1) {
				guarded, exists := tested[id]
				if !exists {
					t.Errorf("%s cites %s, which is no row of raft/PITFALLS.md", s.fset.Position(group.Pos()), id)
				}
				tested[id] = guarded || s.test
			}
		}
	}
	for id, guarded := range tested {
		if !guarded {
			t.Errorf("no test cites %s of raft/PITFALLS.md", id)
		}
	}
}

func TestThePitfallsNameScenariosAndMutantsThatExist(t *testing.T) {
	text, mutants := read(t, "raft/PITFALLS.md"), read(t, "raft/sim_mutant_test.go")
	for _, m := range scenario.FindAllStringSubmatch(text, -1) {
		if _, err := os.Stat("raft/testdata/" + m[1] + ".txt"); err != nil {
			t.Error(err)
		}
	}
	for _, name := range mutant.FindAllString(text, -1) {
		if !strings.Contains(mutants, strconv.Quote(name)) {
			t.Errorf("raft/PITFALLS.md names %s, and there is no such mutant", name)
		}
	}
}

var (
	apiSection = regexp.MustCompile(`(?m)^###? (\d+(?:\.\d+)?)\b`)
	cited      = regexp.MustCompile(`(?i)(\d, )?\bsections? (\d[\d.]*(?:(?:, | and | to )\d[\d.]*)*)`)
)

// A section that a comment cites is one of http/API.md, unless a number stands before it: that of
// an RFC.
func TestEverySectionOfTheAPIThatACommentCitesExists(t *testing.T) {
	sections := map[string]bool{}
	for _, m := range apiSection.FindAllStringSubmatch(read(t, "http/API.md"), -1) {
		sections[m[1]] = true
	}
	for _, s := range repository(t) {
		for _, group := range s.file.Comments {
			text := strings.Join(strings.Fields(group.Text()), " ")
			for _, m := range cited.FindAllStringSubmatch(text, -1) {
				for _, word := range strings.Fields(m[2]) {
					number := strings.Trim(word, ",.")
					if m[1] == "" && word != "and" && word != "to" && !sections[number] {
						t.Errorf("%s cites section %s, which http/API.md lacks", s.fset.Position(group.Pos()), number)
					}
				}
			}
		}
	}
}

var quoted = regexp.MustCompile("`([a-z]+)\\.([A-Za-z]\\w*(?:\\.\\w+)?)`|`([a-z]+(?:/\\w+)*\\.go)`")

// Names in code that a text has, as `wal.Open`, are those of the code.
func TestTextsNameWhatExists(t *testing.T) {
	known, packages := map[string]bool{}, map[string]bool{}
	for _, s := range repository(t) {
		known[s.path], packages[s.pkg] = true, true
		for _, name := range declared(s) {
			known[s.pkg+"."+name] = true
		}
	}
	texts := documents(t)
	delete(texts, "http/API.md") // whose names are those of JSON
	for path, text := range texts {
		for _, m := range quoted.FindAllStringSubmatch(text, -1) {
			if m[3] != "" && !known[m[3]] || packages[m[1]] && !known[m[1]+"."+m[2]] {
				t.Errorf("%s names %s, which does not exist", path, m[0])
			}
		}
	}
}

// declared lists the names that a file declares: Name, Type.Method, Type.Field.
func declared(s source) (names []string) {
	for _, d := range s.file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			name := d.Name.Name
			if d.Recv != nil {
				name = strings.TrimPrefix(typeName(d.Recv.List[0].Type), "*") + "." + name
			}
			names = append(names, name)
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				names = append(names, specNames(spec)...)
			}
		}
	}
	return names
}

func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return typeName(e.X)
	case *ast.IndexExpr:
		return typeName(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}

func specNames(spec ast.Spec) (names []string) {
	switch spec := spec.(type) {
	case *ast.ValueSpec:
		for _, id := range spec.Names {
			names = append(names, id.Name)
		}
	case *ast.TypeSpec:
		names = append(names, spec.Name.Name)
		for _, member := range members(spec.Type) {
			names = append(names, spec.Name.Name+"."+member)
		}
	}
	return names
}

func members(e ast.Expr) (names []string) {
	var list *ast.FieldList
	switch e := e.(type) {
	case *ast.StructType:
		list = e.Fields
	case *ast.InterfaceType:
		list = e.Methods
	default:
		return nil
	}
	for _, field := range list.List {
		for _, id := range field.Names {
			names = append(names, id.Name)
		}
	}
	return names
}

func TestTheReadmesTwoCommandsAreTheOnesThatRun(t *testing.T) {
	_, setUp, _ := strings.Cut(read(t, "README.md"), "\n## Set up\n")
	setUp, _, _ = strings.Cut(setUp, "\n## ")
	var commands []string
	for line := range strings.Lines(setUp) {
		if command, found := strings.CutPrefix(line, "$ "); found {
			commands = append(commands, strings.TrimSpace(command))
		}
	}
	if want := []string{"go run .", "go test ./..."}; !slices.Equal(commands, want) {
		t.Errorf("the README's set-up is %q, want %q", commands, want)
	}
	if !strings.Contains(read(t, ".ci/run"), "\ngo test ./... ") {
		t.Error(".ci/run does not run the README's test command")
	}
	if info, err := os.Stat(".ci/run"); err != nil || info.Mode()&0o111 == 0 {
		t.Errorf(".ci/run is not executable: %v", err)
	}
}

// rooms are the names allowed at the top, besides dotfiles, a binary that was
// built here, the data of a server that was run here, and pages of scenes.
var rooms = []string{"main.go", "main_test.go", "go.mod", "go.sum", "README.md", "LICENSE",
	"raft", "store", "http", "wal", "snap", "discovery", "e2e"}

func TestTheTopHasNoOtherRoom(t *testing.T) {
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name := e.Name()
		ignored := strings.HasPrefix(name, ".") || name == "etcd2" || slices.Contains([]string{".etcd", ".test",
			".html"}, filepath.Ext(name))
		if !ignored && !slices.Contains(rooms, name) {
			t.Errorf("%s does not belong at the top", name)
		}
	}
}

// buildPath is a path that only exists where the code was written. (The
// brackets keep this line from matching itself.)
var buildPath = regexp.MustCompile(`/(?:w[o]rk|f[a]rm|r[o]ot|h[o]me/\w+)/|/t[m]p/\w|bash[_]jobs`)

// textual are the extensions of the files that people write here.
var textual = []string{".go", ".md", ".txt", ".mod", ".py", ""}

func TestNoPathOfABuildMachine(t *testing.T) {
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || strings.HasSuffix(d.Name(), ".etcd")):
			return fs.SkipDir
		case d.IsDir() || path == "etcd2" || !slices.Contains(textual, filepath.Ext(path)):
			return nil
		}
		for i, line := range strings.Split(read(t, path), "\n") {
			if found := buildPath.FindString(line); found != "" {
				t.Errorf("%s:%d: %s", path, i+1, found)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestFunctionsAreShort(t *testing.T) {
	lengths := map[string][]int{}
	for _, s := range repository(t) {
		for _, d := range s.file.Decls {
			f, isFunc := d.(*ast.FuncDecl)
			if !isFunc || s.test {
				continue
			}
			lines := s.fset.Position(f.End()).Line - s.fset.Position(f.Pos()).Line + 1
			lengths[s.pkg] = append(lengths[s.pkg], lines)
			if lines > 70 {
				t.Errorf("%s: %s has %d lines", s.fset.Position(f.Pos()), f.Name.Name, lines)
			}
		}
	}
	for pkg, list := range lengths {
		slices.Sort(list)
		if median, most := list[len(list)/2], list[len(list)*9/10]; median > 12 || most > 35 {
			t.Errorf("package %s: the median function has %d lines, one in ten more than %d", pkg, median, most)
		}
	}
}
