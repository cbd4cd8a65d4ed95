package etcdctl

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"etcd2/http/client"
	"etcd2/http/etcdctl/migrate"
	"etcd2/store"
)

// Nodes of a dump, as text.

func dumpedFile(value string) string { return dumpedNode(time.Time{}, value, "null") }

// dumpedDir has children, each as `"name":NODE`.
func dumpedDir(children ...string) string {
	return dumpedNode(time.Time{}, "", "{"+strings.Join(children, ",")+"}")
}

func dumpedNode(expires time.Time, value, children string) string {
	return fmt.Sprintf(`{"Path":"/x","CreatedIndex":4,"ModifiedIndex":5,"ExpireTime":%q,"ACL":"","Value":%q,"Children":%s}`,
		expires.Format(time.RFC3339Nano), value, children)
}

// dumpOf is a store's dump.
func dumpOf(root string) []byte {
	return []byte(`{"Root":` + root +
		`,"WatcherHub":{"EventHistory":{"Queue":{"Events":[null,{"action":"set"}],"Size":1}}},"CurrentIndex":42,"Stats":{"setsSuccess":7},"CurrentVersion":2}`)
}

// userKeys are the children of the users' root.
func userKeys() []string {
	soon, past := time.Now().Add(100*time.Second), time.Now().Add(-time.Second)
	return []string{
		`"app":` + dumpedDir(`"name":`+dumpedFile("shop & <co>"), `"none":`+dumpedFile(""), `"empty":`+dumpedDir(),
			`"_secret":`+dumpedDir(`"key":`+dumpedFile("x"))),
		`"lease":` + dumpedNode(soon, "", `{"holder":`+dumpedNode(soon, "a", "null")+`}`),
		`"over":` + dumpedNode(past, "", `{"k":`+dumpedFile("v")+`}`),
		`"q":` + dumpedDir(`"00000000000000000041":`+dumpedFile("job")),
		`"_coreos.com":` + dumpedDir(`"unit":`+dumpedFile("u")),
	}
}

// store04 is the dump of an etcd 0.4 with the users' keys.
func store04() []byte {
	return dumpOf(dumpedDir(append(userKeys(),
		`"_etcd":`+dumpedDir(`"machines":`+dumpedDir(`"a":`+dumpedFile("raft=..."))))...))
}

// store2 is that of an etcd 2.
func store2() []byte {
	return dumpOf(dumpedDir(
		`"0":`+dumpedDir(`"members":`+dumpedDir(`"a606ab4e32abcd83":`+dumpedDir()), `"version":`+dumpedFile("2.3.0")),
		`"1":`+dumpedDir(userKeys()...),
		`"2":`+dumpedDir(`"enabled":`+dumpedFile("true"), `"roles":`+dumpedDir(),
			`"users":`+dumpedDir(`"root":`+dumpedFile("{}")))))
}

// ofGoRaft is the snapshot file of an etcd 0.4 with a state.
func ofGoRaft(state []byte) []byte {
	return checksummed(`{"lastIndex":7,"lastTerm":1,"peers":[{"name":"a","connectionString":"http://127.0.0.1:7001"}],"path":"a/snapshot/1_7.ss","state":"` +
		base64.StdEncoding.EncodeToString(state) + `"}`)
}

func checksummed(body string) []byte {
	return fmt.Appendf(nil, "%08x\n%s", crc32.ChecksumIEEE([]byte(body)), body)
}

// ofSnappb is the snapshot file of an etcd 2 with a state. Its metadata are those of a real one.
func ofSnappb(state []byte) []byte {
	data := bytesField(1, state)
	return sealed(append(data,
		bytesField(2, []byte("\x0a\x0d\x08\x83\x9b\xaf\x95\xe3\xe9\xaa\x83\xa6\x01\x28\x00\x10\x18\x18\x02"))...))
}

// sealed puts a checksum before data.
func sealed(data []byte) []byte {
	sum := crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))
	return append(binary.AppendUvarint([]byte{1 << 3}, uint64(sum)), bytesField(2, data)...)
}

// The types of fields, the lowest 3 bits of a tag.
const typeFixed64, typeBytes, typeFixed32 = 1, 2, 5

func bytesField(number byte, content []byte) []byte {
	return append(binary.AppendUvarint([]byte{number<<3 | typeBytes}, uint64(len(content))), content...)
}

func saved(t *testing.T, b []byte) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "old.snap")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestASnapshotOfAnyFormatIsImported(t *testing.T) {
	for name, c := range map[string]struct {
		file  []byte
		users bool
	}{
		"of 0.4":         {ofGoRaft(store04()), false},
		"of 2":           {ofSnappb(store2()), true},
		"dump of 0.4":    {store04(), false},
		"dump of 2":      {store2(), true},
		"0.4 like a 2":   {ofGoRaft(dumpOf(dumpedDir(userKeys()...))), false},
		"2, other order": {otherOrder(store2()), true},
		"2, never had any": {ofSnappb(dumpOf(dumpedDir(`"0":`+dumpedDir(`"members":`+dumpedDir()),
			`"1":`+dumpedDir(userKeys()...)))), false},
	} {
		path, to := saved(t, c.file), newFakeTree(t)
		to.add(client.Node{Key: "/mine", Value: "stays"})

		status, out, errs := ctl(nil, "--endpoints", to.url, "import", "-c", "3", "--hidden", "app/_secret/",
			"--snap", path)
		_, again, _ := ctl(nil, "--endpoints", to.url, "import", "--hidden", "/app/_secret", "--snap", path)

		want := map[string]string{
			"": `true ""`, "/mine": `false "stays"`, "/app": `true ""`, "/app/name": `false "shop & <co>"`,
			"/app/none": `false ""`, "/app/empty": `true ""`,
			"/app/_secret": `true ""`, "/app/_secret/key": `false "x"`, "/lease": `true ""`,
			"/lease/holder": `false "a"`,
			"/q":            `true ""`, "/q/00000000000000000041": `false "job"`, "/_coreos.com": `true ""`,
			"/_coreos.com/unit": `false "u"`,
		}
		if status != 0 || !maps.Equal(to.tree(), want) {
			t.Errorf("%s: status %d, %v: %s%s", name, status, to.tree(), out, errs)
		}
		if dir, file := to.nodes["/lease"].TTL, to.nodes["/lease/holder"].TTL; dir < 95 || dir > 100 ||
			file < 95 || file > 100 {
			t.Errorf("%s: times to live: %d and %d", name, dir, file)
		}
		if want := "starting to import snapshot " + path +
			" with 3 clients\nImported 12 keys, 12 written, 0 were there already\nfinished importing 12 " +
			"keys\n"; out != want {
			t.Errorf("%s: %s, want %s", name, out, want)
		}
		notes := "note: there are keys made in order up to 41, and the index of this cluster is 7: until it is " +
			"greater, new ones will sort before the old\n" +
			"note: left out: 1 keys and directories that have expired meanwhile\n"
		if c.users {
			notes += "note: the snapshot has users, 1 of them, which are not copied: add them with etcdctl user add\n"
		}
		if errs != notes || !strings.Contains(again, "Imported 12 keys, 0 written, 12 were there already\n") {
			t.Errorf("%s: %s, and then %s", name, errs, again)
		}
	}
}

// otherOrder is a snapshot of etcd 2 with its fields in another order, one of them twice, and
// unknown ones.
func otherOrder(state []byte) []byte {
	data := slices.Concat([]byte{9<<3 | typeFixed64, 1, 2, 3, 4, 5, 6, 7, 8}, bytesField(2, nil),
		bytesField(1, []byte("old")),
		[]byte{8<<3 | typeFixed32, 1, 2, 3, 4}, bytesField(1, state))
	b := append([]byte{1 << 3, 1}, bytesField(2, []byte("old"))...)
	whole := sealed(data)
	_, n := binary.Uvarint(whole[1:])
	return slices.Concat(b, whole[1+n:], whole[:1+n], []byte{7 << 3, 5})
}

func TestWhatAnOldEtcdKeptForItselfIsImportedOnlyByName(t *testing.T) {
	to := newFakeTree(t)
	path := saved(t, ofGoRaft(store04()))

	status, _, errs := ctl(nil, "--endpoints", to.url, "import", "--snap", path, "--key", "/app")
	if status != 0 || len(to.nodes) != 5 || !strings.Contains(errs,
		"since they are hidden: /app/_secret: name those that you want with --hidden\n") {
		t.Errorf("status %d, %v: %s", status, to.tree(), errs)
	}
	status, _, errs = ctl(nil, "--endpoints", to.url, "import", "--snap", path, "--hidden", "/_etcd", "--hidden",
		"/_coreos.com")

	if status != 0 || to.nodes["/_etcd/machines/a"].Value != "raft=..." || to.writes != 4+9 ||
		strings.Contains(errs, "/_etcd") {
		t.Errorf("status %d, %d writes, %v: %s", status, to.writes, to.tree(), errs)
	}
	if status, _, errs = ctl(nil, "--endpoints", to.url, "import", "--snap", path, "--key", "/over/k"); status != 1 ||
		!strings.Contains(errs, "there is no key /over/k") {
		t.Errorf("status %d, %s", status, errs)
	}
}

func TestADumpIsOfTheEtcdThatItLooksLike(t *testing.T) {
	members := `"0":` + dumpedDir(`"members":`+dumpedDir())
	for _, c := range []struct {
		children []string
		of2      bool
	}{
		{nil, false},
		{[]string{members}, true},
		{[]string{members, `"1":` + dumpedDir()}, true},
		{[]string{members, `"1":` + dumpedDir(), `"2":` + dumpedDir()}, true},
		{[]string{members, `"1":` + dumpedDir(), `"3":` + dumpedDir()}, false},
		{[]string{members, `"1":` + dumpedFile("x")}, false},
		{[]string{members, `"_etcd":` + dumpedDir()}, false},
		{[]string{`"1":` + dumpedDir()}, false},
		{[]string{`"0":` + dumpedDir(), `"1":` + dumpedDir()}, false},
		{[]string{`"0":` + dumpedDir(`"members":`+dumpedFile("me")), `"1":` + dumpedDir()}, false},
	} {
		dump := dumpOf(dumpedDir(c.children...))

		r, err := migrate.ReadSnapshot(dump)

		count := func(r *migrate.Result) (n int) {
			v, _ := r.Tree.Get("/")
			for range v.All(v.Node) {
				n++
			}
			return n
		}
		if err != nil || (r.Version != migrate.Version04) != c.of2 || c.of2 && count(r) != 0 ||
			!c.of2 && count(r) != len(c.children) {
			t.Errorf("%q: %v, %+v", c.children, err, r)
		}
		if _, err := migrate.ReadSnapshot(ofSnappb(dump)); (err == nil) != c.of2 {
			t.Errorf("%q in a .snap: %v", c.children, err)
		}
		if r, err := migrate.ReadSnapshot(ofGoRaft(dump)); err != nil || count(r) != len(c.children) {
			t.Errorf("%q in a .ss: %v", c.children, err)
		}
	}
}

// The error about a damaged file is one line, and nothing is written.
func TestADamagedSnapshotIsRefusedInOneLine(t *testing.T) {
	ss, snap := ofGoRaft(store04()), ofSnappb(store2())
	huge := binary.AppendUvarint([]byte{1 << 3, 0, 2<<3 | typeBytes}, 1<<63)
	for want, files := range map[string][][]byte{
		"it is empty": {nil},
		"it begins neither with": {[]byte("hello"), []byte("0123"), []byte("0123456X\n{}"), []byte("0123456789"),
			[]byte("[]"), []byte("\x00")},
		"its first line says that": {[]byte("00000000\n{}"), ss[:9], ss[:len(ss)-1],
			append(slices.Clone(ss), '\n')},
		"is not the JSON of a snapshot": {checksummed("{"), checksummed(`{"state":"***"}`), checksummed(`{"state":7}`)},
		"the store in it is not the JSON of one: at byte": {
			checksummed("{}"), ofGoRaft([]byte(`{"Root":`)), ofSnappb(nil), store2()[:200], ofGoRaft([]byte("x")),
			append(store04(), 'x'),
			[]byte(`{"Root":null}`), dumpOf(dumpedDir(`"a":null`))},
		"parsing time":                          {dumpOf(`{"ExpireTime":"monday","Children":{}}`)},
		"comes after the children":              {dumpOf(`{"Children":{},"Value":"x"}`)},
		"the store in it has no directory Root": {[]byte("{}"), dumpOf(dumpedFile("x")), ofSnappb([]byte("{}"))},
		"is no key": {
			dumpOf(strings.Repeat(`{"Children":{"a":`, 10_000) + "null" + strings.Repeat("}}", 10_000)),
			dumpOf(dumpedDir(`"":` + dumpedFile(""))), dumpOf(dumpedDir(`"a/b":` + dumpedFile(""))),
			dumpOf(dumpedDir(`"a":` + dumpedDir(`"..":`+dumpedFile("")))), dumpOf(dumpedDir(`".":` + dumpedFile("")))},
		"is there already":  {dumpOf(dumpedDir(`"a":`+dumpedFile("1"), `"a":`+dumpedFile("2")))},
		"its checksum says": {{1 << 3, 5, 2<<3 | typeBytes, 1, 0}},
		"there are no data in it": {{1 << 3, 5}, {1 << 3, 5, 2<<3 | typeBytes, 0}, {1 << 3, 5, 2 << 3, 5},
			sealed(nil)},
		"bytes are no message": {{1 << 3}, {1 << 3, 0x80}, snap[:20], snap[:len(snap)-1], huge,
			{1 << 3, 0, 3<<3 | 3}, {1 << 3, 0, 3<<3 | typeFixed64, 1}, {1 << 3, 0, 0x80}, {1 << 3, 0,
				0}, append(slices.Clone(snap), 0)},
		"are not those of a snapshot": {sealed([]byte{0xff})},
		"none of etcd 2":              {ofSnappb(store04())},
	} {
		for _, file := range files {
			to := newFakeTree(t)

			status, out, errs := ctl(nil, "--endpoints", to.url, "import", "--snap", saved(t, file))

			if status != statusWrong || out != "" || to.writes > 0 || strings.Count(errs, "\n") != 1 ||
				!strings.Contains(errs, want) || !strings.Contains(errs, "take another copy of it") {
				t.Errorf("%.60q: status %d, %d writes, %s%s lacks %q", file, status, to.writes, out, errs, want)
			}
		}
	}
}

// The checksums find every flipped bit, and files and dumps that were cut off are refused.
func TestNoDamageGoesUnseen(t *testing.T) {
	refused := func(what string, b []byte) {
		t.Helper()
		if r, err := migrate.ReadSnapshot(b); err == nil {
			t.Errorf("%s: %+v", what, r)
		}
	}
	dump := dumpOf(dumpedDir(`"0":`+dumpedDir(`"members":`+dumpedDir()), `"1":`+dumpedDir(`"k":`+dumpedFile("v"))))
	for name, file := range map[string][]byte{"of 0.4": ofGoRaft(dump), "of 2": ofSnappb(dump), "dump": dump} {
		for n := range file {
			refused(fmt.Sprintf("%s, %d bytes of %d", name, n, len(file)), file[:n])
			for bit := 0; bit < 8 && name != "dump"; bit++ {
				wrong := slices.Clone(file)
				wrong[n] ^= 1 << bit
				refused(fmt.Sprintf("%s, bit %d of byte %d", name, bit, n), wrong)
			}
		}
	}
}

func TestALifeOfAnyLengthIsWithinWhatATTLCanBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			left time.Duration // 0: for ever
			ttl  int64
		}{
			{0, 0},
			{-time.Hour, 1}, // it has expired since the file was read
			{time.Nanosecond, 1},
			{time.Second, 1},
			{time.Second + 1, 2},
			{200 * 365 * 24 * time.Hour, 200 * 365 * 24 * 3600},
		} {
			n := &store.Node{Path: "/k"}
			if c.left != 0 {
				n.Ends = &store.Ends{Shown: time.Now().UnixNano() + int64(c.left)}
			}

			shown := asClientNode(n)

			if shown.TTL != c.ttl {
				t.Errorf("%v: %d seconds", c.left, shown.TTL)
			}
			if d := seconds(c.ttl); d < 0 {
				t.Errorf("%v: %v", c.left, d)
			}
		}
	})
}

// FuzzAnOldSnapshotIsReadOrRefused: whatever is in a file, and in one with the right checksums
// around it, nothing panics, and every key that a directory lists is there.
func FuzzAnOldSnapshotIsReadOrRefused(f *testing.F) {
	for _, b := range [][]byte{nil, store04(), store2(), ofGoRaft(store04()), ofSnappb(store2()), otherOrder(store2()),
		checksummed("{}"), {1 << 3, 0x80}} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, file := range [][]byte{b, ofGoRaft(b), ofSnappb(b), sealed(b), checksummed(string(b))} {
			r, err := migrate.ReadSnapshot(file)
			if err != nil {
				if strings.Contains(err.Error(), "\n") {
					t.Errorf("more than a line: %q", err)
				}
				continue
			}
			r.Expire(time.Now())
			walk(t, snapshotSource{r.Tree}, "/")
		}
	})
}

// walk gets a key and all that is listed below it.
func walk(t *testing.T, f snapshotSource, key string) {
	l, err := f.list(t.Context(), key)
	if err != nil {
		t.Fatalf("%q: %v", key, err)
	}
	l.Next() // the node itself
	for n, err := l.Next(); err == nil; n, err = l.Next() {
		if n.TTL < 0 {
			t.Fatalf("%+v", n)
		}
		walk(t, f, n.Key)
	}
}
