package http

import "testing"

func TestOnlyWhoAcceptsHTMLGetsThePage(t *testing.T) {
	const browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	for _, c := range []struct {
		on                   bool
		method, path, accept string
		want                 int
	}{
		{true, "GET", "/", browser, 200},
		{true, "HEAD", "/", browser, 200},
		{true, "GET", "/", "*/*", 404},
		{true, "GET", "/", "", 404},
		{true, "GET", "/", "application/json, text/html;q=0.1", 200},
		{true, "GET", "/", "text/html; q=0.0, */*", 404},
		{true, "GET", "/v2", browser, 404},
		{true, "PUT", "/", browser, 404},
		{false, "GET", "/", browser, 404},
	} {
		b := newBench(t, func(cfg *Config) { cfg.Page = c.on })
		if w := b.do(c.method, c.path, "", "Accept", c.accept); w.Code != c.want {
			t.Errorf("%+v: %d", c, w.Code)
		}
	}
}
