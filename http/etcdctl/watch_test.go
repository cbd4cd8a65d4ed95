package etcdctl

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"etcd2/http/client"
)

// history returns the URL of a server that sends an event of /k for each value, and then refuses.
// It sends the index of each request to asked.
func history(t *testing.T, asked chan<- uint64, values ...string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		index := uint64(1)
		fmt.Sscan(r.FormValue("waitIndex"), &index)
		asked <- index
		if index > uint64(len(values)) {
			w.WriteHeader(403)
			fmt.Fprint(w, `{"errorCode":110,"message":"no more","cause":"","index":1}`)
			return
		}
		n := client.Node{Key: "/k", Value: values[index-1], ModifiedIndex: index}
		json.NewEncoder(w).Encode(client.Response{Action: "set", Node: &n})
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// While a command runs, the next events are read and queued.
func TestExecWatchRunsOneCommandAtATime(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if out, err := exec.Command("mkfifo", fifo).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	asked := make(chan uint64, 10)
	url := history(t, asked, "a", "b", "c")
	go func() {
		for index := range asked {
			if index == 4 { // all events are there
				os.WriteFile(fifo, []byte("go\n"), 0)
			}
		}
	}()
	defer close(asked)

	status, out, errs := ctl([]string{"PATH=" + os.Getenv("PATH")}, "--no-sync", "--endpoints", url,
		"exec-watch", "/k", "--",
		"sh", "-c", "v=$ETCD_WATCH_VALUE; echo begin $v; [ $v != a ] || read line <"+fifo+"; echo end $v; exit 3")

	want := "begin a\nend a\nbegin b\nend b\nbegin c\nend c\n"
	if status != statusRefused || out != want || !strings.Contains(errs, "no more") {
		t.Errorf("status %d: %q, %s", status, out, errs)
	}
}

// An environment can't hold a NUL, and on Linux no variable of 128 KiB.
func TestExecWatchHandsOverEveryValue(t *testing.T) {
	large := strings.Repeat("x", 140<<10)
	url := history(t, make(chan uint64, 10), "small", "a\x00b", large, "")

	status, out, errs := ctl([]string{"PATH=" + os.Getenv("PATH")}, "--no-sync", "--endpoints", url,
		"exec-watch", "/k", "--",
		"sh", "-c", `echo $ETCD_WATCH_MODIFIED_INDEX "[${ETCD_WATCH_VALUE-none}]" "[$ETCD_WATCH_OMITTED]" $(wc -c)`)

	want := "1 [small] [] 0\n2 [none] [ETCD_WATCH_VALUE] 3\n3 [none] [ETCD_WATCH_VALUE] 143360\n4 [] [] 0\n"
	if status != statusRefused || out != want {
		t.Errorf("status %d: %q", status, out)
	}
	for _, told := range []string{`"/k" at index 2: the environment can't hold ETCD_WATCH_VALUE`, `"/k" at index 3: `} {
		if !strings.Contains(errs, told) {
			t.Errorf("%q lacks %q", errs, told)
		}
	}
}

func TestExecWatchEndsWithACommandThatCannotBeStarted(t *testing.T) {
	url := history(t, make(chan uint64, 10), "a")

	status, _, errs := ctl(nil, "--no-sync", "--endpoints", url, "exec-watch", "/k", "--", "/no/such")

	if status != statusWrong || !strings.Contains(errs, "no such file") {
		t.Errorf("status %d: %s", status, errs)
	}
}
