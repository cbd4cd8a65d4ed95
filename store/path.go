package store

import (
	"path"
	"strings"
)

// MaxDepth is the most elements that a key of a client may have. depthLimit is the most elements of
// any path, and bounds every recursion in this package: a command for a longer path is no command
// (see Apply). It is one more, since Plant may be given keys below the directory in which etcd 2
// kept them.
const (
	MaxDepth   = 512
	depthLimit = MaxDepth + 1
)

// Canonical returns the key of a path: absolute, without empty elements, "." or "..", without a
// slash at its end. It is idempotent, and the only function that makes keys. Everything in this
// package expects canonical paths (J7).
func Canonical(p string) string {
	if !strings.HasPrefix(p, "/") {
		p = "/" + p
	}
	return path.Clean(p)
}

// elementEnd returns the end of the element of p that begins behind the slash at p[slash].
func elementEnd(p string, slash int) int {
	if i := strings.IndexByte(p[slash+1:], '/'); i >= 0 {
		return slash + 1 + i
	}
	return len(p)
}

// parent returns the path of the directory that holds p.
func parent(p string) string {
	return p[:max(1, strings.LastIndexByte(p, '/'))]
}

// join returns the path of name in directory dir.
func join(dir, name string) string {
	return dir[:stem(dir)] + "/" + name
}

// stem returns the length of a directory's path as a prefix of the paths below it: 0 for the root,
// whose slash is the first of theirs.
func stem(dir string) int {
	if dir == "/" {
		return 0
	}
	return len(dir)
}

// below reports whether p lies below dir, by element: /dd is not below /d.
func below(p, dir string) bool {
	n := stem(dir)
	return len(p) > n+1 && p[n] == '/' && p[:n] == dir[:n]
}

// hidden reports whether an element of rest, which begins with a slash, begins with "_" (API
// section 14).
func hidden(rest string) bool {
	return strings.Contains(rest, "/_")
}
