package certs

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"etcd2/wal/disk"
)

// The life of a self-made certificate, and how long before its end another one is made.
const (
	ownLife  = 365 * 24 * time.Hour
	ownRenew = 60 * 24 * time.Hour
)

// ownPaths returns the files of a self-made certificate and its key.
func ownPaths(dir string) (cert, key string) {
	return filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
}

// makeOwn makes a certificate and a key in Files.SelfMade, unless a good pair is there. s.mu must
// be held, unless Load calls it.
func (s *Set) makeOwn(now time.Time) error {
	dir := s.files.SelfMade
	if dir == "" || s.ownIsGood(now) {
		return nil
	}
	certPath, keyPath := ownPaths(dir)
	cert, key, err := generate(s.files.Hosts, now)
	if err != nil {
		return fmt.Errorf("certs: %w", err)
	}
	if err := cmp.Or(os.MkdirAll(dir, 0o700), disk.OS{}.Mkdir(dir)); err != nil {
		return fmt.Errorf("certs: %w", err)
	}
	// A crash between the two writes leaves a pair that does not match; the next call replaces it.
	if err := cmp.Or(disk.WriteFile(disk.OS{}, keyPath, key), disk.WriteFile(disk.OS{}, certPath, cert)); err != nil {
		return fmt.Errorf("certs: %w", err)
	}
	s.log.Info("made a self-signed certificate", "certificate", certPath, "for", s.files.Hosts,
		"end", date(now.Add(ownLife)))
	return nil
}

// ownIsGood reports whether the files have a matching pair for all hosts, which does not expire
// within ownRenew.
func (s *Set) ownIsGood(now time.Time) bool {
	certPath, keyPath := ownPaths(s.files.SelfMade)
	cert, err := os.ReadFile(certPath)
	key, keyErr := os.ReadFile(keyPath)
	if err := cmp.Or(err, keyErr); err != nil {
		return false
	}
	id, err := readIdentity(certPath, keyPath, [][]byte{cert, key})
	return err == nil && checkTime(id.Leaf, now) == nil && id.Leaf.NotAfter.Sub(now) > ownRenew &&
		!slices.ContainsFunc(s.files.Hosts, func(host string) bool { return id.Leaf.VerifyHostname(host) != nil })
}

// generate makes a certificate that is signed with its own key, and the key, in PEM.
func generate(hosts []string, now time.Time) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	number, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, err
	}
	c := &x509.Certificate{
		SerialNumber: number,
		Subject:      pkix.Name{Organization: []string{"etcd2, self-made"}},
		NotBefore:    now.Add(-time.Hour), // clocks differ
		NotAfter:     now.Add(ownLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},

		BasicConstraintsValid: true,
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else {
			c.DNSNames = append(c.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &private.PublicKey, private)
	keyDER, keyErr := x509.MarshalPKCS8PrivateKey(private)
	if err := errors.Join(err, keyErr); err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), nil
}
