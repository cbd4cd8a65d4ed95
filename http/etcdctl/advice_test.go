package etcdctl

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	_ "etcd2/e2e/pace" // -long
	"etcd2/http/client"
)

// The error of a command depends on what is wrong with its line, and has exactly these words.
func TestTheAdviceOfACommandFollowsFromWhatIsWrong(t *testing.T) {
	secure := httptest.NewTLSServer(nil)
	defer secure.Close()
	plain := strings.Replace(secure.URL, "https", "http", 1)
	file := filepath.Join(t.TempDir(), "monday.backup")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"--cert-file c.pem get /k": "--cert-file=c.pem needs " +
			"--key-file: give both",
		"--key-file k.pem get /k": "--key-file=k.pem needs " +
			"--cert-file: give both",
		"restore " + file + " --data-dir a=a,b=b": "Error:  the URLs of all members " +
			"required, since --data-dir names a: --initial-cluster a=URL,...",
		"restore " + file + " --data-dir a=a,b=b --initial-cluster " +
			"a=http://h:1": "Error:  --initial-cluster=a=http://h:1 lacks b, which --data-dir names: list it, with " +
			"its URL",
		"--no-sync --endpoints " + plain +
			" get /k": "Error:  client: etcd cluster is unavailable or misconfigured\nerror #0: " + plain +
			": https is spoken there, and it was asked by http\n",
	} {
		_, _, errs := ctl(nil, strings.Fields(line)...)

		if strings.TrimSuffix(errs, "\n") != want {
			t.Errorf("%s:\ngot  %q\nwant %q", line, errs, want)
		}
	}
}

func TestABackupWithoutAQuorumNamesItsWayOut(t *testing.T) {
	noQuorum := &client.Error{Code: client.CodeRaft, Message: "Raft Internal Error",
		Cause: "etcdserver: request timed out, no leader"}
	advice := "\nwithout a quorum no member knows all that was acknowledged: with --stale, the backup has what one " +
		"member knows"
	for _, c := range []struct {
		err   error
		stale bool
		want  string
	}{
		{noQuorum, false, noQuorum.Error() + advice},
		{noQuorum, true, noQuorum.Error()},
		{errors.New("no space left on device"), false, "no space left on device"},
	} {
		if got := fmt.Sprint(wayOut(c.err, c.stale)); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

// In a directory into which others write, a backup is not written into their files.
func TestABackupIsForItsUserAlone(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "monday.backup")
	theirs := filepath.Join(dir, "theirs")
	for _, err := range []error{os.WriteFile(theirs, []byte("x"), 0o666), os.Link(theirs, path+".part"),
		os.Symlink(theirs, path)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	var modes []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		found, _ := filepath.Glob(path + ".*.part")
		for _, f := range found {
			if info, err := os.Stat(f); err == nil {
				modes = append(modes, info.Mode().String())
			}
		}
		io.WriteString(w, "no backup")
	}))
	defer s.Close()

	_, _, errs := ctl(nil, "backup", "--from", s.URL, path)

	if len(modes) != 1 || modes[0] != "-rw-------" {
		t.Errorf("it was written into %v: %s", modes, errs)
	}
	if left, _ := filepath.Glob(dir + "/*"); len(left) != 3 {
		t.Errorf("left over: %v", left)
	}
	if b, err := os.ReadFile(theirs); err != nil || string(b) != "x" {
		t.Errorf("somebody else's file has %q, %v", b, err)
	}
}

// A shell may evaluate the variables of a new member, whatever names and URLs other members have.
func TestTheVariablesOfANewMemberAreInertInAShell(t *testing.T) {
	names := []string{"$(touch pwned)", "`touch pwned`", `"; touch pwned; "`, `\`, "a\nETCD_X=$(touch pwned)", "it's"}
	var list []client.Member
	for _, name := range names {
		list = append(list, client.Member{ID: name, Name: name, PeerURLs: []string{"http://$(touch pwned):1"}})
	}
	var out strings.Builder
	s := &session{stdout: &out}

	for _, name := range names {
		out.Reset()
		s.showStart(name, "a", list)
		sh := exec.Command("sh", "-c", "grep ETCD_ >vars; . ./vars; printf %s \"$ETCD_NAME\"")
		sh.Dir, sh.Stdin = t.TempDir(), strings.NewReader(out.String())
		got, err := sh.CombinedOutput()

		if _, missing := os.Stat(filepath.Join(sh.Dir, "pwned")); err != nil || missing == nil {
			t.Errorf("%q: %v, %s", name, err, got)
		}
		if want := strings.ReplaceAll(name, "\n", `\n`); string(got) != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
