package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Version tells which versions run.
type Version struct {
	Server  string `json:"etcdserver"`  // of the member that answered
	Cluster string `json:"etcdcluster"` // that all members support; "not_decided" just after the first start
}

// Version asks any member.
func (c *Client) Version(ctx context.Context) (Version, error) {
	var v Version
	_, err := c.json(ctx, &request{method: "GET", path: "/version"}, &v, func() bool { return v.Server != "" })
	return v, err
}

// Machines returns the client URLs of all members.
func (c *Client) Machines(ctx context.Context) ([]string, error) {
	a, err := c.do(ctx, &request{method: "GET", path: "/v2/machines"})
	if err != nil {
		return nil, err
	}
	return strings.FieldsFunc(string(a.body), func(r rune) bool { return r == ',' || r == ' ' }), nil
}

// Health asks one member, at a URL that need not be an endpoint, whether it is healthy. An error
// means that there is no answer.
func (c *Client) Health(ctx context.Context, endpoint string) (healthy bool, err error) {
	a, err := c.askMember(ctx, "GET", endpoint, "/health")
	var e *Error
	if errors.As(err, &e) && e.Status == http.StatusServiceUnavailable {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var v struct{ Health any }
	err = a.decode(&v)
	return fmt.Sprint(v.Health) == "true", err
}

// SelfStats is what a member tells about itself.
type SelfStats struct {
	Name       string    `json:"name"`
	ID         string    `json:"id"`
	State      string    `json:"state"` // StateLeader, StateFollower or StateCandidate
	StartTime  time.Time `json:"startTime"`
	LeaderInfo struct {
		Leader    string    `json:"leader"` // id; "" or "0": none
		Uptime    string    `json:"uptime"`
		StartTime time.Time `json:"startTime"`
	} `json:"leaderInfo"`
	ReceivedAppends    uint64  `json:"recvAppendRequestCnt"`
	SentAppends        uint64  `json:"sendAppendRequestCnt"`
	ReceivedPerSecond  float64 `json:"recvPkgRate"`
	ReceivedByteRate   float64 `json:"recvBandwidthRate"`
	SentPerSecond      float64 `json:"sendPkgRate"`
	SentBytesPerSecond float64 `json:"sendBandwidthRate"`
}

// LeaderStats is what the leader tells about its followers.
type LeaderStats struct {
	Leader    string                   `json:"leader"`
	Followers map[string]FollowerStats `json:"followers"` // by id
}

// FollowerStats counts and times the answers of a follower.
type FollowerStats struct {
	Latency struct {
		Current           float64 `json:"current"`
		Average           float64 `json:"average"`
		StandardDeviation float64 `json:"standardDeviation"`
		Minimum           float64 `json:"minimum"`
		Maximum           float64 `json:"maximum"`
	} `json:"latency"` // in milliseconds
	Counts struct {
		Fail    uint64 `json:"fail"`
		Success uint64 `json:"success"`
	} `json:"counts"`
}

// SelfStats asks one member about itself.
func (c *Client) SelfStats(ctx context.Context, endpoint string) (v SelfStats, err error) {
	err = c.stats(ctx, endpoint, "self", &v)
	return v, err
}

// LeaderStats asks the leader, which must be the member at endpoint.
func (c *Client) LeaderStats(ctx context.Context, endpoint string) (v LeaderStats, err error) {
	err = c.stats(ctx, endpoint, "leader", &v)
	return v, err
}

// StoreStats asks one member for the counts of operations on its tree, by their names in the API,
// such as getsSuccess.
func (c *Client) StoreStats(ctx context.Context, endpoint string) (v map[string]uint64, err error) {
	err = c.stats(ctx, endpoint, "store", &v)
	return v, err
}

func (c *Client) stats(ctx context.Context, endpoint, which string, v any) error {
	a, err := c.askMember(ctx, "GET", endpoint, "/v2/stats/"+which)
	if err != nil {
		return err
	}
	return a.decode(v)
}
