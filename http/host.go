package http

import (
	"net"
	nethttp "net/http"
	"slices"
	"strings"
)

// hosts are the names under which this member may be called over plain HTTP (J8).
//
// A page of evil.example may have that name lead to 127.0.0.1, once the browser has loaded the page: what it sends here is then from the
// browser's own "site", and no check of origins helps. But the browser still says Host: evil.example. So a name that may be
// anybody's is not taken; every address is, and every name that the world outside can't give away.
type hosts struct {
	all   bool
	names map[string]bool // in lower case, without port and trailing dot
}

func newHosts(names []string) hosts {
	h := hosts{all: slices.Contains(names, "*"), names: map[string]bool{}}
	for _, name := range names {
		h.names[strings.ToLower(bareHost(name))] = true
	}
	return h
}

// knows tells whether the value of a Host header (or :authority) is no name of somebody else's choice.
func (h hosts) knows(host string) bool {
	host = bareHost(host)
	dot := strings.LastIndexByte(host, '.')
	return h.all || dot < 0 || isNumber(host[dot+1:]) || h.names[host] || h.names[strings.ToLower(host)]
}

// bareHost leaves out port and trailing dot of a host. An IPv6 address comes out in some form that has no dot.
func bareHost(host string) string {
	if strings.HasPrefix(host, "[") {
		return "["
	}
	host, _, _ = strings.Cut(host, ":")
	return strings.TrimSuffix(host, ".")
}

// isNumber tells whether a name's last label makes it an IPv4 address: there is no such top-level domain, and no program asks
// a name server for it.
func isNumber(label string) bool {
	for i := range len(label) {
		if label[i] < '0' || label[i] > '9' {
			return false
		}
	}
	return label != ""
}

const foreignHost = "the Host of this request is no name of this member; if it should be, give it to the member with --host-whitelist"

// refuses tells the requests that are for another host than this one. On the loopback interface that is all that's asked. Elsewhere clients
// may use names that nobody has told this member, so only a browser is refused.
func (h hosts) refuses(r *nethttp.Request) bool {
	if h.knows(r.Host) || r.TLS != nil { // over TLS the name is in the certificate
		return false
	}
	return onLoopback(r) || byBrowser(r.Header)
}

// onLoopback tells whether the request's connection came in on a loopback address.
func onLoopback(r *nethttp.Request) bool {
	addr, ok := r.Context().Value(nethttp.LocalAddrContextKey).(*net.TCPAddr)
	return ok && addr.IP.IsLoopback()
}

// byBrowser tells whether a head has something that a browser puts there, and other programs don't.
func byBrowser(h nethttp.Header) bool {
	for name := range h {
		if name == "Origin" || name == "Referer" || strings.HasPrefix(name, "Sec-Fetch-") {
			return true
		}
	}
	return strings.HasPrefix(h.Get("User-Agent"), "Mozilla/")
}
