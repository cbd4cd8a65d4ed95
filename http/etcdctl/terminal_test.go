package etcdctl

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// hostile is a text that may be a key, a value, a name or a message.
const hostile = "evil\x1b[2J\nname\r\u009b\u202e"

// hostileServer is the URL of a server that says hostile wherever it can.
func hostileServer(t *testing.T) string {
	t.Helper()
	text, err := json.Marshal(hostile)
	if err != nil {
		t.Fatal(err)
	}
	var s *httptest.Server
	s = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := `{"users":[{"user":T,"roles":[T]}],"roles":[T],"user":T,"etcdserver":T,"health":"false","reason":T,"state":"StateLeader",` +
			`"id":"a","name":T,"members":[{"id":"a","name":T,"peerURLs":[T],"clientURLs":[T,"` + s.URL + `"]}],` +
			`"action":"set","node":{"key":T,"value":T,"modifiedIndex":5,"createdIndex":5},"prevNode":{"key":T,"value":T}}`
		switch {
		case strings.HasPrefix(r.URL.Path, "/v2/keys/dir"):
			answer = `{"action":"get","node":{"key":"/dir","dir":true,"nodes":[{"key":T,"value":""}]}}`
		case strings.HasPrefix(r.URL.Path, "/v2/keys/refused"):
			w.WriteHeader(403)
			answer = `{"errorCode":105,"message":T,"cause":T,"index":5}`
		case strings.HasPrefix(r.URL.Path, "/v2/auth/roles"):
			answer = `{"roles":[{"role":T}],"role":T,"permissions":{"kv":{"read":[T],"write":[T]}}}`
		}
		fmt.Fprint(w, strings.ReplaceAll(answer, "T", string(text)))
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestNothingFromAServerControlsATerminal(t *testing.T) {
	url := hostileServer(t)
	for _, line := range []string{
		"get /k", "set /k v", "rm /k", "-o extended get /k", "-o json get /k", "ls", "ls /dir", "watch /k",
		"watch --recursive /k",
		"member list", "cluster-health", "doctor", "user list", "user get u", "role list", "role get r",
		"get /refused", "set /refused v", "watch /refused", "ls /refused",
	} {
		for _, onTerminal := range []bool{true, false} {
			var out strings.Builder
			s := &session{ctx: t.Context(), stdout: &out, stderr: &out, stdin: bufio.NewReader(strings.NewReader("")),
				terminal: func(any) bool { return onTerminal }}
			s.main(append([]string{"--endpoints", url}, strings.Fields(line)...))

			if !strings.Contains(out.String(), "evil") {
				t.Errorf("%s does not show it: %s", line, &out)
			}
			raw := strings.ContainsAny(out.String(), "\x1b\r\u009b\u202e") || strings.Contains(out.String(), "\nname")
			if encoded := strings.Contains(line, "json"); raw == onTerminal && !(encoded && !onTerminal) {
				t.Errorf("%s on a terminal: %v: %q", line, onTerminal, &out)
			}
		}
	}
}

func TestOnlyWhatIsHiddenIsEscaped(t *testing.T) {
	for text, want := range map[string]string{
		"plain ünïcödé 漢字 \\n \"q\"": "plain ünïcödé 漢字 \\n \"q\"",
		"\x00\t\x7f\u2028":           `\u0000\u0009\u007f\u2028`,
		"a\x9b\uFFFD\xff":            `a\x9b\ufffd\xff`,
	} {
		if got := visible(text); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}
