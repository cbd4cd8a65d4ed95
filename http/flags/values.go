package flags

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"etcd2/discovery"
	"etcd2/http/logs"
)

// The kinds of values: each function returns one that checks a value and stores it at p.

func text(p *string) func(string) error {
	return func(v string) error { *p = v; return nil }
}

func name(p *string) func(string) error {
	return func(v string) error {
		if v == "" || strings.ContainsAny(v, "=, \t\n") {
			return errors.New("want a name without blank, comma or equals sign")
		}
		*p = v
		return nil
	}
}

func number(p *int, least, most int) func(string) error {
	return func(v string) error {
		n, err := strconv.Atoi(v)
		if err != nil || n < least || n > most {
			return fmt.Errorf("want a whole number from %d to %d", least, most)
		}
		*p = n
		return nil
	}
}

func milliseconds(p *time.Duration, least, most int) func(string) error {
	var ms int
	check := number(&ms, least, most)
	return func(v string) error {
		err := check(v)
		if err == nil {
			*p = time.Duration(ms) * time.Millisecond
		}
		return err
	}
}

func toggle(p *bool) func(string) error {
	return func(v string) (err error) {
		if *p, err = strconv.ParseBool(v); err != nil {
			return errors.New("want true or false")
		}
		return nil
	}
}

func choice(p *string, values ...string) func(string) error {
	return func(v string) error {
		if !slices.Contains(values, v) {
			return errors.New("want " + strings.Join(values, " or "))
		}
		*p = v
		return nil
	}
}

func urls(p *[]string) func(string) error {
	return func(v string) (err error) {
		*p, err = discovery.ParseURLs(v)
		return err
	}
}

// ipPort is for the addresses of etcd 0.4, IP:PORT.
func ipPort(p *string) func(string) error {
	return func(v string) error {
		host, port, err := net.SplitHostPort(strings.TrimSpace(v))
		n, notNumber := strconv.Atoi(port)
		switch {
		case err != nil:
			return fmt.Errorf("%w: want IP:PORT", err)
		case net.ParseIP(host) == nil:
			return errors.New("bad IP in address specification: want IP:PORT")
		case notNumber != nil || n < 1 || n > 65535:
			return errors.New("bad port in address specification: want IP:PORT")
		}
		*p = net.JoinHostPort(host, port)
		return nil
	}
}

// optional lets a value be empty, which sets nothing.
func optional(set func(string) error) func(string) error {
	return func(v string) error {
		if v == "" {
			return nil
		}
		return set(v)
	}
}

func service(p *string) func(string) error {
	return func(v string) error {
		*p = v // not normalized: the ids of the members depend on every character
		_, err := discovery.ParseService(v)
		return err
	}
}

// proxyURL is for the URL of an HTTP proxy; http:// may be left out.
func proxyURL(p **url.URL) func(string) error {
	return func(v string) (err error) {
		if !strings.Contains(v, "://") {
			v = "http://" + v
		}
		if *p, err = url.Parse(v); err != nil || (*p).Hostname() == "" || (*p).Scheme != "http" &&
			(*p).Scheme != "https" {
			return errors.New("want http://HOST:PORT")
		}
		return nil
	}
}

func domain(p *string) func(string) error {
	return func(v string) error {
		if len(v) > 253 || strings.Trim(strings.ToLower(v), "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
			return errors.New("want a domain, as example.com")
		}
		*p = v
		return nil
	}
}

func origins(p *[]string) func(string) error {
	return func(v string) error {
		*p = nil
		for origin := range strings.SplitSeq(v, ",") {
			u, err := url.Parse(origin)
			if err != nil || origin != "" && origin != "*" && (u.Host == "" || u.Scheme+"://"+u.Host != origin) {
				return errors.New("want origins as http://HOST, separated by commas, or *")
			}
			if origin != "" {
				*p = append(*p, origin)
			}
		}
		return nil
	}
}

func hostNames(p *[]string) func(string) error {
	return func(v string) error {
		*p = nil
		for name := range strings.SplitSeq(v, ",") {
			if strings.ContainsAny(name, "/ \t") || strings.Contains(name, "*") && name != "*" {
				return errors.New("want names as db.example.com, separated by commas, or *")
			}
			if name != "" {
				*p = append(*p, name)
			}
		}
		return nil
	}
}

func packageLevels(p *map[string]slog.Level) func(string) error {
	return func(v string) error {
		*p = map[string]slog.Level{}
		for pair := range strings.SplitSeq(v, ",") {
			if pair == "" {
				continue
			}
			pkg, word, _ := strings.Cut(pair, "=")
			level, known := logs.ParseLevel(word)
			if !known {
				return errors.New("want PACKAGE=LEVEL, with a level of CRITICAL, ERROR, WARNING, NOTICE, INFO, DEBUG " +
					"or TRACE")
			}
			(*p)[pkg] = level
		}
		return nil
	}
}
