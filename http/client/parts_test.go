package client

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// A script answers the requests that it knows, and records all requests.
type script struct {
	answers map[string]string // "GET /path" to "status body"
	asked   []string
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	line := r.Method + " " + r.URL.Path
	s.asked = append(s.asked, strings.TrimSpace(line+" "+string(body)))
	status, text := 404, `{"message":"not in the script"}`
	if a, ok := s.answers[line]; ok {
		fmt.Sscan(a, &status)
		text = a[min(4, len(a)):]
	}
	w.Header().Set("X-Etcd-Cluster-Id", "c1")
	if len(body) > 0 && r.Header.Get("Content-Type") != "application/json" {
		status = 415
	}
	w.WriteHeader(status)
	io.WriteString(w, text)
}

func (s *script) client(t *testing.T) *Client { return newClient(t, Config{}, serve(t, s.ServeHTTP)) }

func (s *script) expect(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(s.asked, want) {
		t.Errorf("asked  %q\nwanted %q", s.asked, want)
	}
}

func TestMembersAreListedAddedUpdatedAndRemoved(t *testing.T) {
	const member = `{"id":"a","name":"n","peerURLs":["http://h:1"],"clientURLs":["http://h:2"]}`
	s := &script{answers: map[string]string{
		"GET /v2/members":        `200 {"members":[` + member + `]}`,
		"GET /v2/members/leader": `503 {"message":"During election"}`,
		"POST /v2/members":       `201 {"id":"b","name":"","peerURLs":["http://h:3"],"clientURLs":[]}`,
		"PUT /v2/members/b":      "204",
		"DELETE /v2/members/b":   `410 {"message":"Member permanently removed: b"}`,
	}}
	c := s.client(t)

	id, list, err1 := c.Members.OfCluster(t.Context())
	_, err2 := c.Members.Leader(t.Context())
	added, err3 := c.Members.Add(t.Context(), "", []string{"http://h:3"})
	err4 := c.Members.Update(t.Context(), "b", []string{"http://h:4"})
	err5 := c.Members.Remove(t.Context(), "b")

	if want := []Member{{ID: "a", Name: "n", PeerURLs: []string{"http://h:1"},
		ClientURLs: []string{"http://h:2"}}}; id != "c1" || !reflect.DeepEqual(list, want) {
		t.Errorf("%s: %+v", id, list)
	}
	if errors.Join(err1, err3, err4) != nil || added.ID != "b" || fmt.Sprint(err2) != "During election" ||
		fmt.Sprint(err5) != "Member permanently removed: b" {
		t.Error(err1, err2, added, err3, err4, err5)
	}
	s.expect(t, "GET /v2/members", "GET /v2/members/leader", `POST /v2/members {"peerURLs":["http://h:3"]}`,
		`PUT /v2/members/b {"peerURLs":["http://h:4"]}`, "DELETE /v2/members/b")
}

func TestUsersAndRolesAreManaged(t *testing.T) {
	const role = `{"role":"r","permissions":{"kv":{"read":["/a/*"],"write":null}}}`
	s := &script{answers: map[string]string{
		"GET /v2/auth/enable": `200 {"enabled":true}`, "PUT /v2/auth/enable": "200", "DELETE /v2/auth/enable": "200",
		"GET /v2/auth/users": `200 {"users":[{"user":"u","roles":[` + role +
			`]},{"user":"v"}]}`, "GET /v2/auth/users/u": `200 {"user":"u","roles":["r"]}`,
		"PUT /v2/auth/users/u": `200 {"user":"u","roles":null}`, "DELETE /v2/auth/users/u": "200",
		"GET /v2/auth/roles": `200 {"roles":[` + role + `]}`, "GET /v2/auth/roles/r": "200 " + role,
		"PUT /v2/auth/roles/r": "201 " + role, "DELETE /v2/auth/roles/r": "200",
	}}
	a, ctx := s.client(t).Auth, t.Context()

	on, err1 := a.Enabled(ctx)
	users, err2 := a.Users(ctx)
	user, err3 := a.User(ctx, "u")
	roles, err4 := a.Roles(ctx)
	one, err5 := a.Role(ctx, "r")
	err := errors.Join(err1, err2, err3, err4, err5, a.Enable(ctx), a.Disable(ctx), a.AddUser(ctx, "u", "p"),
		a.SetPassword(ctx, "u", "q"),
		a.GrantRoles(ctx, "u", []string{"r"}), a.RevokeRoles(ctx, "u", []string{"r"}), a.RemoveUser(ctx,
			"u"), a.AddRole(ctx, "r"),
		a.Grant(ctx, "r", Access{Read: []string{"/a/*"}}), a.Revoke(ctx,
			"r", Access{Write: []string{"/b"}}), a.RemoveRole(ctx, "r"))

	r := Role{Name: "r", Permissions: Permissions{KV: Access{Read: []string{"/a/*"}}}}
	if err != nil || !on || !reflect.DeepEqual(roles, []Role{r}) || !reflect.DeepEqual(one, r) {
		t.Errorf("%v: %v, %+v, %+v", err, on, roles, one)
	}
	if u := (User{"u", []string{"r"}}); !reflect.DeepEqual(users, []User{u, {"v", []string{}}}) ||
		!reflect.DeepEqual(user, u) {
		t.Errorf("%+v, %+v", users, user)
	}
	s.expect(t, "GET /v2/auth/enable", "GET /v2/auth/users", "GET /v2/auth/users/u", "GET /v2/auth/roles",
		"GET /v2/auth/roles/r",
		"PUT /v2/auth/enable", "DELETE /v2/auth/enable",
		`PUT /v2/auth/users/u {"user":"u","password":"p"}`, `PUT /v2/auth/users/u {"user":"u","password":"q"}`,
		`PUT /v2/auth/users/u {"user":"u","grant":["r"]}`, `PUT /v2/auth/users/u {"user":"u","revoke":["r"]}`,
		"DELETE /v2/auth/users/u",
		`PUT /v2/auth/roles/r {"role":"r","permissions":{"kv":{"read":[],"write":[]}}}`,
		`PUT /v2/auth/roles/r {"role":"r","grant":{"kv":{"read":["/a/*"],"write":null}}}`,
		`PUT /v2/auth/roles/r {"role":"r","revoke":{"kv":{"read":null,"write":["/b"]}}}`, "DELETE /v2/auth/roles/r")
}

func TestAMemberTellsOfItself(t *testing.T) {
	s := &script{answers: map[string]string{
		"GET /version":         `200 {"etcdserver":"2.3.8","etcdcluster":"2.3.0"}`,
		"GET /v2/machines":     "200 http://h:1, http://h:2",
		"GET /v2/stats/self":   `200 {"name":"n","id":"a","state":"StateLeader","leaderInfo":{"leader":"a"},"sendAppendRequestCnt":3}`,
		"GET /v2/stats/leader": `200 {"leader":"a","followers":{"b":{"latency":{"current":0.5},"counts":{"fail":1,"success":2}}}}`,
		"GET /v2/stats/store":  `200 {"getsSuccess":4}`,
	}}
	c := s.client(t)
	ctx, endpoint := t.Context(), c.Endpoints()[0]

	version, err1 := c.Version(ctx)
	machines, err2 := c.Machines(ctx)
	self, err3 := c.SelfStats(ctx, endpoint)
	leader, err4 := c.LeaderStats(ctx, endpoint)
	store, err5 := c.StoreStats(ctx, endpoint)

	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		t.Fatal(err)
	}
	if version != (Version{"2.3.8", "2.3.0"}) || !slices.Equal(machines, []string{"http://h:1", "http://h:2"}) ||
		self.Name != "n" || self.SentAppends != 3 ||
		self.LeaderInfo.Leader != "a" || leader.Followers["b"].Counts.Success != 2 ||
		leader.Followers["b"].Latency.Current != 0.5 || store["getsSuccess"] != 4 {
		t.Error(version, machines, self, leader, store)
	}
}

func TestHealthIsYesNoOrNoAnswer(t *testing.T) {
	for answer, want := range map[string]string{
		`200 {"health": "true"}`: "true <nil>", `200 {"health":true}`: "true <nil>",
		`200 {"health":"false"}`:  "false <nil>",
		`503 {"health": "false"}`: "false <nil>", "200 fine": "false not an answer of an etcd: status 200, and a " +
			"body that is not its JSON",
		"404": "false status 404 (Not Found)",
	} {
		c := (&script{answers: map[string]string{"GET /health": answer}}).client(t)
		healthy, err := c.Health(t.Context(), c.Endpoints()[0])

		if got := fmt.Sprint(healthy, err); got != want {
			t.Errorf("%s: %s, want %s", answer, got, want)
		}
	}
}

func TestAskReturnsRefusalsAsTheyCome(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Method", r.Method)
		http.Error(w, `{"health": "false", "reason": "x"}`, http.StatusServiceUnavailable)
	}))
	defer s.Close()
	c := newClient(t, Config{}, "http://127.0.0.1:1")

	reply, err := c.Ask(t.Context(), "GET", s.URL, "/health")

	if err != nil || reply.Status != 503 || !strings.Contains(string(reply.Body), "reason") ||
		reply.Header.Get("X-Method") != "GET" || reply.TLS != nil {
		t.Errorf("%v: %+v", err, reply)
	}
	if _, err := c.Ask(t.Context(), "HEAD", "http://127.0.0.1:1", "/"); err == nil {
		t.Error("nobody has answered")
	}
}
