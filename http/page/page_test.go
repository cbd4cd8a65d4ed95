package page

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	_ "etcd2/e2e/pace" // -long
)

// maxSize bounds the page, in bytes.
const maxSize = 80 << 10

func get(t *testing.T, m Mode, etag string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("If-None-Match", etag)
	w := httptest.NewRecorder()
	New(m).ServeHTTP(w, r)
	return w
}

func TestThePolicyLetsThisScriptAndStyleAndNothingElseRun(t *testing.T) {
	w := get(t, Member, "")
	policy := w.Header().Get("Content-Security-Policy")
	for _, element := range []string{"script", "style"} {
		all := regexp.MustCompile(`(?s)<`+element+`[^>]*>(.*?)</`+element+`>`).FindAllStringSubmatch(w.Body.String(),
			-1)
		if len(all) != 1 {
			t.Fatalf("%d elements %s", len(all), element)
		}
		sum := sha256.Sum256([]byte(all[0][1]))
		want := element + "-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
		if !strings.Contains(policy, want) {
			t.Errorf("%s lacks %s", policy, want)
		}
	}
	for _, want := range []string{"default-src 'none';", "connect-src 'self';", "frame-ancestors 'none';",
		"base-uri 'none';", "form-action 'none';"} {
		if !strings.Contains(policy, want) {
			t.Errorf("%s lacks %s", policy, want)
		}
	}
}

// The policy would not stop some of these, and others would need a weaker policy.
func TestThePageMakesNoTextIntoHTMLAndLoadsNothing(t *testing.T) {
	body := get(t, Member, "").Body.String()
	for _, word := range []string{
		"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function",
		"DOMParser", "srcdoc",
		"localStorage", "sessionStorage", "document.cookie", "src=", "@import", " url(", ":url(", " style=",
	} {
		if strings.Contains(body, word) {
			t.Errorf("it has %s", word)
		}
	}
	if len(body) > maxSize {
		t.Errorf("%d bytes, more than %d", len(body), maxSize)
	}
}

func TestThePageSaysWhatIsBehindThePort(t *testing.T) {
	for _, m := range []Mode{Member, Proxy, ReadOnly} {
		if body := get(t, m, "").Body.String(); !strings.Contains(body, `<html lang="en" data-mode="`+string(m)+`">`) {
			t.Errorf("%s: %.200s", m, body)
		}
	}
}

func TestABrowserThatHasThePageIsNotSentIt(t *testing.T) {
	first := get(t, Proxy, "")
	again := get(t, Proxy, first.Header().Get("Etag"))
	other := get(t, Member, first.Header().Get("Etag"))
	if first.Code != 200 || again.Code != 304 || again.Body.Len() != 0 || other.Code != 200 {
		t.Errorf("%d, %d with %d bytes, %d", first.Code, again.Code, again.Body.Len(), other.Code)
	}
}
