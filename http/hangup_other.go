//go:build !linux

package http

// hangups knows of no hang-up where there is no epoll.
type hangups struct{}

func theHangups() *hangups { return nil }

func (h *hangups) add(*conn) (number uint64) { return 0 }
func (h *hangups) remove(number uint64)      {}
