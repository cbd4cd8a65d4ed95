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

// The limits of a request to a member (pitfall K6). Besides them, only http and https URLs are
// called, redirects are not followed, and no error quotes a body.
const (
	surveyTimeout = 2 * time.Second  // for the answers of all members
	addTimeout    = 10 * time.Second // for adding a member; more than a member waits for agreement
	maxBody       = 1 << 20
)

// at returns a client of one member.
func (n Newcomer) at(u string, timeout time.Duration) (*client.Client, error) {
	return client.New(client.Config{Endpoints: []string{u}, DialTLS: n.DialTLS, Timeout: timeout,
		MaxAnswerBytes: maxBody})
}

// An answer is what a member says about its cluster.
type answer struct {
	url     string          // the URL that was asked
	cluster raft.Membership // id and members; without the ids that were removed
}

// survey asks all URLs at the same time, and returns the answers in their order. The failures name
// the URLs.
func (n Newcomer) survey(ctx context.Context, urls []string) (answers []answer, failures []error) {
	ctx, cancel := context.WithTimeout(ctx, surveyTimeout)
	defer cancel()
	all, errs := make([]answer, len(urls)), make([]error, len(urls))
	var asking sync.WaitGroup
	for i, u := range urls {
		asking.Go(func() { all[i], errs[i] = n.requestMembers(ctx, u) })
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

// requestMembers asks one member for its cluster.
func (n Newcomer) requestMembers(ctx context.Context, u string) (answer, error) {
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

// requestPlace asks a member to add this one, and returns the status of its answer.
func (n Newcomer) requestPlace(ctx context.Context, u string) (status int, err error) {
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

// reason shortens an error: without the URL, which the caller adds, and without the text of a
// refusal, which may come from any server.
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

// alone returns the error of the only endpoint.
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

// normal returns the URLs in the form of raft.ParseURL, sorted. URLs that it refuses are left out.
func normal(texts []string) (urls []string) {
	for _, text := range texts {
		if u, err := raft.ParseURL(text); err == nil {
			urls = append(urls, u)
		}
	}
	slices.Sort(urls)
	return urls
}
