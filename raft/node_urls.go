package raft

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// ErrUser is the error of a URL with a user in it. It shows nothing of the URL, which may have a
// password.
var ErrUser = errors.New("the URL of a member has no user and password (@) in it")

// ParseURL checks one URL of a member: http or https, host:port, and nothing
// else. It returns the URL in its one normal form, without a trailing slash,
// so that URLs can be compared as text. (A path is refused as the members API
// refuses it: API section 17.1.)
func ParseURL(text string) (string, error) {
	u, err := url.Parse(strings.TrimSpace(text))
	switch {
	case strings.Contains(text, "@"):
		return "", ErrUser
	case err != nil:
		return "", fmt.Errorf("not a URL: %q", text)
	case u.Scheme != "http" && u.Scheme != "https":
		return "", fmt.Errorf("URL scheme must be http or https: %s", text)
	case !hasHostAndPort(u):
		return "", fmt.Errorf(`URL address does not have the form "host:port": %s`, text)
	case !isPort(u.Port()):
		return "", fmt.Errorf("the port of a URL must be at most 65535: %s", text)
	case u.Path != "":
		return "", fmt.Errorf("URL must not contain a path: %s", text)
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return "", fmt.Errorf("URL must not contain a query or a fragment: %s", text)
	}
	return u.Scheme + "://" + u.Host, nil
}

// ParseURLs checks a list of URLs, in which none may stand twice.
func ParseURLs(texts []string) (urls []string, err error) {
	for _, text := range texts {
		u, err := ParseURL(text)
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

func isPort(text string) bool {
	_, err := strconv.ParseUint(text, 10, 16)
	return err == nil
}
