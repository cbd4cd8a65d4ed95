package etcdctl

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"etcd2/http/client"
)

var memberReplaceCommand = &command{
	name: "replace", args: "OLD PEERURL", help: "replace a member by a new one", run: runMemberReplace,
	more: "OLD is an id or a name, of a member that may be dead. The new member is added without a vote; start it " +
		"with the variables that are printed.\n" +
		"When it has caught up and votes, the old one is removed, so no step can cost the quorum. If it was " +
		"interrupted, the same command continues.",
	options: []option{{name: "name", arg: "NAME", check: text,
		help: "name of the new member; default: the name of the old one and -new"}},
	examples: []example{
		{"member replace n2 http://10.0.0.5:2380", ""},
		{"member replace 8e9e05c52164694d http://10.0.0.5:2380 --name n5", ""},
	},
}

const replaceInterval = 500 * time.Millisecond

func runMemberReplace(s *session, args []string) error {
	if len(args) != 2 {
		return &failure{statusWrong, "Provide the ID or name of an old member and a single peerURL of a new one"}
	}
	c, list, err := s.members()
	if err != nil {
		return err
	}
	ctx, cancel := s.untilInterrupt()
	defer cancel()
	i := slices.IndexFunc(list,
		func(m client.Member) bool { return m.ID == args[0] || m.Name == args[0] && m.Name != "" })
	switch {
	case i < 0:
		return &failure{statusWrong, fmt.Sprintf("Couldn't find a member in the cluster with an ID or name of %s.",
			args[0])}
	case slices.Contains(list[i].PeerURLs, args[1]):
		return &failure{statusWrong,
			fmt.Sprintf("%s is a peerURL of the old member; use member update, if only its data is lost use member "+
				"remove and member add", args[1])}
	case learnerCount(ctx, c) < 0:
		return &failure{statusWrong,
			"These members give a new one its vote at once: begin with member remove, and then use member add"}
	}
	old := list[i]
	fresh, err := s.addInPlace(ctx, c, list, cmp.Or(s.opts.text("name"), cmp.Or(old.Name, old.ID)+"-new"), args[1])
	if err != nil {
		return bare(err)
	}
	if err := s.awaitVote(ctx, c, fresh.ID); err != nil {
		return err
	}
	if err := c.Members.Remove(ctx, old.ID); err != nil {
		return bare(err)
	}
	s.tell(s.stdout, "Removed member %s from cluster\n", old.ID)
	return nil
}

// addInPlace adds the new member, unless an earlier run has done so.
func (s *session) addInPlace(ctx context.Context, c *client.Client, list []client.Member, name,
	peerURL string) (client.Member, error) {
	for _, m := range list {
		if slices.Contains(m.PeerURLs, peerURL) {
			return m, nil
		}
	}
	m, err := c.Members.Add(ctx, "", []string{peerURL})
	if err != nil {
		return m, err
	}
	s.tell(s.stdout, "Added member named %s with ID %s to cluster\n", name, m.ID)
	s.showStart(name, m.ID, append(list, m))
	return m, nil
}

// awaitVote waits until the new member answers, and all members have a vote.
func (s *session) awaitVote(ctx context.Context, c *client.Client, id string) error {
	s.tell(s.stdout, "\nWaiting until member %s is started and has caught up\n", id)
	for !hasVote(ctx, c, id) {
		if pause(ctx, replaceInterval) {
			return &failure{statusWrong, "The old member is still there; the same command continues its replacement"}
		}
	}
	return nil
}

func hasVote(ctx context.Context, c *client.Client, id string) bool {
	list, err := c.Members.List(ctx)
	i := slices.IndexFunc(list, func(m client.Member) bool { return m.ID == id })
	if err != nil || i < 0 {
		return false
	}
	well := func(u string) bool { healthy, err := c.Health(ctx, u); return err == nil && healthy }
	return slices.ContainsFunc(list[i].ClientURLs, well) && learnerCount(ctx, c) == 0
}

// learnerCount returns how many members have no vote, -1 when no endpoint tells.
func learnerCount(ctx context.Context, c *client.Client) int {
	for _, endpoint := range c.Endpoints() {
		reply, err := c.Ask(ctx, "GET", endpoint, "/metrics")
		if err == nil && strings.Contains(string(reply.Body), "\netcd_server_members{") {
			k := new(checkup)
			k.readMetrics(reply)
			return k.learners
		}
	}
	return -1
}
