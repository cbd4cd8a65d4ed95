package auth

import "strings"

// Access is a kind of right.
type Access uint8

// The kinds of rights.
const (
	Read  Access = iota // of keys: GET and HEAD, watches too
	Write               // of keys: everything else
	Admin               // to change users, roles, the switch and the members, and to look inside the process
	Self                // to see a user: Path is the name
)

// Right is what a request needs.
type Right struct {
	Access Access

	// Path is the key as it was asked for: the canonical one, with a slash behind it if the request
	// had one, "" for the root without one (section 18.3). Admin has none.
	Path      string
	Recursive bool // the whole subtree is read, watched or deleted
}

// rights are what somebody has.
type rights struct {
	root        bool // everything
	read, write []string
}

// may reports whether they are enough.
func (r *rights) may(need Right) bool {
	switch {
	case r.root:
		return true
	case need.Access == Read:
		return covers(r.read, need)
	case need.Access == Write:
		return covers(r.write, need)
	}
	return false
}

// covers reports whether one of the patterns allows all that the right touches. One that allows a
// path by its star allows everything below that path, since all of it begins with the path; no
// other pattern does so, and no two together are asked (K10).
func covers(patterns []string, need Right) bool {
	for _, p := range patterns {
		prefix, star := strings.CutSuffix(p, "*")
		if star && strings.HasPrefix(need.Path, prefix) || !star && !need.Recursive && need.Path == p {
			return true
		}
	}
	return false
}
