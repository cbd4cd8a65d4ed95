//go:build !linux

package http

// hangups reports nothing on a system without epoll.
type hangups struct{}

func theHangups() *hangups { return nil }

func (h *hangups) add(*conn) (number uint64) { return 0 }
func (h *hangups) remove(number uint64)      {}
