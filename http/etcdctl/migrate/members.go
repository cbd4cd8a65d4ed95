package migrate

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// A Member is a member of the old cluster.
type Member struct {
	ID       uint64
	Name     string   // "": it has never started
	PeerURLs []string // in the list of members

	learner bool
	added   bool // it is in the cluster, and has not only told its attributes
}

// members are the members in the log of etcd, which its store has in /0/members and
// /0/removed_members. Each change advances the store index. It belongs to one goroutine.
type members struct {
	byID    map[uint64]*Member
	removed map[uint64]bool
	voters  map[uint64]bool
}

func newMembers() members {
	return members{byID: map[uint64]*Member{}, removed: map[uint64]bool{}, voters: map[uint64]bool{}}
}

// A change is a change of the members.
type change struct {
	kind    uint64
	id      uint64
	context struct {
		PeerURLs  []string `json:"peerURLs"`
		IsLearner bool     `json:"isLearner"`
		IsPromote bool     `json:"isPromote"`
	}
}

// The kinds of changes.
const (
	changeAdd = iota
	changeRemove
	changeUpdate
	changeAddLearner
)

// decodeChange reads a change. It reports whether b is one.
func decodeChange(b []byte) (c change, isOne bool) {
	var context []byte
	isOne, _ = message(b, nil, &c.kind, &c.id, &context)
	if len(context) > 0 && json.Unmarshal(context, &c.context) != nil {
		return c, false
	}
	return c, isOne && c.kind <= changeAddLearner
}

// change applies a change, unless it is refused, and returns by how much it advances the store
// index.
func (m *members) change(c change) (indices int) {
	old := m.at(c.id)
	switch {
	case m.removed[c.id]:
		return 0
	case c.kind == changeRemove && old != nil:
		delete(m.byID, c.id)
		delete(m.voters, c.id)
		m.removed[c.id] = true
		return 2
	case c.kind == changeUpdate && old != nil && !m.taken(c):
		old.PeerURLs = c.context.PeerURLs
		return 1
	case c.kind == changeAdd && c.context.IsPromote && old != nil && old.learner:
		old.learner = false
		m.voters[c.id] = true
		return 1
	case c.kind == changeAdd && !c.context.IsPromote || c.kind == changeAddLearner:
		return m.add(c)
	}
	return 0
}

// at returns a member that was added, or nil.
func (m *members) at(id uint64) *Member {
	if one := m.byID[id]; one != nil && one.added {
		return one
	}
	return nil
}

func (m *members) add(c change) (indices int) {
	learner := c.kind == changeAddLearner || c.context.IsLearner
	if m.at(c.id) != nil || m.taken(c) || learner && m.hasLearner() {
		return 0
	}
	one := m.known(c.id)
	one.PeerURLs, one.learner, one.added = c.context.PeerURLs, learner, true
	if !learner {
		m.voters[c.id] = true
	}
	return 1
}

// taken reports whether another member has one of the peer URLs.
func (m *members) taken(c change) bool {
	for id, other := range m.byID {
		for _, u := range other.PeerURLs {
			if id != c.id && slices.Contains(c.context.PeerURLs, u) {
				return true
			}
		}
	}
	return false
}

func (m *members) hasLearner() bool {
	for _, one := range m.byID {
		if one.learner {
			return true
		}
	}
	return false
}

// known returns a member, and makes it when it is new.
func (m *members) known(id uint64) *Member {
	if m.byID[id] == nil {
		m.byID[id] = &Member{ID: id}
	}
	return m.byID[id]
}

// set reads the value of a key below /0/members or /0/removed_members. It returns false for a
// member that was removed: etcd refuses its values.
func (m *members) set(path, value string) bool {
	parts := strings.Split(strings.TrimPrefix(path, "/0/"), "/")
	if len(parts) < 2 {
		return true
	}
	id, err := strconv.ParseUint(parts[1], 16, 64)
	switch {
	case err != nil:
	case parts[0] == "removed_members":
		m.removed[id] = true
	case parts[0] == "members" && len(parts) == 3:
		if m.removed[id] {
			return false
		}
		m.known(id).describe(parts[2], value)
	}
	return true
}

// describe reads one of the two values of a member.
func (one *Member) describe(key, value string) {
	var v struct {
		Name      string   `json:"name"`
		PeerURLs  []string `json:"peerURLs"`
		IsLearner bool     `json:"isLearner"`
	}
	if json.Unmarshal([]byte(value), &v) != nil {
		return
	}
	switch key {
	case "attributes":
		one.Name = v.Name
	case "raftAttributes":
		one.PeerURLs, one.learner, one.added = v.PeerURLs, v.IsLearner, true
	}
}

// list returns the members by id.
func (m *members) list() (list []Member) {
	for _, id := range slices.Sorted(maps.Keys(m.byID)) {
		if m.byID[id].added {
			list = append(list, *m.byID[id])
		}
	}
	return list
}

// InitialCluster returns the list of members in the form of --initial-cluster.
func InitialCluster(list []Member) string {
	var parts []string
	for _, one := range list {
		name := one.Name
		if name == "" {
			name = fmt.Sprintf("%x", one.ID)
		}
		for _, u := range one.PeerURLs {
			parts = append(parts, name+"="+u)
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, ",")
}
