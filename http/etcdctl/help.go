package etcdctl

import (
	"bufio"
	"fmt"
	"slices"
	"strings"
)

var helpCommand = &command{
	name: "help", args: "[COMMAND...]", help: "show how a command is used",
	examples: []example{{"help set", ""}, {"help member add", ""}},
	run: func(s *session, args []string) error {
		c, path, rest := root.find(args)
		if len(rest) > 0 {
			return &failure{0, fmt.Sprintf("No help topic for '%s'", rest[0])}
		}
		return s.help(c, path)
	},
}

// help prints how a command is used. path has the names of its families and its own.
func (s *session) help(c *command, path []string) error {
	w := bufio.NewWriter(s.stdout)
	name := strings.Join(append([]string{"etcdctl"}, path...), " ")
	fmt.Fprintf(w, "NAME:\n   %s - %s\n\nUSAGE:\n   %s\n", name, c.help, strings.Join(usage(c, name), " "))
	if c.more != "" {
		fmt.Fprintf(w, "\nDESCRIPTION:\n   %s\n", strings.ReplaceAll(c.more, "\n", "\n   "))
	}
	if len(c.family) > 0 {
		rows := [][2]string{}
		for _, sub := range c.family {
			rows = append(rows, [2]string{sub.name, sub.help})
		}
		table(w, "COMMANDS", rows)
	}
	rows := [][2]string{}
	for _, o := range append(slices.Clone(c.options), helpOption) {
		rows = append(rows, [2]string{o.usage(), o.explained()})
	}
	table(w, map[bool]string{true: "GLOBAL OPTIONS", false: "OPTIONS"}[c == root], rows)
	if len(c.examples) > 0 {
		fmt.Fprint(w, "\nEXAMPLES:\n")
	}
	for _, e := range c.examples {
		if e.what != "" {
			fmt.Fprintf(w, "   # %s\n", e.what)
		}
		fmt.Fprintf(w, "   etcdctl %s\n", e.line)
	}
	return w.Flush()
}

// usage returns the words of the line USAGE: the command and what may follow it.
func usage(c *command, name string) []string {
	words := []string{name}
	switch {
	case c == root:
		words = append(words, "[global options] command [command options] [arguments...]")
	case len(c.family) > 0:
		words = append(words, "command [command options] [arguments...]")
	case len(c.options) > 0:
		words = append(words, "[command options]")
	}
	if c.args != "" {
		words = append(words, c.args)
	}
	return words
}

func (o option) usage() string {
	text := "--" + o.name
	if o.alias != "" {
		text += ", -" + o.alias
	}
	if o.arg != "" {
		text += " " + o.arg
	}
	return text
}

func (o option) explained() string {
	if o.preset != "" {
		return o.help + " (default: " + o.preset + ")"
	}
	return o.help
}

// table prints rows of two columns.
func table(w *bufio.Writer, title string, rows [][2]string) {
	width := 0
	for _, r := range rows {
		width = max(width, len(r[0]))
	}
	fmt.Fprintf(w, "\n%s:\n", title)
	for _, r := range rows {
		fmt.Fprintf(w, "   %-*s  %s\n", width, r[0], r[1])
	}
}
