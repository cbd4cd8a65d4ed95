package auth

import "strings"

// Access is a kind of right.
type Access uint8

// The kinds of rights.
const (
	Read  Access = iota // of keys: GET and HEAD, watches too
	Write               // of keys: everything else
	Admin               // to change users, roles, the switch and the members, and to look inside the process
	Self                // to read one user, as that user or as root: Path is the user's name
)

// Right is what a request needs.
type Right struct {
	Access Access

	// Path is the canonical key, with a slash behind it if the request had one; "" for the root
	// without a slash (section 18.3). Admin has no Path.
	Path      string
	Recursive bool // the whole subtree is read, watched or deleted
}

// rights are what a caller has.
type rights struct {
	root        bool // everything
	read, write []string
}

// may reports whether r includes the right.
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

// covers reports whether one of the patterns allows all that the right touches. A pattern with a
// star that allows a path allows everything below it, since all of that begins with the path. A
// pattern without a star allows one path only. A recursive right must be allowed by one pattern:
// two together never count (K10).
func covers(patterns []string, need Right) bool {
	for _, p := range patterns {
		prefix, star := strings.CutSuffix(p, "*")
		if star && strings.HasPrefix(need.Path, prefix) || !star && !need.Recursive && need.Path == p {
			return true
		}
	}
	return false
}
