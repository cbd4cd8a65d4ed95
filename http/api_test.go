package http

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"etcd2/store"
)

// API.md has every path with its methods, every parameter, and every code with its status and text.
func TestTheTextOfTheAPIIsWhole(t *testing.T) {
	b, err := os.ReadFile("API.md")
	if err != nil {
		t.Fatal(err)
	}
	section := func(heading string) string {
		_, rest, _ := strings.Cut(string(b), "\n"+heading)
		here, _, _ := strings.Cut(rest, "\n#")
		return here
	}
	rows := strings.Split(section("## 1. "), "\n")
	for _, rt := range routes {
		listed := func(row string) bool {
			cells := strings.Split(row, " | ")
			named := strings.Contains(cells[0], "`"+rt.path+"`") || rt.below && strings.Contains(cells[0],
				"`"+rt.path+"/")
			return named && strings.Contains(row, strings.Join(rt.methods, " "))
		}
		if !slices.ContainsFunc(rows, listed) {
			t.Errorf("section 1 lacks %s with %v", rt.path, rt.methods)
		}
	}
	table, _, _ := strings.Cut(section("### 4.2 "), "\n\nA bool")
	for _, name := range names {
		if !strings.Contains(table, "`"+name+"`") {
			t.Errorf("section 4.2 lacks %s", name)
		}
	}
	codes := strings.NewReplacer(" (*new*)", "", "*", "").Replace(section("## 11. "))
	for code := range 1000 {
		e := &store.Error{Code: code}
		row := fmt.Sprintf("| %d | %d | `%s` |", code, e.Status(), e.Message())
		if e.Message() != "" && code != store.CodeLeaderElection /* never sent */ && !strings.Contains(codes, row) {
			t.Errorf("section 11 lacks %s", row)
		}
	}
}
