package discovery

import (
	"cmp"
	"context"
	"crypto/fips140"
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"etcd2/raft"
)

// Static makes the membership of a new cluster of a list of its members,
//
//	name=url,name=url,…
//
// in which each name appears once for each of its URLs. All members are voters, and have no client
// URLs yet. The token tells clusters apart that are made of the same URLs.
func Static(list, token string) (raft.Membership, error) {
	urls, err := parse(list)
	switch {
	case err != nil && strings.Contains(list, "@"): // the text before it may have a password
		return raft.Membership{}, errUserListed
	case err != nil:
		return raft.Membership{}, err
	}
	var m raft.Membership
	for name, peerURLs := range urls {
		slices.Sort(peerURLs)
		m.Members = append(m.Members, raft.Member{ID: MemberID(peerURLs, token), Name: name, PeerURLs: peerURLs})
	}
	slices.SortFunc(m.Members, byID)
	m.ClusterID = ClusterID(m.Members)
	return m, nil
}

func byID(a, b raft.Member) int { return cmp.Compare(a.ID, b.ID) }

// Self finds the member with a name, which must have exactly the given peer URLs; host names count
// as equal to their addresses.
func Self(ctx context.Context, m raft.Membership, name string, peerURLs []string) (raft.Member, error) {
	i := slices.IndexFunc(m.Members, func(member raft.Member) bool { return member.Name == name })
	if i < 0 {
		return raft.Member{}, fmt.Errorf("%w: %q", ErrNotListed, name)
	}
	self := m.Members[i]
	if !sameURLs(ctx, self.PeerURLs, peerURLs) {
		kind := ErrURLsDiffer
		if len(peerURLs) == 1 && slices.Contains(self.PeerURLs, peerURLs[0]) {
			kind = ErrOneName
		}
		return raft.Member{}, fmt.Errorf("%w: %s against %s of %q", kind,
			strings.Join(peerURLs, ","), strings.Join(self.PeerURLs, ","), name)
	}
	return self, nil
}

// MemberID returns the id of a founder of a cluster. peerURLs must be sorted. (API section 21.1)
func MemberID(peerURLs []string, token string) uint64 {
	return sum64([]byte(strings.Join(peerURLs, "") + token))
}

// ClusterID returns the id of a cluster that begins with these members, which must be sorted by id.
// It never changes afterwards. (API section 21.1)
func ClusterID(members []raft.Member) uint64 {
	var ids []byte
	for _, m := range members {
		ids = binary.BigEndian.AppendUint64(ids, m.ID)
	}
	return sum64(ids)
}

// sum64 returns the first 8 bytes of SHA-1, big endian. It makes names and protects nothing, so it
// is exempt from FIPS 140: GODEBUG=fips140=only changes no id.
func sum64(b []byte) (id uint64) {
	fips140.WithoutEnforcement(func() {
		sum := sha1.Sum(b)
		id = binary.BigEndian.Uint64(sum[:])
	})
	return id
}

// parse gathers the URLs by name.
func parse(list string) (map[string][]string, error) {
	urls, owner := map[string][]string{}, map[string]string{}
	for part := range strings.SplitSeq(list, ",") {
		name, text, found := strings.Cut(strings.TrimSpace(part), "=")
		if !found || name == "" {
			return nil, fmt.Errorf("want name=url, found %q", part)
		}
		u, err := raft.ParseURL(text)
		if err != nil {
			return nil, fmt.Errorf("member %q: %w", name, err)
		}
		if other, taken := owner[u]; taken {
			return nil, fmt.Errorf("duplicate URL %s, of %q and %q", u, other, name)
		}
		owner[u] = name
		urls[name] = append(urls[name], u)
	}
	return urls, nil
}
