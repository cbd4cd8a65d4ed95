package http

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"etcd2/e2e/pace"
)

const watchHead = "GET /v2/keys/k?wait=true HTTP/1.1\r\nHost: x\r\n"

// A gone client is one way to leave a watch.
type goneClient struct {
	name, sent string
	leave      func(*net.TCPConn)
}

func hangUpNow(c *net.TCPConn)    { c.Close() }
func resetNow(c *net.TCPConn)     { c.SetLinger(0); c.Close() }
func halfClose(c *net.TCPConn)    { c.CloseWrite() }
func manyWatches(n int) string    { return strings.Repeat(watchHead+"\r\n", n) }
func withHead(head string) string { return watchHead + head + "\r\n\r\n" }

// goneClients have sent bytes behind which net/http does not look, or bytes that it reads only when
// asked. Each sends one more byte when its watch has begun.
var goneClients = []goneClient{
	{"a request", withHead("X: y"), hangUpNow},
	{"a request, reset", withHead("X: y"), resetNow},
	{"a request, half closed", withHead("X: y"), halfClose},
	{"two requests", withHead("X: y") + withHead("X: y"), hangUpNow},
	{"many requests", manyWatches(300), hangUpNow},
	{"a body", withHead("Content-Length: 1") + "a", hangUpNow},
	{"a large body", withHead("Content-Length: 1000000") + strings.Repeat("x", 1000000), hangUpNow},
	{"a body in chunks", withHead("Transfer-Encoding: chunked") + "1\r\nx\r\n0\r\n\r\n", hangUpNow},
	{"a body that was asked for", withHead("Expect: 100-continue\r\nContent-Length: 1") + "a", hangUpNow},
}

// liveWatch is a server on which a watch can be held, with its address and a count of its watches.
type liveWatch struct {
	*Server
	dial func() net.Conn
	held func() int
}

// liveWatches are all kinds of connection of HTTP/1 over which a watch may be held.
func liveWatches(t *testing.T, body time.Duration) map[string]liveWatch {
	certified := httptest.NewTLSServer(nil)
	t.Cleanup(certified.Close)
	plain, secure := newBench(t), newBench(t)
	waiting := make(chan struct{}, 1000)
	proxy := &bench{t: t, Server: front(t, Config{},
		Backend{Handler: nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
			waiting <- struct{}{}
			defer func() { <-waiting }()
			<-r.Context().Done()
		})})}
	for _, b := range []*bench{plain, secure, proxy} {
		b.times.body = 100 * time.Millisecond
	}
	ln := listen(t)
	go secure.ServeTLS(ln, certified.TLS)
	t.Cleanup(func() { secure.server.Close() })
	dialPlain := func(b *bench) func() net.Conn {
		url := b.serve()
		return func() net.Conn { return rawDial(t, url) }
	}
	return map[string]liveWatch{
		"plain": {plain.Server, dialPlain(plain), plain.watchers.Held},
		"proxy": {proxy.Server, dialPlain(proxy), func() int { return len(waiting) }},
		"TLS": {secure.Server, func() net.Conn {
			return tls.Client(rawDial(t, "http://"+ln.Addr().String()), &tls.Config{InsecureSkipVerify: true})
		}, secure.watchers.Held},
	}
}

// pitfall J3, pitfall L11
func TestAWatchEndsWithItsClientWhateverWasSentBehindIt(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells the state of a socket")
	}
	for kind, w := range liveWatches(t, patience) {
		for _, gone := range goneClients {
			t.Run(kind+", "+gone.name, func(t *testing.T) {
				c := w.dial()
				go io.WriteString(c, gone.sent)
				eventually(t, "the watch begins", func() bool { return w.held() == 1 })
				io.WriteString(c, "G")
				inner := c
				if secure, isTLS := c.(*tls.Conn); isTLS {
					inner = secure.NetConn()
				}
				gone.leave(inner.(*net.TCPConn))
				eventually(t, "nothing is left of it", func() bool {
					return w.held() == 0 && w.conns.Held() == 0 && w.inFlight.Load() == 0 && w.memory.used.Load() == 0
				})
			})
		}
		if w.conns.left.Load() == 0 {
			t.Errorf("%s: none is counted as left", kind)
		}
	}
}

// pitfall J3, pitfall L10
func TestARequestWhoseBodyIsCutShortIs400AndHoldsNothing(t *testing.T) {
	pace.LeftOutByShort(t)
	for kind, w := range liveWatches(t, 100*time.Millisecond) {
		var all sync.WaitGroup
		for name, sent := range map[string]string{
			"watch":        withHead("Content-Length: 1"),
			"asked for":    withHead("Expect: 100-continue\r\nContent-Length: 1"),
			"chunks":       withHead("Transfer-Encoding: chunked") + "1\r\n",
			"large":        withHead("Content-Length: 1000000") + strings.Repeat("x", 999_999),
			"read":         strings.Replace(withHead("Content-Length: 2"), "?wait=true", "", 1) + "x",
			"quorum read":  strings.Replace(withHead("Content-Length: 2"), "wait", "quorum", 1) + "x",
			"without time": withHead("Content-Length: 12345678901234567"),
		} {
			for way, leave := range map[string]func(*net.TCPConn){"silent": nil, "half closed": halfClose} {
				if leave != nil && kind == "TLS" {
					continue // TLS has a half close of its own
				}
				c := w.dial()
				all.Go(func() {
					io.WriteString(c, sent)
					if leave != nil {
						leave(c.(*net.TCPConn))
					}
					checkRefusal(t, c, kind, name+", "+way)
				})
			}
		}
		all.Wait()
		eventually(t, kind+": nothing is left", func() bool {
			return w.held() == 0 && w.conns.Held() == 0 && w.inFlight.Load() == 0 && w.memory.used.Load() == 0
		})
	}
}

// checkRefusal checks that the answer on c is 400, in the form of the API, and closes c.
func checkRefusal(t *testing.T, c net.Conn, kind, name string) {
	defer c.Close()
	in := bufio.NewReader(c)
	answer, err := nethttp.ReadResponse(in, nil)
	if err == nil && answer.StatusCode == nethttp.StatusContinue {
		answer, err = nethttp.ReadResponse(in, nil)
	}
	if err != nil {
		t.Errorf("%s, %s: %v", kind, name, err)
		return
	}
	body, _ := io.ReadAll(answer.Body)
	api := strings.Contains(string(body), `"errorCode":210`) || kind == "proxy" && strings.Contains(string(body),
		`"message":`)
	if tooLarge := kind == "proxy" && answer.StatusCode == 413; !tooLarge && answer.StatusCode != 400 || !api {
		t.Errorf("%s, %s: %d %s", kind, name, answer.StatusCode, body)
	}
}

func TestAWatchWhoseClientIsThereGoesOn(t *testing.T) {
	b := newBench(t)
	c := rawDial(t, b.serve())
	io.WriteString(c, withHead("X: y")+strings.Replace(withHead("X: y"), "?wait=true", "", 1))
	eventually(t, "the watch begins", func() bool { return b.watchers.Held() == 1 })

	b.do("PUT", "/v2/keys/k", "value=1")

	in := bufio.NewReader(c)
	for _, want := range []string{`{"action":"set"`, `{"action":"get"`} {
		w, err := nethttp.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(w.Body); err != nil || !strings.HasPrefix(string(body), want) {
			t.Errorf("%s, %v", body, err)
		}
	}
}

// secretive is a listener whose connections hide their sockets.
type secretive struct{ net.Listener }

func (l secretive) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return struct{ net.Conn }{c}, err
}

// pitfall L11
func TestAWatchOnASocketThatTellsNothingEndsSomeDay(t *testing.T) {
	b := newBench(t)
	b.times.life = 20 * time.Millisecond
	ln := listen(t)
	go b.Serve(secretive{ln})
	t.Cleanup(func() { b.server.Close() })

	w, err := nethttp.Get(fmt.Sprintf("http://%s/v2/keys/k?wait=true", ln.Addr()))

	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(w.Body); err != nil || len(body) > 0 || w.Header.Get("X-Etcd-Index") != "0" {
		t.Errorf("%q, %v, %v; want an answer that ends, and tells where to go on", body, err, w.Header)
	}
	eventually(t, "the watch is not counted", func() bool { return b.watchers.Held() == 0 })
}
