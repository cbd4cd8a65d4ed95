package discovery

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"etcd2/http/client"
	"etcd2/raft"
)

// The limits of a question (pitfall K6): besides them, only http and https are asked, redirects are
// not followed, and nothing of a body gets into an error.
const (
	surveyTimeout = 2 * time.Second  // of all members together
	addTimeout    = 10 * time.Second // more than a member waits for agreement
	maxBody       = 1 << 20
)

// at returns a client of one member.
func (n Newcomer) at(u string, timeout time.Duration) (*client.Client, error) {
	return client.New(client.Config{Endpoints: []string{u}, DialTLS: n.DialTLS, Timeout: timeout,
		MaxAnswerBytes: maxBody})
}

// An answer is what a member says of its cluster.
type answer struct {
	url     string          // that was asked
	cluster raft.Membership // id and members; it does not tell who was removed
}

// survey asks all URLs at the same time, and returns the answers in their order. The failures name
// the URLs.
func (n Newcomer) survey(ctx context.Context, urls []string) (answers []answer, failures []error) {
	ctx, cancel := context.WithTimeout(ctx, surveyTimeout)
	defer cancel()
	all, errs := make([]answer, len(urls)), make([]error, len(urls))
	var asking sync.WaitGroup
	for i, u := range urls {
		asking.Go(func() { all[i], errs[i] = n.askMembers(ctx, u) })
	}
	asking.Wait()
	for i := range urls {
		if errs[i] != nil {
			failures = append(failures, fmt.Errorf("%s: %w", urls[i], errs[i]))
		} else {
			answers = append(answers, all[i])
		}
	}
	return answers, failures
}

// askMembers asks one member who its cluster is.
func (n Newcomer) askMembers(ctx context.Context, u string) (answer, error) {
	c, err := n.at(u, surveyTimeout)
	if err != nil {
		return answer{}, err
	}
	defer c.Close()
	id, list, err := c.Members.OfCluster(ctx)
	if err != nil {
		return answer{}, reason(ctx, err)
	}
	cluster, err := parseMembers(id, list)
	return answer{u, cluster}, err
}

// askToAdd asks a member to take in this one, and returns the status of its answer.
func (n Newcomer) askToAdd(ctx context.Context, u string) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, addTimeout)
	defer cancel()
	c, err := n.at(u, addTimeout)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	_, err = c.Members.Add(ctx, n.Name, n.PeerURLs)
	var refusal *client.Error
	switch {
	case errors.As(err, &refusal):
		return refusal.Status, nil
	case err != nil:
		return 0, reason(ctx, err)
	}
	return http.StatusCreated, nil
}

// reason leaves out of an error which URL was asked, since the reader knows, and what a refusal
// says, since nobody knows who refuses.
func reason(ctx context.Context, err error) error {
	var refusal *client.Error
	var silent interface{ Timeout() bool }
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded), errors.As(err, &silent) && silent.Timeout():
		return errors.New("no answer in time")
	case errors.As(err, &refusal):
		return fmt.Errorf("it answers with status %d", refusal.Status)
	}
	return alone(err)
}

// alone is the reason of the only endpoint.
func alone(err error) error {
	var nobody *client.ClusterError
	if errors.As(err, &nobody) {
		return nobody.Failures[0].Err
	}
	return err
}

var errNoMembers = errors.New("its answer is not a list of members")

// parseMembers reads the cluster's id and its members.
func parseMembers(clusterID string, list []client.Member) (m raft.Membership, err error) {
	if m.ClusterID, err = parseID(clusterID); err != nil {
		return m, err
	}
	for _, p := range list {
		id, err := parseID(p.ID)
		if _, twice := m.Find(id); err != nil || twice {
			return m, errNoMembers
		}
		m.Members = append(m.Members, raft.Member{ID: id, Name: p.Name, PeerURLs: normal(p.PeerURLs),
			ClientURLs: p.ClientURLs})
	}
	if len(list) == 0 {
		return m, errNoMembers
	}
	slices.SortFunc(m.Members, byID)
	return m, nil
}

func parseID(text string) (uint64, error) {
	id, err := strconv.ParseUint(text, 16, 64)
	if err != nil || id == raft.None {
		return 0, errNoMembers
	}
	return id, nil
}

// normal returns the URLs as raft.ParseURL has them, sorted. What it refuses is left out: nobody
// can be reached there.
func normal(texts []string) (urls []string) {
	for _, text := range texts {
		if u, err := raft.ParseURL(text); err == nil {
			urls = append(urls, u)
		}
	}
	slices.Sort(urls)
	return urls
}
