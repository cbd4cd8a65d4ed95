package http

import (
	"io"
	nethttp "net/http"
	"strings"
	"testing"
)

func TestAMemberThatStartsTellsItsClientsSo(t *testing.T) {
	b := newBench(t)
	ln := listen(t)
	url := "http://" + ln.Addr().String() + "/version"
	get := func() (int, string) {
		t.Helper()
		r, err := nethttp.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r.StatusCode, string(body)
	}
	started := Starting(ln, nil)

	for range 3 {
		if status, body := get(); status != 503 ||
			body != `{"errorCode":300,"message":"Raft Internal Error","cause":"this member is starting","index":0}`+"\n" {
			t.Errorf("while it starts: %d %s", status, body)
		}
	}
	started()
	go b.Serve(ln)
	if status, body := get(); status != 200 || !strings.Contains(body, "etcdserver") {
		t.Errorf("then: %d %s", status, body)
	}
}

func TestAListenerThatIsClosedWhileItsMemberStartsKeepsNobody(t *testing.T) {
	ln := listen(t)
	started := Starting(ln, nil)
	ln.Close()
	started()
}
