/*
Package certstest makes certificates for tests: right ones, and wrong ones of every kind.

# What it is

An [Authority] issues certificates, in memory and at once. By default they are valid for this
machine's loopback addresses and for both ends of a connection; a test changes the one property that
it is about: the time, the usage, the names, the authority. Only tests import this package.

# Picture

	NewAuthority ──► Issue ──► Pair ──► Save ──► NAME.pem, NAME-key.pem
	      │            ▲
	      │            └── For, Used, Valid: changes
	      ├──► PEM, for a file of authorities
	      ├──► Renew ──► the same Authority with another certificate
	      └──► Revoke ──► a revocation list in PEM

# Types

	Authority  a certificate and key that sign others
	Pair       a certificate and its key, in PEM

# Life of a wrong certificate

A test asks a trusted authority for one that is Valid in the past, saves it, and shows it to a port
that trusts the authority: only its time is wrong, so the refusal must be for its time.

# Invariants

  - Two certificates of one Authority have different serial numbers.
  - A saved file appears complete, and only its user can read it.

# What is left out

Keys other than ECDSA on P-256, and chains of more than two.
*/
package certstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// An Authority signs certificates. All methods may be called from any goroutine.
type Authority struct {
	Cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// A Pair is a certificate with its key.
type Pair struct {
	Leaf      *x509.Certificate
	Cert, Key []byte // PEM
}

// A Change changes a certificate before it is signed.
type Change func(*x509.Certificate)

var serials atomic.Int64

// NewAuthority makes an authority with a common name. Two of the same name have different keys.
func NewAuthority(t testing.TB, name string) *Authority {
	t.Helper()
	template := template(name)
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	template.ExtKeyUsage, template.IPAddresses, template.DNSNames = nil, nil, nil
	key := newKey(t)
	return &Authority{sign(t, template, template, key, key), key}
}

// Renew returns the same authority, by name and key, with another certificate.
func (a *Authority) Renew(t testing.TB, changes ...Change) *Authority {
	t.Helper()
	template := *a.Cert
	template.SerialNumber = big.NewInt(serials.Add(1))
	for _, change := range changes {
		change(&template)
	}
	return &Authority{sign(t, &template, &template, a.key, a.key), a.key}
}

// PEM returns the authority's certificate, for a file of trusted authorities.
func (a *Authority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Cert.Raw})
}

// Issue makes a certificate. Without a change it is valid for an hour, for the loopback addresses
// and localhost, and for both ends of a connection.
func (a *Authority) Issue(t testing.TB, name string, changes ...Change) Pair {
	t.Helper()
	template, key := template(name), newKey(t)
	for _, change := range changes {
		change(template)
	}
	return pair(t, sign(t, template, a.Cert, key, a.key), key)
}

// SelfSigned makes a certificate that is signed with its own key.
func SelfSigned(t testing.TB, name string) Pair {
	t.Helper()
	template, key := template(name), newKey(t)
	return pair(t, sign(t, template, template, key, key), key)
}

// Revoke makes a list in PEM that revokes the pairs, and expires in an hour.
func (a *Authority) Revoke(t testing.TB, pairs ...Pair) []byte {
	t.Helper()
	l := &x509.RevocationList{Number: big.NewInt(serials.Add(1)), ThisUpdate: time.Now().Add(-time.Minute),
		NextUpdate: time.Now().Add(time.Hour)}
	for _, p := range pairs {
		l.RevokedCertificateEntries = append(l.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: p.Leaf.SerialNumber, RevocationTime: time.Now().Add(-time.Minute)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, l, a.Cert, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

// For sets the names and addresses.
func For(hosts ...string) Change {
	return func(c *x509.Certificate) {
		c.DNSNames, c.IPAddresses = nil, nil
		for _, h := range hosts {
			if ip := net.ParseIP(h); ip != nil {
				c.IPAddresses = append(c.IPAddresses, ip)
			} else {
				c.DNSNames = append(c.DNSNames, h)
			}
		}
	}
}

// Used sets the usages.
func Used(usages ...x509.ExtKeyUsage) Change {
	return func(c *x509.Certificate) { c.ExtKeyUsage = usages }
}

// Valid sets when the certificate begins and ends, from now.
func Valid(from, to time.Duration) Change {
	return func(c *x509.Certificate) { c.NotBefore, c.NotAfter = time.Now().Add(from), time.Now().Add(to) }
}

// Save writes the pair as NAME.pem and NAME-key.pem into a directory, and returns the paths.
func (p Pair) Save(t testing.TB, dir, name string) (cert, key string) {
	t.Helper()
	return Write(t, dir, name+".pem", p.Cert), Write(t, dir, name+"-key.pem", p.Key)
}

// Write puts a file into a directory, as a whole, and returns its path.
func Write(t testing.TB, dir, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	return path
}

// TLS returns the pair in the form that a client or a server shows.
func (p Pair) TLS(t testing.TB) tls.Certificate {
	t.Helper()
	c, err := tls.X509KeyPair(p.Cert, p.Key)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func template(name string) *x509.Certificate {
	c := &x509.Certificate{
		SerialNumber: big.NewInt(serials.Add(1)),
		Subject:      pkix.Name{CommonName: name},
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	For("127.0.0.1", "::1", "localhost")(c)
	Valid(-time.Minute, time.Hour)(c)
	return c
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t testing.TB, c, by *x509.Certificate, key, byKey *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, by, &key.PublicKey, byKey)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func pair(t testing.TB, c *x509.Certificate, key *ecdsa.PrivateKey) Pair {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return Pair{c, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})}
}
