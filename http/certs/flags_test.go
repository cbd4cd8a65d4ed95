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
	got := hosts([]string{"https://0.0.0.0:1", "https://[::]:1", "https://10.0.0.1:2", "https://db.example:2", "https://10.0.0.1:3"})

	for _, want := range []string{"localhost", "127.0.0.1", "::1", "10.0.0.1", "db.example"} {
		if !slices.Contains(got, want) {
			t.Errorf("%s is not in %q", want, got)
		}
	}
	if slices.Contains(got, "0.0.0.0") || len(slices.Compact(got)) != len(got) {
		t.Errorf("%q", got)
	}
}

// What is wrong with a file is told with the flag that named it.
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
		{PeerPort, func(f *Flags) { f.Cert = other }, []string{"--peer-key-file=" + key + ": ", "not the key of the certificate in " + other, "give"}},
		{PeerPort, func(f *Flags) { f.CA = none }, []string{"--peer-trusted-ca-file=" + none + ": ", "no such file"}},
		{ClientPort, func(f *Flags) { f.CA, f.OldCA = none, none }, []string{"--ca-file=" + none + ": "}},
		{ClientPort, func(f *Flags) { f.CRL = cert }, []string{"--client-crl-file=" + cert + ": ", "no revocation list"}},
		{PeerPort, func(f *Flags) { f.CRL = cert }, []string{"--peer-crl-file=" + cert + ": "}},
		{ClientPort, func(f *Flags) { f.Cert, f.Key, f.Auto = "", "", true }, []string{"--auto-tls: ", "not a directory", "written"}},
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
