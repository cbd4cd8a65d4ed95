package etcdctl

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"etcd2/http/client"
)

var memberCommands = []*command{
	{name: "member", help: "list, add, remove, update and replace members", family: []*command{
		{name: "list", help: "list the members; for one without a vote, also how many entries it is behind",
			examples: []example{{"member list", ""}}, run: runMemberList},
		{
			name: "add", args: "NAME PEERURL", help: "add a new member to the cluster",
			more: "Then start the new member with the variables that are printed. It has no vote until it has " +
				"caught up.",
			examples: []example{{"member add n4 http://10.0.0.4:2380", ""}}, run: runMemberAdd,
		},
		{
			name: "remove", args: "ID", help: "remove a member for ever",
			examples: []example{{"member remove 8e9e05c52164694d", ""}}, run: runMemberRemove,
		},
		{
			name: "update", args: "ID PEERURL,...", help: "change the peer URLs of a member",
			examples: []example{{"member update 8e9e05c52164694d http://10.0.0.5:2380", ""}}, run: runMemberUpdate,
		},
		memberReplaceCommand,
	}},
	clusterHealthCommand,
}

// members returns the list of members, and a client of all of them.
func (s *session) members() (*client.Client, []client.Member, error) {
	c, err := s.cluster()
	if err != nil {
		return nil, nil, err
	}
	list, err := c.Members.List(s.ctx)
	return c, list, bare(err)
}

func runMemberList(s *session, args []string) error {
	if len(args) > 0 {
		return errNoArguments
	}
	c, list, err := s.members()
	if err != nil {
		return err
	}
	leader, err := c.Members.Leader(s.ctx)
	lag := lagOf(s.ctx, c, leader, list)
	for _, m := range list {
		if m.Name == "" {
			s.tell(s.stdout, "%s[unstarted]: peerURLs=%s%s\n", m.ID, strings.Join(m.PeerURLs, ","), lag[m.ID])
			continue
		}
		s.tell(s.stdout, "%s: name=%s peerURLs=%s clientURLs=%s isLeader=%v%s\n",
			m.ID, m.Name, strings.Join(m.PeerURLs, ","), strings.Join(m.ClientURLs, ","),
			err == nil && m.ID == leader.ID, lag[m.ID])
	}
	if err != nil {
		return &failure{statusWrong, "Failed to get leader: " + described(err)}
	}
	return nil
}

// lagOf returns, by id, what to print about the members that run without a vote. Only the leader
// knows how many entries they lack, and which of those without a name run, so it is asked, too.
func lagOf(ctx context.Context, c *client.Client, leader client.Member, list []client.Member) map[string]string {
	if !slices.ContainsFunc(list, func(m client.Member) bool { return m.Learner || m.Name == "" }) {
		return nil
	}
	for _, u := range leader.ClientURLs {
		if reply, err := c.Ask(ctx, "GET", u, "/v2/members"); err == nil {
			list = append(list, learnersIn(reply)...)
			break
		}
	}
	lag := map[string]string{}
	for _, m := range list {
		switch {
		case m.Behind != nil:
			lag[m.ID] = fmt.Sprint(" hasVote=false behind=", *m.Behind)
		case m.Learner && lag[m.ID] == "":
			lag[m.ID] = " hasVote=false"
		}
	}
	return lag
}

// learnersIn returns the members that run without a vote, from an answer of /v2/members.
func learnersIn(r *client.Reply) []client.Member {
	var v struct{ Members []client.Member }
	json.Unmarshal(r.Body, &v) // after an error there are no members
	return slices.DeleteFunc(v.Members, func(m client.Member) bool { return !m.Learner })
}

func runMemberAdd(s *session, args []string) error {
	if len(args) != 2 {
		return &failure{statusWrong, "Provide a name and a single member peerURL"}
	}
	c, err := s.cluster()
	if err != nil {
		return err
	}
	m, err := c.Members.Add(s.ctx, "", []string{args[1]})
	if err != nil {
		return bare(err)
	}
	s.tell(s.stdout, "Added member named %s with ID %s to cluster\n", args[0], m.ID)
	list, err := c.Members.List(s.ctx)
	if err != nil {
		return bare(err)
	}
	s.showStart(args[0], m.ID, list)
	return nil
}

// showStart prints the variables with which an added member is started.
func (s *session) showStart(name, id string, list []client.Member) {
	var cluster []string
	for _, m := range list {
		if m.ID == id {
			m.Name = name
		}
		for _, u := range m.PeerURLs {
			cluster = append(cluster, m.Name+"="+u)
		}
	}
	s.tell(s.stdout, "\nETCD_NAME=%s\nETCD_INITIAL_CLUSTER=%s\nETCD_INITIAL_CLUSTER_STATE=\"existing\"\n",
		shellQuoted(name), shellQuoted(strings.Join(cluster, ",")))
}

// shellQuoted returns text in double quotes, so that a shell expands nothing in it. It is one line:
// control characters are escaped as in Go, and a shell keeps the escapes.
func shellQuoted(text string) string {
	return strings.NewReplacer("$", `\$`, "`", "\\`").Replace(strconv.Quote(text))
}

func runMemberRemove(s *session, args []string) error {
	if len(args) != 1 {
		return &failure{statusWrong, "Provide a single member ID"}
	}
	c, list, err := s.members()
	if err != nil {
		return err
	}
	m, err := findMember(list, "remove", args[0])
	if err != nil {
		return err
	}
	if err := c.Members.Remove(s.ctx, m.ID); err != nil {
		return bare(err)
	}
	s.tell(s.stdout, "Removed member %s from cluster\n", m.ID)
	return nil
}

// findMember returns the member with an id. If a name was given instead, the error tells the id.
func findMember(list []client.Member, verb, id string) (client.Member, error) {
	hint := ""
	for _, m := range list {
		switch id {
		case m.ID:
			return m, nil
		case m.Name:
			hint += fmt.Sprintf("Found a member named %s; if this is correct, please use its ID, eg:\n\tetcdctl "+
				"member %s %s\n\n", m.Name, verb, m.ID)
		}
	}
	return client.Member{}, &failure{statusWrong, hint +
		fmt.Sprintf("Couldn't find a member in the cluster with an ID of %s.", id)}
}

func runMemberUpdate(s *session, args []string) error {
	if len(args) != 2 {
		return &failure{statusWrong,
			"Provide an ID and a list of comma separated peerURL (0xabcd http://example.com,http://example1.com)"}
	}
	c, err := s.cluster()
	if err != nil {
		return err
	}
	id := strings.TrimPrefix(args[0], "0x")
	if err := c.Members.Update(s.ctx, id, slices.Compact(strings.Split(args[1], ","))); err != nil {
		return bare(err)
	}
	s.tell(s.stdout, "Updated member with ID %s in cluster\n", id)
	return nil
}
