package store

// Space names one of the trees that a store has. They share the index, the log and the snapshot,
// and nothing else: no path leads from one into the other.
type Space uint8

// The spaces.
const (
	Keys Space = iota // what the keys API shows
	Auth              // users, roles and their switch; its changes take an index and are told to nobody
	spacesEnd
)

var spaceNames = [spacesEnd]string{Auth: "auth "}

// AuthRevision is the index of the last change in the space Auth, 0 when there never was one. It
// costs next to nothing: whoever serves a request asks before and after (K9). What is read between
// two equal answers was read while they held.
func (s *Store) AuthRevision() uint64 { return s.judged.Load() }

// Auth returns the root of the space Auth as of one moment, and the revision that it has.
func (s *Store) Auth() (v View, revision uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	s.epoch.Add(1)
	return View{Node: s.roots[Auth], Index: s.index}, s.revision
}

// revise sets the revision. s.mu must be held.
func (s *Store) revise(revision uint64) {
	s.revision = revision
	s.judged.Store(revision)
}
