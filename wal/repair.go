package wal

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// Repair is the torn tail that Open has cut off; the zero value when there was none.
type Repair struct {
	File   string
	Offset int64 // first byte cut
	Bytes  int64 // bytes from there to the last byte that was not zero
	Reason string
}

// tail visits the records of a log's last segment, and decides what stands behind the last frame:
// zeros, the torn tail of an append that a crash interrupted, or damage (H1, H2, H3). Each append
// is synced before the next one begins, so only the very last one can be torn. It is damage when
//
//   - the first frame is bad: it was synced before the file had its name;
//   - a frame follows: it was begun after this one had been synced.
//
// Close leaves a mark behind the last batch: so after a clean stop no batch is ever taken for torn.
func (c *cursor) tail(visit visitor) (Repair, error) {
	err := c.each(visit)
	f, ok := err.(*flaw)
	if !ok {
		return Repair{}, err
	}
	if f.scan == 0 || c.at.offset == headerSize {
		return Repair{}, c.damage(f)
	}
	later, used, err := c.scan(f.scan)
	if err != nil {
		return Repair{}, err
	}
	if later != 0 {
		f.reason += fmt.Sprintf(", but a later one at %d", later)
		return Repair{}, c.damage(f)
	}
	if used == c.at.offset {
		return Repair{}, nil
	}
	return Repair{c.path, c.at.offset, used - c.at.offset, f.reason}, nil
}

// scan reads the rest of the segment. later is the offset of the first frame that begins at or
// after from, or 0; used is the end of the last byte that is not zero.
func (c *cursor) scan(from int64) (later, used int64, err error) {
	used = c.at.offset
	c.seek()
	for offset := used; offset < c.limit; offset += 8 {
		b, err := c.in.Peek(int(min(frameHeader, c.limit-offset)))
		if err != nil {
			return 0, 0, c.failure(err)
		}
		if word := binary.LittleEndian.Uint64(b); word != 0 {
			used = offset + int64(bits.Len64(word)+7)/8
		}
		if offset >= from && len(b) == frameHeader {
			if _, ok := parseFrame(b, c.salt, offset); ok {
				return offset, used, nil
			}
		}
		if _, err := c.in.Discard(8); err != nil {
			return 0, 0, c.failure(err)
		}
	}
	return 0, used, nil
}

// mend makes durable what tail has found in the log's last segment, and replaces a torn batch by
// zeros, so that no later crash mixes its bytes with new ones (H7). It syncs even when nothing was
// torn: a process that was killed may have left its last write in the page cache only. It writes
// the last frame again: after a sync that failed, the cache may hold the frame as clean while the
// disk never got it (H8). A sector that is written again with the same bytes can't be torn by that.
func (c *cursor) mend(torn Repair) error {
	if err := c.rewriteLast(); err != nil {
		return err
	}
	if err := fill(c.file, c.at.offset, align(c.at.offset+torn.Bytes)); err != nil {
		return err
	}
	return c.file.Sync()
}

func (c *cursor) rewriteLast() error {
	b := make([]byte, c.at.offset-c.last)
	if _, err := c.file.ReadAt(b, c.last); err != nil {
		return err
	}
	_, err := c.file.WriteAt(b, c.last)
	return err
}
