package store

import "slices"

// Range selects children of a directory by name: those that begin with Prefix and sort behind
// After. Hidden ones are left out, unless Prefix begins like their names, with an underscore.
type Range struct{ Prefix, After string }

// interval is the names that are not before from, and before to; there is no end when to is "".
type interval struct{ from, to string }

// visible are the names that are not hidden.
var visible = []interval{{"", "_"}, {"`", ""}}

// intervals returns r in ascending order. Hidden names follow each other, so leaving them out makes
// two intervals of one.
func (r Range) intervals() []interval {
	if r == (Range{}) {
		return visible
	}
	from := r.Prefix
	if r.After >= from {
		from = r.After + "\x00"
	}
	if r.Prefix != "" {
		return []interval{{from, behind(r.Prefix)}}
	}
	return []interval{{from, "_"}, {max(from, "`"), ""}}
}

// behind returns the least name that sorts behind all that begin with prefix; "" when there is
// none.
func behind(prefix string) string {
	for i, c := range slices.Backward([]byte(prefix)) {
		if c < 0xff {
			return prefix[:i] + string([]byte{c + 1})
		}
	}
	return ""
}
