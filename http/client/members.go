package client

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
)

// A Member is one member of the cluster.
type Member struct {
	ID         string   `json:"id"`   // in hexadecimal digits
	Name       string   `json:"name"` // "" before it was started for the first time
	PeerURLs   []string `json:"peerURLs"`
	ClientURLs []string `json:"clientURLs"` // none before it was started for the first time

	// Only in lists; members of etcd 2 tell neither.
	Learner bool `json:"learner,omitempty"` // it runs and has no vote
	// the number of entries that a learner lacks; nil when the member that answered does not know
	// it: only the leader does
	Behind *uint64 `json:"behind,omitempty"`
}

// Members is the part of a Client for the list of members.
type Members struct{ c *Client }

const membersPath = "/v2/members"

// List returns the members, ordered by id.
func (m Members) List(ctx context.Context) ([]Member, error) {
	_, list, err := m.OfCluster(ctx)
	return list, err
}

// OfCluster returns what List does, and the cluster's id in hexadecimal digits.
func (m Members) OfCluster(ctx context.Context) (clusterID string, list []Member, err error) {
	var v struct {
		Members []Member `json:"members"`
	}
	a, err := m.c.json(ctx, &request{method: "GET", path: membersPath}, &v, func() bool { return v.Members != nil })
	if err != nil {
		return "", nil, err
	}
	return a.header.Get("X-Etcd-Cluster-Id"), v.Members, nil
}

// Leader returns the member that leads. Without a leader the error is an *Error with status 503.
func (m Members) Leader(ctx context.Context) (Member, error) {
	var v Member
	_, err := m.c.json(ctx, &request{method: "GET", path: membersPath + "/leader"}, &v,
		func() bool { return v.ID != "" })
	return v, err
}

// Add adds a member at these peer URLs, which then has to be started. A member of this program
// brings its own name; the one given here may be "".
func (m Members) Add(ctx context.Context, name string, peerURLs []string) (Member, error) {
	var v Member
	body, err := json.Marshal(struct {
		Name     string   `json:"name,omitempty"`
		PeerURLs []string `json:"peerURLs"`
	}{name, peerURLs})
	if err != nil {
		return v, err
	}
	_, err = m.c.json(ctx, &request{method: "POST", path: membersPath, json: body}, &v,
		func() bool { return isID(v.ID) })
	return v, err
}

// isID reports whether text can be the id of a member, which goes into commands and file names.
func isID(text string) bool {
	return text != "" && strings.Trim(text, "0123456789abcdefABCDEF") == ""
}

// Update gives a member other peer URLs.
func (m Members) Update(ctx context.Context, id string, peerURLs []string) error {
	body, err := json.Marshal(map[string][]string{"peerURLs": peerURLs})
	if err != nil {
		return err
	}
	_, err = m.c.do(ctx, &request{method: "PUT", path: membersPath + "/" + id, json: body})
	return err
}

// Remove removes a member for ever.
func (m Members) Remove(ctx context.Context, id string) error {
	_, err := m.c.do(ctx, &request{method: "DELETE", path: membersPath + "/" + id})
	return err
}

// json sends a request and reads the JSON of its answer into v; sense reports whether v then makes
// sense.
func (c *Client) json(ctx context.Context, r *request, v any, sense func() bool) (*answer, error) {
	r.read = func(a *answer) error {
		err := a.decode(v)
		if err == nil && !sense() {
			err = fmt.Errorf("%w: status %d, and nothing in it that was asked for", ErrBadAnswer, a.status)
		}
		return err
	}
	return c.do(ctx, r)
}
