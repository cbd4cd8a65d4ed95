package http

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"etcd2/store"
)

// goControls rewrites the two escapes that encoding/json writes and section 2 does not have.
var goControls = strings.NewReplacer(`\\`, `\\`, `\b`, `\u0008`, `\f`, `\u000c`)

func checkString(t *testing.T, s string) {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	want := goControls.Replace(string(b))
	if got := string(appendString(nil, s)); got != want {
		t.Fatalf("%q: got %s, want %s", s, got, want)
	}
	n := &store.Node{Path: "/k", Value: s}
	for reading := range 2 {
		e := encoder{}
		if e.value(n); string(e.b) != `,"value":`+want || n.Plain() != (want == `"`+s+`"`) {
			t.Fatalf("%q, reading %d: got %s, plain: %v", s, reading, e.b, n.Plain())
		}
	}
}

func TestStringsAreEscapedLikeEncodingJSON(t *testing.T) {
	for c := range 256 {
		for before := range 9 { // wherever in a step of eight bytes
			checkString(t, strings.Repeat("a", before)+string([]byte{byte(c)})+strings.Repeat("b", 16))
		}
	}
	for _, s := range []string{"", "<script>&", "\u2028\u2029", "\xff\xfe", "ä\xc3", "日本", "\U0001f600",
		"\ufffd", `\b\\f`} {
		checkString(t, s)
	}
	random := rand.New(rand.NewPCG(1, 2))
	alphabet := []string{"a", "é", "\u2028", "\xe2", "\x80", "\xa8", "\\", `"`, "\b", "\f", "\n", "<",
		"\xf0\x9f", "\x00", "z"}
	for range 50_000 {
		var s strings.Builder
		for range random.IntN(12) {
			s.WriteString(alphabet[random.IntN(len(alphabet))])
		}
		checkString(t, s.String())
	}
}

func FuzzString(f *testing.F) {
	f.Add("a<b>\xff\u2028")
	f.Fuzz(func(t *testing.T, s string) { checkString(t, s) })
}

// nodeJSON and eventJSON are section 5 for encoding/json.
type nodeJSON struct {
	Key        string     `json:"key,omitempty"`
	Value      *string    `json:"value,omitempty"`
	Dir        bool       `json:"dir,omitempty"`
	Expiration *time.Time `json:"expiration,omitempty"`
	TTL        int64      `json:"ttl,omitempty"`
	Modified   uint64     `json:"modifiedIndex,omitempty"`
	Created    uint64     `json:"createdIndex,omitempty"`
}

type eventJSON struct {
	Action store.Action `json:"action"`
	Node   *nodeJSON    `json:"node"`
	Prev   *nodeJSON    `json:"prevNode,omitempty"`
}

func TestEventsAreEncodedLikeEncodingJSON(t *testing.T) {
	node := newFakeNode(store.Limits{})
	now := node.now.UnixNano()
	show := func(n *store.Node, value bool) *nodeJSON {
		if n == nil {
			return nil
		}
		j := &nodeJSON{Key: n.Path, Dir: n.Dir, Modified: n.Modified, Created: n.Created}
		if value && !n.Dir {
			j.Value = &n.Value
		}
		if value && n.Ends != nil {
			end := time.Unix(0, n.Ends.Shown).UTC()
			j.Expiration = &end
			j.TTL = max(0, (n.Ends.Due-now+int64(time.Second)-1)/int64(time.Second))
		}
		return j
	}
	random := rand.New(rand.NewPCG(3, 4))
	randomNode := func() *store.Node {
		n := &store.Node{Path: "/k<" + string(rune(random.IntN(0x3000))), Dir: random.IntN(3) == 0, Created: 1 +
			random.Uint64N(9), Modified: 1 + random.Uint64()>>1}
		if !n.Dir {
			n.Value = strings.Repeat("v\"", random.IntN(3))
		}
		if random.IntN(2) == 0 {
			n.Ends = &store.Ends{Due: now + random.Int64N(int64(3*time.Second)), Shown: random.Int64()}
		}
		return n
	}
	for range 2000 {
		actions := []store.Action{store.ActionSet, store.ActionCreate, store.ActionUpdate, store.ActionDelete,
			store.ActionExpire}
		ev := &store.Event{Action: actions[random.IntN(len(actions))], Stamp: now, Node: randomNode()}
		if random.IntN(2) == 0 {
			ev.Prev = randomNode()
		}
		gone := ev.Action == store.ActionDelete || ev.Action == store.ActionExpire
		want, err := json.Marshal(eventJSON{ev.Action, show(ev.Node, !gone), show(ev.Prev, true)})
		if err != nil {
			t.Fatal(err)
		}
		e := encoder{}
		if e.event(ev); string(e.b) != goControls.Replace(string(want))+"\n" {
			t.Fatalf("got  %s\nwant %s", e.b, want)
		}
	}
}

func TestTTLIsRoundedUpAndNeverNegative(t *testing.T) {
	node := newFakeNode(store.Limits{})
	for _, c := range []struct {
		left time.Duration
		want string
	}{
		{3 * time.Second, `,"ttl":3}`},
		{3*time.Second - 1, `,"ttl":3}`},
		{2*time.Second + 1, `,"ttl":3}`},
		{1, `,"ttl":1}`},
		{0, `Z"}`},
		{-time.Hour, `Z"}`},
	} {
		e := encoder{b: []byte("{"), now: node.now.UnixNano()}
		e.expiry(&store.Ends{Due: node.now.Add(c.left).UnixNano()})
		if got := string(e.b) + "}"; !strings.HasSuffix(got, c.want) {
			t.Errorf("%v left: %s, want %s", c.left, got, c.want)
		}
	}
}

// The expiration of a key is computed from the wall clock in the log at the moment when the key got
// its time to live. Every member shows the same at every reading, whatever its own clock shows.
// pitfall L9
func TestAKeyShowsTheSameEndAtEveryMemberAndReading(t *testing.T) {
	const end = `"expiration":"2030-01-02T04:05:05Z",`
	one, other := newBench(t), newBench(t)
	for i, b := range []*bench{one, other} {
		clock := store.Command{Op: store.OpClock, TTL: time.Hour}
		b.node.Propose(t.Context(), clock.Append(nil))
		written := b.do("PUT", "/v2/keys/k", "ttl=60").Body.String()
		clock.TTL = time.Duration(i) * time.Minute
		b.node.Propose(t.Context(), clock.Append(nil))
		b.node.tick(time.Duration(i+1) * time.Second)

		first, again := b.do("GET", "/v2/keys/k", "").Body.String(), b.do("GET", "/v2/keys/?recursive=true",
			"").Body.String()
		told := b.do("GET", "/v2/keys/k?wait=true&waitIndex=1", "").Body.String()

		for _, body := range []string{written, first, again, told} {
			if !strings.Contains(body, end) {
				t.Errorf("member %d: %s", i, body)
			}
		}
	}
}

func TestAListingShowsWhatWasAskedFor(t *testing.T) {
	b := newBench(t)
	for _, key := range []string{"d/a", "d/b/x/y", "d/_h", "d/c", "d/ca"} {
		b.do("PUT", "/v2/keys/"+key, "value=1")
	}
	const (
		a  = `{"key":"/d/a","value":"1","modifiedIndex":1,"createdIndex":1}`
		bb = `{"key":"/d/b","dir":true,"modifiedIndex":2,"createdIndex":2}`
		b2 = `{"key":"/d/b","dir":true,"nodes":[{"key":"/d/b/x","dir":true,"modifiedIndex":2,"createdIndex":2}],"modifiedIndex":2,"createdIndex":2}`
		h  = `{"key":"/d/_h","value":"1","modifiedIndex":3,"createdIndex":3}`
		c  = `{"key":"/d/c","value":"1","modifiedIndex":4,"createdIndex":4}`
		ca = `{"key":"/d/ca","value":"1","modifiedIndex":5,"createdIndex":5}`
		ck = `{"key":"/d/c","modifiedIndex":4,"createdIndex":4}`
	)
	for query, want := range map[string]string{
		"limit=4":                          `,"nodes":[` + a + "," + bb + "," + c + "," + ca + `]`,
		"limit=3":                          `,"more":1,"nodes":[` + a + "," + bb + "," + c + `]`,
		"limit=1&sorted=true&quorum=true":  `,"more":3,"nodes":[` + a + `]`,
		"limit=1&after=a":                  `,"more":2,"nodes":[` + bb + `]`,
		"limit=2&after=bb":                 `,"nodes":[` + c + "," + ca + `]`,
		"limit=18446744073709551615":       `,"nodes":[` + a + "," + bb + "," + c + "," + ca + `]`,
		"after=":                           `,"nodes":[` + a + "," + bb + "," + c + "," + ca + `]`,
		"after=ca":                         ``,
		"prefix=c":                         `,"nodes":[` + c + "," + ca + `]`,
		"prefix=c&limit=1":                 `,"more":1,"nodes":[` + c + `]`,
		"prefix=c&after=c":                 `,"nodes":[` + ca + `]`,
		"prefix=_":                         `,"nodes":[` + h + `]`,
		"prefix=x":                         ``,
		"keysOnly=true&limit=1&after=b":    `,"more":1,"nodes":[` + ck + `]`,
		"keysOnly=false&limit=1&after=b":   `,"more":1,"nodes":[` + c + `]`,
		"recursive=true&depth=1&prefix=b":  `,"nodes":[` + bb + `]`,
		"recursive=true&depth=2&prefix=b":  `,"nodes":[` + b2 + `]`,
		"recursive=true&depth=2&limit=2":   `,"more":2,"nodes":[` + a + "," + b2 + `]`,
		"count=true":                       `,"count":4`,
		"count=true&prefix=c&quorum=true":  `,"count":2`,
		"count=true&after=a":               `,"count":3`,
		"count=true&prefix=_":              `,"count":1`,
		"count=true&prefix=x":              `,"count":0`,
		"count=false&recursive=0&prefix=x": ``,
	} {
		w := b.do("GET", "/v2/keys/d?"+query, "")

		b.want(w, 200, `{"action":"get","node":{"key":"/d","dir":true`+want+`,"modifiedIndex":1,"createdIndex":1}}`+"\n")
		if index := w.Header().Get("X-Etcd-Index"); index != "5" {
			t.Errorf("%s: as of %s", query, index)
		}
	}
	b.want(b.do("GET", "/v2/keys/?count=true", ""), 200, `{"action":"get","node":{"dir":true,"count":1}}`+"\n")
	b.want(b.do("GET", "/v2/keys/d/c?keysOnly=true&limit=1&prefix=x", ""), 200, `{"action":"get","node":`+ck+"}\n")
	b.want(b.do("GET", "/v2/keys/d/c?count=true", ""), 400,
		`{"errorCode":104,"message":"Not a directory","cause":"/d/c","index":5}`+"\n")
}

// Pages, each behind the last name of the page before, are together the whole listing, and each
// says how many children are left.
func TestAListingInPagesIsTheListing(t *testing.T) {
	b := newBench(t)
	const hundred = 100
	for i := range hundred {
		for _, name := range []string{"n%d", "_%d", "n%d&limit=#", "ä %d%%2f", "Z+%d"} {
			b.do("PUT", "/v2/keys/d/"+url.PathEscape(fmt.Sprintf(name, i)), "value=1")
		}
	}
	page := func(query url.Values) (names []string, more int) {
		var answer struct {
			Node struct {
				More  int
				Nodes []struct{ Key string }
			}
		}
		w := b.do("GET", "/v2/keys/d?"+query.Encode(), "")
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
			t.Fatal(err)
		}
		for _, n := range answer.Node.Nodes {
			names = append(names, n.Key[len("/d/"):])
		}
		return names, answer.Node.More
	}
	for prefix, size := range map[string]int{"": 4 * hundred, "n1": 22, "_": hundred, "ä ": hundred, "none": 0} {
		whole, _ := page(url.Values{"prefix": {prefix}})
		if len(whole) != size {
			t.Fatalf("prefix %q: %d names, want %d", prefix, len(whole), size)
		}
		for _, limit := range []int{1, 7, 1000} {
			names, more := []string{""}, 1
			for more > 0 {
				var next []string
				next, more = page(url.Values{"prefix": {prefix}, "after": names[len(names)-1:],
					"limit": {fmt.Sprint(limit)}})
				names = append(names, next...)
				if len(next) > limit || more != size-len(names)+1 {
					t.Fatalf("prefix %q, limit %d: %d names, %d more", prefix, limit, len(next), more)
				}
			}
			if !slices.Equal(names[1:], whole) {
				t.Errorf("prefix %q, limit %d: %q, want %q", prefix, limit, names[1:], whole)
			}
		}
	}
}
