package http

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"testing"
)

func TestAListingShowsWhatWasAskedFor(t *testing.T) {
	b := newBench(t)
	for _, key := range []string{"d/a", "d/b/x/y", "d/_h", "d/c", "d/ca"} {
		b.do("PUT", "/v2/keys/"+key, "value=1")
	}
	const (
		a  = `{"key":"/d/a","value":"1","modifiedIndex":1,"createdIndex":1}`
		bb = `{"key":"/d/b","dir":true,"modifiedIndex":2,"createdIndex":2}`
		b2 = `{"key":"/d/b","dir":true,"nodes":[{"key":"/d/b/x","dir":true,"modifiedIndex":2,"createdIndex":2}],"modifiedIndex":2,"createdIndex":2}`
		h  = `{"key":"/d/_h","value":"1","modifiedIndex":3,"createdIndex":3}`
		c  = `{"key":"/d/c","value":"1","modifiedIndex":4,"createdIndex":4}`
		ca = `{"key":"/d/ca","value":"1","modifiedIndex":5,"createdIndex":5}`
		ck = `{"key":"/d/c","modifiedIndex":4,"createdIndex":4}`
	)
	for query, want := range map[string]string{
		"limit=4":                          `,"nodes":[` + a + "," + bb + "," + c + "," + ca + `]`,
		"limit=3":                          `,"more":1,"nodes":[` + a + "," + bb + "," + c + `]`,
		"limit=1&sorted=true&quorum=true":  `,"more":3,"nodes":[` + a + `]`,
		"limit=1&after=a":                  `,"more":2,"nodes":[` + bb + `]`,
		"limit=2&after=bb":                 `,"nodes":[` + c + "," + ca + `]`,
		"limit=18446744073709551615":       `,"nodes":[` + a + "," + bb + "," + c + "," + ca + `]`,
		"after=":                           `,"nodes":[` + a + "," + bb + "," + c + "," + ca + `]`,
		"after=ca":                         ``,
		"prefix=c":                         `,"nodes":[` + c + "," + ca + `]`,
		"prefix=c&limit=1":                 `,"more":1,"nodes":[` + c + `]`,
		"prefix=c&after=c":                 `,"nodes":[` + ca + `]`,
		"prefix=_":                         `,"nodes":[` + h + `]`,
		"prefix=x":                         ``,
		"keysOnly=true&limit=1&after=b":    `,"more":1,"nodes":[` + ck + `]`,
		"keysOnly=false&limit=1&after=b":   `,"more":1,"nodes":[` + c + `]`,
		"recursive=true&depth=1&prefix=b":  `,"nodes":[` + bb + `]`,
		"recursive=true&depth=2&prefix=b":  `,"nodes":[` + b2 + `]`,
		"recursive=true&depth=2&limit=2":   `,"more":2,"nodes":[` + a + "," + b2 + `]`,
		"count=true":                       `,"count":4`,
		"count=true&prefix=c&quorum=true":  `,"count":2`,
		"count=true&after=a":               `,"count":3`,
		"count=true&prefix=_":              `,"count":1`,
		"count=true&prefix=x":              `,"count":0`,
		"count=false&recursive=0&prefix=x": ``,
	} {
		w := b.do("GET", "/v2/keys/d?"+query, "")

		b.want(w, 200, `{"action":"get","node":{"key":"/d","dir":true`+want+`,"modifiedIndex":1,"createdIndex":1}}`+"\n")
		if index := w.Header().Get("X-Etcd-Index"); index != "5" {
			t.Errorf("%s: as of %s", query, index)
		}
	}
	b.want(b.do("GET", "/v2/keys/?count=true", ""), 200, `{"action":"get","node":{"dir":true,"count":1}}`+"\n")
	b.want(b.do("GET", "/v2/keys/d/c?keysOnly=true&limit=1&prefix=x", ""), 200, `{"action":"get","node":`+ck+"}\n")
	b.want(b.do("GET", "/v2/keys/d/c?count=true", ""), 400,
		`{"errorCode":104,"message":"Not a directory","cause":"/d/c","index":5}`+"\n")
}

// Page after page, each behind the last name of the one before, is the listing as a whole, and each
// says how many are left.
func TestAListingInPagesIsTheListing(t *testing.T) {
	b := newBench(t)
	const hundred = 100
	for i := range hundred {
		for _, name := range []string{"n%d", "_%d", "n%d&limit=#", "ä %d%%2f", "Z+%d"} {
			b.do("PUT", "/v2/keys/d/"+url.PathEscape(fmt.Sprintf(name, i)), "value=1")
		}
	}
	page := func(query url.Values) (names []string, more int) {
		var answer struct {
			Node struct {
				More  int
				Nodes []struct{ Key string }
			}
		}
		w := b.do("GET", "/v2/keys/d?"+query.Encode(), "")
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
			t.Fatal(err)
		}
		for _, n := range answer.Node.Nodes {
			names = append(names, n.Key[len("/d/"):])
		}
		return names, answer.Node.More
	}
	for prefix, size := range map[string]int{"": 4 * hundred, "n1": 22, "_": hundred, "ä ": hundred, "none": 0} {
		whole, _ := page(url.Values{"prefix": {prefix}})
		if len(whole) != size {
			t.Fatalf("prefix %q: %d names, want %d", prefix, len(whole), size)
		}
		for _, limit := range []int{1, 7, 1000} {
			names, more := []string{""}, 1
			for more > 0 {
				var next []string
				next, more = page(url.Values{"prefix": {prefix}, "after": names[len(names)-1:],
					"limit": {fmt.Sprint(limit)}})
				names = append(names, next...)
				if len(next) > limit || more != size-len(names)+1 {
					t.Fatalf("prefix %q, limit %d: %d names, %d more", prefix, limit, len(next), more)
				}
			}
			if !slices.Equal(names[1:], whole) {
				t.Errorf("prefix %q, limit %d: %q, want %q", prefix, limit, names[1:], whole)
			}
		}
	}
}
