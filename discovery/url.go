package discovery

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// ParseURL checks one URL of a member: http or https, host:port, and nothing
// else. It returns the URL in its one normal form, without a trailing slash,
// so that URLs can be compared as text. (A path is refused as the members API
// refuses it: spec section 17.1.)
func ParseURL(text string) (string, error) {
	u, err := url.Parse(strings.TrimSpace(text))
	switch {
	case err != nil:
		return "", fmt.Errorf("not a URL: %q", text)
	case u.Scheme != "http" && u.Scheme != "https":
		return "", fmt.Errorf("URL scheme must be http or https: %s", text)
	case !hasHostAndPort(u):
		return "", fmt.Errorf(`URL address does not have the form "host:port": %s`, text)
	case u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return "", fmt.Errorf("URL must not contain a path: %s", text)
	}
	return u.Scheme + "://" + u.Host, nil
}

// ParseURLs checks a list of URLs, separated by commas; it must not be empty.
func ParseURLs(text string) ([]string, error) {
	var urls []string
	for part := range strings.SplitSeq(text, ",") {
		u, err := ParseURL(part)
		if err != nil {
			return nil, err
		}
		if slices.Contains(urls, u) {
			return nil, fmt.Errorf("URL is listed twice: %s", u)
		}
		urls = append(urls, u)
	}
	return urls, nil
}

func hasHostAndPort(u *url.URL) bool {
	host, port, err := net.SplitHostPort(u.Host)
	return err == nil && host != "" && port != "" && !strings.ContainsAny(u.Host, ",= ")
}

// address is the IP address that stands in a URL, with localhost as one; the zero Addr for other names.
func address(u string) netip.Addr {
	parsed, err := url.Parse(u)
	if err != nil {
		return netip.Addr{}
	}
	if parsed.Hostname() == "localhost" {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	ip, _ := netip.ParseAddr(parsed.Hostname()) // a name is no address
	return ip.Unmap()
}

// sameURLs tells whether two lists mean the same addresses, in any order. Host
// names are asked for only when the texts differ.
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

// resolve replaces the host name by the first of its addresses in ascending
// order; a name without one stays as it is, and equals only itself.
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
