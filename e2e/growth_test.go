package e2e

import (
	"flag"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
)

// Which costs grow with which sizes. The figures are those of the latest measurement; the picture
// in README.md is drawn from them, and from nothing else.

var grow = flag.Bool("e2e.grow", false, "measure what grows with what, and write growth.txt and growth.svg")

const (
	growthFile = "testdata/growth.txt"
	growthSVG  = "testdata/growth.svg"
)

// A curve is one measurement: y for each x.
type curve struct {
	x, y   string // names of the axes
	points []point
}

type point struct{ x, y float64 }

// add measures how much processor time of the members each of total operations takes.
func (c *curve) add(t *testing.T, x float64, total int, members []*member, bench ...string) {
	t.Helper()
	used := func() (seconds float64) {
		for _, m := range members {
			seconds += m.metric("process_cpu_seconds_total")
		}
		return seconds
	}
	load := append([]string{"bench"}, bench...)
	load = append(load, "--total", fmt.Sprint(total))
	before := used()
	if status, out := members[0].ctl(load...); status != 0 {
		t.Fatalf("%q: status %d: %s", load, status, out)
	}
	y := (used() - before) / float64(total) * 1e6
	c.points = append(c.points, point{x, y})
	t.Logf("%s %v: %.1f µs", c.x, x, y)
}

func TestWhatGrowsWithWhat(t *testing.T) {
	if !*grow {
		t.Skip("takes a quiet machine for some minutes; -e2e.grow runs it")
	}
	const total = 30_000
	put := []string{"put", "--clients", "64"}
	keys := curve{x: "keys in the tree", y: "a PUT of 256 bytes"}
	m := startMember(t)
	there := 0
	for _, n := range []int{1_000, 10_000, 100_000, 1_000_000} {
		fillMore(t, m, there, n, 256)
		there = n
		keys.add(t, float64(n), total, []*member{m}, put...)
	}
	m.stop()
	sizes := curve{x: "bytes of a value", y: "a PUT"}
	m = startMember(t)
	for _, size := range []int{16, 256, 4_096, 65_536, 1 << 20} {
		sizes.add(t, float64(size), min(total, 400<<20/size), []*member{m}, append(put, "--size", fmt.Sprint(size))...)
	}
	m.stop()
	watches := curve{x: "watches of one key", y: "an event to one of them"}
	m = startMember(t)
	for _, n := range []int{1, 10, 100, 1_000} {
		watches.add(t, float64(n), total/10*min(n, 10), []*member{m}, "watch", "--clients", fmt.Sprint(n))
	}
	m.stop()
	members := curve{x: "members", y: "a PUT of 256 bytes, all together"}
	for _, n := range []int{1, 3, 5, 7} {
		c := startCluster(t, n)
		leader := c.leader()
		members.add(t, float64(n), total, append([]*member{leader}, without(c.members, leader)...), put...)
		for _, m := range c.members {
			m.kill()
		}
	}
	curves := []curve{keys, sizes, watches, members}
	for file, text := range map[string]string{growthFile: growthText(curves), growthSVG: growthPicture(curves)} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestThePictureOfGrowthIsWhatWasMeasured(t *testing.T) {
	text, err := os.ReadFile(growthFile)
	if err != nil {
		t.Fatal(err)
	}
	picture, err := os.ReadFile(growthSVG)
	if err != nil {
		t.Fatal(err)
	}
	curves := readGrowth(t, string(text))
	if len(curves) != 4 || growthText(curves) != string(text) {
		t.Errorf("%s is read as\n%s", growthFile, growthText(curves))
	}
	if growthPicture(curves) != string(picture) {
		t.Errorf("%s is not the picture of %s: run TestWhatGrowsWithWhat with -e2e.grow", growthSVG, growthFile)
	}
}

// growthText has a line for each point, after one that says what they are.
func growthText(curves []curve) string {
	var b strings.Builder
	for _, c := range curves {
		fmt.Fprintf(&b, "%s | %s\n", c.x, c.y)
		for _, p := range c.points {
			fmt.Fprintf(&b, "%.0f %.1f\n", p.x, p.y)
		}
	}
	return b.String()
}

func readGrowth(t *testing.T, text string) (curves []curve) {
	t.Helper()
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if x, y, isHead := strings.Cut(line, " | "); isHead {
			curves = append(curves, curve{x: x, y: y})
			continue
		}
		var p point
		if _, err := fmt.Sscan(line, &p.x, &p.y); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		last := &curves[len(curves)-1]
		last.points = append(last.points, p)
	}
	return curves
}

// The measures of the picture, in its own units.
const (
	panelWidth, panelHeight = 360, 250
	plotLeft, plotTop       = 40, 60
	plotWidth, plotHeight   = 280, 130
)

// growthPicture draws a panel for each curve: x in powers; y from 0, or in powers if it grows much.
func growthPicture(curves []curve) string {
	var b strings.Builder
	rows := (len(curves) + 1) / 2
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+
		"\n<style>text{fill:#24292f}line,polyline{fill:none;stroke:#24292f}polyline{stroke:#0969da;stroke-width:2}"+
		"circle{fill:#0969da}@media(prefers-color-scheme:dark){text{fill:#e6edf3}line{stroke:#8b949e}"+
		"polyline{stroke:#58a6ff}circle{fill:#58a6ff}}</style>\n", 2*panelWidth, rows*panelHeight)
	for i, c := range curves {
		fmt.Fprintf(&b, "<g transform=\"translate(%d %d)\">\n%s</g>\n", i%2*panelWidth, i/2*panelHeight, c.panel())
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func (c *curve) panel() string {
	var b strings.Builder
	first, last := c.points[0].x, c.points[len(c.points)-1].x
	most, least := 0.0, math.Inf(1)
	for _, p := range c.points {
		most, least = max(p.y, most), min(p.y, least)
	}
	at := func(p point) (x, y float64) {
		up := p.y / most
		if most > 20*least {
			up = math.Log(2*p.y/least) / math.Log(2*most/least)
		}
		return plotLeft + plotWidth*math.Log(p.x/first)/math.Log(last/first), plotTop + plotHeight*(1-up)
	}
	bottom := plotTop + plotHeight
	fmt.Fprintf(&b, "<text x=\"%d\" y=\"16\" font-weight=\"bold\">%s</text>\n", plotLeft, c.y)
	fmt.Fprintf(&b, "<text x=\"%d\" y=\"31\">processor time of the servers, µs</text>\n", plotLeft)
	fmt.Fprintf(&b, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n", plotLeft+plotWidth, bottom+34, c.x)
	fmt.Fprintf(&b, "<line x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\"/>\n", plotLeft, bottom, plotLeft+plotWidth, bottom)
	var line []string
	for _, p := range c.points {
		x, y := at(p)
		line = append(line, fmt.Sprintf("%.0f,%.0f", x, y))
		fmt.Fprintf(&b, "<circle cx=\"%.0f\" cy=\"%.0f\" r=\"3\"/>\n", x, y)
		fmt.Fprintf(&b, "<text x=\"%.0f\" y=\"%.0f\" text-anchor=\"middle\">%s</text>\n", x, y-8, short(p.y))
		fmt.Fprintf(&b, "<text x=\"%.0f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", x, bottom+16, short(p.x))
	}
	fmt.Fprintf(&b, "<polyline points=\"%s\"/>\n", strings.Join(line, " "))
	return b.String()
}

// short is a number of few characters.
func short(n float64) string {
	switch {
	case n >= 1e6:
		return fmt.Sprintf("%.3gM", n/1e6)
	case n >= 1e3:
		return fmt.Sprintf("%.3gk", n/1e3)
	}
	return fmt.Sprintf("%.3g", n)
}
