package certs

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// A list is what one authority has revoked.
type list struct {
	signer  *x509.Certificate
	revoked map[string]time.Time // by serial number
	next    time.Time            // when a newer list is due; zero: never
}

// readLists reads revocation lists, and finds the authority that has signed each. (Anybody may
// write a list that names an authority; what counts is the signature.)
func readLists(content []byte, authorities []*x509.Certificate) (lists []list, err error) {
	blocks, err := listBlocks(content)
	if err != nil {
		return nil, err
	}
	for _, b := range blocks {
		parsed, err := x509.ParseRevocationList(b)
		if err != nil {
			return nil, err
		}
		l, err := identifySigner(parsed, authorities)
		if err != nil {
			return nil, err
		}
		lists = append(lists, l)
	}
	return lists, nil
}

// listBlocks returns the lists of a file, in DER.
func listBlocks(content []byte) (blocks [][]byte, err error) {
	if !bytes.Contains(content, []byte("-----BEGIN ")) {
		return [][]byte{content}, nil
	}
	for {
		block, rest := pem.Decode(content)
		if block == nil {
			break
		}
		content = rest
		if block.Type == "X509 CRL" {
			blocks = append(blocks, block.Bytes)
		}
	}
	switch {
	case bytes.Contains(content, []byte("-----BEGIN ")):
		return nil, errCutOff
	case len(blocks) == 0:
		return nil, errors.New("there is no revocation list in it")
	}
	return blocks, nil
}

// identifySigner returns a parsed list with the authority that has signed it.
func identifySigner(parsed *x509.RevocationList, authorities []*x509.Certificate) (list, error) {
	for _, ca := range authorities {
		if bytes.Equal(ca.RawSubject, parsed.RawIssuer) && parsed.CheckSignatureFrom(ca) == nil {
			l := list{ca, map[string]time.Time{}, parsed.NextUpdate}
			for _, e := range parsed.RevokedCertificateEntries {
				l.revoked[serial(e.SerialNumber)] = e.RevocationTime
			}
			return l, nil
		}
	}
	return list{}, fmt.Errorf("it is signed by %s, which is none of the trusted authorities, or by a key that is not "+
		"theirs", clip(parsed.Issuer.String()))
}

func serial(n *big.Int) string { return n.Text(16) }

// revokedError is the error of a handshake whose certificate is valid, but revoked.
type revokedError struct {
	cert *x509.Certificate
	at   time.Time
	path string
}

// Error returns a short text; explain has a longer one.
func (e *revokedError) Error() string {
	return fmt.Sprintf("certs: certificate %s was revoked", serial(e.cert.SerialNumber))
}

// nameError is the error of a handshake whose certificate is valid, but has none of the allowed
// common names.
type nameError struct {
	cert  *x509.Certificate
	names []string
}

// Error returns the whole explanation.
func (e *nameError) Error() string {
	return fmt.Sprintf("its certificate %s, serial number %s, has the common name %q, and members' have one of %q",
		subject(e.cert), serial(e.cert.SerialNumber), clip(e.cert.Subject.CommonName), e.names)
}

// checkName refuses a certificate whose common name is not allowed.
func (t *trust) checkName(c *x509.Certificate) error {
	if t.names == nil || slices.Contains(t.names, c.Subject.CommonName) {
		return nil
	}
	return &nameError{c, t.names}
}

// check refuses a common name that is not allowed, and a certificate each of whose chains has a
// revoked certificate. A list that has expired is still used: it may lack some certificates, but
// those that it has stay revoked.
func (t *trust) check(chains [][]*x509.Certificate) (err error) {
	if len(chains) > 0 {
		if err := t.checkName(chains[0][0]); err != nil {
			return err
		}
	}
	for _, chain := range chains {
		if err = t.checkChain(chain); err == nil {
			return nil
		}
	}
	return err
}

// checkChain refuses a chain with a revoked certificate.
func (t *trust) checkChain(chain []*x509.Certificate) error {
	for i := range len(chain) - 1 {
		for _, l := range t.lists {
			at, revoked := l.revoked[serial(chain[i].SerialNumber)]
			if revoked && bytes.Equal(l.signer.RawSubject, chain[i+1].RawSubject) &&
				bytes.Equal(l.signer.RawSubjectPublicKeyInfo, chain[i+1].RawSubjectPublicKeyInfo) {
				return &revokedError{chain[i], at, t.crl}
			}
		}
	}
	return nil
}
