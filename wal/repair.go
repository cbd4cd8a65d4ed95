package wal

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// Repair says what Open cut off a torn tail. The zero value: nothing.
type Repair struct {
	File   string
	Offset int64 // first byte cut
	Bytes  int64 // bytes from there to the last byte that was not zero
	Reason string
}

// tail visits the records of a log's last segment and judges what stands where
// no more frame is: zeros, the torn tail of an append that a crash has
// interrupted, or damage (H1, H2, H3). Appends follow one another, each synced
// before the next begins, so only the very last can be torn. It is damage when
//
//   - the first frame is bad: it was synced before the file had its name;
//   - a frame follows: it was begun after this one had been synced.
//
// Close leaves a mark behind the last batch. So after a clean stop no batch is
// ever taken for torn.
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

// scan looks through the rest of the segment. later is the offset of the first
// frame that begins at or after from, or 0; used is the end of the last byte
// that is not zero.
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

// mend makes the tail of the log's last segment what tail has found: zeros
// where a batch was torn, so that no later crash mixes the old bytes with new
// ones (H7), and the last frame durable. It syncs even when nothing was torn,
// because a process that was killed may have left its last write in the page
// cache only. And it writes the last frame again, because after a sync that
// failed the cache may hold it marked clean while the disk never got it (H8);
// a sector that is written again with the bytes it has can't be torn by that.
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
