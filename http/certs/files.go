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

// Files are the files of one port, all in PEM, and what is asked of who connects. The zero Files is
// a port without TLS.
type Files struct {
	Cert, Key string // this member's certificate, with those between it and its authority, and the key; both or none
	// the authorities that are trusted, in both directions; "": nobody is asked for a certificate,
	// and the machine's are trusted
	CA         string
	CRL        string // revocation lists, each signed by one of CA
	ClientAuth bool   // who connects must show a certificate of CA; otherwise one may, and then it must be right

	// Names are common names of which the certificate at the other end must have one, in both
	// directions; nil: any will do. They need CA and ClientAuth.
	Names []string

	// the same is shown to and by the others, which have the same authorities, as members do among
	// themselves
	Mutual bool

	// SelfMade is a directory in which Load makes certificate and key, instead of Cert and Key, for
	// the names and addresses in Hosts, and makes them anew before they expire. Then Client
	// verifies nobody: the certificates of others are self-made as well.
	SelfMade string
	Hosts    []string

	flag string // that names Cert on the command line; "": none
}

// remedy is what to do about this member's own certificate, which others refuse for a reason.
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

// Part is one of Files.
type Part string

// The parts, as a person calls them.
const (
	Cert Part = "certificate"
	Key  Part = "key"
	CA   Part = "authorities"
	CRL  Part = "revocation list"
)

// A FileError says which of the files can't be used, why, and what to do about it.
type FileError struct {
	Part   Part
	Path   string
	Err    error
	Remedy string
}

// Error names the file.
func (e *FileError) Error() string { return fmt.Sprintf("%s %s: %v", e.Part, e.Path, e.Err) }

// Unwrap returns Err.
func (e *FileError) Unwrap() error { return e.Err }

// identity is what this member shows of itself.
type identity struct {
	tls.Certificate
	path string
}

// trust is whom this member believes.
type trust struct {
	path  string
	all   []*x509.Certificate
	pool  *x509.CertPool
	names []string // Files.Names
	crl   string   // path
	lists []list
}

// readIdentity reads a certificate and its key.
func readIdentity(certPath, keyPath string, contents [][]byte) (*identity, error) {
	cert, key := contents[0], contents[1]
	if _, err := certificates(cert); err != nil {
		return nil, &FileError{Cert, certPath, err,
			"give a file with the certificate in PEM, followed by those between it and its authority"}
	}
	if encrypted(key) {
		return nil, &FileError{Key, keyPath, errors.New("it is encrypted, and nobody is asked for a password"),
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

// readTrust reads authorities and, if there are as many contents, revocation lists.
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
				"give a file with the lists of authorities that are trusted here, in PEM or DER"}
		}
	}
	return t, nil
}

var errCutOff = errors.New("it is cut off: a block has no end")

// certificates reads all certificates of a file; there must be one, and none may be broken.
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

// A source is some files that are understood together, and what they said when they were last in
// order.
type source[T any] struct {
	parts []Part
	paths []string
	read  func(contents [][]byte, now time.Time) (T, error)

	value   T
	sum     [sha256.Size]byte // of the contents that value was made of
	seen    []os.FileInfo     // the files when they were last read
	settled bool              // a later write would show in seen
	err     error             // why value is not what the files say now
}

// granularity is more than the steps in which a file system counts time. A file that was written
// just before it was read may be written again without a trace in its time and size.
const granularity = 2 * time.Second

// look reads the files if they may have changed, and tells whether value is a new one. After an
// error value is the old one, and the files are read again the next time: a certificate that is
// replaced is two files, which never change at the same moment (pitfall K2).
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
		err = wrapped.Err // the path is told anyway
	}
	return &FileError{s.parts[i], s.paths[i], err, "give a file that this process may read"}
}
