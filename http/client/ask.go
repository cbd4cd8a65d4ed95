package client

import (
	"context"
	"crypto/tls"
	"net/http"
)

// A Reply is an answer as it came, whatever its status.
type Reply struct {
	Status int
	Header http.Header
	Body   []byte
	TLS    *tls.ConnectionState // nil when it came without
}

// Ask sends one request without a body to one member, who may be none of the endpoints, and returns what it says, a refusal too. It is for those
// who look at members as such; an error is that nobody answers.
func (c *Client) Ask(ctx context.Context, method, endpoint, path string) (*Reply, error) {
	endpoint, err := parseEndpoint(endpoint)
	if err != nil {
		return nil, err
	}
	a, err := c.ask(ctx, endpoint, &request{method: method, path: path})
	if a == nil {
		return nil, err
	}
	return &Reply{Status: a.status, Header: a.header, Body: a.body, TLS: a.tls}, nil
}
