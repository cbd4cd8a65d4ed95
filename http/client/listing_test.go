package client

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// all is a listing in one text: the keys with their values, and how it ended.
func all(l *Listing, err error) (text string, end error) {
	if err != nil {
		return "", err
	}
	defer l.Close()
	for {
		n, err := l.Next()
		if err != nil {
			return strings.TrimSpace(text), err
		}
		text += fmt.Sprintf("%s=%s(%d) ", n.Key, n.Value, n.TTL)
	}
}

func TestAListingHasEveryNodeInOrder(t *testing.T) {
	for body, want := range map[string]string{
		`{"action":"get","node":{"key":"/a","value":"v","ttl":7,"modifiedIndex":1,"createdIndex":1}}`: "/a=v(7)",
		`{"action":"get","node":{"dir":true}}`:                                                        "=(0)",
		`{"action":"get","node":{"dir":true,"nodes":null}}`:                                           "=(0)",
		`{"action":"get","node":{"key":"/d","dir":true,"nodes":[]}}`:                                  "/d=(0)",
		`{"action":"get","node":{"dir":true,"nodes":[{"key":"/a","value":"1","other":{"x":[1]}},` +
			`{"key":"/d","dir":true,"ttl":9,"nodes":[{"key":"/d/b","value":"2"},{"key":"/d/e","dir":true,"nodes":[]}],"modifiedIndex":3},` +
			`{"key":"/z","value":"3"}]},"prevNode":{"key":"/no"}}`: "=(0) /a=1(0) /d=(9) /d/b=2(0) /d/e=(0) /z=3(0)",
	} {
		c := newClient(t, Config{}, serve(t, refusing(200, body)))

		got, err := all(c.List(t.Context(), "/", GetOptions{Recursive: true}))

		if got != want || err != io.EOF {
			t.Errorf("%s\n%q, %v", body, got, err)
		}
	}
}

// The bound is for each node, and not for the whole listing.
func TestAListingMayBeLongerThanAnyAnswer(t *testing.T) {
	value := strings.Repeat("v", 1000)
	long := func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"action":"get","node":{"dir":true,"nodes":[`)
		for i := range 1000 {
			fmt.Fprintf(w, `{"key":"/%04d","value":"%s"},`, i, value)
		}
		io.WriteString(w, `{"key":"/last","value":"v"}]}}`)
	}
	c := newClient(t, strict, serve(t, long))

	got, err := all(c.List(t.Context(), "/", GetOptions{}))
	_, whole := c.Get(t.Context(), "/", GetOptions{})

	if err != io.EOF || len(got) < 1e6 || !strings.HasSuffix(got, "/last=v(0)") {
		t.Errorf("%d bytes: %v", len(got), err)
	}
	if !errors.Is(whole, ErrTooLong) || !strings.Contains(whole.Error(), "more than 65536 bytes") ||
		errors.Is(whole, ErrBadAnswer) {
		t.Errorf("as one answer: %v", whole)
	}
}

func TestAListingThatMakesNoSenseIsRefused(t *testing.T) {
	endlessNode := func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"action":"get","node":{"dir":true,"nodes":[{"key":"/a","value":"`)
		endless(w, r)
	}
	for name, c := range map[string]struct {
		h    http.HandlerFunc
		want error
	}{
		"no JSON":      {refusing(200, "<html>secret</html>"), ErrBadAnswer},
		"another JSON": {refusing(200, `{"health":"true"}`), ErrBadAnswer},
		"a list":       {refusing(200, `[{"node":1}]`), ErrBadAnswer},
		"a number":     {refusing(200, `{"node":{"key":7}}`), ErrBadAnswer},
		"no key":       {refusing(200, `{"node":{"dir":true,"nodes":[{"nodes":[{}]}]}}`), ErrBadAnswer},
		"no time": {refusing(200, `{"node":{"dir":true,"nodes":[{"key":"/d","nodes":[],"ttl":7}]}}`),
			ErrBadAnswer},
		"too deep": {refusing(200, `{"node":{"key":"/a","nodes":[`+strings.Repeat(`{"key":"/a","nodes":[`,
			20_000)), ErrBadAnswer},
		"cut":            {refusing(200, `{"node":{"dir":true,"nodes":[{"key":"/a"}`), io.ErrUnexpectedEOF},
		"a node too big": {endlessNode, ErrTooLong},
		"missing":        {refusing(404, `{"errorCode":100,"message":"Key not found","cause":"/k","index":7}`), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			_, err := all(newClient(t, strict, serve(t, c.h)).List(t.Context(), "/", GetOptions{}))

			if !errors.Is(err, c.want) && (c.want != nil || !IsKeyNotFound(err)) ||
				strings.Contains(fmt.Sprint(err), "secret") {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestAListingBeginsAtTheNextEndpoint(t *testing.T) {
	c := newClient(t, Config{InOrder: true}, nobody(t), serve(t, refusing(200, "<html>")), serve(t, well))

	got, err := all(c.List(t.Context(), "/k", GetOptions{}))

	if err != io.EOF || got == "" {
		t.Errorf("%q, %v", got, err)
	}
}
