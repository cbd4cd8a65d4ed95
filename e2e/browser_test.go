package e2e

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// shots is the directory for screenshots of the page, for a person to look at.
var shots = flag.String("shots", "", "a directory for screenshots of the page")

// chromium is a headless Chromium that all tests share. It is driven over two pipes, by JSON
// messages that end with a zero byte (--remote-debugging-pipe).
type chromium struct {
	cmd     *exec.Cmd
	profile string
	to      *os.File
	ended   chan struct{}

	mu    sync.Mutex // protects all below
	next  int
	calls map[int]chan reply
	said  map[string][]string // errors of a page's script, and what it logs; by session
}

// browser is one tab, in a window and with a profile of its own.
type browser struct {
	*chromium
	t       *testing.T
	session string // "": the whole Chromium
}

// reply is the answer to a call, or an event.
type reply struct {
	ID        int
	SessionID string
	Method    string
	Params    json.RawMessage
	Result    json.RawMessage
	Error     *struct{ Message string }
}

// shared is started when a test first needs it.
var shared struct {
	once     sync.Once
	chromium *chromium
	err      error
}

func startChromium() (*chromium, error) {
	program, err := exec.LookPath("chromium")
	if err != nil {
		return nil, err
	}
	forIt, to, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer forIt.Close()
	from, byIt, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer byIt.Close()
	profile, err := os.MkdirTemp("", "browser")
	if err != nil {
		return nil, err
	}
	c := &chromium{profile: profile, to: to, calls: map[int]chan reply{}, said: map[string][]string{},
		ended: make(chan struct{})}
	c.cmd = exec.Command(program, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
		"--disable-dev-shm-usage",
		"--disable-background-networking", "--remote-debugging-pipe", "--user-data-dir="+profile, "about:blank")
	c.cmd.ExtraFiles = []*os.File{forIt, byIt} // 3 and 4 in the child process
	// No Pdeathsig: Chromium outlives the thread that starts it. It ends when its pipes are closed.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	go c.listen(from)
	return c, c.cmd.Start()
}

// stop ends Chromium; c may be nil, and need not have started.
func (c *chromium) stop() {
	if c == nil || c.cmd.Process == nil {
		return
	}
	syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL)
	c.cmd.Wait()
	<-c.ended
	os.RemoveAll(c.profile)
}

// startBrowser opens a tab at an address. Without Chromium it skips the test.
func startBrowser(t *testing.T, address string) *browser {
	t.Helper()
	if _, err := exec.LookPath("chromium"); err != nil {
		t.Skip("no chromium here: install it")
	}
	shared.once.Do(func() { shared.chromium, shared.err = startChromium() })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	b := &browser{chromium: shared.chromium, t: t}
	b.open(address)
	return b
}

// listen hands out Chromium's messages until it ends.
func (c *chromium) listen(from *os.File) {
	defer close(c.ended)
	defer from.Close()
	in := bufio.NewReaderSize(from, 1<<20)
	for {
		message, err := in.ReadBytes(0)
		if err != nil {
			return
		}
		var r reply
		if json.Unmarshal(bytes.TrimSuffix(message, []byte{0}), &r) != nil {
			continue
		}
		c.mu.Lock()
		if call := c.calls[r.ID]; call != nil {
			delete(c.calls, r.ID)
			call <- r
		} else if r.Method == "Runtime.exceptionThrown" || r.Method == "Log.entryAdded" {
			c.said[r.SessionID] = append(c.said[r.SessionID], string(r.Params))
		}
		c.mu.Unlock()
	}
}

// call runs one command of the protocol, and puts its result into out if that is not nil.
func (b *browser) call(method string, params map[string]any, out any) {
	b.t.Helper()
	answer := make(chan reply, 1)
	b.mu.Lock()
	b.next++
	b.calls[b.next] = answer
	message := map[string]any{"id": b.next, "method": method, "params": params}
	if b.session != "" {
		message["sessionId"] = b.session
	}
	text, err := json.Marshal(message)
	if err == nil {
		_, err = b.to.Write(append(text, 0))
	}
	b.mu.Unlock()
	if err != nil {
		b.t.Fatal(err)
	}
	select {
	case r := <-answer:
		if r.Error != nil {
			b.t.Fatalf("%s: %s", method, r.Error.Message)
		}
		if out != nil && json.Unmarshal(r.Result, out) != nil {
			b.t.Fatalf("%s: %s", method, r.Result)
		}
	case <-b.ended:
		b.t.Fatalf("%s: the browser has ended", method)
	case <-time.After(2 * patience):
		b.t.Fatalf("%s: no answer", method)
	}
}

// open makes the tab, and loads the address.
func (b *browser) open(address string) {
	b.t.Helper()
	var profile struct{ BrowserContextID string }
	b.call("Target.createBrowserContext", nil, &profile)
	whole := *b
	b.t.Cleanup(func() {
		whole.call("Target.disposeBrowserContext", map[string]any{"browserContextId": profile.BrowserContextID}, nil)
	})
	var target struct{ TargetID string }
	b.call("Target.createTarget", map[string]any{"url": "about:blank", "browserContextId": profile.BrowserContextID,
		"newWindow": true}, &target)
	var attached struct{ SessionID string }
	b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	b.session = attached.SessionID
	for _, domain := range []string{"Runtime", "Log", "Page"} {
		b.call(domain+".enable", nil, nil)
	}
	b.call("Emulation.setFocusEmulationEnabled", map[string]any{"enabled": true}, nil) // as if its window had the focus
	b.size(1280, 860)
	b.call("Page.navigate", map[string]any{"url": address}, nil)
	b.await("document.readyState === 'complete' && location.href !== 'about:blank'")
}

// reload loads the page anew.
func (b *browser) reload() {
	b.t.Helper()
	b.eval("window.isOld = true")
	b.call("Page.reload", nil, nil)
	b.await("!window.isOld && document.readyState === 'complete'")
}

func (b *browser) size(width, height int) {
	b.t.Helper()
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{
		"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}, nil)
}

// eval returns the value of an expression, as JSON.
func (b *browser) eval(expression string) string {
	b.t.Helper()
	var r struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct{ Exception struct{ Description string } }
	}
	b.call("Runtime.evaluate", map[string]any{"expression": expression, "awaitPromise": true, "returnByValue": true},
		&r)
	if r.ExceptionDetails != nil {
		b.t.Fatalf("%s: %s\n%s", expression, r.ExceptionDetails.Exception.Description, b.text())
	}
	return string(r.Result.Value)
}

// await waits until a condition holds in the page.
func (b *browser) await(condition string) {
	b.t.Helper()
	b.awaitWithin(patience, condition)
}

func (b *browser) awaitWithin(d time.Duration, condition string) {
	b.t.Helper()
	var r struct {
		Result struct{ Value json.RawMessage }
	}
	b.call("Runtime.evaluate", map[string]any{"awaitPromise": true, "returnByValue": true, "expression": fmt.Sprintf(
		`new Promise(done => { const end = performance.now() + %d;
			const look = () => {
				let is = false
				try { is = %s } catch {}
				if (is || performance.now() > end) done(!!is); else setTimeout(look, 15)
			}
			look() })`,
		d.Milliseconds(), condition)}, &r)
	if string(r.Result.Value) != "true" {
		b.shoot("failed")
		b.t.Fatalf("not within %v: %s\n%s", d, condition, b.text())
	}
}

// awaitText waits for a text that the page shows.
func (b *browser) awaitText(text string) {
	b.t.Helper()
	b.await("document.body.innerText.includes(" + quoted(text) + ")")
}

// text returns the text that the page shows, and the errors in it.
func (b *browser) text() string {
	b.t.Helper()
	var r struct{ Result struct{ Value string } }
	b.call("Runtime.evaluate", map[string]any{"expression": "document.body.innerText", "returnByValue": true}, &r)
	return r.Result.Value + "\n" + strings.Join(b.errors(), "\n")
}

// errors returns the errors of the page's script.
func (b *browser) errors() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var found []string
	for _, s := range b.said[b.session] {
		network := strings.Contains(s, `"source":"network"`) // an error that a server answered, which the page expects
		if !network && !strings.Contains(s, `"level":"info"`) {
			found = append(found, s)
		}
	}
	return found
}

func quoted(s string) string {
	text, _ := json.Marshal(s)
	return string(text)
}

// click clicks on the element that an expression names.
func (b *browser) click(element string) {
	b.t.Helper()
	b.press(element)()
}

// press presses the mouse on the element that an expression names, once the element stands still.
// The function it returns releases the mouse there.
func (b *browser) press(element string) (release func()) {
	b.t.Helper()
	b.await("(" + element + ").getClientRects().length > 0")
	var at struct{ X, Y float64 }
	text := b.eval(`new Promise(done => { let was; const look = () => {
		const e = ` + element + `, r = e && e.getClientRects()[0],
			at = r && {X: r.left + Math.min(r.width / 2, 100), Y: r.top + r.height / 2};
		if (at && was && at.X === was.X && at.Y === was.Y) { done(at); return }
		if (e) e.scrollIntoView({block: 'nearest'});
		was = at; requestAnimationFrame(look) }; look() })`)
	if err := json.Unmarshal([]byte(text), &at); err != nil {
		b.t.Fatal(err)
	}
	mouse := func(what string) {
		b.t.Helper()
		b.call("Input.dispatchMouseEvent", map[string]any{"type": what, "x": at.X, "y": at.Y, "button": "left",
			"clickCount": 1}, nil)
	}
	mouse("mousePressed")
	return func() { b.t.Helper(); mouse("mouseReleased") }
}

// button returns an expression for the button with a text.
func button(says string) string {
	return "[...document.querySelectorAll('button')].find(b => b.textContent === " + quoted(says) +
		" && b.getClientRects().length)"
}

// fill replaces the content of the input that an expression names, as typing does.
func (b *browser) fill(input, text string) {
	b.t.Helper()
	b.eval("(() => { const e = " + input + "; e.focus(); e.select() })()")
	if text == "" {
		b.key("Delete")
		return
	}
	b.call("Input.insertText", map[string]any{"text": text}, nil)
}

// key presses a key that has a name.
func (b *browser) key(name string) {
	b.t.Helper()
	codes := map[string]int{"Enter": 13, "Escape": 27, "Delete": 46, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39,
		"ArrowDown": 40, "Home": 36, "End": 35, "Tab": 9}
	press := map[string]any{"type": "keyDown", "key": name, "code": name, "windowsVirtualKeyCode": codes[name]}
	if name == "Enter" {
		press["text"] = "\r"
	}
	b.call("Input.dispatchKeyEvent", press, nil)
	b.call("Input.dispatchKeyEvent", map[string]any{"type": "keyUp", "key": name, "code": name,
		"windowsVirtualKeyCode": codes[name]}, nil)
}

// scheme sets the colour scheme that the page is asked for: light or dark.
func (b *browser) scheme(name string) {
	b.t.Helper()
	b.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme",
		"value": name}}}, nil)
}

// shoot takes a screenshot, if they are asked for.
func (b *browser) shoot(name string) {
	b.t.Helper()
	if *shots == "" {
		return
	}
	var r struct{ Data string }
	b.call("Page.captureScreenshot", map[string]any{"format": "png"}, &r)
	picture, err := base64.StdEncoding.DecodeString(r.Data)
	if err == nil {
		err = os.WriteFile(filepath.Join(*shots, strings.ReplaceAll(b.t.Name(), "/", "_")+"-"+name+".png"),
			picture, 0o644)
	}
	if err != nil {
		b.t.Error(err)
	}
}
