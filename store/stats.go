package store

// Stats are the counters of /v2/stats/store. They count what this member did since it started, and
// are no part of the state. Unlike in etcd 2, a request that fails never counts as a success (API
// section 17.3).
type Stats struct {
	GetsSuccess, GetsFail, SetsSuccess, SetsFail, DeleteSuccess, DeleteFail                  uint64
	UpdateSuccess, UpdateFail, CreateSuccess, CreateFail                                     uint64
	CompareAndSwapSuccess, CompareAndSwapFail, CompareAndDeleteSuccess, CompareAndDeleteFail uint64
	ExpireCount, Watchers                                                                    uint64
	WatchRequests                                                                            uint64
}

// Stats returns the counters as of one moment. Watchers is the number of watchers at that moment.
func (s *Store) Stats() Stats {
	s.mu.RLock()
	defer s.mu.RUnlock()
	t := s.stats
	t.GetsSuccess, t.GetsFail = s.gets.success.Load(), s.gets.fail.Load()
	t.Watchers = uint64(s.watchers.count)
	return t
}
