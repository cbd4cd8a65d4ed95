package store

// Space names one of the trees that a store has. They share the index, the log and the snapshot,
// and nothing else: no path leads from one into the other.
type Space uint8

// The spaces.
const (
	Keys Space = iota // what the keys API shows
	Auth              // users, roles and their switch; its changes take an index, and no client sees them
	spacesEnd
)

var spaceNames = [spacesEnd]string{Auth: "auth "}

// AuthRevision returns the index of the last change in the space Auth, 0 when there was none. It is
// cheap enough to be called before and after each request (K9): if both calls return the same, the
// users and roles of that revision held for all that was read in between.
func (s *Store) AuthRevision() uint64 { return s.authRevision.Load() }

// Auth returns the root of the space Auth as of one moment, and its revision.
func (s *Store) Auth() (v View, revision uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	s.epoch.Add(1)
	return View{Node: s.roots[Auth], Index: s.index}, s.revision
}

// revise sets the revision. s.mu must be held.
func (s *Store) revise(revision uint64) {
	s.revision = revision
	s.authRevision.Store(revision)
}
