package discovery

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"

	"etcd2/raft"
)

func TestIDsAreThoseOfEtcd(t *testing.T) {
	// The example of API section 21.1.
	m, err := Static("default=http://127.0.0.1:25011", "etcd-cluster")

	if err != nil {
		t.Fatal(err)
	}
	want := raft.Membership{
		ClusterID: 0x2f825f7ee614161e,
		Members: []raft.Member{{ID: 0x7fa0243da41856f2, Name: "default",
			PeerURLs: []string{"http://127.0.0.1:25011"}}},
	}
	if !reflect.DeepEqual(m, want) {
		t.Errorf("got  %+v\nwant %+v", m, want)
	}
}

func TestIDsAreTheSameWhereFIPS140IsEnforced(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestIDsAreThoseOfEtcd$", "-test.v")
	cmd.Env = append(os.Environ(), "GODEBUG=fips140=only")

	out, err := cmd.CombinedOutput()

	if err != nil || !strings.Contains(string(out), "--- PASS: TestIDsAreThoseOfEtcd") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestOrderAndNamesDoNotEnterTheIDs(t *testing.T) {
	const token = "t"
	a, errA := Static("a=http://h:1,b=http://h:2,a=http://h:3", token)
	b, errB := Static("x=http://h:2,y=http://h:3,y=http://h:1", token)

	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	if a.ClusterID != b.ClusterID {
		t.Errorf("cluster ids differ: %x, %x", a.ClusterID, b.ClusterID)
	}
	for i := range a.Members {
		if a.Members[i].ID != b.Members[i].ID {
			t.Errorf("member %d: ids differ: %x, %x", i, a.Members[i].ID, b.Members[i].ID)
		}
	}
}

func TestTokenAndURLsEnterTheIDs(t *testing.T) {
	seen := map[uint64]string{}
	for _, c := range []struct{ list, token string }{
		{"a=http://h:1", "t"}, {"a=http://h:1", "u"}, {"a=http://h:2", "t"}, {"a=https://h:1", "t"},
	} {
		m, err := Static(c.list, c.token)
		if err != nil {
			t.Fatal(err)
		}
		if other, taken := seen[m.ClusterID]; taken {
			t.Errorf("%v has the cluster id of %s", c, other)
		}
		seen[m.ClusterID] = c.list + " " + c.token
	}
}

func TestStaticRefusesWhatIsNotAList(t *testing.T) {
	for list, why := range map[string]string{
		"":                            "want name=url",
		"a":                           "want name=url",
		"=http://h:1":                 "want name=url",
		"a=":                          "scheme",
		"a=ftp://h:1":                 "scheme",
		"a=http://h":                  "host:port",
		"a=http://:1":                 "host:port",
		"a=http://h:1/":               "path",
		"a=http://h:1?x":              "query",
		"a=http://h:1,":               "want name=url",
		"a=http://h:1,b=http://h:1":   "duplicate",
		"a=http://h:1,a=http://h:1":   "duplicate",
		"a=http://h:1,b":              "want name=url",
		"a=http://\x7f:1":             "not a URL",
		"a=http://user:secret@h:2380": "password",
	} {
		_, err := Static(list, "t")
		if err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: got error %v, want one about %q", list, err, why)
		}
	}
}

func TestSelfIsFoundByNameAndURLs(t *testing.T) {
	m, err := Static("a=http://127.0.0.1:1,a=http://127.0.0.1:2,b=http://127.0.0.1:3", "t")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, urls string
		err        error
	}{
		{"a", "http://127.0.0.1:2,http://127.0.0.1:1", nil},
		{"b", "http://127.0.0.1:3", nil},
		{"c", "http://127.0.0.1:3", ErrNotListed},
		{"a", "http://127.0.0.1:1", ErrOneName},
		{"a", "http://127.0.0.1:9", ErrURLsDiffer},
		{"b", "http://127.0.0.1:4", ErrURLsDiffer},
		{"b", "https://127.0.0.1:3", ErrURLsDiffer},
	} {
		self, err := Self(context.Background(), m, c.name, strings.Split(c.urls, ","))
		if !errors.Is(err, c.err) {
			t.Errorf("%s %s: got error %v, want %v", c.name, c.urls, err, c.err)
		}
		if err == nil && self.Name != c.name {
			t.Errorf("%s: found %q", c.name, self.Name)
		}
	}
}

func TestAHostNameStandsForItsAddress(t *testing.T) {
	listed := []string{"http://localhost:2380"}
	address := resolve(context.Background(), listed[0])
	if address == listed[0] {
		t.Skip("this machine does not know localhost")
	}

	if !sameURLs(context.Background(), listed, []string{address}) {
		t.Errorf("%s differs from %s", listed[0], address)
	}
	if sameURLs(context.Background(), listed, []string{"http://localhost:2381"}) {
		t.Error("another port counts as the same")
	}
}

func FuzzStatic(f *testing.F) {
	for _, seed := range seeds {
		f.Add(seed)
	}
	f.Fuzz(checkStatic)
}

// TestStaticSurvivesAnyText is a taste of FuzzStatic in every run.
func TestStaticSurvivesAnyText(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 30_000 {
		checkStatic(t, mutate(random, seeds[random.IntN(len(seeds))]))
	}
}

var seeds = []string{
	"default=http://localhost:2380,default=http://localhost:7001",
	"a=http://10.0.0.1:2380,b=https://[::1]:2380,c=http://c.example:1",
	" a = http://h:1 , b=http://h:2",
	"a=http://h%31:1,=,==,,a=http://h:1#,a=http://u:p@h:1",
}

// mutate replaces, drops or doubles a few bytes.
func mutate(random *rand.Rand, text string) string {
	const alphabet = "a=,:/h tps[]%@#?\x00\xff0"
	b := []byte(text)
	for range 1 + random.IntN(4) {
		i := random.IntN(len(b))
		switch random.IntN(3) {
		case 0:
			b[i] = alphabet[random.IntN(len(alphabet))]
		case 1:
			b = append(b[:i], b[min(i+1, len(b)-1):]...)
		case 2:
			b = append(b, b[i:]...)
		}
	}
	return string(b)
}

// checkStatic: what is accepted, written as text again, gives the same membership.
func checkStatic(t *testing.T, list string) {
	m, err := Static(list, "t")
	if err != nil {
		return
	}
	var parts []string
	for _, member := range m.Members {
		for _, u := range member.PeerURLs {
			parts = append(parts, member.Name+"="+u)
		}
	}
	again, err := Static(strings.Join(parts, ","), "t")
	if err != nil || !reflect.DeepEqual(m, again) {
		t.Errorf("%q became %v (%v)", list, again, err)
	}
}
