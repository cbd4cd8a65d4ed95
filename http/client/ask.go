package client

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/url"
)

// A Reply is an answer as it came, whatever its status.
type Reply struct {
	Status int
	Header http.Header
	Body   []byte
	TLS    *tls.ConnectionState // nil when it came without
}

// Ask sends a request without a body to one member, whose URL need not be an endpoint, and returns
// its answer, even a refusal. It is for callers that examine single members. An error means that no
// answer came.
func (c *Client) Ask(ctx context.Context, method, endpoint, path string) (*Reply, error) {
	a, err := c.askMember(ctx, method, endpoint, path)
	if a == nil || errors.As(err, new(notSent)) {
		return nil, err
	}
	return &Reply{Status: a.status, Header: a.header, Body: a.body, TLS: a.tls}, nil
}

// askMember asks one member, at a URL that need not be an endpoint.
func (c *Client) askMember(ctx context.Context, method, endpoint, path string) (*answer, error) {
	endpoint, err := parseEndpoint(endpoint)
	if err != nil {
		return nil, err
	}
	return c.ask(ctx, endpoint, &request{method: method, path: path})
}

// Backup copies the state of the cluster, as one member sends it, to w, and returns its store
// index. With stale it is what that member has, which needs no leader. The caller must verify what
// was written: a connection that breaks may look like the end.
func (c *Client) Backup(ctx context.Context, w io.Writer, stale bool) (index uint64, err error) {
	query := url.Values{}
	if stale {
		query.Set("quorum", "false")
	}
	a, err := c.do(ctx, &request{method: "GET", path: "/v2/backup", query: query, open: true})
	if err != nil {
		return 0, err
	}
	defer a.stream.Close()
	_, err = io.Copy(w, a.stream)
	return headerNumber(a.header, "X-Etcd-Index"), err
}
