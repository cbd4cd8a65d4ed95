package flags

import (
	"net"
	"net/url"
	"slices"
	"strings"

	"etcd2/http/certs"
)

// advertiseWarnings returns a sentence for each advertised URL that can hardly reach this process,
// which listens at the URLs in listened. flag is the one that gives the advertised URLs.
func advertiseWarnings(flag string, advertised, listened []string) (warnings []string) {
	for _, u := range advertised {
		at, _ := url.Parse(u) // it was checked when it was set
		ip := net.ParseIP(at.Hostname())
		samePort := slices.DeleteFunc(slices.Clone(listened),
			func(l string) bool { return !strings.HasSuffix(l, ":"+at.Port()) })
		why := ""
		switch {
		case ip != nil && ip.IsUnspecified():
			why = "this address means every machine to itself: whoever is told it will call its own machine; give " +
				"the address of this one"
		case len(samePort) == 0 && (at.Hostname() == "localhost" || ip != nil && ip.IsLoopback()):
			why = "this member does not listen at that port of its machine, but at " + strings.Join(listened, ",") +
				": give the URL at which others reach it, unless something forwards connections from there to here"
		case len(samePort) > 0 && !slices.ContainsFunc(samePort,
			func(l string) bool { return certs.Secure(l) == certs.Secure(u) }):
			why = "at that port this member listens with the other scheme, as " + strings.Join(samePort, ",") +
				": give the URL with that scheme"
		}
		if why != "" {
			warnings = append(warnings, "--"+flag+"="+u+": "+why)
		}
	}
	return warnings
}

// unserved returns the URLs that lead to none of the listeners, because the scheme, the port or the
// address differs. A host name may stand for any address of this machine.
func unserved(urls, listening []string) (list []string) {
	for _, u := range urls {
		if !slices.ContainsFunc(listening, func(l string) bool { return leadsTo(u, l) }) {
			list = append(list, u)
		}
	}
	return list
}

// leadsTo reports whether a URL may lead to a listener.
func leadsTo(called, listening string) bool {
	c, err := url.Parse(called)
	l, listeningErr := url.Parse(listening)
	if err != nil || listeningErr != nil || c.Scheme != l.Scheme || portOf(c) != portOf(l) {
		return false
	}
	at, on := net.ParseIP(c.Hostname()), net.ParseIP(l.Hostname())
	return at == nil || on == nil || on.IsUnspecified() || on.Equal(at)
}

// portOf returns the port of a URL, or the scheme for its default port.
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

// UnservedPeerURLs returns those of a member's peer URLs that lead to none of its listeners. known
// are the URLs that the cluster has. When they were given as flags, those are looked at instead,
// except the ones that AdvertiseWarnings reports.
func (c *Config) UnservedPeerURLs(known, listening []string) []string {
	called := known
	if c.given["initial-advertise-peer-urls"] { // the cluster may not have learnt them yet
		called = slices.DeleteFunc(slices.Clone(c.AdvertisePeer), func(u string) bool {
			return len(advertiseWarnings("", []string{u}, listening)) > 0
		})
	}
	return unserved(called, listening)
}
