package etcdctl

import (
	"context"
	"fmt"
	"time"

	"etcd2/http/client"
)

const (
	healthInterval = 10 * time.Second
	healthPatience = 2 * time.Second // an etcd that is unhealthy needs a second to answer so
)

var clusterHealthCommand = &command{
	name: "cluster-health", help: "ask every member whether it is healthy", run: runClusterHealth,
	more:     "doctor asks for more, and tells what to do.",
	options:  []option{{name: "forever", alias: "f", help: "every 10 seconds, until it is interrupted"}},
	examples: []example{{"cluster-health", ""}, {"cluster-health --forever", ""}},
}

func runClusterHealth(s *session, args []string) error {
	c, err := s.unsynced(healthPatience)
	if err != nil {
		return err
	}
	ctx, cancel := s.untilInterrupt()
	defer cancel()
	if !s.opts.on("forever") {
		return s.checkHealth(ctx, c)
	}
	for {
		if err := s.checkHealth(ctx, c); err != nil && err.Error() != "" {
			s.tell(s.stderr, "%s\n", err)
		}
		s.tell(s.stdout, "\nnext check after 10 second...\n\n")
		if pause(ctx, healthInterval) {
			return errInterrupted
		}
	}
}

// checkHealth asks all members once. A cluster is healthy when one member is, as in 2.3.8.
func (s *session) checkHealth(ctx context.Context, c *client.Client) error {
	list, err := c.Members.List(ctx)
	if err != nil {
		fmt.Fprintln(s.stdout, "cluster may be unhealthy: failed to list members")
		return refused(err)
	}
	healthy := false
	for _, m := range list {
		if s.memberHealth(ctx, c, m) {
			healthy = true
		}
	}
	if !healthy {
		fmt.Fprintln(s.stdout, "cluster is unhealthy")
		return &failure{statusUnwell, ""}
	}
	fmt.Fprintln(s.stdout, "cluster is healthy")
	return nil
}

// memberHealth asks a member at one URL after the other until it answers, and prints the answer.
func (s *session) memberHealth(ctx context.Context, c *client.Client, m client.Member) bool {
	for _, u := range m.ClientURLs {
		healthy, err := c.Health(ctx, u)
		switch {
		case err != nil:
			s.tell(s.stdout, "failed to check the health of member %s on %s: %v\n", m.ID, u, err)
			continue
		case healthy:
			s.tell(s.stdout, "member %s is healthy: got healthy result from %s\n", m.ID, u)
		default:
			s.tell(s.stdout, "member %s is unhealthy: got unhealthy result from %s\n", m.ID, u)
		}
		return healthy
	}
	if len(m.ClientURLs) == 0 {
		s.tell(s.stdout, "member %s is unreachable: no available published client urls\n", m.ID)
	} else {
		s.tell(s.stdout, "member %s is unreachable: %v are all unreachable\n", m.ID, m.ClientURLs)
	}
	return false
}
