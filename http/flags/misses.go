package flags

import (
	"net"
	"net/url"
	"slices"
)

// misses returns those of the URLs that lead to none of the listening ones: the scheme or the port
// is another one, or the address is. A name in place of an address may stand for any of this
// machine.
func misses(urls, listening []string) (missed []string) {
	for _, u := range urls {
		if !slices.ContainsFunc(listening, func(l string) bool { return leads(u, l) }) {
			missed = append(missed, u)
		}
	}
	return missed
}

// leads reports whether a URL may lead to a listener.
func leads(called, listening string) bool {
	c, err := url.Parse(called)
	l, listeningErr := url.Parse(listening)
	if err != nil || listeningErr != nil || c.Scheme != l.Scheme || portOf(c) != portOf(l) {
		return false
	}
	at, on := net.ParseIP(c.Hostname()), net.ParseIP(l.Hostname())
	return at == nil || on == nil || on.IsUnspecified() || on.Equal(at)
}

// portOf returns the port of a URL, or its scheme where it has none.
func portOf(u *url.URL) string {
	switch port := u.Port(); port {
	case "":
		return u.Scheme
	case map[string]string{"http": "80", "https": "443"}[u.Scheme]:
		return u.Scheme
	default:
		return port
	}
}

// Missed returns those of a member's peer URLs that lead to none of its listeners. known are those
// that the cluster has. Of URLs that were given, those of which Strays tells are left out.
func (c *Config) Missed(known, listening []string) []string {
	called := known
	if c.given["initial-advertise-peer-urls"] { // the cluster may not have learnt them yet
		called = slices.DeleteFunc(slices.Clone(c.AdvertisePeer), func(u string) bool {
			return len(Strays("", []string{u}, listening)) > 0
		})
	}
	return misses(called, listening)
}
