//go:build race

package peer

func init() { slowness = 6 }
