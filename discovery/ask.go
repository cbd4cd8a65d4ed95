package discovery

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"etcd2/raft"
)

// The limits of a question (pitfall K6): besides them, only http and https are asked, redirects are not followed, and nothing of
// a body gets into an error.
const (
	surveyTimeout = 2 * time.Second  // of all members together
	addTimeout    = 10 * time.Second // more than a member waits for agreement
	maxBody       = 1 << 20
)

// asker is how a newcomer asks: by what makes a connection for an https URL; nil: by the system's authorities.
type asker func(ctx context.Context, network, address string) (net.Conn, error)

// client keeps the limits of a question. (The client package will take its place.)
func (d asker) client() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10, DialTLSContext: d},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// An answer is what a member says of its cluster.
type answer struct {
	url     string          // that was asked
	cluster raft.Membership // id and members; it does not tell who was removed
}

// survey asks all URLs at the same time, and returns the answers in their order. The failures name the URLs.
func (d asker) survey(ctx context.Context, urls []string) (answers []answer, failures []error) {
	ctx, cancel := context.WithTimeout(ctx, surveyTimeout)
	defer cancel()
	all, errs := make([]answer, len(urls)), make([]error, len(urls))
	var asking sync.WaitGroup
	for i, u := range urls {
		asking.Go(func() { all[i], errs[i] = d.askMembers(ctx, u) })
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
func (d asker) askMembers(ctx context.Context, u string) (answer, error) {
	resp, body, err := d.do(ctx, "GET", u+membersPath, nil)
	if err != nil {
		return answer{}, err
	}
	if resp.StatusCode != http.StatusOK {
		return answer{}, fmt.Errorf("it answers with status %d", resp.StatusCode)
	}
	cluster, err := parseMembers(resp.Header.Get("X-Etcd-Cluster-Id"), body)
	return answer{u, cluster}, err
}

// askToAdd asks a member to take in a new one, and returns the status of its answer.
func (d asker) askToAdd(ctx context.Context, u, name string, peerURLs []string) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, addTimeout)
	defer cancel()
	body, err := json.Marshal(map[string]any{"name": name, "peerURLs": peerURLs})
	if err != nil {
		return 0, err
	}
	resp, _, err := d.do(ctx, "POST", u+membersPath, body)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, nil
}

const membersPath = "/v2/members"

// do sends one request and reads the whole answer.
func (d asker) do(ctx context.Context, method, target string, body []byte) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, nil, errors.New("not a URL")
	}
	req.Header["Content-Type"] = []string{"application/json"}
	resp, err := d.client().Do(req)
	if err != nil {
		return nil, nil, short(ctx, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	switch {
	case err != nil:
		return nil, nil, short(ctx, err)
	case len(answer) > maxBody:
		return nil, nil, fmt.Errorf("its answer has more than %d bytes", maxBody)
	}
	return resp, answer, nil
}

// short leaves out of an error what the reader knows: method and URL.
func short(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return errors.New("no answer in time")
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

var errNoMembers = errors.New("its answer is not a list of members")

// parseMembers reads the answer to GET /v2/members, and the cluster's id that comes in a header.
func parseMembers(clusterID string, body []byte) (m raft.Membership, err error) {
	var list struct {
		Members []struct {
			ID         string   `json:"id"`
			Name       string   `json:"name"`
			PeerURLs   []string `json:"peerURLs"`
			ClientURLs []string `json:"clientURLs"`
		} `json:"members"`
	}
	if m.ClusterID, err = parseID(clusterID); err != nil {
		return m, err
	}
	if err := json.Unmarshal(body, &list); err != nil || len(list.Members) == 0 {
		return m, errNoMembers
	}
	for _, p := range list.Members {
		id, err := parseID(p.ID)
		if _, twice := m.Find(id); err != nil || twice {
			return m, errNoMembers
		}
		m.Members = append(m.Members, raft.Member{ID: id, Name: p.Name, PeerURLs: normal(p.PeerURLs), ClientURLs: p.ClientURLs})
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

// normal returns the URLs as ParseURL has them, sorted. What it refuses is left out: nobody can be reached there.
func normal(texts []string) (urls []string) {
	for _, text := range texts {
		if u, err := ParseURL(text); err == nil {
			urls = append(urls, u)
		}
	}
	slices.Sort(urls)
	return urls
}
