package certs

import (
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"etcd2/http/certs/certstest"
)

func TestASelfMadeCertificateIsForTheAddressesOfItsPort(t *testing.T) {
	got := hosts([]string{"https://0.0.0.0:1", "https://[::]:1", "https://10.0.0.1:2", "https://db.example:2",
		"https://10.0.0.1:3"})

	for _, want := range []string{"localhost", "127.0.0.1", "::1", "10.0.0.1", "db.example"} {
		if !slices.Contains(got, want) {
			t.Errorf("%s is not in %q", want, got)
		}
	}
	if slices.Contains(got, "0.0.0.0") || len(slices.Compact(got)) != len(got) {
		t.Errorf("%q", got)
	}
}

// An error about a file names its flag.
func TestAFileThatCannotBeUsedIsOneLine(t *testing.T) {
	dir := t.TempDir()
	ca := certstest.NewAuthority(t, "CA")
	cert, key := ca.Issue(t, "m0").Save(t, dir, "m0")
	other, _ := ca.Issue(t, "m1").Save(t, dir, "m1")
	good := Flags{Files: Files{Cert: cert, Key: key, CA: certstest.Write(t, dir, "ca.pem", ca.PEM())}}
	none := filepath.Join(dir, "none")
	for _, c := range []struct {
		port   string
		change func(f *Flags)
		words  []string
	}{
		{ClientPort, func(f *Flags) { f.Cert = none }, []string{"--cert-file=" + none + ": ", "no such file", "give"}},
		{PeerPort, func(f *Flags) { f.Cert = other }, []string{"--peer-key-file=" + key + ": ",
			"not the key of the certificate in " + other, "give"}},
		{PeerPort, func(f *Flags) { f.CA = none }, []string{"--peer-trusted-ca-file=" + none + ": ", "no such file"}},
		{ClientPort, func(f *Flags) { f.CA, f.OldCA = none, none }, []string{"--ca-file=" + none + ": "}},
		{ClientPort, func(f *Flags) { f.CRL = cert }, []string{"--client-crl-file=" + cert + ": ",
			"no revocation list"}},
		{PeerPort, func(f *Flags) { f.CRL = cert }, []string{"--peer-crl-file=" + cert + ": "}},
		{ClientPort, func(f *Flags) { f.Cert, f.Key, f.Auto = "", "", true }, []string{"--auto-tls: ",
			"not a directory", "written"}},
	} {
		f := good
		f.Port = c.port
		c.change(&f)

		_, err := f.Load(cert+"/fixtures", nil, slog.New(slog.DiscardHandler))

		for _, word := range c.words {
			if err == nil || !strings.Contains(err.Error(), word) {
				t.Errorf("%v lacks %q", err, word)
			}
		}
	}
}

// A common name does not count as a name: today's clients refuse such a certificate.
func TestACertificateWithoutNamesIsReported(t *testing.T) {
	dir, ca := t.TempDir(), certstest.NewAuthority(t, "CA")
	for name, hosts := range map[string][]string{"nameless": nil, "named": {"127.0.0.1"}} {
		f := Flags{Port: ClientPort}
		f.Cert, f.Key = ca.Issue(t, name, certstest.For(hosts...)).Save(t, dir, name)
		for u, wanted := range map[string]bool{"https://127.0.0.1:1": name == "nameless", "http://127.0.0.1:1": false} {
			var log strings.Builder

			_, err := f.Load(dir, []string{u},
				slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelError})))

			told := strings.Contains(log.String(), "for no name or address") &&
				strings.Contains(log.String(), f.Cert) &&
				strings.Contains(log.String(), "issue one with the host of https://127.0.0.1:1 in subjectAltName")
			if err != nil || told != wanted {
				t.Errorf("%s at %s: %v: %s", name, u, err, &log)
			}
		}
	}
}

// One authority at both ports makes every client a member: the log says so at the start, unless
// members have names of their own.
func TestOneAuthorityForClientsAndMembersIsWarnedOf(t *testing.T) {
	dir := t.TempDir()
	ca, other := certstest.NewAuthority(t, "CA"), certstest.NewAuthority(t, "Other CA")
	cert, key := ca.Issue(t, "m0").Save(t, dir, "m0")
	file := certstest.Write(t, dir, "ca.pem", ca.PEM())
	apart := certstest.Write(t, dir, "other.pem", other.PEM())
	both := certstest.Write(t, dir, "both.pem", append(other.PEM(), ca.PEM()...))
	for _, c := range []struct {
		clients, names string
		warned         bool
	}{{file, "", true}, {both, "", true}, {apart, "", false}, {"", "", false}, {file, "m0,m1", false}} {
		var log strings.Builder
		f := Flags{Port: PeerPort, Files: Files{Cert: cert, Key: key, CA: file, ClientAuth: true}, Names: c.names,
			ClientCA: c.clients}
		_, err := f.Check([]string{"https://127.0.0.1:1"})
		_, loadErr := f.Load(dir, []string{"https://127.0.0.1:1"}, slog.New(slog.NewTextHandler(&log, nil)))

		warned := strings.Contains(log.String(), "level=WARN") && strings.Contains(log.String(), "authority=\"CN=CA") &&
			strings.Contains(log.String(), "--peer-cert-allowed-cn")
		if err != nil || loadErr != nil || warned != c.warned {
			t.Errorf("clients of %q, names %q: %v, %v, log %s", c.clients, c.names, err, loadErr, &log)
		}
	}
}

// Flags that accept a peer without a certificate are warned of, or refused where names are allowed.
func TestAPeerPortWithoutClientAuthIsWarnedOf(t *testing.T) {
	open := Files{Cert: "c", Key: "k", CA: "ca"}
	shut := open
	shut.ClientAuth = true
	for _, c := range []struct {
		files         Files
		url, names    string
		warned, wrong string
	}{
		{open, "https://10.0.0.1:2380", "",
			"--peer-client-cert-auth: whoever reaches the peer port and shows no certificate", ""},
		{shut, "https://10.0.0.1:2380", "", "", ""},
		{open, "https://10.0.0.1:2380", "m0", "", "--peer-cert-allowed-cn=m0 needs --peer-client-cert-auth"},
		{shut, "https://10.0.0.1:2380", "m0,m1", "", ""},
		{shut, "https://10.0.0.1:2380", "m0,,m1", "", "an empty name"},
	} {
		f := Flags{Port: PeerPort, Files: c.files, Names: c.names}
		warnings, err := f.Check([]string{c.url})
		text := ""
		if err != nil {
			text = err.Error()
		}
		if got := strings.Join(warnings, "\n"); !strings.Contains(got, c.warned) || c.warned == "" && got != "" ||
			!strings.Contains(text, c.wrong) || c.wrong == "" && text != "" {
			t.Errorf("%+v: warned %q, refused %q", c, got, text)
		}
	}
}
