package raft

import (
	_ "embed"
	"flag"
	"fmt"
	"html/template"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var htmlPath = flag.String("html", "",
	"write what a test plays as a page, to this file; a relative path begins at the repository's root")

// scene is a film with its place in a page.
type scene struct {
	Chapter, Name string
	film          *film
}

var (
	//go:embed testdata/film/page.html
	pageHTML string
	//go:embed testdata/film/page.css
	pageCSS string
	//go:embed testdata/film/drawing.css
	drawingCSS string
	//go:embed testdata/film/page.js
	pageJS string
	//go:embed testdata/film/marks.svg
	marksSVG string
)

// pageTemplate fills in the texts of scenes, which it always escapes. Style and script are this
// repository's own and stay as they are.
var pageTemplate = template.Must(template.New("page").Parse(pageHTML))

// writePage writes scenes as one page that loads nothing else, to the file that -html names.
func writePage(t *testing.T, title string, scenes []scene) {
	t.Helper()
	if *htmlPath == "" {
		return
	}
	path := *htmlPath
	if !filepath.IsAbs(path) {
		path = filepath.Join("..", path)
	}
	if err := os.WriteFile(path, []byte(page(t, title, scenes)), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Logf("open %s", path)
}

func page(t *testing.T, title string, scenes []scene) string {
	t.Helper()
	var b strings.Builder
	err := pageTemplate.Execute(&b, map[string]any{
		"Title": title, "Scenes": scenes,
		"Style": template.CSS(pageCSS + drawingCSS), "Script": template.JS(pageJS), "Marks": template.HTML(marksSVG),
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// SVG is the drawing of a scene.
func (s scene) SVG() template.HTML { return template.HTML(draw(s.film).svg()) }

// sceneData is what the page's script needs to know of a scene.
type sceneData struct {
	Steps []stepData
	Wire  []wireData
}

// stepData is a step: where it ends in the drawing, and the members whose views it changes.
type stepData struct {
	Y     int
	Views []memberView
}

// wireData is a message on its way, after the step Sent and before the step Got.
type wireData struct {
	Text      string
	Sent, Got int
}

// Data returns the scene for the page's script.
func (s scene) Data() (data sceneData) {
	d := draw(s.film)
	for i, step := range s.film.steps {
		data.Steps = append(data.Steps, stepData{d.tops[i+1], step.views})
	}
	for _, a := range s.film.allArrows() {
		data.Wire = append(data.Wire, wireData{shortened(a.message.String()), a.sent, min(a.got, len(s.film.steps))})
	}
	return data
}

// scriptLine is a line of a scene's text, and the step that it belongs to.
type scriptLine struct {
	Step        int
	Class, Text string
}

// Lines returns the text of a scene.
func (s scene) Lines() (lines []scriptLine) {
	step := 0
	for i, text := range s.film.lines {
		for step < len(s.film.steps)-1 && s.film.steps[step].lines <= i {
			step++
		}
		class := "said"
		switch text[0] {
		case '#':
			class = "comment"
		case '>':
			class = "command"
		}
		lines = append(lines, scriptLine{step, class, strings.TrimRight(text, "\n")})
	}
	return lines
}

// prose is the text about a scene, from one step on.
type prose struct {
	Step       int
	Paragraphs []string
}

// Title is the first line of a scene's prose.
func (s scene) Title() string { return strings.TrimSpace(strings.TrimPrefix(s.film.lines[0], "#")) }

// Prose returns the prose of a scene after its title.
func (s scene) Prose() (blocks []prose) {
	follows := false
	for _, line := range s.Lines()[1:] {
		text := strings.TrimSpace(strings.TrimPrefix(line.Text, "#"))
		switch {
		case line.Class != "comment":
			follows = false
			continue
		case !follows:
			blocks = append(blocks, prose{line.Step, []string{text}})
		case text == "":
			last := &blocks[len(blocks)-1]
			last.Paragraphs = append(last.Paragraphs, "")
		default:
			last := &blocks[len(blocks)-1]
			end := &last.Paragraphs[len(last.Paragraphs)-1]
			*end = strings.TrimSpace(*end + " " + text)
		}
		follows = true
	}
	return blocks
}

// The page loads nothing: its only addresses are places in itself and the name of the SVG
// namespace.
func TestThePageOfScenesLoadsNothing(t *testing.T) {
	text := page(t, "one scene", []scene{{"Elections", "election", play(t, script(t, "election"))}})

	for _, address := range regexp.MustCompile(`(?:src|href|url|import|fetch)\s*[=(]\s*["']?([^"'\s)]*)`).FindAllStringSubmatch(text, -1) {
		if !strings.HasPrefix(address[1], "#") {
			t.Errorf("it loads %q", address[0])
		}
	}
	for _, want := range []string{"An election (§5.2)", "n2@1 → n1 VoteAnswer", `class="life Leader"`,
		`class="badge Leader"`} {
		if !strings.Contains(text, want) {
			t.Errorf("it lacks %q", want)
		}
	}
}

// Texts of a film may come from errors of a disk: none of them is taken for HTML.
func TestThePageOfScenesTakesNoTextForHTML(t *testing.T) {
	f := newFilm()
	evil := "</script><img src=x onerror=alert(1)>"
	fmt.Fprintf(f, "# %s\n#\n# %[1]s\n> %[1]s\n    n1 %[1]s\n", evil)
	f.cut([]memberView{{ID: "n1", Role: "Leader", Members: evil}})

	text := page(t, evil, []scene{{evil, evil, f}})

	if strings.Contains(text, "<img") || strings.Count(text, "</script>") != 2 {
		t.Errorf("a text came in as HTML:\n%s", text[strings.Index(text, "<nav"):])
	}
}

// The README shows an election as a drawing, and each stop of its tour links to scenes that exist.
func TestTheTourShowsItsScenes(t *testing.T) {
	golden(t, "testdata/film/election.svg", draw(play(t, script(t, "election"))).standalone(760))
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, tour, _ := strings.Cut(string(readme), "\n## A tour of the code\n")
	tour, _, _ = strings.Cut(tour, "\n## ")
	stops := strings.Split(tour, "\n### ")

	for _, want := range []string{"](testdata/film/election.svg)", "`go test ./raft -run Scripts -html raft.html`"} {
		if !strings.Contains(stops[0], want) {
			t.Errorf("the tour lacks %s before its first stop", want)
		}
	}
	for _, stop := range stops[1:] {
		links := regexp.MustCompile("\\[`(\\w+)`\\]\\(testdata/(\\w+)\\.txt\\)").FindAllStringSubmatch(stop, -1)
		for _, link := range links {
			if link[1] != link[2] || !slices.Contains(scripts, link[1]) {
				t.Errorf("there is no scene %s", link[0])
			}
		}
		if len(links) == 0 {
			t.Errorf("no scene at the stop %.40q", stop)
		}
	}
}

// script returns a script of testdata.
func script(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
