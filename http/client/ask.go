package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
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

// Ask sends one request without a body to one member, who may be none of the endpoints, and returns
// what it says, a refusal too. It is for those who look at members as such; an error is that nobody
// answers.
func (c *Client) Ask(ctx context.Context, method, endpoint, path string) (*Reply, error) {
	endpoint, err := parseEndpoint(endpoint)
	if err != nil {
		return nil, err
	}
	a, err := c.ask(ctx, endpoint, &request{method: method, path: path})
	if a == nil || errors.As(err, new(notSent)) {
		return nil, err
	}
	return &Reply{Status: a.status, Header: a.header, Body: a.body, TLS: a.tls}, nil
}

// Backup copies the state of the cluster, as one member sends it, to w, and returns the index that
// the member told: the store's, at that state. With stale it is what that member has, which needs
// no leader. What is written is not checked: a connection may break at a place where nothing is
// missing to see.
func (c *Client) Backup(ctx context.Context, w io.Writer, stale bool) (index uint64, err error) {
	query := url.Values{}
	if stale {
		query.Set("quorum", "false")
	}
	a, err := c.do(ctx, &request{method: "GET", path: "/v2/backup", query: query, open: true})
	if err != nil {
		return 0, err
	}
	if a.stream == nil {
		return 0, fmt.Errorf("%w: status %d to a backup", ErrBadAnswer, a.status)
	}
	defer a.stream.Close()
	_, err = io.Copy(w, a.stream)
	return headerNumber(a.header, "X-Etcd-Index"), err
}
