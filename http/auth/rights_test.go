package auth

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"etcd2/store"
)

func TestPatternsCoverWhatSection18Says(t *testing.T) {
	for _, c := range []struct {
		pattern   string
		yes, no   string // paths, separated by blanks; "-" is the empty one
		recursive string // those of yes that may be asked for recursively
	}{
		{"/a", "/a", "/a/ /a/x /ab /A - /", ""},
		{"/a/", "/a/", "/a /a/x", ""},
		{"/a/*", "/a/ /a/x /a/x/y/", "/a /ab /b/a/x - /", "/a/ /a/x /a/x/y/"},
		{"/a*", "/a /a/ /ab /ab/x /a/x", "/b /A/x - /", "/a /a/ /ab /ab/x /a/x"},
		{"/*", "/ /a /a/b/", "-", "/ /a /a/b/"},
		{"*", "- / /a /a/b", "", "- / /a /a/b"},
		{"", "-", "/ /a", ""},
		{"/", "/", "- /a", ""},
		{"/*/x", "/*/x", "/a/x /*/x/y", ""},
		{"/a**", "/a* /a*b", "/a /ab", "/a* /a*b"},
		{"a*", "", "/a a/x", ""},
	} {
		for want, paths := range map[bool]string{true: c.yes, false: c.no} {
			for path := range strings.FieldsSeq(paths) {
				recursive := want && slices.Contains(strings.Fields(c.recursive), path)
				if path == "-" {
					path = ""
				}
				if c.pattern == "a*" && path == "a/x" {
					continue // no request has such a path
				}
				patterns := []string{"/other", c.pattern}
				if got := covers(patterns, Right{Path: path}); got != want {
					t.Errorf("%q covers %q: %v", c.pattern, path, got)
				}
				if got := covers(patterns, Right{Path: path, Recursive: true}); got != recursive {
					t.Errorf("%q covers %q recursively: %v", c.pattern, path, got)
				}
			}
		}
	}
}

// Each kind of caller has exactly the rights that are listed.
func TestWhoMayDoWhat(t *testing.T) {
	w := newWorld(t)
	w.role("reader", "/r/*", "")
	w.role("writer", "", "/w/* /one")
	w.role("gone", "/*", "/*")
	w.role("guest", "/public*", "/drop")
	w.user("r", "reader")
	w.user("rw", "reader", "writer")
	w.user("gone", "gone", "never")
	w.user("admin", "root")
	w.user("guest", "reader")
	w.user("none")
	for _, name := range []string{"", "none", "r"} {
		if err := w.judge(as(name), Right{Access: Admin}); err != nil {
			t.Errorf("%q while auth is off: %v", name, err)
		}
	}
	w.enabled()
	w.do(w.State().DeleteRole("gone"))
	for _, c := range []struct {
		name string
		may  string // rights, as +r for read, recursively
	}{
		{"", "r/public r/publicly +r/public/x w/drop"},
		{"none", ""},
		{"r", "r/r/a +r/r/a +r/r/"},
		{"rw", "r/r/a +r/r/a +r/r/ w/w/a +w/w/a w/one"},
		{"gone", ""},
		{"guest", "r/r/a +r/r/a +r/r/"},
		{"admin", "r r/ r/r/a r/public r/publicly r/drop +r +r/ +r/r/a +r/r/ +r/public/x w w/ w/w/a w/drop w/one " +
			"+w/w/a +w/one +w/drop admin"},
		{"root", "r r/ r/r/a r/public r/publicly r/drop +r +r/ +r/r/a +r/r/ +r/public/x w w/ w/w/a w/drop w/one " +
			"+w/w/a +w/one +w/drop admin"},
	} {
		may := strings.Fields(c.may)
		for _, right := range strings.Fields("r r/ r/r/a r/public r/publicly r/drop +r +r/ +r/r/a +r/r/ +r/public/x " +
			"w w/ w/w/a w/drop w/one +w/w/a +w/one +w/drop admin") {
			text, recursive := strings.CutPrefix(right, "+")
			need := Right{Access: Read, Path: text[1:], Recursive: recursive}
			if text[0] == 'w' {
				need.Access = Write
			}
			if right == "admin" {
				need = Right{Access: Admin}
			}
			err := w.judge(as(c.name), need)
			if want := slices.Contains(may, right); (err == nil) != want || err != nil && err != ErrDenied {
				t.Errorf("%q, %s: %v, want %v", c.name, right, err, want)
			}
		}
	}
}

// A header other than a user's name with the right password gives no right, not even guest's, and
// makes nothing panic.
func TestNoHeaderMakesAGuest(t *testing.T) {
	w := newWorld(t).enabled() // guest may do everything with keys
	w.user("u")
	need := Right{Access: Read, Path: "/k"}
	if err := w.judge(as(""), need); err != nil {
		t.Fatalf("guest: %v", err)
	}
	for _, h := range []string{
		header("root", "x"), header("root", ""), header("", ""), header("", "root-pw"), header("nobody",
			"root-pw"), header("Root", "root-pw"),
		header("root", "root-pw "), header("root", "ROOT-PW"), header("root:", "root-pw"), header("root\x00",
			"root-pw"), header("guest", ""),
		"Basic", "Basic ", "Basic ???", "Bearer x", " ", "Basic  cm9vdDpyb290LXB3", "Basic cm9vdDpyb290LXB3 ",
		"Basic cm9vdDpyb290LXB3=", "Basic cm9vdA==", "cm9vdDpyb290LXB3",
	} {
		c := by(h)
		c.Address = h // an address of its own, so that none is delayed
		if err := w.judge(c, need); err != ErrDenied {
			t.Errorf("%q: %v", h, err)
		}
	}
	for _, h := range [][]string{{header("root", "root-pw"), ""}, {"", header("root", "root-pw")},
		{header("root", "root-pw"), header("root", "root-pw")}} {
		if err := w.judge(Caller{Authorization: h}, need); err != ErrDenied {
			t.Errorf("%q: %v", h, err)
		}
	}
	for _, h := range []string{header("root", "root-pw"), "basic " + header("root", "root-pw")[6:], "BASIC " +
		header("root", "root-pw")[6:]} {
		if err := w.judge(by(h), need); err != nil {
			t.Errorf("%q: %v", h, err)
		}
	}
	if err := w.judge(Caller{Authorization: []string{""}}, need); err != nil {
		t.Errorf("an empty header: %v", err)
	}
}

// The name in a certificate is a user's, or the request is refused. A header has precedence.
func TestACertificateIsAUserOrNobody(t *testing.T) {
	w := newWorld(t)
	w.role("r", "/k", "")
	w.user("u", "r")
	w.enabled()
	read, write := Right{Access: Read, Path: "/k"}, Right{Access: Write, Path: "/k"}
	certified := func(name string, headers ...string) Caller {
		return Caller{Authorization: headers, Certified: true, CommonName: name}
	}
	for _, c := range []struct {
		caller      Caller
		read, write bool
	}{
		{certified("u"), true, false},
		{certified("u", ""), true, false},
		{certified("root"), true, true},
		{certified("U"), false, false},
		{certified(""), false, false},
		{certified("guest"), false, false},
		{certified("u", header("root", "root-pw")), true, true},
		{certified("root", header("u", "u-pw")), true, false},
		{certified("root", header("u", "wrong")), false, false},
		{certified("root", "nonsense"), false, false},
	} {
		if got := w.judge(c.caller, read) == nil; got != c.read {
			t.Errorf("%+v reads: %v", c.caller, got)
		}
		if got := w.judge(c.caller, write) == nil; got != c.write {
			t.Errorf("%+v writes: %v", c.caller, got)
		}
	}
}

// keysBelow are all keys of up to three elements, made of a few names, some of which are prefixes
// of others. "new" is in no pattern.
var keysBelow = func() (keys []string) {
	level := []string{""}
	for range 3 {
		var next []string
		for _, dir := range level {
			for _, name := range []string{"a", "ab", "_h", "new"} {
				next = append(next, dir+"/"+name)
			}
		}
		keys, level = append(keys, next...), next
	}
	return keys
}()

func randomPath(g *rand.Rand) string {
	p := ""
	for range g.IntN(4) {
		p += "/" + []string{"a", "ab", "_h"}[g.IntN(3)]
	}
	if g.IntN(3) == 0 {
		p += "/"
	}
	return p
}

// A caller who may read, watch or delete a subtree may do so with each key in it. The answer is
// compared with that of an oracle, which asks for every key one by one. pitfall K10, pitfall J7
func TestNoRightReachesFurtherThanItsKeys(t *testing.T) {
	g := rand.New(rand.NewPCG(1, 10))
	granted, refused := 0, 0
	for range 100_000 {
		var patterns []string
		for range 1 + g.IntN(3) {
			p := randomPath(g)
			switch g.IntN(4) {
			case 0:
				p += "*"
			case 1:
				p = p[:g.IntN(len(p)+1)] + "*"
			}
			patterns = append(patterns, p)
		}
		path := randomPath(g)
		key := store.Canonical(path)

		got := covers(patterns, Right{Path: path, Recursive: true})

		every := covers(patterns, Right{Path: path})
		for _, k := range keysBelow {
			if every && (key == "/" || strings.HasPrefix(k, key+"/")) {
				every = covers(patterns, Right{Path: k})
			}
		}
		if got && !every {
			t.Fatalf("%q may have all of %q, but not every key", patterns, path)
		}
		if single := len(patterns) == 1; single && every && !got && strings.Count(key, "/") < 3 {
			t.Fatalf("%q may have every key of %q, but not all", patterns, path)
		}
		if got {
			granted++
		} else {
			refused++
		}
	}
	if granted < 5_000 || refused < 5_000 {
		t.Errorf("%d granted, %d refused: that says little", granted, refused)
	}
}

// escapes are pieces of paths that might smuggle a key past a pattern.
var escapes = []string{"/", "//", ".", "..", "/./", "/../", "%2e", "%2F", "\x00", "*", "a", "A", "secret", "public",
	"é", "\xff", "\\", " "}

// Every path that a right to /public/* allows is a key below /public, however it is written.
func FuzzNoPathEscapes(f *testing.F) {
	for _, e := range escapes {
		f.Add("/public/" + e + "secret")
	}
	f.Fuzz(func(t *testing.T, path string) { noEscape(t, path) })
}

func noEscape(t *testing.T, path string) {
	key := store.Canonical(path)
	asked := key
	if strings.HasSuffix(path, "/") && key != "/" {
		asked += "/"
	}
	for _, recursive := range []bool{false, true} {
		if covers([]string{"/public/*"}, Right{Path: asked, Recursive: recursive}) && key != "/public" &&
			!strings.HasPrefix(key, "/public/") {
			t.Fatalf("%q becomes %q, judged as %q", path, key, asked)
		}
	}
}

// pitfall J7
func TestNoPathEscapes(t *testing.T) {
	g := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	for range 50_000 {
		path := "/public"
		for range 1 + g.IntN(6) {
			path += escapes[g.IntN(len(escapes))]
		}
		noEscape(t, path)
	}
}

func FuzzJudge(f *testing.F) {
	for _, h := range []string{header("root", "x"), "Basic", "Basic ?", "Bearer root-pw", header("", ":"),
		header("u", "u-pw"), header("u", "")} {
		f.Add(h, "/k", "/k*")
	}
	w := newWorld(f).enabled()
	w.guesses.now = func() time.Time { return time.Unix(0, 0) }
	f.Fuzz(func(t *testing.T, h, path, pattern string) { judgeAnything(t, w, h, path, pattern) })
}

// judgeAnything gives a user a right by any pattern, and asks for any path with any header: only
// the two passwords open anything.
func judgeAnything(t *testing.T, w *world, h, path, pattern string) {
	c := by(h)
	c.Address = h
	err := w.judge(c, Right{Access: Write, Path: path})
	user, password, _ := basic(h)
	right := user == "root" && password == "root-pw" || h == ""
	if (err == nil) != right {
		t.Fatalf("%q: %v", h, err)
	}
	r := rights{write: []string{pattern}}
	if r.may(Right{Access: Read, Path: path}) || r.may(Right{Access: Admin}) {
		t.Fatalf("the pattern %q gives more than writing", pattern)
	}
	if r.may(Right{Access: Write, Path: path, Recursive: true}) && !r.may(Right{Access: Write, Path: path + "/" + h}) {
		t.Fatalf("the pattern %q has holes below %q", pattern, path)
	}
}

func TestJudgeTakesAnything(t *testing.T) {
	w := newWorld(t).enabled()
	g := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 2))
	good := header("root", "root-pw")
	for i := range 5_000 {
		b := []byte(good)
		for range g.IntN(3) {
			b[g.IntN(len(b))] = byte(g.IntN(256))
		}
		p := escapes[g.IntN(len(escapes))]
		judgeAnything(t, w, string(b[:g.IntN(len(b)+1)]), "/"+p, fmt.Sprint("/", escapes[i%len(escapes)], "*"))
	}
}
