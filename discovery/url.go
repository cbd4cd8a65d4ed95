package discovery

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"etcd2/raft"
)

// errUserListed does not quote the list, which may have a password; nor does raft.ErrUser.
var errUserListed = errors.New("want name=url,…, and no user and password (@) in a URL")

// ParseURLs checks a list of URLs, separated by commas; it must not be empty.
func ParseURLs(text string) ([]string, error) {
	if strings.Contains(text, "@") {
		return nil, raft.ErrUser // checked first: a password may have a comma, at which the list would be split
	}
	return raft.ParseURLs(strings.Split(text, ","))
}

// address returns the IP address in a URL, 127.0.0.1 for localhost, and the zero Addr for other
// names.
func address(u string) netip.Addr {
	parsed, err := url.Parse(u)
	if err != nil {
		return netip.Addr{}
	}
	if parsed.Hostname() == "localhost" {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	ip, _ := netip.ParseAddr(parsed.Hostname()) // the zero Addr for a name
	return ip.Unmap()
}

// sameURLs reports whether two lists mean the same addresses, in any order. Host names are resolved
// only when the texts differ.
func sameURLs(ctx context.Context, a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	if slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))) {
		return true
	}
	return slices.Equal(resolveAll(ctx, a), resolveAll(ctx, b))
}

func resolveAll(ctx context.Context, urls []string) []string {
	resolved := make([]string, len(urls))
	for i, u := range urls {
		resolved[i] = resolve(ctx, u)
	}
	slices.Sort(resolved)
	return resolved
}

// resolve replaces the host name of a URL by the first of its addresses in ascending order. A name
// without an address stays as it is, and equals only itself.
func resolve(ctx context.Context, text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return text
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
	if err != nil || len(ips) == 0 {
		return text
	}
	first := slices.MinFunc(ips, netip.Addr.Compare).Unmap()
	return u.Scheme + "://" + net.JoinHostPort(first.String(), u.Port())
}

// WithoutPassword returns the value of a flag with xxxxx for the user and the password that may be
// in it: all before the last @, if there is a colon.
func WithoutPassword(value string) string {
	end := strings.LastIndexByte(value, '@')
	if end < 0 || !strings.Contains(value[:end], ":") {
		return value
	}
	return "xxxxx" + value[end:]
}
