package http

import (
	nethttp "net/http"
	"slices"
	"strings"
)

// hosts are the names under which browsers may call this member over plain HTTP (J8).
//
// A page of evil.example may have that name lead to this member once the browser has loaded the
// page. What the page sends here is then from the browser's own "site", and no check of origins
// helps. But the browser still says Host: evil.example, so a name that the member was not told is
// refused, on every interface. A name without a dot is no exception: the network around a browser
// may have it lead anywhere. An IP address leads nowhere else, so each is allowed. Other programs
// may use any name.
type hosts struct {
	all   bool
	names map[string]bool // in lower case, without port and trailing dot
}

func newHosts(names []string) hosts {
	h := hosts{all: slices.Contains(names, "*"), names: map[string]bool{"localhost": true}}
	for _, name := range names {
		h.names[strings.ToLower(bareHost(name))] = true
	}
	return h
}

// knows reports whether the value of a Host header (or :authority) is an address, or a name that
// this member was told. A browser always sends one.
func (h hosts) knows(host string) bool {
	host = bareHost(host)
	last := host[strings.LastIndexByte(host, '.')+1:]
	return h.all || host == "" || host == "[" || isNumber(last) || h.names[host] || h.names[strings.ToLower(host)]
}

// bareHost returns a host without its port and trailing dot, and "[" for an IPv6 address.
func bareHost(host string) string {
	if strings.HasPrefix(host, "[") {
		return "["
	}
	host, _, _ = strings.Cut(host, ":")
	return strings.TrimSuffix(host, ".")
}

// isNumber reports whether a name's last label makes it an IPv4 address. There is no such top-level
// domain, and no program asks a name server for it.
func isNumber(label string) bool {
	for i := range len(label) {
		if label[i] < '0' || label[i] > '9' {
			return false
		}
	}
	return label != ""
}

// refuses reports whether a request may come from a browser that was led here by a name of somebody
// else's choice. Over TLS the browser has looked for the name in the certificate.
func (h hosts) refuses(r *nethttp.Request) bool {
	return !h.knows(r.Host) && r.TLS == nil && byBrowser(r.Header)
}

// foreignHost is the answer to a request that hosts refuses.
func foreignHost(host string) string {
	name := bareHost(host)
	if len(name) > 253 { // the longest that DNS has
		name = "NAME"
	}
	return "nobody told this member that it has the name by which this browser calls it: --host-whitelist=" +
		name + " allows it"
}

// tells are what a browser's head has in it, and the clients of etcd don't send: the begin of a
// header's name, and what its value contains. A page can leave out its Referer, and in some
// browsers replace the User-Agent. Over plain HTTP there may be no Sec-Fetch-Site, and no Origin
// with a GET. But no page keeps its browser from sending some Accept-Language.
var tells = []struct{ header, value string }{
	{"Accept-Language", ""},
	{"Accept", "application/xhtml+xml"}, // Java's own client says text/html
	{"Cookie", ""},
	{"Origin", ""},
	{"Referer", ""},
	{"Sec-", ""}, // what no page can set: Sec-Fetch-Site, Sec-CH-UA, Sec-GPC, …
	{"Upgrade-Insecure-Requests", ""},
	{"User-Agent", "Mozilla/"},
}

// byBrowser reports whether a request may come from a browser.
func byBrowser(h nethttp.Header) bool {
	for name, values := range h {
		for _, t := range tells {
			if strings.HasPrefix(name, t.header) && strings.Contains(strings.Join(values, ","), t.value) {
				return true
			}
		}
	}
	return false
}
