package etcdctl

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"etcd2/raft"
)

// leftBehind unpacks one of the directories of etcd with which package migrate is tested.
func leftBehind(t *testing.T, name string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	out, err := exec.Command("tar", "-xzf", filepath.Join("migrate", "testdata", name+".tar.gz"),
		"-C", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return dir
}

func TestMigrateMakesMembersOfWhatEtcdHasLeft(t *testing.T) {
	dir, to := leftBehind(t, "y-238-killed-all"), t.TempDir()
	a, b := filepath.Join(to, "a"), filepath.Join(to, "b")

	status, out, errs := ctl(nil, "migrate", filepath.Join(dir, "y1"), filepath.Join(dir, "y2"),
		filepath.Join(dir, "y3"),
		"--data-dir", "a="+a+",b="+b, "--initial-cluster", "a=http://10.0.0.1:2380,b=http://10.0.0.2:2380")

	if status != 0 || !strings.HasSuffix(errs, "(/ack/9)\n") || strings.Count(errs, "\n") != 1 {
		t.Fatalf("status %d: %s", status, errs)
	}
	for _, want := range []string{"etcd 2.3, cluster 343c3d78f9905333",
		"--initial-cluster y1=http://127.0.0.1:24341,y2=http://", "store index 37", "Made 2 of 2 members"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q lacks %q", out, want)
		}
	}
	for _, dir := range []string{a, b} {
		if err := sound(raft.Verify(dir, raft.VerifyOptions{State: emptyTree})); err != nil {
			t.Error(err)
		}
	}
}

func TestMigrateTellsWhatIsLeftOut(t *testing.T) {
	plain, mixed := leftBehind(t, "x-238-expired-meanwhile"), leftBehind(t, "f-34-mixed")
	broken := filepath.Join(plain, "data", "member", "wal", "1.wal.broken")
	if err := os.WriteFile(broken, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		dir, option, want string
	}{
		{plain, "", "note: left out: 8 keys and directories that have expired meanwhile"},
		{plain, "", "note: passed over: " + broken},
		{plain, "--without-ttl", "keys and directories that had a time to live"},
		{mixed, "", "operations of the API v3"},
	} {
		args := []string{"migrate", filepath.Join(c.dir, "data"), "--dry-run"}
		if c.option != "" {
			args = append(args, c.option)
		}

		status, _, errs := ctl(nil, args...)

		if status != 0 || !strings.Contains(errs, c.want) {
			t.Errorf("%q: status %d, %q lacks %q", args, status, errs, c.want)
		}
	}
}

func TestMigrateMakesNothingOfWhatItRefuses(t *testing.T) {
	dir := filepath.Join(leftBehind(t, "a-238-plain"), "data")
	log := filepath.Join(dir, "member", "wal", "0000000000000000-0000000000000000.wal")
	content, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)/2] ^= 1
	if err := os.WriteFile(log, content, 0o644); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "new")
	for _, args := range [][]string{
		{dir, "--data-dir", to},
		{dir, "--data-dir", dir},
		{dir, "--data-dir", "x=" + to},
		{dir + "/none", "--data-dir", to},
		{"--data-dir", to},
		{dir},
	} {
		status, out, errs := ctl(nil, append([]string{"migrate"}, args...)...)

		if status != statusWrong || out != "" || errs == "" {
			t.Errorf("%q: status %d, %q, %q", args, status, out, errs)
		}
	}
	if _, err := os.Stat(to); err == nil {
		t.Errorf("%s was made", to)
	}
}

// Every command that reads data directories names etcd as the owner of etcd's, and no damage.
func TestADirectoryOfEtcdIsCalledWhatItIs(t *testing.T) {
	dir := filepath.Join(leftBehind(t, "d-238-auth"), "data")
	want := dir + " is the data directory of etcd 2.3: etcdctl migrate " + dir
	for _, args := range [][]string{
		{"verify", dir},
		{"backup", "--data-dir", dir, "--backup-dir", t.TempDir()},
	} {
		status, out, errs := ctl(nil, args...)

		if status != statusWrong || out != "" || !strings.HasPrefix(errs, want) {
			t.Errorf("%q: status %d, %q, %q", args, status, out, errs)
		}
	}
	if err := Dump([]string{dir}, io.Discard); err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("dump: %v", err)
	}
}
