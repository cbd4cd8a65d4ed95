package snap

import (
	"encoding/binary"
	"hash/crc32"
)

// A snapshot file is a header, blocks, and a trailer. Numbers are little-endian.
//
//	header   ┌─────────┬─────────┬───────┐
//	20 bytes │ magic 8 │ index 8 │ CRC 4 │
//	         ├─────────┼───────┬─┴───────┴──────┐
//	meta     │ length 4│ sum 4 │ data           │  one block, also when it is empty
//	         ├─────────┼───────┼────────────────┤
//	body     │ length 4│ sum 4 │ data           │  as many as it takes; none is empty
//	         ├─────────┼───────┼─────────┬──────┴┬───────┐
//	trailer  │ 0     4 │ sum 4 │ total 8 │ end 4 │ CRC 4 │
//	24 bytes └─────────┴───────┴─────────┴───────┴───────┘
//
// The header's CRC covers the header and is the first sum. A block's sum is the CRC-32C of its
// length and its data, continuing the sum before. total is the size of the body, and the trailer's
// CRC covers the trailer. So a file that was cut, even between two blocks, has no trailer at its
// end, and a block that is missing, doubled or of another file breaks the chain of sums.
const (
	magic    = "etcdsnp\x01" // the last byte is the version of the format
	endMagic = "\xffend"

	headerSize  = 20
	blockHeader = 8
	trailerSize = 24

	blockBytes = 128 << 10 // of the body, in one block
	maxMeta    = 1 << 20   // bytes
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendHeader appends the header to b and returns the first sum.
func appendHeader(b []byte, index uint64) ([]byte, uint32) {
	start := len(b)
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint64(b, index)
	sum := crc32.Checksum(b[start:], castagnoli)
	return binary.LittleEndian.AppendUint32(b, sum), sum
}

// parseHeader is the inverse of appendHeader.
func parseHeader(b []byte) (index uint64, sum uint32, reason string) {
	if string(b[:len(magic)]) != magic {
		return 0, 0, "not a snapshot of this format"
	}
	sum = crc32.Checksum(b[:headerSize-4], castagnoli)
	if sum != binary.LittleEndian.Uint32(b[headerSize-4:]) {
		return 0, 0, "the header fails its checksum"
	}
	return binary.LittleEndian.Uint64(b[len(magic):]), sum, ""
}

// sealBlock fills the header of a block, in front of its data, and returns its sum. sum is that of
// the block before.
func sealBlock(block []byte, sum uint32) uint32 {
	binary.LittleEndian.PutUint32(block, uint32(len(block)-blockHeader))
	sum = blockSum(block[:4], block[blockHeader:], sum)
	binary.LittleEndian.PutUint32(block[4:], sum)
	return sum
}

func blockSum(length, data []byte, sum uint32) uint32 {
	return crc32.Update(crc32.Update(sum, castagnoli, length), castagnoli, data)
}

// trailer returns the trailer of a file. sum is that of its last block, total the size of its body.
func trailer(sum uint32, total int64) []byte {
	b := make([]byte, blockHeader, trailerSize)
	sealBlock(b, sum)
	b = binary.LittleEndian.AppendUint64(b, uint64(total))
	b = append(b, endMagic...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// parseTrailer returns the size of the body, as the trailer states it.
func parseTrailer(b []byte) (total int64, ok bool) {
	size := binary.LittleEndian.Uint64(b[8:])
	ok = string(b[16:20]) == endMagic && size < 1<<63 &&
		binary.LittleEndian.Uint32(b[20:]) == crc32.Checksum(b[:20], castagnoli)
	return int64(size), ok
}
