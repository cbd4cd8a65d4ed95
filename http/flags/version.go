package flags

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
)

// Version is the version that this program reports to clients and to other members.
const Version = "2.4.0"

// PrintVersion writes the four lines of --version.
func PrintVersion(w io.Writer) error {
	_, err := fmt.Fprintf(w, "etcd Version: %s\nGit SHA: %s\nGo Version: %s\nGo OS/Arch: %s/%s\n",
		Version, revision(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// revision returns the commit that the binary was built from, or "unknown".
func revision() string {
	info, _ := debug.ReadBuildInfo()
	if info != nil {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value[:min(7, len(s.Value))]
			}
		}
	}
	return "unknown"
}
