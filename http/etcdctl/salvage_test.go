package etcdctl

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"etcd2/raft"
)

// migrated is the directory of a new member, with a snapshot and hardly any log.
func migrated(t *testing.T) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "data")
	if status, _, errs := ctl(nil, "migrate", filepath.Join(leftBehind(t, "a-238-plain"), "data"), "--data-dir", dir,
		"--name", "m"); status != 0 {
		t.Fatal(errs)
	}
	return dir
}

func TestSalvageWritesOnlyOnDemand(t *testing.T) {
	dir, to := migrated(t), filepath.Join(t.TempDir(), "new")
	if status, _, errs := ctl(nil, "salvage", dir); status != 1 || !strings.Contains(errs,
		"nothing has to be salvaged") {
		t.Errorf("a member that starts: status %d: %s", status, errs)
	}
	if err := os.RemoveAll(filepath.Join(dir, "member", "wal")); err != nil {
		t.Fatal(err)
	}

	status, out, errs := ctl(nil, "salvage", dir, "--data-dir", to)
	if _, err := os.Stat(to); status != 0 || err == nil || !strings.Contains(out, "nothing was written: ") ||
		!strings.Contains(out, "lost: whatever ") {
		t.Errorf("status %d, %v: %s\n%s", status, err, out, errs)
	}
	status, out, errs = ctl(nil, "salvage", dir, "--data-dir", to, "--yes")
	if status != 0 || !strings.Contains(out, "Salvaged 1 of 1 members") {
		t.Fatalf("status %d: %s\n%s", status, out, errs)
	}
	if err := sound(raft.Verify(to, raft.VerifyOptions{State: emptyTree})); err != nil {
		t.Error(err)
	}
	if status, _, errs := ctl(nil, "salvage", dir, "--data-dir", to, "--yes"); status != 1 || !strings.Contains(errs,
		"is there already") {
		t.Errorf("into a directory that is taken: status %d: %s", status, errs)
	}
}

func TestSalvageSaysWhenThereIsNothing(t *testing.T) {
	dir := migrated(t)
	snaps, _ := filepath.Glob(filepath.Join(dir, "member", "snap", "*.snap"))
	if len(snaps) != 1 || os.Truncate(snaps[0], 100) != nil {
		t.Fatal(snaps)
	}
	for args, want := range map[string]string{
		"salvage " + dir + " --data-dir " + dir + ".new --yes":           "not even the beginning is whole",
		"salvage " + filepath.Join(leftBehind(t, "a-238-plain"), "data"): "etcdctl migrate",
		"salvage " + t.TempDir():                                         "there is no member",
		"salvage " + dir + " --yes":                                      "required: salvage DIR --data-dir NEW --yes",
		"salvage":                                                        "required: salvage DIR",
	} {
		if status, _, errs := ctl(nil, strings.Fields(args)...); status != 1 || !strings.Contains(errs, want) {
			t.Errorf("%s: status %d: %s", args, status, errs)
		}
	}
}
