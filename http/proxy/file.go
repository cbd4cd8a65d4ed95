package proxy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"etcd2/wal/disk"
)

// The file DIR/proxy/cluster is what a proxy remembers: the members' peer URLs, as etcd 2 has them
// there.
//
//	{"PeerURLs":["http://10.0.0.1:2380","http://10.0.0.2:2380"]}
type remembered struct{ PeerURLs []string }

// Exists tells whether a proxy has left something in the data directory.
func Exists(dir string) (bool, error) {
	_, err := os.Stat(filepath.Join(dir, "proxy"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Remembered returns the peer URLs that a proxy has left in the data directory; none when there was
// no proxy.
func Remembered(dir string) ([]string, error) {
	path := filepath.Join(dir, "proxy", "cluster")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	var r remembered
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("proxy: %s is not a list of peer URLs (%w): delete it, and say with --initial-cluster "+
			"where the cluster is", path, err)
	}
	return slices.DeleteFunc(r.PeerURLs, func(u string) bool { return parse(u) == nil }), nil
}

// remember writes the file, whole or not at all.
func remember(dir string, peerURLs []string) error {
	dir = filepath.Join(dir, "proxy")
	path := filepath.Join(dir, "cluster")
	b, err := json.Marshal(remembered{peerURLs})
	if err != nil {
		return fmt.Errorf("proxy: %s: %w", path, err)
	}
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, b) {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	if err := disk.WriteFile(disk.OS{}, path, b); err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	return nil
}

// Role returns what a process is by what its data directory has, whatever its flags say. wanted,
// and what is returned, is off, on or readonly; member reports whether a member has left something
// there, and forced whether one is to go on from it alone.
func Role(dir, wanted string, member, forced bool, log *slog.Logger) (string, error) {
	was, err := Exists(dir)
	switch {
	case err != nil:
		return wanted, err
	case member && was:
		return wanted, fmt.Errorf("invalid datadir. Both member and proxy directories exist: %s: "+
			"delete the one that is not wanted", dir)
	case member && wanted != "off":
		log.Warn("--proxy is ignored: there is a member in the data directory; for a proxy give it another one",
			"data", dir)
		return "off", nil
	case was && forced:
		return wanted, fmt.Errorf("--force-new-cluster: there is a proxy in %s: give the data of a member as "+
			"--data-dir", dir)
	case was && wanted == "off":
		log.Warn("this is a proxy, since there is one in the data directory; for a member give it another one",
			"data", dir)
		return "on", nil
	}
	return wanted, nil
}
