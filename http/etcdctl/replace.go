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
	name: "replace", args: "OLD PEERURL", help: "put a new member in the place of an old one", run: runMemberReplace,
	more: "OLD is an id or a name, and may be dead. The new member is added without a vote; start it with the " +
		"variables that are printed. When it has\n" +
		"caught up and votes, the old one is removed, so that no step can cost the quorum. An interrupted " +
		"replacement is gone on with by the same command.",
	options: []option{{name: "name", arg: "NAME", check: text,
		help: "name of the new member; default: the old one's with -new behind it"}},
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
	case votesNo(ctx, c) < 0:
		return &failure{statusWrong,
			"The members here let a new one vote at once: a replacement must begin with member remove, and go on " +
				"with member add"}
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

// awaitVote waits until a member has been started, answers, and nobody is without a vote.
func (s *session) awaitVote(ctx context.Context, c *client.Client, id string) error {
	s.tell(s.stdout, "\nWaiting until member %s is started and has caught up\n", id)
	for !hasVote(ctx, c, id) {
		if pause(ctx, replaceInterval) {
			return &failure{statusWrong, "The old member is still there; the same command goes on with its replacement"}
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
	return slices.ContainsFunc(list[i].ClientURLs, well) && votesNo(ctx, c) == 0
}

// votesNo is how many members have no vote, -1 when nobody says.
func votesNo(ctx context.Context, c *client.Client) int {
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
