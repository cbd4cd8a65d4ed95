package http

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	nethttp "net/http"
	"net/url"
	"strconv"
	"strings"

	"etcd2/store"
)

// Every cluster can be the place where the founders of another one find each other. A discovery URL
// is
//
//	http://HOST/discovery/TOKEN
//
// It is only another name for a directory of keys, /v2/keys/_etcd/registry/TOKEN, where the
// founders register (section 21.2). Whoever may read and write those keys may use and make
// discovery URLs: with auth on, requests without a password do so by the rights of the role guest.
const (
	discoveryPrefix = "/discovery"
	newTokenPath    = discoveryPrefix + "/new"
	registry        = "/_etcd/registry"
)

const (
	maxClusterSize = 100
	maxTokens      = 10_000
)

// serveDiscovery answers a request for a token, or for something below it, as one for its keys.
func (s *Server) serveDiscovery(w *response, r *nethttp.Request) {
	below := strings.TrimPrefix(r.URL.Path, discoveryPrefix)
	if below == "" || below == "/" {
		nethttp.NotFound(w, r)
		return
	}
	s.serveKeys(w, withPath(r, keysPrefix+registry+below))
}

// serveNewToken makes a token for a cluster of ?size=N, 3 by default, and answers with its URL.
// Making one is a PUT of its size, which is judged like any other.
func (s *Server) serveNewToken(w *response, r *nethttp.Request) {
	size, err := clusterSize(r.URL.RawQuery)
	switch {
	case err != nil:
		messageError(w, nethttp.StatusBadRequest, err.Error())
		return
	case r.Host == "":
		messageError(w, nethttp.StatusBadRequest, "no Host header, and so no URL")
		return
	case s.tokens() >= maxTokens:
		tooBusy(w, fmt.Sprintf("there are %d tokens already: delete some at %s%s", maxTokens, keysPrefix, registry))
		return
	}
	if !s.wholeBody(w, r) {
		return
	}
	token := newToken()
	put := withPath(r, keysPrefix+registry+"/"+token+"/_config/size")
	put.Method, put.Body = "PUT", nethttp.NoBody
	put.URL.RawQuery = url.Values{"value": {strconv.Itoa(size)}, "prevExist": {"false"}}.Encode()
	written := &buffered{header: nethttp.Header{}}
	s.serveKeys(&response{ResponseWriter: written, begun: w.begun, server: s}, put)
	if written.status != nethttp.StatusCreated {
		written.sendTo(w)
		return
	}
	w.Header()["Content-Type"] = textType
	io.WriteString(w, schemeOf(r)+r.Host+discoveryPrefix+"/"+token)
}

// clusterSize parses how many members the new cluster will have.
func clusterSize(query string) (int, error) {
	values, err := url.ParseQuery(query)
	size := 3
	if err == nil && values.Has("size") {
		size, err = strconv.Atoi(values.Get("size"))
	}
	if err != nil || size < 1 || size > maxClusterSize {
		return 0, fmt.Errorf("the size must be a number from 1 to %d", maxClusterSize)
	}
	return size, nil
}

// tokens returns how many tokens there are.
func (s *Server) tokens() int {
	v, err := s.store.Get(store.Canonical(registry))
	if err != nil {
		return 0
	}
	return v.Count(v.Node, store.Range{})
}

// newToken returns a random token that can't be guessed: whoever knows it may take part.
func newToken() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

func schemeOf(r *nethttp.Request) string {
	if r.TLS != nil {
		return "https://"
	}
	return "http://"
}

// withPath returns the request for another path.
func withPath(r *nethttp.Request, path string) *nethttp.Request {
	other, target := *r, *r.URL
	target.Path, target.RawPath = path, ""
	other.URL = &target
	return &other
}

// buffered is an answer kept in memory: serveNewToken sends it only if the PUT failed.
type buffered struct {
	header nethttp.Header
	status int
	body   []byte
}

// Header returns the header of the answer.
func (k *buffered) Header() nethttp.Header { return k.header }

// WriteHeader keeps the status.
func (k *buffered) WriteHeader(status int) { k.status = status }

// Write keeps a piece of the body.
func (k *buffered) Write(b []byte) (int, error) {
	k.body = append(k.body, b...)
	return len(b), nil
}

func (k *buffered) sendTo(w *response) {
	for name, values := range k.header {
		w.Header()[name] = values
	}
	w.WriteHeader(k.status)
	w.Write(k.body)
}
