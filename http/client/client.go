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

	// InOrder makes the client try the endpoints in the order of the list. Without it the order is
	// random, so that many clients do not all use the first member. Either way the endpoint that
	// answered last is asked first.
	InOrder bool

	// Username and Password are for basic authentication. Without a name nothing is sent. They are
	// sent only where MaySendPassword allows it.
	Username, Password string

	TLS *tls.Config // for https endpoints; nil: the machine's certificate authorities

	// DialTLS, if not nil, makes the connections to https endpoints instead of TLS, and verifies
	// the server. The connections must be for HTTP/1.1.
	DialTLS func(ctx context.Context, network, address string) (net.Conn, error)

	// Proxy chooses an HTTP proxy as http.Transport.Proxy does. Nil: none.
	Proxy func(*http.Request) (*url.URL, error)

	// Timeout is the longest silence of one endpoint: before the head of its answer, and before
	// each piece of the body. For changes of users and roles it is HashPatience, if that is longer.
	// The context limits the time of a whole request, over all endpoints.
	Timeout time.Duration

	MaxAnswerBytes int64 // of one answer, of one event of a watch, or of one node of a listing

	// KeysPath is the path of the root of the keys. With another one than the default, the client
	// sees only a part of the tree; a discovery service has a path of its own.
	KeysPath string

	// Debug is called with each request as a curl command, before it is sent. No password is in it.
	// It may be called from several goroutines at a time.
	Debug func(curl string)
}

// Defaults of Config's zero fields.
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
	pause     time.Duration // of a watcher, before it asks again for the first time
	logIndex  atomic.Uint64 // the newest X-Raft-Index of an answer

	mu        sync.Mutex // protects what follows
	endpoints []string   // to be tried in this order, from current on
	current   int        // position in endpoints of the one that answered last
	given     []string   // the endpoints of Config; immutable
}

// New returns a client. It sends nothing yet: an error means that the configuration is wrong.
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

// newTransport returns a transport for HTTP/1.1 only. There, a request that is canceled closes its
// connection; a dead connection of HTTP/2 would make the next requests fail as well.
func newTransport(cfg Config) *http.Transport {
	dialer := &net.Dialer{
		Timeout: cfg.Timeout,
		// A watch may wait for days: the probes find out within half a minute that the other
		// machine is gone.
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

// Close closes idle connections. The client may still be used.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// parseEndpoint returns the canonical form of an endpoint, without a slash at its end.
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

// Endpoints returns the endpoints in the order in which the next request tries them.
func (c *Client) Endpoints() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append(slices.Clone(c.endpoints[c.current:]), c.endpoints[:c.current]...)
}

// prefer makes the next request begin with this endpoint.
func (c *Client) prefer(endpoint string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.endpoints, endpoint); i >= 0 {
		c.current = i
	}
}

// avoid makes the next request begin with the endpoint after this one, if it would begin with this
// one.
func (c *Client) avoid(endpoint string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.endpoints[c.current] == endpoint {
		c.current = (c.current + 1) % len(c.endpoints)
	}
}

// Sync asks the cluster for its members, whose client URLs become the endpoints. The endpoints of
// the configuration are kept behind them, as a last resort: this machine may not reach the URLs
// that members advertise. A client that was given https does not take plain http URLs (see
// MaySendPassword).
func (c *Client) Sync(ctx context.Context) error {
	members, err := c.Members.List(ctx)
	if err != nil {
		return err
	}
	var found []string
	for _, m := range members {
		for _, text := range m.ClientURLs {
			if u, err := parseEndpoint(text); err == nil && !slices.Contains(found, u) && MaySendPassword(c.given, u) {
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
