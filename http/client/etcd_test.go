package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"etcd2/e2e/pace"
)

// startEtcd runs an etcd that knows the v2 API, and returns its client URL.
func startEtcd(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("etcd")
	if err != nil {
		t.Skip("this machine has no etcd")
	}
	help, _ := exec.Command(path, "--help").CombinedOutput()
	if !strings.Contains(string(help), "--enable-v2 ") {
		t.Skip("the etcd of this machine does not know --enable-v2")
	}
	clients, peers := nobody(t), nobody(t)
	cmd := exec.Command(path, "--enable-v2", "--data-dir="+t.TempDir(), "--listen-client-urls="+clients,
		"--advertise-client-urls="+clients,
		"--listen-peer-urls="+peers, "--initial-advertise-peer-urls="+peers, "--initial-cluster=default="+peers,
		"--unsafe-no-fsync")
	cmd.Stderr = io.Discard
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for deadline := time.Now().Add(time.Minute); ; <-time.After(20 * time.Millisecond) {
		resp, err := http.Get(clients + "/version")
		if err == nil {
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if !strings.Contains(string(body), "not_decided") && strings.Contains(string(body), "etcdserver") {
				return clients
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("etcd does not start:", err)
		}
	}
}

// TestEtcdIsUnderstood goes through the API with Debian's etcd at the other end.
func TestEtcdIsUnderstood(t *testing.T) {
	pace.LeftOutByShort(t)
	t.Parallel()
	endpoint := startEtcd(t)
	c := newClient(t, Config{}, nobody(t), endpoint)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	for name, check := range map[string]func() error{
		"a key is one key": func() error {
			key := "/names/a%2Fb?wait=true#1; + &=ü\n"
			if _, err := c.Create(ctx, key, "v", SetOptions{}); err != nil {
				return err
			}
			dir, err := c.Get(ctx, "/names", GetOptions{Sorted: true})
			if err != nil || len(dir.Node.Nodes) != 1 || dir.Node.Nodes[0].Key != key {
				return fmt.Errorf("%v: %v", err, dir.Node)
			}
			return nil
		},
		"refusals": func() error {
			_, missing := c.Update(ctx, "/nope", "v", SetOptions{})
			_, made := c.Mkdir(ctx, "/dir", SetOptions{TTL: time.Hour})
			_, again := c.Mkdir(ctx, "/dir", SetOptions{})
			_, file := c.Set(ctx, "/dir", "v", SetOptions{})
			_, inside := c.CreateInOrder(ctx, "/dir", "v", SetOptions{})
			_, full := c.Rmdir(ctx, "/dir", DeleteOptions{})
			_, refreshed := c.Refresh(ctx, "/dir", time.Minute, SetOptions{})
			if !IsKeyNotFound(missing) || made != nil || !IsKeyExists(again) || !IsNotFile(file) || inside != nil ||
				!IsNotEmpty(full) || refreshed != nil {
				return errors.Join(missing, made, again, file, inside, full, refreshed)
			}
			return nil
		},
		"comparing": func() error {
			set, err := c.Set(ctx, "/cas", "a", SetOptions{})
			if err != nil {
				return err
			}
			_, wrong := c.CompareAndSwap(ctx, "/cas", "b", Condition{Value: "x & y"}, SetOptions{})
			_, right := c.CompareAndSwap(ctx, "/cas", "b", Condition{Value: "a", Index: set.Node.ModifiedIndex},
				SetOptions{})
			gone, err := c.CompareAndDelete(ctx, "/cas", Condition{Value: "b"}, DeleteOptions{})
			if !IsCompareFailed(wrong) || right != nil || err != nil || gone.PrevNode.Value != "b" {
				return errors.Join(wrong, right, err)
			}
			return nil
		},
		"watching": func() error {
			set, err := c.Set(ctx, "/watched/0", "", SetOptions{})
			if err != nil {
				return err
			}
			w := c.Watch("/watched", WatchOptions{AfterIndex: set.Node.ModifiedIndex, Recursive: true})
			for i := range 5 {
				if _, err := c.Set(ctx, fmt.Sprint("/watched/", i+1), "", SetOptions{}); err != nil {
					return err
				}
			}
			for i := range 5 {
				if e, err := w.Next(ctx); err != nil || e.Node.Key != fmt.Sprint("/watched/", i+1) {
					return fmt.Errorf("%v: %v", err, e)
				}
			}
			return nil
		},
		"members": func() error {
			id, list, err := c.Members.OfCluster(ctx)
			leader, err2 := c.Members.Leader(ctx)
			if err := errors.Join(err, err2, c.Sync(ctx)); err != nil {
				return err
			}
			if id == "" || len(list) != 1 || !reflect.DeepEqual(list[0], leader) || list[0].Name != "default" ||
				!slices.Equal(list[0].ClientURLs, []string{endpoint}) {
				return fmt.Errorf("%s: %+v, %+v", id, list, leader)
			}
			return nil
		},
		"the member": func() error {
			version, err := c.Version(ctx)
			healthy, err2 := c.Health(ctx, endpoint)
			self, err3 := c.SelfStats(ctx, endpoint)
			_, err4 := c.LeaderStats(ctx, endpoint)
			stats, err5 := c.StoreStats(ctx, endpoint)
			if err := errors.Join(err, err2, err3, err4, err5); err != nil {
				return err
			}
			if version.Server == "" || !healthy || self.State != "StateLeader" || len(stats) == 0 {
				return fmt.Errorf("%+v, %v, %+v, %v", version, healthy, self, stats)
			}
			return nil
		},
	} {
		if err := check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	checkAuth(ctx, t, endpoint)
}

// checkAuth turns auth on, and so comes last.
func checkAuth(ctx context.Context, t *testing.T, endpoint string) {
	t.Helper()
	root := newClient(t, Config{Username: "root", Password: "r"}, endpoint)
	a := root.Auth
	err := errors.Join(a.AddUser(ctx, "root", "r"), a.AddUser(ctx, "u", "p"), a.AddRole(ctx, "reader"),
		a.Grant(ctx, "reader", Access{Read: []string{"/*"}}), a.GrantRoles(ctx, "u", []string{"reader"}), a.Enable(ctx))
	if err != nil {
		t.Fatal(err)
	}
	on, err1 := a.Enabled(ctx)
	users, err2 := a.Users(ctx)
	user, err3 := a.User(ctx, "u")
	roles, err4 := a.Roles(ctx)
	role, err5 := a.Role(ctx, "reader")
	reader := newClient(t, Config{Username: "u", Password: "p"}, endpoint)
	_, may := reader.Get(ctx, "/watched/1", GetOptions{})
	_, mayNot := reader.Set(ctx, "/watched/1", "", SetOptions{})
	_, wrong := newClient(t, Config{Username: "u", Password: "x"}, endpoint).Get(ctx, "/watched/1", GetOptions{})

	if err := errors.Join(err1, err2, err3, err4, err5, may); err != nil || !on || !IsUnauthorized(mayNot) ||
		!IsUnauthorized(wrong) {
		t.Errorf("%v: on %v; %v, %v", err, on, mayNot, wrong)
	}
	if len(users) != 2 || !slices.Equal(user.Roles, []string{"reader"}) || len(roles) < 2 ||
		!slices.Equal(role.Permissions.KV.Read, []string{"/*"}) {
		t.Error(users, user, roles, role)
	}
	if err := errors.Join(a.RevokeRoles(ctx, "u", []string{"reader"}), a.RemoveUser(ctx, "u"),
		a.RemoveRole(ctx, "reader"), a.Disable(ctx)); err != nil {
		t.Error(err)
	}
}
