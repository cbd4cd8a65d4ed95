package raft

import (
	"fmt"
	"html"
	"regexp"
	"strings"
)

// drawing is a film as an SVG of any width: time runs downwards, a line for each member, an arrow
// for each message. It is drawn in classes; testdata/film/drawing.css has their colours.
type drawing struct {
	*film
	lines, texts strings.Builder // no line is drawn over a text
	columns      []string        // members, from left to right
	column       map[string]int  // by member
	tops         []int           // of each step, and the end of the last one
}

// Heights of the parts of a step, in pixels.
const (
	gapHeight   = 10
	arrowHeight = 18 // the arrow's end, and its text
	saidHeight  = 17
	badgeHeight = 22
)

// saying is a line of text about a member, or about the whole world.
type saying struct{ who, text string }

// badge shows what has changed in a member with a step.
type badge struct{ who, class, text string }

// picture is one step of the drawing.
type picture struct {
	at     string // time of the step; empty in a script
	spoken bool   // a line of text tells of an arrow that ends in this step
	said   []saying
	badges []badge
}

func draw(f *film) *drawing {
	d := &drawing{film: f, column: map[string]int{}}
	for _, s := range f.steps {
		for _, v := range s.views {
			if _, ok := d.column[v.ID]; !ok {
				d.column[v.ID] = len(d.columns)
				d.columns = append(d.columns, v.ID)
			}
		}
	}
	pictures := d.pictures()
	d.measure(pictures)
	d.lifelines()
	for _, a := range f.allArrows() {
		d.arrow(a)
	}
	for i, p := range pictures {
		d.step(i, p)
	}
	return d
}

// pictures collects what each step shows.
func (d *drawing) pictures() []picture {
	list := make([]picture, len(d.steps))
	for _, a := range d.arrows {
		if !a.unspoken && a.got < len(list) {
			list[a.got].spoken = true
		}
	}
	seen, from := map[string]memberView{}, 0
	for i, s := range d.steps {
		p := &list[i]
		for _, line := range d.film.lines[from:s.lines] {
			p.hear(line)
		}
		for _, v := range s.views {
			if b, ok := news(seen[v.ID], v); ok && seen[v.ID].ID != "" {
				p.badges = append(p.badges, b)
			}
			seen[v.ID] = v
		}
		from = s.lines
	}
	return list
}

var (
	clockInFilm   = regexp.MustCompile(`^ *(\d+\.\d\d) (.*)`)
	messageInFilm = regexp.MustCompile(`^n[0-9a-f]+@\d+ → `)
	stateInFilm   = regexp.MustCompile(`^n[0-9a-f]+ ((Follower|PreCandidate|Candidate|Leader) term=|members |is down)`)
	memberInFilm  = regexp.MustCompile(`^(n[0-9a-f]+) (.*)`)
)

// hear records a line of text. It leaves out what an arrow, a badge or a card shows, and prose,
// which is shown elsewhere.
func (p *picture) hear(line string) {
	line = strings.TrimSpace(line)
	if m := clockInFilm.FindStringSubmatch(line); m != nil {
		p.at, line = m[1], m[2]
	}
	command, isCommand := strings.CutPrefix(line, "> ")
	switch {
	case strings.HasPrefix(line, "#"), messageInFilm.MatchString(line), stateInFilm.MatchString(line),
		isCommand && p.spoken:
		return
	case isCommand:
		line = command
	}
	s := saying{text: line}
	if m := memberInFilm.FindStringSubmatch(line); m != nil {
		s = saying{m[1], m[2]}
	}
	p.said = append(p.said, s)
}

// news compares two views of a member, and returns a badge for the difference.
func news(was, is memberView) (badge, bool) {
	var parts []string
	switch {
	case is.Role == "":
		return badge{is.ID, "down", "down"}, was.Role != ""
	case was.Role != is.Role:
		parts = append(parts, fmt.Sprintf("%s %d", is.Role, is.Term))
	case was.Term != is.Term:
		parts = append(parts, fmt.Sprintf("term %d", is.Term))
	}
	class := is.Role
	if was.Commit < is.Commit {
		if len(parts) == 0 {
			class = "commit"
		}
		parts = append(parts, fmt.Sprintf("✓%d", is.Commit))
	}
	return badge{is.ID, class, strings.Join(parts, " ")}, len(parts) > 0
}

func (p *picture) height() int {
	h := gapHeight + saidHeight*len(p.said)
	if p.spoken {
		h += arrowHeight
	}
	if len(p.badges) > 0 {
		h += badgeHeight
	}
	return h
}

// measure finds where each step begins.
func (d *drawing) measure(pictures []picture) {
	y := gapHeight
	d.tops = append(d.tops, y)
	for i := range pictures {
		y += pictures[i].height()
		d.tops = append(d.tops, y)
	}
}

func (d *drawing) line(format string, args ...any) { fmt.Fprintf(&d.lines, format+"\n", args...) }

func (d *drawing) text(format string, args ...any) { fmt.Fprintf(&d.texts, format+"\n", args...) }

// x is the place of a member's line, in percent of the width.
func (d *drawing) x(column int) float64 { return float64(2*column+1) * 50 / float64(len(d.columns)) }

// lifelines draws what each member is over time.
func (d *drawing) lifelines() {
	type piece struct {
		role  string
		began int
	}
	pieces := map[string]piece{}
	end := func(id string, y int) {
		if p, ok := pieces[id]; ok && y > p.began {
			x := d.x(d.column[id])
			d.line(`<line class="life %s" x1="%.2f%%" x2="%[2]f%%" y1="%d" y2="%d"/>`, roleClass(p.role), x, p.began, y)
		}
	}
	for i, s := range d.steps {
		for _, v := range s.views {
			if p, ok := pieces[v.ID]; !ok || p.role != v.Role {
				end(v.ID, d.tops[i]+gapHeight)
				pieces[v.ID] = piece{v.Role, d.tops[i] + gapHeight}
			}
		}
	}
	for _, id := range d.columns {
		end(id, d.tops[len(d.steps)])
	}
}

func roleClass(role string) string {
	if role == "" {
		return "down"
	}
	return role
}

// colour returns the class of a message: requests share it with their answers, and all refusals
// have the same one.
func colour(a filmArrow) string {
	k := a.message.Kind
	switch {
	case a.message.Reject && k != Heartbeat:
		return "no"
	case k <= VoteAnswer || k == TimeoutNow:
		return "vote"
	case k <= AppendAnswer:
		return "append"
	case k <= HeartbeatAnswer:
		return "beat"
	case k == InstallSnapshot:
		return "snapshot"
	}
	return "ask"
}

// arrow draws a message. It leaves at the end of one step and arrives at the beginning of another.
// The arrow of a message that does not arrive ends on its way.
func (d *drawing) arrow(a filmArrow) {
	from, ok1 := d.column[fmt.Sprintf("n%x", a.message.From)]
	to, ok2 := d.column[fmt.Sprintf("n%x", a.to)]
	if !ok1 || !ok2 {
		return
	}
	x1, y1, x2, y2 := d.x(from), d.tops[a.sent+1]-3, d.x(to), 0
	class, mark := colour(a), ""
	switch {
	case a.got == stays:
		class += " waits"
		x2, y2 = x1+(x2-x1)*0.3, min(y1+2*gapHeight, d.tops[len(d.steps)])
	case a.lost:
		class += " lost"
		x2, y2 = x1+(x2-x1)*0.6, max(y1, d.tops[a.got]+gapHeight)
		d.text(`<text class="cross" x="%.2f%%" y="%d">✗</text>`, x2, y2+4)
	default:
		y2 = d.tops[a.got] + gapHeight
		mark = fmt.Sprintf(` marker-end="url(#head-%s)"`, colour(a))
	}
	if a.unspoken {
		class += " quiet"
	}
	d.line(`<line class="way %s" x1="%.2f%%" y1="%d" x2="%.2f%%" y2="%d"%s/>`, class, x1, y1, x2, y2, mark)
	if !a.unspoken && a.got < len(d.steps) {
		d.label(a, x2, y2)
	}
}

// label writes what a message says below the end of its arrow.
func (d *drawing) label(a filmArrow, x float64, y int) {
	_, text, _ := strings.Cut(a.message.String(), " → ")
	_, text, _ = strings.Cut(text, " ")
	kind, rest, _ := strings.Cut(shortened(text), " ")
	side, dx := inward(x)
	d.text(`<text class="label %s %s" x="%.2f%%" dx="%d" y="%d">%s <tspan>%s</tspan></text>`,
		colour(a), side, x, dx, y+14, kind, html.EscapeString(rest))
}

// inward returns the side of a place on which there is room for a text, and the distance of the
// text.
func inward(x float64) (side string, dx int) {
	if x <= 50 {
		return "start", 10
	}
	return "end", -10
}

var entriesInFilm = regexp.MustCompile(`\[(\d+@\d+)(?: \d+@\d+){2,} (\d+@\d+)\]`)

// shortened leaves out the middle of a long list of entries.
func shortened(text string) string { return entriesInFilm.ReplaceAllString(text, "[$1 … $2]") }

// step draws everything that a step shows besides its arrows.
func (d *drawing) step(i int, p picture) {
	y := d.tops[i] + gapHeight
	d.text(`<text class="time" x="0" dx="-8" y="%d">%s</text>`, y+4, clockOr(p.at, i))
	if p.spoken {
		y += arrowHeight
	}
	for _, s := range p.said {
		d.saying(s, y)
		y += saidHeight
	}
	for _, b := range p.badges {
		d.badge(b, y)
	}
}

func clockOr(at string, step int) string {
	if at == "" {
		return fmt.Sprint(step + 1)
	}
	return at
}

// saying writes a line at a member's place, or over all of them.
func (d *drawing) saying(s saying, y int) {
	column, ok := d.column[s.who]
	if !ok {
		d.line(`<line class="world" x1="0" x2="100%%" y1="%d" y2="%[1]d"/>`, y+6)
		d.text(`<text class="said middle" x="50%%" y="%d">%s</text>`, y+10,
			html.EscapeString(strings.TrimSpace(s.who+" "+s.text)))
		return
	}
	x := d.x(column)
	side, dx := inward(x)
	d.text(`<circle class="dot" cx="%.2f%%" cy="%d" r="4"/>`, x, y+6)
	d.text(`<text class="said %s" x="%.2f%%" dx="%d" y="%d">%s</text>`, side, x, dx, y+10,
		html.EscapeString(shortened(s.text)))
}

// badge draws a badge on its member's line.
func (d *drawing) badge(b badge, y int) {
	x, width := d.x(d.column[b.who]), 7*len([]rune(b.text))+14
	d.text(`<svg x="%.2f%%" y="%d" class="badge %s"><rect x="%d" width="%d" height="18" rx="9"/><text y="13">%s</text></svg>`,
		x, y+2, b.class, -width/2, width, b.text)
}

// height returns the height of the whole drawing.
func (d *drawing) height() int { return d.tops[len(d.steps)] + gapHeight }

// svg returns the drawing for a page that has its style and its marks.
func (d *drawing) svg() string {
	return fmt.Sprintf("<svg class=\"film\" width=\"100%%\" height=\"%d\">\n%s%s</svg>", d.height(), &d.lines, &d.texts)
}

// standalone returns the drawing as a picture of its own.
func (d *drawing) standalone(width int) string {
	var names strings.Builder
	for i, id := range d.columns {
		fmt.Fprintf(&names, "<text class=\"name middle\" x=\"%.2f%%\" y=\"-4\">%s</text>\n", d.x(i), id)
	}
	height := d.height() + 40
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d">
<style>
%s</style>
%s<rect class="paper" width="100%%" height="100%%" rx="10"/>
<svg class="film" x="32" y="28" width="%d" height="%d">
%s%s%s</svg>
</svg>
`, width, height, drawingCSS, marksSVG, width-44, d.height(), &names, &d.lines, &d.texts)
}
