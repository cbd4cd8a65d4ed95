package http

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// dialerFrom returns a dialer with a source address; Linux has all of 127.0.0.0/8.
func dialerFrom(t *testing.T, source string) func(url string) net.Conn {
	if runtime.GOOS != "linux" {
		t.Skip("there is one address of the loopback interface")
	}
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
	return func(url string) net.Conn {
		c, err := dialer.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(patience))
		return c
	}
}

// askOn sends a GET over c and returns the status of its answer.
func askOn(t *testing.T, c net.Conn, path string) int {
	t.Helper()
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
	w, err := nethttp.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.StatusCode
}

// pitfall J2
func TestOneAddressDoesNotTakeAllConnections(t *testing.T) {
	b := newBench(t, func(c *Config) { c.MaxConnections = 8 })
	url := b.serve()
	greedy, other := dialerFrom(t, "127.0.0.1"), dialerFrom(t, "127.0.0.2")

	for i := range 8 {
		if status, want := askOn(t, greedy(url), "/version"), map[bool]int{true: 200,
			false: 503}[i < 6]; status != want {
			t.Errorf("connection %d of one address: %d, want %d", i+1, status, want)
		}
	}
	for i := range 2 {
		if status := askOn(t, other(url), "/version"); status != 200 {
			t.Errorf("connection %d of another address: %d", i+1, status)
		}
	}

	for _, want := range []string{
		`etcd2_places_held{of="connections"} 8`, `etcd2_places_limit{of="connections"} 8`,
		`etcd2_places_addresses{of="connections"} 2`, `etcd2_places_refused_total{of="connections"} 2`,
		`etcd2_places_limit{of="passwords"} 32`,
	} {
		if text := b.do("GET", "/metrics", "").Body.String(); !strings.Contains(text, want+"\n") {
			t.Errorf("/metrics lacks %s", want)
		}
	}
}

// pitfall J3
func TestOneAddressDoesNotTakeAllWatches(t *testing.T) {
	b := newBench(t, func(c *Config) { c.MaxWatchers = 8 })
	url := b.serve()
	greedy, other := dialerFrom(t, "127.0.0.1"), dialerFrom(t, "127.0.0.2")
	for i := range 8 {
		if status, want := askOn(t, greedy(url), "/v2/keys/k?wait=true"), map[bool]int{true: 200,
			false: 503}[i < 6]; status != want {
			t.Errorf("watch %d of one address: %d, want %d", i+1, status, want)
		}
	}
	if status := askOn(t, other(url), "/v2/keys/k?wait=true"); status != 200 {
		t.Errorf("a watch of another address: %d", status)
	}
}

// One connection of HTTP/2 carries many requests.
// pitfall J9
func TestOneAddressDoesNotTakeAllRequests(t *testing.T) {
	b, node := newSlowBench(t, 1<<20, func(c *Config) { c.MaxConnections = 8 })
	url, other := b.serve(), dialerFrom(t, "127.0.0.2")
	client := plainHTTP2(t)
	var all sync.WaitGroup
	put := func() int {
		w, err := client.Post(url+"/v2/keys/q", formType, strings.NewReader("value=1"))
		if err != nil {
			t.Error(err)
			return 0
		}
		w.Body.Close()
		return w.StatusCode
	}
	for range 6 {
		all.Go(func() { put() })
	}
	for range 6 {
		<-node.entered
	}

	if status := put(); status != 503 {
		t.Errorf("one request more of the same address: %d", status)
	}
	if status := askOn(t, other(url), "/version"); status != 200 {
		t.Errorf("a request of another address: %d", status)
	}
	elsewhere := plainHTTP2(t)
	elsewhere.Transport.(*nethttp.Transport).DialContext = func(context.Context, string, string) (net.Conn,
		error) {
		return other(url), nil
	}
	w, err := elsewhere.Get(url + "/version")
	if err != nil || w.StatusCode != 200 {
		t.Fatalf("a request of another address over HTTP/2: %v, %v", w, err)
	}
	io.Copy(io.Discard, w.Body)
	w.Body.Close()
	close(node.goOn)
	all.Wait()
	eventually(t, "no place is held", func() bool { return b.streams.Held() == 0 && b.inFlight.Load() == 0 })
}
