package disktest

import (
	"math/rand/v2"
	"slices"
)

// sector is how many bytes a disk writes as a whole.
const sector = 512

// write is a part of a file that was written.
type write struct {
	offset int
	data   []byte
}

// apply returns data with w in it. It may change data.
func (w write) apply(data []byte) []byte {
	if end := w.offset + len(w.data); end > len(data) {
		data = append(data, make([]byte, end-len(data))...)
	}
	copy(data[w.offset:], w.data)
	return data
}

func keepWrite(old []byte, w write) []byte { return w.apply(old) }
func loseWrite(old []byte, _ write) []byte { return old }

// keepPrefix keeps n bytes of the last write, and all of those before it.
func keepPrefix(last write, n int) func([]byte, write) []byte {
	return func(old []byte, w write) []byte {
		if &w.data[0] == &last.data[0] {
			w.data = w.data[:n]
		}
		return w.apply(old)
	}
}

// loseSector loses one sector of the last write.
func loseSector(last write, at int, in string, rng *rand.Rand) func([]byte, write) []byte {
	return func(old []byte, w write) []byte {
		if &w.data[0] != &last.data[0] {
			return w.apply(old)
		}
		return w.lose(old, rng, func(sector int) string {
			if sector == at {
				return in
			}
			return ""
		})
	}
}

// tearWrite decides at random what is left of every sector of every write.
func tearWrite(rng *rand.Rand) func([]byte, write) []byte {
	return func(old []byte, w write) []byte {
		return w.lose(old, rng, func(int) string {
			return []string{"", "", "", "old bytes", "zeros", "garbage"}[rng.IntN(6)]
		})
	}
}

// lose applies the write, except for the sectors for which lost returns what is there instead. A
// sector that is written again with the same bytes can't be lost.
func (w write) lose(old []byte, rng *rand.Rand, lost func(sector int) string) []byte {
	data := w.apply(slices.Clone(old))
	for at := w.offset; at < w.offset+len(w.data); {
		end := min((at/sector+1)*sector, w.offset+len(w.data))
		was := make([]byte, end-at)
		if at < len(old) {
			copy(was, old[at:])
		}
		in := lost(at / sector)
		if in != "" && string(was) != string(data[at:end]) {
			for i := range was {
				switch in {
				case "old bytes":
					data[at+i] = was[i]
				case "zeros":
					data[at+i] = 0
				case "garbage":
					data[at+i] = byte(rng.Uint32())
				}
			}
		}
		at = end
	}
	return data
}
