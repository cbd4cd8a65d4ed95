// Package page is what a browser shows of a cluster: its members, its keys, and their events.
//
// # What it is
//
// One file of HTML, style and script, page.html, which loads nothing else. It speaks the API that
// curl speaks, to the server that it came from: /v2/stats/members and /metrics for the picture of
// the cluster, listings in pages for the tree, and server-sent events for what others change.
//
// # Picture
//
//	page.html ──► ServeHTTP ──► browser ──► /v2/stats/members   every half second, while it is visible
//	 (embedded)                        ├──► /metrics            every two seconds, likewise
//	                                   ├──► /v2/keys/dir?limit=500&after=…
//	                                   └──► /v2/keys/?wait=true, as text/event-stream
//
// # Types
//
//   - Page is the handler: the bytes, and their headers.
//   - Mode says what is behind the port, so that a read-only proxy offers no writing.
//
// # Life of a change by somebody else
//
// The first listing of the tree came with an index, and a watch of the whole tree begins there. An
// event adds, marks or removes one row of its directory, if that is open. Only rows in sight are in
// the document. The text of a key that is being edited is left alone: saving it names the index at
// which it was read, and is refused.
//
// # Invariants
//
//   - The browser runs the script of this file and no other: the policy has its hash.
//   - Names, values and messages of the server become text, never HTML: the script has no
//     innerHTML.
//   - Drawing changes elements in place, and moves nothing while the mouse is pressed: no click and
//     no focus is lost.
//   - Name and password stay in the script's memory. The browser sends neither by itself.
//
// # What is left out
//
// Changes of users and roles, which etcdctl makes. Requests to other members, which the policy
// forbids: /v2/stats/members tells how those are.
package page

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"net/http"
	"strconv"
)

//go:embed page.html
var html []byte

// Mode is what is behind the port that serves the page.
type Mode string

// The modes.
const (
	Member   Mode = "member"
	Proxy    Mode = "proxy"
	ReadOnly Mode = "readonly" // a proxy that lets reads through, and nothing else
)

// A Page is an http.Handler. It may be used from any goroutine.
type Page struct {
	body   []byte
	policy string
	etag   string
}

// New returns the page for a port.
func New(m Mode) *Page {
	body := bytes.Replace(html, []byte(`data-mode="member"`), []byte(`data-mode="`+m+`"`), 1)
	sum := sha256.Sum256(body)
	return &Page{
		body: body,
		policy: "default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; " +
			"frame-ancestors 'none'; " +
			"script-src " + hashOf(body, "script") + "; style-src " + hashOf(body, "style"),
		etag: `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`,
	}
}

// hashOf returns the source expression of the only element with that name (Content Security Policy
// level 3, section 2.3.1).
func hashOf(body []byte, element string) string {
	_, inner, _ := bytes.Cut(body, []byte("<"+element+">"))
	inner, _, _ = bytes.Cut(inner, []byte("</"+element+">"))
	sum := sha256.Sum256(inner)
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// ServeHTTP sends the page, or 304 when the browser has it already.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", p.policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-cache")
	h.Add("Vary", "Accept") // besides Origin
	h.Set("Etag", p.etag)
	if r.Header.Get("If-None-Match") == p.etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(p.body)))
	if r.Method != http.MethodHead {
		w.Write(p.body)
	}
}
