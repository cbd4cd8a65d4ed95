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

// The file DIR/proxy/cluster has the members' peer URLs, in the format of etcd 2:
//
//	{"PeerURLs":["http://10.0.0.1:2380","http://10.0.0.2:2380"]}
type remembered struct{ PeerURLs []string }

// Exists reports whether a proxy has used the data directory.
func Exists(dir string) (bool, error) {
	_, err := os.Stat(filepath.Join(dir, "proxy"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Remembered returns the peer URLs that a proxy has left in the data directory; none without a
// file.
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
		return nil, fmt.Errorf("proxy: %s is not a list of peer URLs (%w): delete it, and give the cluster as "+
			"--initial-cluster", path, err)
	}
	return slices.DeleteFunc(r.PeerURLs, func(u string) bool { return parse(u) == nil }), nil
}

// remember writes the file, completely or not at all.
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

// Role returns the proxy mode (off, on or readonly) of a process: the one that its data directory
// has been used for, or wanted, the mode of the flags, for an empty one. member says that the
// directory has the data of a member, and forced that --force-new-cluster was given.
func Role(dir, wanted string, member, forced bool, log *slog.Logger) (string, error) {
	was, err := Exists(dir)
	switch {
	case err != nil:
		return wanted, err
	case member && was:
		return wanted, fmt.Errorf("invalid datadir. Both member and proxy directories exist: %s: "+
			"delete the one that is not wanted", dir)
	case member && wanted != "off":
		log.Warn("--proxy is ignored: the data directory has the data of a member; give a proxy another directory",
			"data", dir)
		return "off", nil
	case was && forced:
		return wanted, fmt.Errorf("--force-new-cluster: %s is the data directory of a proxy: give that of a member "+
			"as --data-dir", dir)
	case was && wanted == "off":
		log.Warn("this process is a proxy: its data directory is that of a proxy; give a member another directory",
			"data", dir)
		return "on", nil
	}
	return wanted, nil
}
