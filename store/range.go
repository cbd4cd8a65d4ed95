package store

import "slices"

// Range selects children of a directory by name: those whose names begin with Prefix and sort
// behind After. Hidden ones are left out, unless Prefix begins with an underscore, as their names
// do.
type Range struct{ Prefix, After string }

// interval stands for the names n with from ≤ n < to; "" as to is no bound.
type interval struct{ from, to string }

// visible are the names that are not hidden: "`" is the byte behind "_".
var visible = []interval{{"", "_"}, {"`", ""}}

// intervals returns the intervals of r, in ascending order. Hidden names are next to each other, so
// leaving them out makes two intervals of one.
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
