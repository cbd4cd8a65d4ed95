package etcdctl

import (
	"fmt"
	"slices"
	"strings"
)

var completionCommand = &command{
	name: "completion", args: "bash|zsh|fish", help: "print what makes a shell complete commands and options",
	examples: []example{
		{"completion bash > /etc/bash_completion.d/etcdctl", "for bash"},
		{"completion zsh > ~/.zsh/_etcdctl", "for zsh, in a directory of its fpath"},
		{"completion fish > ~/.config/fish/completions/etcdctl.fish", "for fish"},
	},
	run: func(s *session, args []string) error {
		if len(args) > 1 && args[0] == "words" { // the scripts call this: each word is an argument or a line
			for _, word := range completions(strings.Split(strings.Join(args[1:], "\n"), "\n")) {
				fmt.Fprintln(s.stdout, word)
			}
			return nil
		}
		if len(args) != 1 || shells[args[0]] == "" {
			return wrong("the name of a shell required: bash, zsh or fish")
		}
		_, err := fmt.Fprint(s.stdout, shells[args[0]])
		return err
	},
}

// shells are the scripts. Each calls this program with the words of the line so far, of which the
// last may be incomplete, and offers the words that it prints.
var shells = map[string]string{
	"bash": `_etcdctl() {
  local IFS=$'\n'
  COMPREPLY=($("$1" completion words -- "${COMP_WORDS[*]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _etcdctl etcdctl
`,
	"zsh": `#compdef etcdctl
_etcdctl() {
  compadd -- ${(f)"$(etcdctl completion words -- "${(F)words[2,CURRENT]}" 2>/dev/null)"}
}
if [[ $funcstack[1] == _etcdctl ]]; then _etcdctl "$@"; else compdef _etcdctl etcdctl; fi
`,
	"fish": `complete -c etcdctl -f -a '(etcdctl completion words -- (commandline -opc)[2..] (commandline -ct | string collect -a) 2>/dev/null)'
`,
}

// completions returns the words that may complete the last one.
func completions(words []string) (found []string) {
	last, c := words[len(words)-1], root
	words = words[:len(words)-1]
	for len(words) > 0 {
		_, rest, err := parse(c.options, words, 1)
		if err != nil || len(rest) == 0 {
			break
		}
		i := slices.IndexFunc(c.family, func(sub *command) bool { return sub.name == rest[0] })
		if i < 0 {
			break
		}
		c, words = c.family[i], rest[1:]
	}
	offer := func(word string) {
		if strings.HasPrefix(word, last) {
			found = append(found, word)
		}
	}
	for _, sub := range c.family {
		offer(sub.name)
	}
	if strings.HasPrefix(last, "-") {
		for _, o := range append(slices.Clone(c.options), helpOption) {
			offer("--" + o.name)
		}
	}
	return found
}
