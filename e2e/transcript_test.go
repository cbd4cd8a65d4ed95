package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The recorded conversations of testdata/transcripts, in the format that FORMAT.md there describes.
// This file reads them, fills in their placeholders, and matches answers. The player is in
// replay_test.go.

// A transcript is one file.
type transcript struct {
	Group     string
	Members   int
	Flags     []string
	Scenarios []scenario
}

// A scenario is one line of a file: it works below a key prefix of its own.
type scenario struct {
	Name     string `json:"scenario"`
	Setup    []step
	Steps    []step
	Teardown []step
}

// A step is one action of a scenario; the fields that are set say which.
type step struct {
	At      any // number of the member to be asked, "leader" or "follower"; nil is the first
	Req     *request
	Exp     json.RawMessage // an expectation, or a list of events for Collect
	Watch   string
	Collect string
	Events  int
	End     *bool
	Newline *bool
	Quiet   string
	Close   string
	Secs    float64
	Sleep   float64
	Times   int
	Poll    float64
	Capture map[string]string
}

type request struct {
	Method  string
	Path    string // as sent, never rewritten
	Headers map[string]*string
	Body    any // nil, text, or {before, repeat, n, after}
}

type expectation struct {
	Status  int
	Headers map[string]any
	Absent  []string
	JSON    any // see wantsJSON
	Newline *bool
	Text    any
	Empty   bool
}

// readTranscript reads a file, and leaves out the scenarios named in away.
func readTranscript(t *testing.T, path string, away map[string]bool) transcript {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var tr transcript
	decoder := json.NewDecoder(bufio.NewReader(f))
	if err := decoder.Decode(&tr); err != nil {
		t.Fatal(err)
	}
	for decoder.More() {
		var sc scenario
		if err := decoder.Decode(&sc); err != nil {
			t.Fatal(err)
		}
		if !away[tr.Group+"/"+sc.Name] {
			tr.Scenarios = append(tr.Scenarios, sc)
		}
	}
	return tr
}

// readDepartures reads the names of the scenarios from which this server departs on purpose.
func readDepartures(t *testing.T, path string) map[string]bool {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	away := map[string]bool{}
	for line := range strings.Lines(string(b)) {
		if name, _, found := strings.Cut(line, ":"); found && !strings.HasPrefix(line, "#") {
			away[name] = true
		}
	}
	return away
}

// An environment holds the values of the placeholders in one scenario.
type environment struct {
	prefix string
	base   uint64 // X-Etcd-Index before the first step
	n      int    // counter of Times
	vars   map[string]any
}

func newEnvironment() *environment {
	return &environment{
		prefix: fmt.Sprintf("/t%09d", rand.IntN(1e9)),
		vars:   map[string]any{"R": float64(10_000 + rand.IntN(20_000))},
	}
}

var (
	placeholder = regexp.MustCompile(`\{([^{}]*)\}`)
	indexName   = regexp.MustCompile(`^I([+-]\d+)?(?::0(\d+))?$`)
	varName     = regexp.MustCompile(`^(\w+)([+-]\d+)?$`)
)

// fill replaces the placeholders of a text.
func (e *environment) fill(s string) string {
	return placeholder.ReplaceAllStringFunc(s, func(whole string) string {
		name := whole[1 : len(whole)-1]
		switch {
		case name == "P":
			return e.prefix
		case name == "N":
			return strconv.Itoa(e.n)
		}
		if m := indexName.FindStringSubmatch(name); m != nil {
			width, _ := strconv.Atoi(m[2]) // "" is 0: no padding
			return fmt.Sprintf("%0*d", width, plus(e.base, m[1]))
		}
		if m := varName.FindStringSubmatch(name); m != nil {
			if v, known := e.vars[m[1]]; known {
				return e.variable(v, m[2])
			}
		}
		return whole
	})
}

func (e *environment) variable(v any, offset string) string {
	if n, isNumber := v.(float64); isNumber {
		return strconv.FormatUint(plus(uint64(n), offset), 10)
	}
	return fmt.Sprint(v)
}

func plus(n uint64, offset string) uint64 {
	d, _ := strconv.ParseInt(offset, 10, 64) // "" is 0
	return n + uint64(d)
}

// capture stores a value from an answer under a name: "header NAME", or a path in its JSON.
func (e *environment) capture(name, path string, a answer) {
	if header, found := strings.CutPrefix(path, "header "); found {
		e.vars[name] = number(a.header.Get(header))
		return
	}
	var v any
	json.Unmarshal([]byte(a.body), &v) // a path that is not found gives nil, which matches nothing
	for key := range strings.SplitSeq(path, ".") {
		switch parent := v.(type) {
		case map[string]any:
			v = parent[key]
		case []any:
			i, _ := strconv.Atoi(key)
			v = parent[i]
		}
	}
	e.vars[name] = v
}

// number returns a text as JSON would read it: a float64 when it is a number.
func number(s string) any {
	if n, err := strconv.ParseUint(s, 10, 64); err == nil {
		return float64(n)
	}
	return s
}

// slack is the tolerance for expiration times.
const slack = 2500 * time.Millisecond

// matcher compares one answer with what was expected, and collects the differences.
type matcher struct {
	env  *environment
	when time.Time // of the answer
	late bool      // a ttl may be one second less
	bad  []string
}

func (m *matcher) say(path, format string, args ...any) {
	m.bad = append(m.bad, path+": "+fmt.Sprintf(format, args...))
}

// match compares two values; maps with a single key that begins with $ are matchers.
func (m *matcher) match(path string, want, got any) {
	switch want := want.(type) {
	case map[string]any:
		if op, arg, found := operator(want); found {
			m.operate(path, op, arg, got)
			return
		}
		m.matchObject(path, want, got, false)
	case []any:
		m.matchArray(path, want, got)
	case string:
		if text := m.env.fill(want); got != text {
			m.say(path, "want %q, got %s", text, show(got))
		}
	default:
		if !reflect.DeepEqual(want, got) {
			m.say(path, "want %s, got %s", show(want), show(got))
		}
	}
}

func operator(want map[string]any) (op string, arg any, found bool) {
	for op, arg := range want {
		return op, arg, len(want) == 1 && strings.HasPrefix(op, "$")
	}
	return "", nil, false
}

func (m *matcher) matchObject(path string, want map[string]any, got any, more bool) {
	object, isObject := got.(map[string]any)
	if !isObject {
		m.say(path, "want an object, got %s", show(got))
		return
	}
	for key, w := range want {
		if g, found := object[key]; found {
			if want, isNumber := w.(float64); isNumber && key == "ttl" && m.late && g == want-1 {
				continue
			}
			m.match(path+"."+key, w, g)
		} else {
			m.say(path+"."+key, "missing, want %s", show(w))
		}
	}
	for key, g := range object {
		if _, wanted := want[key]; !wanted && !more {
			m.say(path+"."+key, "unexpected: %s", show(g))
		}
	}
}

func (m *matcher) matchArray(path string, want []any, got any) {
	array, isArray := got.([]any)
	if !isArray || len(array) != len(want) {
		m.say(path, "want %d elements, got %s", len(want), show(got))
		return
	}
	for i := range want {
		m.match(fmt.Sprintf("%s[%d]", path, i), want[i], array[i])
	}
}

// operate applies one $ matcher, each of which is a case.
func (m *matcher) operate(path, op string, arg, got any) {
	switch op {
	case "$has":
		m.matchObject(path, arg.(map[string]any), got, true)
		return
	case "$set":
		m.matchSet(path, arg.([]any), got)
		return
	}
	n, isNumber := got.(float64)
	s, isString := got.(string)
	fits := false
	switch op {
	case "$any":
		fits = true
	case "$rel":
		fits = isNumber && n == float64(m.env.base)+arg.(float64)
	case "$min":
		fits = isNumber && n >= arg.(float64)
	case "$time":
		fits = isString && m.isAbout(s, arg.(float64))
	case "$re":
		fits = isString && regexp.MustCompile(`(?s)^(?:`+m.env.fill(arg.(string))+`)$`).MatchString(s)
	case "$repeat":
		fits = isString && s == strings.Repeat(arg.([]any)[0].(string), int(arg.([]any)[1].(float64)))
	case "$type":
		fits = hasType(got, arg.(string))
	case "$var":
		fits = m.isVariable(arg.([]any), got)
	}
	if !fits {
		m.say(path, "want %s %s (base index %d), got %s", op, show(arg), m.env.base, show(got))
	}
}

func (m *matcher) isAbout(text string, seconds float64) bool {
	t, err := time.Parse("2006-01-02T15:04:05.999999999Z", text)
	want := m.when.Add(time.Duration(seconds * float64(time.Second)))
	return err == nil && t.Sub(want).Abs() <= slack
}

func (m *matcher) isVariable(arg []any, got any) bool {
	want, add := m.env.vars[arg[0].(string)], arg[1].(float64)
	if n, isNumber := want.(float64); isNumber {
		want = n + add
	}
	return reflect.DeepEqual(want, got)
}

func hasType(got any, name string) bool {
	switch got := got.(type) {
	case float64:
		return name == "number" || name == "int" && got == math.Trunc(got)
	case string:
		_, err := time.Parse(time.RFC3339Nano, got)
		return name == "string" || name == "time" && err == nil
	case []any:
		return name == "array"
	case map[string]any:
		return name == "object"
	case bool:
		return name == "bool"
	}
	return false
}

// matchSet compares arrays in any order.
func (m *matcher) matchSet(path string, want []any, got any) {
	array, isArray := got.([]any)
	if !isArray || len(array) != len(want) {
		m.say(path, "want %d elements, got %s", len(want), show(got))
		return
	}
	rest := append([]any{}, array...)
next:
	for _, w := range want {
		for i, g := range rest {
			try := matcher{env: m.env, when: m.when, late: m.late}
			if try.match(path, w, g); len(try.bad) == 0 {
				rest = append(rest[:i], rest[i+1:]...)
				continue next
			}
		}
		m.say(path, "no element matches %s", show(w))
	}
}

// matchHead compares status and headers.
func (m *matcher) matchHead(e expectation, a answer) {
	if e.Status != 0 && a.status != e.Status {
		m.say("status", "want %d, got %d: %s", e.Status, a.status, show(a.body))
	}
	for name, want := range e.Headers {
		values := a.header.Values(name)
		if len(values) == 0 {
			m.say("header "+name, "missing")
			continue
		}
		m.match("header "+name, want, headerValue(want, values[0]))
	}
	for _, name := range e.Absent {
		if values := a.header.Values(name); len(values) > 0 {
			m.say("header "+name, "should be absent, is %q", values)
		}
	}
}

// headerValue returns a header's value, as a number where a number is wanted.
func headerValue(want any, value string) any {
	if object, isMatcher := want.(map[string]any); isMatcher && object["$re"] == nil {
		return number(value)
	}
	return value
}

func (m *matcher) matchBody(e expectation, a answer, wantsJSON bool) {
	switch {
	case e.Empty:
		if a.body != "" {
			m.say("body", "want none, got %s", show(a.body))
		}
	case wantsJSON:
		var got any
		if err := json.Unmarshal([]byte(a.body), &got); err != nil {
			m.say("body", "want JSON, got %s", show(a.body))
			return
		}
		m.match("body", e.JSON, got)
		if e.Newline != nil && *e.Newline != strings.HasSuffix(a.body, "\n") {
			m.say("body", "ends in a newline: want %v", *e.Newline)
		}
	case e.Text != nil:
		m.match("body", e.Text, a.body)
	}
}

// show returns a value as JSON, shortened when it is long.
func show(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b[:min(len(b), 300)])
}
