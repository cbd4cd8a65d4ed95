package http

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	nethttp "net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"etcd2/store"
)

func TestParametersAreCheckedInOrder(t *testing.T) {
	// Each request is the one before it without its first fault.
	faults := []struct {
		text  string
		code  int
		cause string
	}{
		{"prevIndex=x", 203, `invalid value for "prevIndex"`},
		{"waitIndex=-1", 203, `invalid value for "waitIndex"`},
		{"minIndex=1.5", 203, `invalid value for "minIndex"`},
		{"recursive=", 209, `invalid value for "recursive"`},
		{"sorted=yes", 209, `invalid value for "sorted"`},
		{"wait=2", 209, `invalid value for "wait"`},
		{"dir=x", 209, `invalid value for "dir"`},
		{"quorum=x", 209, `invalid value for "quorum"`},
		{"stream=x", 209, `invalid value for "stream"`},
		{"noValueOnSuccess=x", 209, `invalid value for "noValueOnSuccess"`},
		{"prevValue=", 201, `"prevValue" cannot be empty`},
		{"ttl=5s", 202, `invalid value for "ttl"`},
		{"prevExist=x", 209, `invalid value for prevExist`},
		{"refresh=x", 209, `invalid value for refresh`},
		{"limit=0", 209, `invalid value for "limit"`},
		{"after=a/b", 209, `"after" is a name, without a slash`},
		{"prefix=%2Fa", 209, `"prefix" begins a name, without a slash`},
		{"keysOnly=", 209, `invalid value for "keysOnly"`},
		{"count=x", 209, `invalid value for "count"`},
		{"depth=0", 209, `invalid value for "depth"`},
		{"timeout=9223372037", 209, `invalid value for "timeout"`},
	}
	b := newBench(t)
	for i, f := range faults {
		var rest []string
		for _, later := range faults[i:] {
			rest = append(rest, later.text)
		}
		for _, method := range []string{"GET", "PUT", "POST", "DELETE"} {
			w := b.do(method, "/v2/keys/k?"+strings.Join(rest, "&"), "")
			got := decode(t, w.Body.String())
			if w.Code != 400 || got["errorCode"] != float64(f.code) || got["cause"] != f.cause ||
				w.Header().Get("X-Etcd-Index") != "0" {
				t.Errorf("%s %s: %d %s", method, f.text, w.Code, w.Body)
			}
		}
	}
}

func TestRulesThatNeedTwoParameters(t *testing.T) {
	b := newBench(t)
	const uncountable = `{"errorCode":209,"message":"Invalid field","cause":"\"count\" can only be used with \"after\" and \"prefix\"","index":0}`
	const untimed = `{"errorCode":209,"message":"Invalid field","cause":"\"timeout\" can only be used with \"wait\", without \"stream\"","index":0}`
	for _, c := range []struct{ method, query, body string }{
		{"PUT", "wait=true", `{"errorCode":209,"message":"Invalid field","cause":"\"wait\" can only be used with GET requests","index":0}`},
		{"HEAD", "wait=true",
			`{"errorCode":209,"message":"Invalid field","cause":"\"wait\" can only be used with GET requests","index":0}`},
		{"PUT", "refresh=true&value=1&ttl=5",
			`{"errorCode":211,"message":"Value provided on refresh","cause":"A value was provided on a refresh","index":0}`},
		{"GET", "refresh=true",
			`{"errorCode":212,"message":"A TTL must be provided on refresh","cause":"No TTL value set","index":0}`},
		{"GET", "depth=1", `{"errorCode":209,"message":"Invalid field","cause":"\"depth\" can only be used with \"recursive\"","index":0}`},
		{"GET", "count=true&limit=1", uncountable},
		{"GET", "count=true&recursive=true", uncountable},
		{"GET", "count=true&keysOnly=true", uncountable},
		{"GET", "wait=true&prefix=",
			`{"errorCode":209,"message":"Invalid field","cause":"\"wait\" can't be used with parameters of a listing","index":0}`},
		{"GET", "timeout=1", untimed},
		{"GET", "timeout=1&wait=true&stream=true", untimed},
		{"PUT", "refresh=true&ttl=",
			`{"errorCode":212,"message":"A TTL must be provided on refresh","cause":"No TTL value set","index":0}`},
	} {
		b.want(b.do(c.method, "/v2/keys/k?"+c.query, ""), 400, c.body+"\n")
	}
}

// parsed runs the parser alone.
func parsed(t *testing.T, b *bench, method, query, form, contentType string) (*params, *store.Error) {
	t.Helper()
	r := httptest.NewRequest(method, "/v2/keys/k?"+query, strings.NewReader(form))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return b.parse(&response{ResponseWriter: httptest.NewRecorder()}, r)
}

func TestBodyGoesBeforeQueryAndFirstValueCounts(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct{ form, query, value string }{
		{"value=body", "value=query", "body"},
		{"value=", "value=query", ""},
		{"value", "value=query", ""},
		{"x=1", "value=query", "query"},
		{"value=1&value=2", "", "1"},
		{"&&value=3&&", "", "3"},
		{"value=a=b", "", "a=b"},
		{"v%61lue=7", "", "7"},
		{"value=a+b%2B", "", "a b+"},
		{"VALUE=7", "", ""},
		{"=x", "", ""},
	} {
		p, err := parsed(t, b, "PUT", c.query, c.form, formType)
		if err != nil || p.text[pValue] != c.value {
			t.Errorf("%q, %q: %v, %v; want %q", c.form, c.query, p, err, c.value)
		}
	}
}

func TestOnlyFormsAreRead(t *testing.T) {
	b := newBench(t)
	multi := "--x\r\nContent-Disposition: form-data; name=\"ttl\"\r\n\r\n5\r\n" +
		"--x\r\nContent-Disposition: form-data; name=\"value\"; filename=\"f\"\r\nContent-Type: " +
		"application/octet-stream\r\n\r\n1\r\n--x--\r\n"
	for _, c := range []struct {
		method, contentType, body string
		read                      bool
	}{
		{"PUT", formType, "value=1", true},
		{"POST", "Application/X-WWW-Form-Urlencoded; charset=utf-8", "value=1", true},
		{"PUT", "multipart/form-data; boundary=x", multi, true},
		{"POST", "Multipart/Form-Data; boundary=\"x\"", multi, true},
		{"PUT", "", "", false},
		{"PUT", "application/json", "", false},
		{"GET", formType, "value=1", false},
		{"DELETE", formType, "value=1", false},
		{"DELETE", "application/json", "value=1", false},
	} {
		p, err := parsed(t, b, c.method, "recursive=true", c.body, c.contentType)
		if err != nil || p.given[pValue] != c.read || c.read && p.text[pValue] != "1" {
			t.Errorf("%s %q: read %v, %v", c.method, c.contentType, p, err)
		}
	}
}

// A body that can't be read as a form changes nothing: the value does not become empty. The answer
// says which types can be read.
func TestABodyThatIsNoFormChangesNothing(t *testing.T) {
	b := newBench(t)
	b.do("PUT", "/v2/keys/k", "value=old")
	part := "--x\r\nContent-Disposition: form-data; name=\"value\"\r\n"
	for _, c := range []struct{ header, value, body, cause string }{
		{"Content-Type", "application/json", `{"value":"new"}`, formType},
		{"Content-Type", "text/plain", "new", multipartType},
		{"Content-Type", "application/octet-stream", "value=new", formType},
		{"Content-Encoding", "gzip", "value=new", "send it as it is"},
		{"Content-Type", "multipart/form-data", part + "\r\nnew\r\n--x--\r\n", "boundary"},
		{"Content-Type", "multipart/form-data; boundary=x", part + "\r\nnew\r\n", "EOF"},
		{"Content-Type", "multipart/form-data; boundary=x", part +
			"Content-Transfer-Encoding: base64\r\n\r\nbmV3\r\n--x--\r\n", "base64"},
		{"Content-Type", "multipart/form-data; boundary=x", strings.Repeat(part+"\r\n\r\n", maxParts+1) +
			"--x--\r\n", "parts"},
		{"Content-Type", "multipart/form-data; boundary=x", "--x\r\n\r\nnew\r\n--x--\r\n", "name"},
		{"Content-Type", "multipart/form-data; boundary=x",
			"--x\r\nContent-Disposition: attachment; name=\"value\"\r\n\r\nnew\r\n--x--\r\n", "name"},
	} {
		for _, method := range []string{"PUT", "POST"} {
			w := b.do(method, "/v2/keys/k?value=query", c.body, c.header, c.value)
			if got := decode(t, w.Body.String()); w.Code != 400 || got["errorCode"] != float64(store.CodeForm) ||
				!strings.Contains(got["cause"].(string), c.cause) {
				t.Errorf("%s %s %s: %d %s", method, c.value, c.body, w.Code, w.Body)
			}
		}
	}
	r := httptest.NewRequest("PUT", "/v2/keys/k", strings.NewReader("value=new")) // without a type
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	if w.Code != 400 {
		t.Errorf("without a type: %d %s", w.Code, w.Body)
	}
	if v, _ := b.store.Get("/k"); v.Node.Value != "old" || b.store.Index() != 1 {
		t.Errorf("the value is %q, at %d", v.Node.Value, b.store.Index())
	}
}

// A write whose body breaks off changes nothing, at every path.
func TestAWriteWithoutItsWholeBodyChangesNothing(t *testing.T) {
	b := newBench(t)
	b.do("PUT", "/v2/keys/k", "value=old")
	b.do("PUT", "/v2/auth/users/root", `{"user":"root","password":"pw"}`)
	index, members := b.store.Index(), len(b.node.changes)
	level := ""
	b.cfg.SetLogLevel = func(l string) error { level = l; return nil }
	url := b.serve()
	for _, request := range []string{
		"PUT /v2/keys/k", "PUT /v2/keys/k?value=new", "PUT /v2/keys/k?refresh=true&ttl=5", "POST /v2/keys/k",
		"DELETE /v2/keys/k", "DELETE /v2/keys/k?prevValue=old",
		"PUT /v2/auth/enable", "PUT /v2/auth/users/u\n" +
			`{"user":"u","password":"p"}`, "DELETE /v2/auth/users/root", "PUT /v2/auth/roles/r\n" + `{"role":"r"}`,
		"POST /v2/members\n" +
			`{"peerURLs":["http://10.0.0.9:2380"]}`, "DELETE /v2/members/7fa0243da41856f2", "PUT /config/local/log\n" +
			`{"Level":"DEBUG"}`,
		"PUT /discovery/new", "GET /discovery/new", "PUT /discovery/t/_config/size?value=3",
	} {
		line, body, _ := strings.Cut(request, "\n")
		for _, length := range []string{"Content-Length: 123\r\n\r\n" + body, "Transfer-Encoding: chunked\r\n\r\n" +
			fmt.Sprintf("%x\r\n%s\r\n", max(1, len(body)), cmpOr(body, " "))} {
			c := rawDial(t, url)
			io.WriteString(c, line+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: "+
				"application/json\r\n"+length)
			c.(*net.TCPConn).CloseWrite()
			answer, _ := io.ReadAll(c)
			if !strings.HasPrefix(string(answer), "HTTP/1.1 400") {
				t.Errorf("%s: %q", line, answer)
			}
		}
	}
	if b.store.Index() != index || len(b.node.changes) != members || level != "" {
		t.Errorf("something was changed: index %d, members %v, level %q", b.store.Index(), b.node.changes, level)
	}
}

func TestFormsThatCantBeDecodedAreCode210(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct{ query, form, contentType string }{
		{"", "value=%zz", formType},
		{"", "%zz=1", formType},
		{"other=%2", "value=1", formType},
		{"a=1;b=2", "", ""},
		{"", "value=1;2", formType},
		{"", "value=1", ";"},
		{"", "value=1", formType + "; charset"},
	} {
		if _, err := parsed(t, b, "PUT", c.query, c.form, c.contentType); err == nil || err.Code != 210 ||
			err.Cause == "" {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// pitfall J13
func TestNumbersNeverWrap(t *testing.T) {
	for text, want := range map[string]struct {
		ok, has, endless bool
		ttl              time.Duration
	}{
		"":                     {ok: true},
		"0":                    {ok: true, has: true},
		"007":                  {ok: true, has: true, ttl: 7 * time.Second},
		"9223372036":           {ok: true, has: true, ttl: 9223372036 * time.Second},
		"9223372037":           {ok: true, endless: true},
		"18446744073709551615": {ok: true, endless: true},
		"18446744073709551616": {},
		"-1":                   {}, "+1": {}, "1.5": {}, " 1": {}, "1_0": {}, "0x1": {}, "1e3": {}, "٣": {},
	} {
		var p params
		ok := p.parseTTL(text)
		if ok != want.ok || p.hasTTL != want.has || p.endlessTTL != want.endless || p.ttl != want.ttl {
			t.Errorf("ttl=%q: %v %+v", text, ok, p)
		}
	}
}

// checkNumber compares number with what section 4.2 says in words.
func checkNumber(t *testing.T, s string) {
	t.Helper()
	digits := s != "" && strings.Trim(s, "0123456789") == ""
	short := len(strings.TrimLeft(s, "0")) < 20
	var n uint64
	ok := number(s, &n)
	if ok && !digits || digits && short && !ok {
		t.Fatalf("%q: parsed %v", s, ok)
	}
	if ok && strconv.FormatUint(n, 10) != cmpOr(strings.TrimLeft(s, "0"), "0") {
		t.Fatalf("%q became %d", s, n)
	}
	var p params
	if p.parseTTL(s) && (p.ttl < 0 || p.hasTTL && p.endlessTTL) {
		t.Fatalf("ttl %q became %+v", s, p)
	}
}

func cmpOr(s, empty string) string {
	if s == "" {
		return empty
	}
	return s
}

// pitfall J13
func FuzzNumber(f *testing.F) {
	f.Add("18446744073709551616")
	f.Fuzz(checkNumber)
}

// pitfall J13
func TestRandomNumbersNeverWrap(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	for range often(50_000) {
		s := make([]byte, random.IntN(23))
		for i := range s {
			s[i] = "0123456789999999-+_x. "[random.IntN(22)]
		}
		checkNumber(t, string(s))
	}
}

// checkForm compares scan with net/url: the same forms are good, and the first values are the same.
func checkForm(t *testing.T, form string) {
	t.Helper()
	want, wantErr := url.ParseQuery(form)
	var p params
	err := p.scan(form)
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%q: %v, net/url says %v", form, err, wantErr)
	}
	for i, name := range names {
		if err == nil && (p.given[i] != want.Has(name) || p.text[i] != want.Get(name)) {
			t.Fatalf("%q: %s is %q, want %q", form, name, p.text[i], want.Get(name))
		}
	}
}

func FuzzForm(f *testing.F) {
	f.Add("value=a+b&dir=%74rue;&=")
	f.Fuzz(checkForm)
}

func TestRandomFormsAreScannedLikeNetURL(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	parts := []string{"value", "dir", "ttl", "=", "=", "&", "&", "%", "%4", "%41", "+", ";", "v", "\x00", "\xff",
		"%zz", "1", "true"}
	for range often(50_000) {
		var form strings.Builder
		for range random.IntN(10) {
			form.WriteString(parts[random.IntN(len(parts))])
		}
		checkForm(t, form.String())
	}
}

// pitfall J4
func TestBodyOverTheLimitIsRefusedUnread(t *testing.T) {
	b := newBench(t, func(c *Config) { c.MaxRequestBytes = 1000 })
	for _, announced := range []int64{-1, 100 << 20} {
		source := &countingReader{left: 100 << 20}
		r := httptest.NewRequest("PUT", "/v2/keys/k", source)
		r.ContentLength = announced
		r.Header.Set("Content-Type", formType)
		w := httptest.NewRecorder()

		b.ServeHTTP(w, r)

		b.want(w, 400, `{"errorCode":210,"message":"Invalid POST form","cause":"http: POST too large","index":0}`+"\n")
		if source.read > 10_000 {
			t.Errorf("length %d: %d bytes read of a body that may have 1000", announced, source.read)
		}
	}
	b.want(b.do("PUT", "/v2/keys/k", "value="+strings.Repeat("x", 994)), 201,
		`{"action":"set","node":{"key":"/k","value":"`+strings.Repeat("x",
			994)+`","modifiedIndex":1,"createdIndex":1}}`+"\n")
	b.want(b.do("PUT", "/v2/keys/k", "value="+strings.Repeat("x", 995)), 400,
		`{"errorCode":210,"message":"Invalid POST form","cause":"http: POST too large","index":0}`+"\n")
}

// countingReader is an endless form of x.
type countingReader struct{ left, read int }

func (r *countingReader) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n := min(len(p), r.left)
	copy(p, bytes.Repeat([]byte("x"), n))
	r.left -= n
	r.read += n
	return n, nil
}

// pitfall J4
func TestJSONBodyOverTheLimitIsRefused(t *testing.T) {
	b := newBench(t, func(c *Config) { c.MaxRequestBytes = 1000 })
	w := b.do("POST", "/v2/members", `{"peerURLs":["`+strings.Repeat("x", 2000)+`"]}`, "Content-Type",
		"application/json")
	if w.Code != nethttp.StatusRequestEntityTooLarge {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

func TestOperationIsDecidedByPrevParameters(t *testing.T) {
	for _, c := range []struct {
		method, query string
		want          store.Command
	}{
		{"PUT", "value=v", store.Command{Op: store.OpSet, Value: "v"}},
		{"PUT", "value=v&prevIndex=0", store.Command{Op: store.OpSet, Value: "v"}},
		{"PUT", "prevExist=false&prevValue=p&prevIndex=3", store.Command{Op: store.OpCreate}},
		{"PUT", "prevExist=true&ttl=5", store.Command{Op: store.OpUpdate, TTL: 5 * time.Second, HasTTL: true}},
		{"PUT", "prevExist=true&prevValue=p", store.Command{Op: store.OpCompareAndSwap, PrevValue: "p"}},
		{"PUT", "prevIndex=3&dir=true", store.Command{Op: store.OpCompareAndSwap, PrevIndex: 3, Dir: true}},
		{"PUT", "refresh=true&ttl=5", store.Command{Op: store.OpSet, Refresh: true, TTL: 5 * time.Second,
			HasTTL: true}},
		{"PUT", "refresh=true&ttl=5&prevExist=false", store.Command{Op: store.OpCreate, TTL: 5 * time.Second,
			HasTTL: true}},
		{"PUT", "ttl=99999999999999", store.Command{Op: store.OpSet}},
		{"PUT", "ttl=0", store.Command{Op: store.OpSet, HasTTL: true}},
		{"POST", "value=v&prevExist=true&prevIndex=3", store.Command{Op: store.OpCreateInOrder, Value: "v"}},
		{"POST", "refresh=true&ttl=5", store.Command{Op: store.OpCreateInOrder, TTL: 5 * time.Second, HasTTL: true}},
		{"DELETE", "recursive=true&prevExist=true", store.Command{Op: store.OpDelete, Recursive: true}},
		{"DELETE", "dir=true&value=v&ttl=5", store.Command{Op: store.OpDelete, Dir: true}},
		{"DELETE", "prevIndex=3&recursive=true", store.Command{Op: store.OpCompareAndDelete, PrevIndex: 3}},
		{"DELETE", "prevValue=p", store.Command{Op: store.OpCompareAndDelete, PrevValue: "p"}},
	} {
		p := &params{method: c.method}
		if err := p.scan(c.query); err != nil {
			t.Fatal(err)
		}
		if err := p.check(); err != nil {
			t.Fatal(err)
		}
		c.want.Path = "/k"
		if got := p.command(c.method, "/k"); got != c.want {
			t.Errorf("%s %s:\ngot  %+v\nwant %+v", c.method, c.query, got, c.want)
		}
	}
}
