package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// historyFlags make the event history as long as that of etcd 2.3.8, which the
// recordings of a cleared history were made with.
var historyFlags = map[string][]string{"history": {"--event-history=1000"}}

// TestAnswersAreThoseOfEtcd plays every recorded conversation but those of
// departures.txt. Indices are checked, so each file has a server of its own and
// its scenarios run one after another.
func TestAnswersAreThoseOfEtcd(t *testing.T) {
	t.Parallel()
	away := readDepartures(t, "testdata/transcripts/departures.txt")
	paths, err := filepath.Glob("testdata/transcripts/*.jsonl")
	if err != nil || len(paths) < 15 {
		t.Fatal("where are the transcripts?", len(paths), err)
	}
	for _, path := range paths {
		tr := readTranscript(t, path, away)
		for part := range tr.parts() {
			t.Run(tr.Group, func(t *testing.T) {
				t.Parallel()
				members := tr.start(t)
				for _, sc := range part {
					t.Run(sc.Name, func(t *testing.T) { replay(t, sc, members) })
				}
			})
		}
	}
}

// parts returns groups of scenarios; those of a group are played one after another. Scenarios that
// wait for keys to expire are played at the same time, on servers of their own.
func (tr transcript) parts() iter.Seq[[]scenario] {
	size := max(1, len(tr.Scenarios))
	if tr.Group == "ttl" {
		size = (size + 3) / 4
	}
	return slices.Chunk(tr.Scenarios, size)
}

// start starts the servers on which a transcript is played.
func (tr transcript) start(t *testing.T) []*member {
	t.Helper()
	flags := append(tr.Flags, historyFlags[tr.Group]...)
	if tr.Members == 1 {
		return []*member{startMember(t, flags...)}
	}
	c := startCluster(t, tr.Members, flags...)
	for _, m := range c.members {
		m.knowsTheVersion()
	}
	return c.members
}

// knowsTheVersion waits until the member has seen the cluster agree on a version. That is the last
// entry that members which start together put into the log, after each has told the others about
// itself. Every such entry raises the index from which scenarios count.
func (m *member) knowsTheVersion() {
	m.t.Helper()
	eventually(m.t, "a version of the cluster at "+m.name, patience, func() bool {
		a, err := m.attempt("GET", "/version", nil)
		return err == nil && a.status == 200 && !strings.Contains(a.body, "not_decided")
	})
}

// A player plays one scenario.
type player struct {
	t       *testing.T
	members []*member
	address string // host:port of the member that is asked
	env     *environment
	watches map[string]*exchange
	begun   time.Time     // when the scenario began
	slept   time.Duration // sleeps that the scenario asked for
}

func newPlayer(t *testing.T, members ...*member) *player {
	p := &player{t: t, members: members, env: newEnvironment(), watches: map[string]*exchange{}, begun: time.Now()}
	p.turnTo(nil)
	return p
}

// turnTo chooses the member that is asked from now on: by its number, the leader, or a follower;
// nil is the first. It waits until that member has everything that others have answered.
func (p *player) turnTo(at any) {
	m := p.members[0]
	switch at := at.(type) {
	case float64:
		m = p.members[int(at)]
	case string:
		eventually(p.t, "a leader that all know", patience, func() bool { m = agreed(p.members); return m != nil })
		if at == "follower" {
			m = without(p.members, m)[0]
		}
	}
	p.address = strings.TrimPrefix(m.url, "http://")
	// A member learns only with the next heartbeat that an entry answered by another is committed.
	if len(p.members) > 1 {
		p.answer(&request{Method: "GET", Path: "/v2/keys/?quorum=true"})
	}
}

// replay plays a scenario. It plays the scenario once more when the answers differ from the
// recording and the cause may be another one: an election, which takes an index, or a busy machine,
// on which keys expire before the request that should find them, or later than the scenario waits.
func replay(t *testing.T, sc scenario, members []*member) {
	t.Helper()
	for tries := 1; ; tries++ {
		bad, disturbed := newPlayer(t, members...).play(sc)
		if len(bad) > 0 && disturbed != "" && tries < 10 {
			t.Logf("%s; what was wrong: %v", disturbed, bad)
			continue
		}
		for _, text := range bad {
			t.Error(text)
		}
		return
	}
}

// play plays a scenario. It returns the differences, and what else might explain them, or "".
func (p *player) play(sc scenario) (wrong []string, disturbed string) {
	defer p.tidy(sc.Teardown)
	p.unchecked(sc.Setup)
	p.turnTo(nil)
	begin := p.answer(&request{Method: "GET", Path: "/v2/keys/?quorum=true"})
	p.env.base = begin.index(p.t)
	for i, st := range sc.Steps {
		for _, bad := range p.do(st) {
			wrong = append(wrong, fmt.Sprintf("step %d: %s", i+1, bad))
		}
	}
	p.turnTo(nil)
	end := p.answer(&request{Method: "GET", Path: "/v2/keys/?quorum=true"})
	switch {
	case end.header.Get("X-Raft-Term") != begin.header.Get("X-Raft-Term"):
		disturbed = "there was an election"
	case p.late():
		disturbed = "the machine is busy"
	}
	return wrong, disturbed
}

// tidy removes the keys that the scenario made, so that none of them expires during the next one.
func (p *player) tidy(teardown []step) {
	for _, w := range p.watches {
		w.conn.Close()
	}
	p.unchecked(teardown)
	p.turnTo(nil)
	p.answer(&request{Method: "DELETE", Path: "/v2/keys{P}?recursive=true"})
}

func (p *player) unchecked(steps []step) {
	for _, st := range steps {
		p.turnTo(st.At)
		a := p.answer(st.Req)
		for name, path := range st.Capture {
			p.env.capture(name, path, a)
		}
	}
}

// do makes one step and returns the differences.
func (p *player) do(st step) []string {
	p.turnTo(st.At)
	switch {
	case st.Sleep > 0:
		p.slept += seconds(st.Sleep)
		<-time.After(seconds(st.Sleep))
		return nil
	case st.Close != "":
		p.watches[st.Close].conn.Close()
		return nil
	case st.Quiet != "":
		return p.quiet(p.watches[st.Quiet], seconds(st.Secs))
	case st.Collect != "":
		return p.collect(p.watches[st.Collect], st)
	case st.Watch != "":
		return p.watch(st)
	case st.Times > 0:
		return p.repeat(st)
	}
	return p.exchange(st)
}

// matcher returns the matcher for an answer that has just come.
func (p *player) matcher() matcher { return matcher{env: p.env, when: time.Now(), late: p.late()} }

// late reports whether the scenario has taken so much longer than its sleeps that a ttl may be one
// second less than recorded. The recording slept until a fifth of a second before a ttl falls.
func (p *player) late() bool { return time.Since(p.begun)-p.slept > time.Second/10 }

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// exchange sends a request and checks the answer; a step with Poll repeats that until the answer
// fits.
func (p *player) exchange(st step) []string {
	e, wantsJSON := p.expectation(st.Exp)
	deadline := time.Now().Add(seconds(st.Poll))
	for {
		a := p.answer(st.Req)
		m := p.matcher()
		m.matchHead(e, a)
		m.matchBody(e, a, wantsJSON)
		if len(m.bad) == 0 || time.Now().After(deadline) {
			for name, path := range st.Capture {
				p.env.capture(name, path, a)
			}
			return m.bad
		}
		<-time.After(20 * time.Millisecond)
	}
}

func (p *player) repeat(st step) []string {
	for p.env.n = 1; p.env.n <= st.Times; p.env.n++ {
		if a := p.answer(st.Req); a.status > 201 {
			return []string{fmt.Sprintf("repeat %d: %d %s", p.env.n, a.status, a.body)}
		}
	}
	return nil
}

// watch sends a request and waits only for the head of its response.
func (p *player) watch(st step) []string {
	w := p.send(st.Req)
	p.watches[st.Watch] = w
	if !w.await(patience, func() bool { return w.status != 0 }) {
		return []string{"no response head"}
	}
	e, _ := p.expectation(st.Exp)
	m := p.matcher()
	m.matchHead(e, w.answer())
	return m.bad
}

// collect waits for the next events of a watch.
func (p *player) collect(w *exchange, st step) []string {
	var want []any
	if err := json.Unmarshal(st.Exp, &want); err != nil {
		p.t.Fatal(err)
	}
	end := w.taken + st.Events
	w.await(patience, func() bool { return len(decodeAll(w.body)) >= end })
	documents := w.documents()
	m := p.matcher()
	m.match("events", want, documents[min(w.taken, len(documents)):min(end, len(documents))])
	w.taken = end
	if st.End != nil {
		m.matchEnd(w, *st.End)
	}
	return m.bad
}

func (m *matcher) matchEnd(w *exchange, ends bool) {
	if ended := ends && w.await(patience, func() bool { return w.ended }); ended != ends {
		m.say("end", "the response has not ended")
	}
	if w.await(0, func() bool { return w.ended }) && !ends {
		m.say("end", "the response ended early")
	}
	if ends && !strings.HasSuffix(w.answer().body, "\n") {
		m.say("end", "no newline")
	}
}

// quiet checks that nothing arrives for a while.
func (p *player) quiet(w *exchange, d time.Duration) []string {
	before := len(w.answer().body)
	if w.await(d, func() bool { return len(w.body) > before || w.ended }) {
		return []string{"expected silence, got " + show(w.answer().body[before:])}
	}
	return nil
}

func (p *player) expectation(raw json.RawMessage) (e expectation, wantsJSON bool) {
	if raw == nil {
		return e, false
	}
	var fields map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal(raw, &e), json.Unmarshal(raw, &fields)); err != nil {
		p.t.Fatal(err)
	}
	return e, fields["json"] != nil
}

// answer sends a request and waits for the whole answer.
func (p *player) answer(r *request) answer {
	p.t.Helper()
	x := p.send(r)
	defer x.conn.Close()
	if !x.await(patience, func() bool { return x.ended }) || x.status == 0 {
		p.t.Fatalf("%s %s: no whole answer: %v", r.Method, p.env.fill(r.Path), x.answer())
	}
	return x.answer()
}

// send opens a connection and sends a request exactly as the transcript has it:
// net/http would rewrite its path.
func (p *player) send(r *request) *exchange {
	p.t.Helper()
	conn, err := net.Dial("tcp", p.address)
	if err != nil {
		p.t.Fatal(err)
	}
	x := &exchange{conn: conn, news: make(chan struct{}, 1)}
	go x.read(r.Method)
	// a refused body may break the connection; the answer is what counts
	conn.Write(p.wire(r))
	return x
}

// wire returns the bytes of the request.
func (p *player) wire(r *request) []byte {
	body, hasBody := p.body(r.Body)
	headers := map[string]string{"Host": p.address}
	if hasBody {
		headers["Content-Type"] = "application/x-www-form-urlencoded"
	}
	if hasBody || r.Method == "PUT" || r.Method == "POST" {
		headers["Content-Length"] = fmt.Sprint(len(body))
	}
	for name, value := range r.Headers {
		if delete(headers, http.CanonicalHeaderKey(name)); value != nil {
			headers[name] = p.env.fill(*value)
		}
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", r.Method, p.env.fill(r.Path))
	for name, value := range headers {
		fmt.Fprintf(&b, "%s: %s\r\n", name, value)
	}
	b.WriteString("\r\n" + body)
	return b.Bytes()
}

func (p *player) body(v any) (body string, present bool) {
	switch v := v.(type) {
	case string:
		return p.env.fill(v), true
	case map[string]any:
		text := func(key string) string { s, _ := v[key].(string); return p.env.fill(s) }
		return text("before") + strings.Repeat(text("repeat"), int(v["n"].(float64))) + text("after"), true
	}
	return "", false
}

// An exchange is one request on a connection of its own, whose answer arrives part by part.
type exchange struct {
	conn  net.Conn
	taken int           // events collected so far; belongs to the player
	news  chan struct{} // gets a value when something below has changed

	mu     sync.Mutex // protects what follows
	status int
	header http.Header
	body   []byte
	ended  bool
}

// read reads the answer, until the response or the connection ends.
func (x *exchange) read(method string) {
	defer x.change(func() { x.ended = true })
	resp, err := http.ReadResponse(bufio.NewReader(x.conn), &http.Request{Method: method})
	if err != nil {
		return
	}
	defer resp.Body.Close()
	x.change(func() { x.status, x.header = resp.StatusCode, resp.Header })
	buffer := make([]byte, 64<<10)
	for err == nil {
		var n int
		n, err = resp.Body.Read(buffer)
		x.change(func() { x.body = append(x.body, buffer[:n]...) })
	}
	if err != io.EOF {
		x.change(func() { x.body = append(x.body, "\n(broken off: "+err.Error()+")"...) })
	}
}

func (x *exchange) change(f func()) {
	x.mu.Lock()
	f()
	x.mu.Unlock()
	select {
	case x.news <- struct{}{}:
	default:
	}
}

// await waits until done returns true, or until the response has ended. It calls done under the
// lock.
func (x *exchange) await(d time.Duration, done func() bool) bool {
	deadline := time.After(d)
	for {
		x.mu.Lock()
		ok, ended := done(), x.ended
		x.mu.Unlock()
		if ok || ended {
			return ok
		}
		select {
		case <-x.news:
		case <-deadline:
			return false
		}
	}
}

func (x *exchange) answer() answer {
	x.mu.Lock()
	defer x.mu.Unlock()
	return answer{x.status, x.header, string(x.body)}
}

// documents returns the complete JSON documents in the body so far.
func (x *exchange) documents() []any {
	x.mu.Lock()
	defer x.mu.Unlock()
	return decodeAll(x.body)
}

func decodeAll(b []byte) []any {
	list := []any{}
	for decoder := json.NewDecoder(bytes.NewReader(b)); ; {
		var v any
		if decoder.Decode(&v) != nil {
			return list
		}
		list = append(list, v)
	}
}
