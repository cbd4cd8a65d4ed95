package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Config says whom a Client asks, and how. Endpoints alone are enough.
type Config struct {
	// Endpoints are client URLs of members, as http://127.0.0.1:2379. A missing scheme means http.
	// One that carries a user name, a path or a query is refused.
	Endpoints []string

	// InOrder has the endpoints tried as they stand. Without it the order is random, so that many
	// clients do not all sit on the first member. Either way the one that answered last is asked
	// first.
	InOrder bool

	// Username and Password are for basic authentication; without a name none is sent. They go only
	// where MayCarry lets them.
	Username, Password string

	TLS *tls.Config // for https endpoints; nil: the machine's certificate authorities

	// DialTLS, if there is one, makes the connections to https endpoints instead, and checks who
	// answers there. They must be for HTTP/1.1.
	DialTLS func(ctx context.Context, network, address string) (net.Conn, error)

	// Proxy chooses an HTTP proxy as http.Transport.Proxy does. Nil: none.
	Proxy func(*http.Request) (*url.URL, error)

	// Timeout is the longest silence of one endpoint: before the head of its answer, and before
	// each piece of the body. Changes of users and roles have HashPatience, if that is longer. How
	// long a request may take in all, over all endpoints, the context says.
	Timeout time.Duration

	MaxAnswerBytes int64 // of one answer, of one event of a watch, or of one node of a listing

	// KeysPath is the path of the root of the keys. Another one than the default makes a part of
	// the tree the whole world of this client; a discovery service wants one of its own.
	KeysPath string

	// Debug is told each request as a curl command, before it is sent. No password is in it. It may
	// be called from several goroutines at a time.
	Debug func(curl string)
}

// What a Config means that says nothing else.
const (
	DefaultTimeout        = 5 * time.Second
	DefaultMaxAnswerBytes = 256 << 20
	DefaultKeysPath       = "/v2/keys"
)

// A Client asks the members of one cluster. All methods may be called from any goroutine.
type Client struct {
	Members Members // who is in the cluster
	Auth    Auth    // users, roles, and the switch

	cfg       Config
	transport *http.Transport
	pause     time.Duration // of a watcher, the first time that it asks again
	seen      atomic.Uint64 // the newest X-Raft-Index of an answer

	mu        sync.Mutex // protects what follows
	endpoints []string   // to be tried in this order, from current on
	current   int        // the one that answered last
	given     []string   // of Config; immutable
}

// New returns a client. It asks nobody yet; the error is one of the configuration.
func New(cfg Config) (*Client, error) {
	if cfg.Timeout <= 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.MaxAnswerBytes <= 0 {
		cfg.MaxAnswerBytes = DefaultMaxAnswerBytes
	}
	if cfg.KeysPath == "" {
		cfg.KeysPath = DefaultKeysPath
	}
	if !strings.HasPrefix(cfg.KeysPath, "/") {
		return nil, fmt.Errorf("client: the path of the keys, %q, must begin with a slash", cfg.KeysPath)
	}
	cfg.KeysPath = strings.TrimSuffix(cfg.KeysPath, "/")
	c := &Client{cfg: cfg, transport: newTransport(cfg), pause: leastPause}
	c.Members, c.Auth = Members{c}, Auth{c}
	for _, text := range cfg.Endpoints {
		endpoint, err := parseEndpoint(text)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(c.given, endpoint) {
			c.given = append(c.given, endpoint)
		}
	}
	if len(c.given) == 0 {
		return nil, errors.New("client: no endpoint is given")
	}
	c.endpoints = slices.Clone(c.given)
	c.shuffle(c.endpoints)
	return c, nil
}

// newTransport speaks HTTP/1.1 only. There a request that is given up takes its connection along,
// while a dead connection of HTTP/2 would swallow the next requests as well.
func newTransport(cfg Config) *http.Transport {
	dialer := &net.Dialer{
		Timeout: cfg.Timeout,
		// A watch may wait for days: this finds out within half a minute that the machine at the
		// other end is gone.
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3},
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:                  cfg.Proxy,
		DialContext:            dialer.DialContext,
		DialTLSContext:         cfg.DialTLS,
		TLSClientConfig:        cfg.TLS,
		TLSHandshakeTimeout:    cfg.Timeout,
		Protocols:              protocols,
		DisableCompression:     true,
		MaxIdleConnsPerHost:    32,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// Close lets go of the connections that nobody uses. The client may be used on.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// parseEndpoint returns the one form of an endpoint, without a slash at its end.
func parseEndpoint(text string) (string, error) {
	whole := strings.TrimSpace(text)
	if !strings.Contains(whole, "://") {
		whole = "http://" + whole
	}
	u, err := url.Parse(whole)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "":
		return "", errors.New("client: an endpoint is not a URL: want http://HOST:PORT") // the text may hold a password
	case u.User != nil:
		return "", fmt.Errorf("client: endpoint %s: give the user name apart from the URL", u.Redacted())
	case u.Scheme != "http" && u.Scheme != "https":
		return "", fmt.Errorf("client: endpoint %s: the scheme must be http or https", whole)
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return "", fmt.Errorf("client: endpoint %s: want nothing after HOST:PORT", whole)
	}
	return u.Scheme + "://" + u.Host, nil
}

func (c *Client) shuffle(endpoints []string) {
	if !c.cfg.InOrder {
		rand.Shuffle(len(endpoints), func(i, j int) { endpoints[i], endpoints[j] = endpoints[j], endpoints[i] })
	}
}

// Endpoints returns those that the next request tries, in this order.
func (c *Client) Endpoints() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append(slices.Clone(c.endpoints[c.current:]), c.endpoints[:c.current]...)
}

// prefer has the next request begin with this endpoint.
func (c *Client) prefer(endpoint string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.endpoints, endpoint); i >= 0 {
		c.current = i
	}
}

// avoid has the next request begin with the endpoint after this one, unless it begins elsewhere
// anyway.
func (c *Client) avoid(endpoint string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.endpoints[c.current] == endpoint {
		c.current = (c.current + 1) % len(c.endpoints)
	}
}

// Sync asks the cluster for its members, whose client URLs become the endpoints. Those of the
// configuration stay behind them, as a last resort: what members advertise is not always what this
// machine can reach. A client that was given https is not led to plain http (see MayCarry).
func (c *Client) Sync(ctx context.Context) error {
	members, err := c.Members.List(ctx)
	if err != nil {
		return err
	}
	var found []string
	for _, m := range members {
		for _, text := range m.ClientURLs {
			if u, err := parseEndpoint(text); err == nil && !slices.Contains(found, u) && MayCarry(c.given, u) {
				found = append(found, u)
			}
		}
	}
	c.shuffle(found)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current = max(0, slices.Index(found, c.endpoints[c.current]))
	for _, u := range c.given {
		if !slices.Contains(found, u) {
			found = append(found, u)
		}
	}
	c.endpoints = found
	return nil
}
