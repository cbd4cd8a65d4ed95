package flags

import (
	"net"
	"net/url"
	"slices"
	"strings"

	"etcd2/http/certs"
)

// Strays returns a sentence for each URL advertised by a flag that can hardly be meant so, by those
// at which this process listens.
func Strays(flag string, advertised, listened []string) (warnings []string) {
	for _, u := range advertised {
		at, _ := url.Parse(u) // it was checked when it was set
		ip := net.ParseIP(at.Hostname())
		samePort := slices.DeleteFunc(slices.Clone(listened),
			func(l string) bool { return !strings.HasSuffix(l, ":"+at.Port()) })
		why := ""
		switch {
		case ip != nil && ip.IsUnspecified():
			why = "this address stands for every machine: others that are told it will look on their own; give the " +
				"address of this one"
		case len(samePort) == 0 && (at.Hostname() == "localhost" || ip != nil && ip.IsLoopback()):
			why = "this member does not listen at that port of its machine, but at " + strings.Join(listened, ",") +
				": give the URL at which others find it, unless something leads from there to here"
		case len(samePort) > 0 && !slices.ContainsFunc(samePort,
			func(l string) bool { return certs.Secure(l) == certs.Secure(u) }):
			why = "at that port this member listens with the other scheme, as " + strings.Join(samePort, ",") +
				": give the URL with the scheme that is spoken there"
		}
		if why != "" {
			warnings = append(warnings, "--"+flag+"="+u+": "+why)
		}
	}
	return warnings
}
