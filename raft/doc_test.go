package raft

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

// The package comment names files, methods and pitfalls; every one of them exists.
func TestTheEssayNamesWhatExists(t *testing.T) {
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	known := filesAndMethods(t)
	for _, name := range regexp.MustCompile(`\b((core|entryLog|configStack|progress|clusterClock)\.\w+|\w+\.go)\b`).FindAllString(string(text), -1) {
		if !known[name] {
			t.Errorf("there is no %s", name)
		}
	}
	for _, m := range regexp.MustCompile(`TestScripts/(\w+)`).FindAllStringSubmatch(string(text), -1) {
		if !slices.Contains(scripts, m[1]) {
			t.Errorf("there is no lesson %s", m[1])
		}
	}
}

// filesAndMethods returns the files and methods of this package: raft.go, core.step.
func filesAndMethods(t *testing.T) map[string]bool {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, path := range files {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		known[path] = true
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv != nil {
				known[receiver(f)+"."+f.Name.Name] = true
			}
		}
	}
	return known
}

func receiver(f *ast.FuncDecl) string {
	e := f.Recv.List[0].Type
	if star, ok := e.(*ast.StarExpr); ok {
		e = star.X
	}
	if id, ok := e.(*ast.Ident); ok {
		return id.Name
	}
	return ""
}
