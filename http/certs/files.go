package certs

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// Files are the files of one port, all in PEM, and the demands on the other end of a connection.
// The zero Files is for a port without TLS.
type Files struct {
	// Cert is this member's certificate, followed by those between it and its authority; Key is its
	// private key. Both or none are given.
	Cert, Key string

	// CA is the authorities that are trusted, in both directions. "": clients are not asked for a
	// certificate, and servers must have one of the machine's authorities.
	CA string

	CRL string // revocation lists, each signed by one of CA

	// ClientAuth means that clients must show a certificate of CA. Without it they may, and then it
	// must be valid.
	ClientAuth bool

	// Names are the allowed common names of the certificate at the other end, in both directions;
	// nil: any name. They need CA and ClientAuth.
	Names []string

	// Mutual means that the others have the same authorities, and that Cert is shown in both
	// directions, as among members.
	Mutual bool

	// SelfMade is a directory in which Load makes certificate and key, in place of Cert and Key,
	// for the names and addresses in Hosts, and renews them before they expire. Then Client
	// verifies no certificates: those of the others are self-made as well.
	SelfMade string
	Hosts    []string

	flag string // the flag that names Cert; "": none
}

// remedy returns what to do about this member's own certificate, which others refuse for a reason.
func (f *Files) remedy(reason string) string {
	switch {
	case reason == "usage" && f.Mutual:
		return "have it issued anew with the usages serverAuth and clientAuth: members call each other in both " +
			"directions"
	case reason == "usage":
		return "have it issued anew with the usage serverAuth"
	}
	return "have it issued by an authority that the others trust"
}

// Part is a kind of file.
type Part string

// The kinds of files, as messages call them.
const (
	Cert Part = "certificate"
	Key  Part = "key"
	CA   Part = "authorities"
	CRL  Part = "revocation list"
)

// A FileError says which file can't be used, why, and what to do about it.
type FileError struct {
	Part   Part
	Path   string
	Err    error
	Remedy string
}

// Error returns the kind of the file, its path, and what is wrong with it.
func (e *FileError) Error() string { return fmt.Sprintf("%s %s: %v", e.Part, e.Path, e.Err) }

// Unwrap returns Err.
func (e *FileError) Unwrap() error { return e.Err }

// identity is the certificate that this member shows, with its key.
type identity struct {
	tls.Certificate
	path string
}

// trust is the demands on a certificate of the other end.
type trust struct {
	path  string              // Files.CA
	all   []*x509.Certificate // the authorities
	pool  *x509.CertPool      // the same
	names []string            // Files.Names
	crl   string              // Files.CRL
	lists []list              // what the authorities have revoked
}

// readIdentity reads a certificate and its key.
func readIdentity(certPath, keyPath string, contents [][]byte) (*identity, error) {
	cert, key := contents[0], contents[1]
	if _, err := certificates(cert); err != nil {
		return nil, &FileError{Cert, certPath, err,
			"give a file with the certificate in PEM, followed by those between it and its authority"}
	}
	if encrypted(key) {
		return nil, &FileError{Key, keyPath, errors.New("it is encrypted, and there is no way to give a password"),
			"decrypt it: openssl pkey -in OLD -out NEW"}
	}
	if block, _ := pem.Decode(key); block == nil {
		return nil, &FileError{Key, keyPath, errors.New("there is no key in it"),
			"give a file with the private key in PEM"}
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, &FileError{Key, keyPath, fmt.Errorf("it is not the key of the certificate in %s: %w", certPath,
			err), "give certificate and key of one pair"}
	}
	return &identity{pair, certPath}, nil
}

func encrypted(key []byte) bool {
	return bytes.Contains(key, []byte("BEGIN ENCRYPTED PRIVATE KEY")) || bytes.Contains(key,
		[]byte("Proc-Type: 4,ENCRYPTED"))
}

// readTrust reads authorities and, if there is a second content, revocation lists.
func readTrust(f *Files, contents [][]byte) (*trust, error) {
	caPath, crlPath := f.CA, f.CRL
	all, err := certificates(contents[0])
	if err != nil {
		return nil, &FileError{CA, caPath, err, "give a file with the certificates of the authorities in PEM"}
	}
	t := &trust{path: caPath, all: all, pool: x509.NewCertPool(), names: f.Names, crl: crlPath}
	for _, c := range all {
		t.pool.AddCert(c)
	}
	if len(contents) > 1 {
		if t.lists, err = readLists(contents[1], all); err != nil {
			return nil, &FileError{CRL, crlPath, err,
				"give a file with revocation lists of the trusted authorities, in PEM or DER"}
		}
	}
	return t, nil
}

var errCutOff = errors.New("it is cut off: a block has no end")

// certificates reads all certificates of a file. There must be at least one, and none may be
// broken.
func certificates(content []byte) (all []*x509.Certificate, err error) {
	for {
		block, rest := pem.Decode(content)
		if block == nil {
			break
		}
		content = rest
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	switch {
	case bytes.Contains(content, []byte("-----BEGIN ")):
		return nil, errCutOff
	case len(all) == 0:
		return nil, errors.New("there is no certificate in it")
	}
	return all, nil
}

// A source is one or two files that belong together, and their meaning when they were last in
// order.
type source[T any] struct {
	parts []Part
	paths []string
	read  func(contents [][]byte, now time.Time) (T, error)

	value   T
	sum     [sha256.Size]byte // of the contents that value was read from
	seen    []os.FileInfo     // the files when they were last read
	settled bool              // every later write changes what is compared with seen
	err     error             // why value differs from what the files contain now; nil: it does not
}

// granularity is more than the resolution of a file system's times. A file that was written just
// before it was read may be written again without a change of its time and size.
const granularity = 2 * time.Second

// look reads the files if they may have changed, and reports whether value has changed. After an
// error value stays, and the next look reads the files again: a certificate and its key are two
// files, which never change at the same moment (pitfall K2).
func (s *source[T]) look(now time.Time) (changed bool, err error) {
	if len(s.paths) == 0 {
		return false, nil
	}
	seen, err := s.stat()
	if err == nil && s.err == nil && s.settled && slices.EqualFunc(seen, s.seen, sameFile) {
		return false, nil
	}
	s.settled = !slices.ContainsFunc(seen, func(f os.FileInfo) bool { return now.Sub(f.ModTime()) < granularity })
	s.seen = seen
	if err == nil {
		changed, err = s.readAll(now)
	}
	s.err = err
	return changed, err
}

func sameFile(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

func (s *source[T]) stat() (seen []os.FileInfo, err error) {
	for i, path := range s.paths {
		f, err := os.Stat(path)
		if err != nil {
			return nil, s.unreadable(i, err)
		}
		seen = append(seen, f)
	}
	return seen, nil
}

func (s *source[T]) readAll(now time.Time) (changed bool, err error) {
	contents, sum := make([][]byte, len(s.paths)), sha256.New()
	for i, path := range s.paths {
		if contents[i], err = os.ReadFile(path); err != nil {
			return false, s.unreadable(i, err)
		}
		fmt.Fprintf(sum, "%d ", len(contents[i]))
		sum.Write(contents[i])
	}
	if [sha256.Size]byte(sum.Sum(nil)) == s.sum {
		return false, nil
	}
	value, err := s.read(contents, now)
	if err != nil {
		return false, err
	}
	s.value, s.sum = value, [sha256.Size]byte(sum.Sum(nil))
	return true, nil
}

func (s *source[T]) unreadable(i int, err error) error {
	var wrapped *os.PathError
	if errors.As(err, &wrapped) {
		err = wrapped.Err // FileError has the path
	}
	return &FileError{s.parts[i], s.paths[i], err, "give a file that this process may read"}
}
