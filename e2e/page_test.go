package e2e

import (
	"fmt"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"etcd2/e2e/pace"
)

// shootAll takes screenshots in the sizes and colours in which a person should look at the page.
func (b *browser) shootAll(name string) {
	b.t.Helper()
	if *shots == "" {
		return
	}
	for _, scheme := range []string{"light", "dark"} {
		b.scheme(scheme)
		b.shoot(name + "-" + scheme)
	}
	b.scheme("light")
	b.size(390, 800)
	b.shoot(name + "-narrow")
	b.size(1280, 860)
}

func rowOf(name string) string {
	return "[...document.querySelectorAll('#tree .row')].find(r => r.title === " + quoted(name) + ")"
}

// choose clicks the row of a key, and waits until the page shows the key.
func (b *browser) choose(key string) {
	b.t.Helper()
	b.click(rowOf(key))
	b.await("document.querySelector('#detail h2').textContent === " + quoted(key))
}

// showsLeader waits until the page shows the cluster's leader.
func (b *browser) showsLeader(c *cluster) {
	b.t.Helper()
	eventually(b.t, "the page shows the leader", patience, func() bool {
		leads := quoted(c.leader().name + " leads in term ")
		return b.eval("document.getElementById('summary').textContent.startsWith("+leads+")") == "true"
	})
}

// noErrors, called at the end of each test, fails it when the script threw an error or the policy
// blocked something.
func (b *browser) noErrors() {
	b.t.Helper()
	if said := b.errors(); len(said) > 0 {
		b.t.Errorf("the page says %s", strings.Join(said, "\n"))
	}
}

func TestThePageShowsAClusterAndFollowsItsLeader(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	asked := c.followers()[0]
	b := startBrowser(t, asked.url+"/")

	b.showsLeader(c)
	b.await("document.querySelectorAll('#members .member').length === 3")
	b.await("document.querySelectorAll('#picture line.follows').length === 2")
	b.await("document.querySelectorAll('#plots .plot').length === 5")
	for range 20 {
		asked.put("/k", "v")
	}
	b.shootAll("cluster")

	leader := c.leader()
	for ; leader == asked; leader = c.leader() { // on a busy machine the leader has changed meanwhile
		asked.signal(syscall.SIGSTOP)
		c.leaderOf(without(c.members, asked)...)
		asked.signal(syscall.SIGCONT)
	}
	leader.kill()
	killed := time.Now()
	b.await("[...document.querySelectorAll('#members .member')].some(m => m.textContent.includes('does not answer'))")
	b.awaitText("does not answer")
	b.showsLeader(c)
	t.Logf("the page shows the next leader %v after the last one was killed", time.Since(killed))
	b.shoot("leader-killed")

	asked.signal(syscall.SIGSTOP)
	b.await("!document.getElementById('banner').hidden")
	asked.signal(syscall.SIGCONT)
	b.await("document.getElementById('banner').hidden")
	asked.kill()
	b.await("!document.getElementById('banner').hidden")
	asked.start()
	b.await("document.getElementById('banner').hidden")
	leader.start()
	b.await("[...document.querySelectorAll('#members .member')].every(m => !m.textContent.includes('does not answer'))")
	b.noErrors()
}

func TestKeysAreBrowsedAndEditedInThePage(t *testing.T) {
	t.Parallel()
	m := startMember(t)
	m.put("/app/colour", "blue")
	m.put("/app/"+url.PathEscape("<script>alert(1)"), "<b>bold</b>")
	m.put("/app/_hidden", "h")
	m.put("/lease", "soon gone", "ttl", "600")
	b := startBrowser(t, m.url+"/#keys")

	b.awaitText("New in /") // the row that is selected at first is shown in detail, too
	b.click(rowOf("/app") + ".querySelector('.twist')")
	b.choose("/app/<script>alert(1)")
	b.await("document.querySelector('#value').textContent === '<b>bold</b>'")
	b.await(rowOf("/app/_hidden") + " === undefined")
	b.click("document.querySelector('#hidden')")
	b.await(rowOf("/app") + ".getAttribute('aria-expanded') === 'true'")
	b.await("!!(" + rowOf("/app/_hidden") + ")")
	b.choose("/lease")
	b.awaitText("expires in 5")

	// A key is edited.
	b.choose("/app/colour")
	b.click(button("Edit"))
	b.shootAll("edit")
	b.fill("document.querySelector('#detail textarea')", "green")
	b.click(button("Save"))
	b.await("document.querySelector('#value').textContent === 'green'")
	if got := m.get("/v2/keys/app/colour").body; !strings.Contains(got, `"value":"green"`) {
		t.Errorf("%s", got)
	}

	// Another client changes the key: the page shows it at once, and what is typed does not
	// overwrite a value that was never shown.
	m.put("/app/colour", "red")
	b.await("document.querySelector('#value').textContent === 'red'")
	b.click(button("Edit"))
	m.put("/app/colour", "yellow")
	b.awaitText("saving will be refused")
	b.fill("document.querySelector('#detail textarea')", "mine")
	b.click(button("Save"))
	b.awaitText("somebody else has changed this key")
	b.shoot("conflict")
	if got := m.get("/v2/keys/app/colour").body; !strings.Contains(got, `"value":"yellow"`) {
		t.Errorf("%s", got)
	}
	b.click(button("Go on with mine, based on theirs"))
	b.click(button("Save"))
	b.await("document.querySelector('#value').textContent === 'mine'")

	// A key is made, and can't be made twice; the shell command that the page shows for it works.
	b.choose("/app")
	b.fill("document.querySelector('#detail input')", "what? #50% off")
	b.fill("document.querySelector('#detail textarea')", "it's new")
	line := b.eval("document.querySelector('#detail pre.curl').textContent")
	if !strings.Contains(line, `%3F%20%2350%25%20off`) || !strings.Contains(line, `it'\\''s new`) {
		t.Errorf("%s", line)
	}
	b.click(button("Create key"))
	b.await("!!(" + rowOf("/app/what? #50% off") + ")")
	b.await("document.querySelector('#value').textContent === \"it's new\"")
	b.choose("/app")
	b.fill("document.querySelector('#detail input')", "what? #50% off")
	b.click(button("Create key"))
	b.awaitText("is there already")
	if n := b.eval("document.querySelectorAll('#tree .row[title^=\"/app/what\"]').length"); n != "1" {
		t.Errorf("%s rows", n)
	}

	// A key is deleted, after a question.
	b.choose("/app/what? #50% off")
	b.click(button("Delete"))
	b.awaitText("Delete /app/what? #50% off?")
	b.click(button("Do it"))
	b.await(rowOf("/app/what? #50% off") + " === undefined")
	if a := m.get("/v2/keys/app/what%3F%20%2350%25%20off"); a.status != 404 {
		t.Errorf("%d", a.status)
	}
	m.do("DELETE", "/v2/keys/app/colour", nil)
	b.await(rowOf("/app/colour") + " === undefined")
	b.shootAll("keys")

	// A key that does not exist appears when another client makes it, or something below it.
	for key, below := range map[string]string{"/later": "/later", "/above": "/above/below"} {
		b.eval("location.hash = '#keys/" + url.PathEscape(key) + "'")
		b.awaitText("There is no such key.")
		m.put(below, "made meanwhile")
		b.await("!document.querySelector('#detail').textContent.includes('There is no such key.')")
	}
	b.noErrors()
}

// Drawing the page between press and release must not lose the click, while other clients write all
// the time.
func TestAClickDuringWhichThePageIsDrawnCounts(t *testing.T) {
	t.Parallel()
	m := startMember(t)
	m.put("/m", "1")
	b := startBrowser(t, m.url+"/#keys")
	b.awaitText("New in /")
	drawn := func() { b.eval("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))") }

	// A row of the tree, while another row comes above it. The row is the same element afterwards,
	// too.
	b.eval("window.row = " + rowOf("/m"))
	release := b.press(rowOf("/m"))
	m.put("/a", "1")
	b.await("tree.find('/a')")
	drawn()
	release()
	b.await("document.querySelector('#value').textContent === '1'")
	b.await("!!" + rowOf("/a"))
	b.await("row.isConnected && row.title === '/m' && row.id === 'row2' && row.previousSibling === " + rowOf("/a"))

	// A button of the key in detail, while its value changes.
	release = b.press(button("Edit"))
	m.put("/m", "2")
	b.await("document.querySelector('#value').textContent === '2'")
	release()
	b.await("document.querySelector('#detail textarea').value === '2'")
	b.click(button("Cancel"))

	// Text that is typed for a new key, while its directory gets another time to live.
	m.do("PUT", "/v2/keys/dir", url.Values{"dir": {"true"}})
	b.choose("/dir")
	b.fill("document.querySelector('#detail input')", "typed")
	m.do("PUT", "/v2/keys/dir", url.Values{"dir": {"true"}, "prevExist": {"true"}, "ttl": {"600"}})
	b.awaitText("expires in")
	if got := b.eval("document.querySelector('#detail input').value"); got != `"typed"` {
		t.Errorf("%s is left of what was typed", got)
	}

	// A line of the events, while more lines come.
	b.eval("location.hash = '#events'")
	b.click(button("Start"))
	b.awaitText("Following")
	m.put("/m", "3")
	b.await("document.querySelectorAll('#log a').length === 1")
	release = b.press("document.querySelector('#log a')")
	m.put("/other", "1")
	b.await("events.index >= " + fmt.Sprint(m.put("/other", "2").index(t)))
	drawn()
	release()
	b.await("document.querySelector('#detail h2').textContent === '/m'")

	// The address on a member's card, while the card's numbers change.
	b.eval("location.hash = '#cluster'")
	b.await("!!document.querySelector('.member a')")
	b.eval("document.querySelector('.member a').addEventListener('click', e => { e.preventDefault(); window.linked = " +
		"true })")
	applied := "document.querySelector('.member dd:nth-of-type(3)').textContent"
	b.eval("window.applied = " + applied)
	release = b.press("document.querySelector('.member a')")
	m.put("/m", "4")
	b.await(applied + " !== applied")
	release()
	b.await("window.linked")
	b.noErrors()
}

func TestTheTreeGoesByKeyboard(t *testing.T) {
	t.Parallel()
	m := startMember(t)
	m.put("/a/b/c", "deep")
	m.put("/z", "last")
	b := startBrowser(t, m.url+"/#keys")
	b.await("!!(" + rowOf("/z") + ")")
	b.eval("document.getElementById('tree').focus()")
	chosen := func(key string) {
		t.Helper()
		b.await("document.querySelector('#detail h2').textContent === " + quoted(key))
	}
	b.key("ArrowDown")
	chosen("/a")
	b.key("ArrowRight") // opens it
	b.await("!!(" + rowOf("/a/b") + ")")
	b.key("ArrowRight")
	chosen("/a/b")
	b.key("Enter")
	b.await("!!(" + rowOf("/a/b/c") + ")")
	b.key("ArrowDown")
	b.await("document.querySelector('#value').textContent === 'deep'")
	b.key("End")
	b.await("document.querySelector('#value').textContent === 'last'")
	b.await("document.getElementById(document.getElementById('tree').getAttribute('aria-activedescendant')).title " +
		"=== '/z'")
	b.key("Home")
	b.key("ArrowDown")
	b.key("ArrowLeft")
	b.await(rowOf("/a") + ".getAttribute('aria-expanded') === 'false'")
	b.noErrors()
}

func TestALargeDirectoryStaysSmoothInThePage(t *testing.T) {
	t.Parallel()
	children := pace.Pick(1_000, 1_000, 100_000)
	m := startMember(t)
	fillDirectory(t, m, "/big", children)
	m.put("/big/zz", strings.Repeat("x", 3<<20))
	b := startBrowser(t, m.url+"/#keys")

	begun := time.Now()
	b.click(rowOf("/big") + ".querySelector('.twist')")
	b.await("!!(" + rowOf("/big/k000010") + ")")
	opened := time.Since(begun)
	begun = time.Now()
	last := fmt.Sprintf("/big/k%06d", children-1)
	for n := 1_000; n <= children; n += 1_000 { // each thousand has its patience, since a busy machine takes long for all
		b.await(fmt.Sprintf("(document.getElementById('tree').scrollTop = 1e9, "+
			"[...document.querySelectorAll('#tree .row')].at(-1).title >= '/big/k%06d')", n-1))
	}
	b.await("(document.getElementById('tree').scrollTop = 1e9, !!(" + rowOf(last) + "))")
	b.await("!!(" + rowOf("/big/zz") + ")")
	t.Logf("a directory of %d opened in %v, and scrolled to its end in %v", children, opened, time.Since(begun))
	if rows := b.eval("document.querySelectorAll('#tree .row').length < 200"); rows != "true" {
		t.Error("rows out of sight are in the document")
	}
	b.shoot("end")

	// The filter asks the server, also for what is not loaded.
	b.reload()
	b.await("!!(" + rowOf("/big") + ")")
	b.click(rowOf("/big"))
	b.fill("document.getElementById('filter')", fmt.Sprintf("k%05d", children/10-1))
	b.await("!!(" + rowOf(last) + ")")
	b.awaitText("the server has looked at all")
	b.fill("document.getElementById('filter')", "zz")
	b.click(rowOf("/big/zz"))
	b.awaitText("Shown: the beginning of 3.0 MiB")
	b.click(button("Show it whole"))
	b.await("document.querySelector('#value').textContent.length === 3 << 20")
	b.noErrors()
}

// fillDirectory makes children k000000, k000001, ….
func fillDirectory(t *testing.T, m *member, dir string, children int) {
	t.Helper()
	work := make(chan int)
	done := make(chan error, 64)
	for range cap(done) {
		go func() {
			var err error
			for i := range work {
				a, failed := ask(t.Context(), "PUT", fmt.Sprintf("%s/v2/keys%s/k%06d", m.url, dir, i),
					url.Values{"value": {"v"}})
				if failed != nil || a.status != 201 {
					err = fmt.Errorf("%d %v", a.status, failed)
				}
			}
			done <- err
		}()
	}
	for i := range children {
		work <- i
	}
	close(work)
	for range cap(done) {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

func TestThePageKeepsToTheRightsOfItsUser(t *testing.T) {
	t.Parallel()
	m := startMember(t)
	m.put("/app/k", "v")
	m.put("/secret/k", "s")
	ctl := func(args ...string) {
		t.Helper()
		if status, out := m.ctl(args...); status != 0 {
			t.Fatalf("%v: %d %s", args, status, out)
		}
	}
	ctl("user", "add", "root:rootpw")
	ctl("auth", "enable")
	ctl("-u", "root:rootpw", "role", "add", "reader")
	ctl("-u", "root:rootpw", "role", "grant", "reader", "--path", "/app/*", "--read")
	ctl("-u", "root:rootpw", "user", "add", "ann:annpw")
	ctl("-u", "root:rootpw", "user", "grant", "ann", "--roles", "reader")
	ctl("-u", "root:rootpw", "role", "revoke", "guest", "--path", "/*", "--readwrite")
	b := startBrowser(t, m.url+"/#keys")
	b.awaitText("Without a login you may not read /: ")
	b.shoot("no-right")

	logIn := func(name, password string) {
		t.Helper()
		b.click(button("Log in"))
		b.fill("document.getElementById('user')", name)
		b.fill("document.getElementById('password')", password)
		b.key("Enter")
	}
	logIn("root", "wrong")
	b.awaitText("refuses this name and password")
	b.shoot("wrong-password")
	b.fill("document.getElementById('password')", "rootpw")
	b.key("Enter")
	b.click(rowOf("/secret") + ".querySelector('.twist')")
	b.click(rowOf("/secret/k"))
	b.await("document.querySelector('#value').textContent === 's'")
	b.click(button("Log out"))
	b.awaitText("Without a login you may not")

	logIn("ann", "annpw")
	b.awaitText("ann may not")
	b.fill("document.getElementById('path')", "/app/k")
	b.key("Enter")
	b.await("document.querySelector('#value') && document.querySelector('#value').textContent === 'v'")
	b.click(button("Edit"))
	b.click(button("Save"))
	b.awaitText("ann may not write /app/k")
	b.noErrors()
}

func TestEventsAreFollowedStoppedAndGoneOnWith(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	m := c.members[0]
	first := m.put("/app/k", "1").index(t)
	b := startBrowser(t, m.url+"/#events")
	b.fill("document.getElementById('eventsPath')", "/app")
	b.fill("document.getElementById('eventsFrom')", fmt.Sprint(first))
	b.click(button("Start"))
	b.await("document.querySelectorAll('#log li').length === 1")
	m.put("/app/k", "2")
	m.put("/other", "no")
	b.await("document.querySelectorAll('#log li').length === 2")
	b.click(button("Stop"))
	m.put("/app/k", "3")
	b.awaitText("misses nothing")
	b.click(button("Go on"))
	b.await("document.querySelectorAll('#log li').length === 3")

	m.kill() // the server that the page follows
	without(c.members, m)[0].put("/app/k", "4")
	m.start()
	without(c.members, m)[0].put("/app/k", "5")
	b.await("document.querySelectorAll('#log li').length === 5")
	if got := b.eval("[...document.querySelectorAll('#log .value')].map(v => " +
		"v.textContent).join('')"); got != `" = 5 = 4 = 3 = 2 = 1"` {
		t.Errorf("%s", got)
	}
	b.shootAll("events")
	b.noErrors()
}

func TestThePageWorksAtAProxyAndOffersNoWritingAtAReadOnlyOne(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	c.members[0].put("/app/k", "v")
	p := c.startProxy()
	b := startBrowser(t, p.url+"/#keys/"+url.QueryEscape("/app/k"))
	b.await("document.querySelector('#value').textContent === 'v'")
	b.await("document.querySelector('#where').textContent.startsWith('proxy of')")
	b.click(button("Edit"))
	b.fill("document.querySelector('#detail textarea')", "w")
	b.click(button("Save"))
	b.await("document.querySelector('#value').textContent === 'w'")
	c.members[0].put("/app/k", "x")
	b.await("document.querySelector('#value').textContent === 'x'")
	b.noErrors()

	p.stop()
	p.flags = append(p.flags, "--proxy=readonly")
	p.start()
	b.reload()
	b.await("document.querySelector('#where').textContent.startsWith('read-only proxy of')")
	b.await("document.querySelector('#value') && document.querySelector('#value').textContent === 'x'")
	if b.eval(button("Edit")+" === undefined") != "true" {
		t.Error("it offers to edit")
	}
}

// Names that other pages of this kind can't open, or that break them.
func TestEveryNameIsOpenedInThePage(t *testing.T) {
	t.Parallel()
	m := startMember(t)
	names := []string{"create", "edit", "keys", "a?b", "a#b", "100%", "50%25", "with blank", "a..b", "..c",
		"日本", `"quoted" 'twice'`, "<img src=x onerror=alert(1)>",
		"&amp;", "a+b", "long" + strings.Repeat("-name", 100)}
	for i, name := range names {
		m.put("/"+url.PathEscape(name), fmt.Sprint("value ", i))
	}
	deep := "/deep" + strings.Repeat("/deeper", 60)
	m.put(deep, "value deep")
	b := startBrowser(t, m.url+"/#keys")
	for i, name := range names {
		b.choose("/" + name)
		b.await("document.querySelector('#value').textContent === " + quoted(fmt.Sprint("value ", i)))
	}
	b.fill("document.getElementById('path')", deep)
	b.key("Enter")
	b.await("document.querySelector('#value').textContent === 'value deep'")
	b.await("!!(" + rowOf(deep) + ")")
	b.reload() // the address leads back
	b.await("document.querySelector('#value') && document.querySelector('#value').textContent === 'value deep'")
	b.await("!!(" + rowOf(deep) + ")")
	b.eval("location.hash = '#keys/create'") // typed by hand: as in a path, a slash needs no escape
	b.await("document.querySelector('#value') && document.querySelector('#value').textContent === 'value 0'")
	if b.eval("document.documentElement.scrollWidth <= innerWidth") != "true" {
		t.Error("the page is wider than its window")
	}
	b.shootAll("names")

	// On a phone, too, there is room for a name beside the indentation of its depth.
	b.size(390, 800)
	b.await("[...document.querySelectorAll('#tree .row')].every(r => parseFloat(getComputedStyle(r).paddingLeft) < " +
		"0.7 * r.clientWidth)")
	b.noErrors()
}
