package proxy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"etcd2/wal/disk"
)

// The file DIR/proxy/cluster is what a proxy remembers: the members' peer URLs, as etcd 2 has them there.
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

// Remembered returns the peer URLs that a proxy has left in the data directory; none when there was no proxy.
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
		return nil, fmt.Errorf("proxy: %s is not a list of peer URLs (%w): delete it, and say with --initial-cluster where the cluster is", path, err)
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
