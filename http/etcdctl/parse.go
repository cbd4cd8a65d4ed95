package etcdctl

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A command is a row of the table: something to do, or a family of commands.
type command struct {
	name     string
	args     string // as help shows them
	help     string // in one line
	more     string // paragraphs, without a newline at the end
	options  []option
	foreign  int       // after this many arguments, words that look like options are arguments, too; 0: never
	examples []example // command lines without the program's name
	family   []*command
	run      func(s *session, args []string) error // nil in a family
}

// An example is a command line and what it is for.
type example struct{ line, what string }

// An option is a flag of a command, or of the whole program.
type option struct {
	name   string
	alias  string // one letter; "": none
	arg    string // what help calls the value; "": the option has no value, it is on or off
	check  func(value string) error
	preset string
	help   string
}

// errParse is the error of a value that is not of its kind.
var errParse = errors.New("parse error")

// The kinds of values.
func text(string) error { return nil }

func number(v string) error { _, err := strconv.ParseInt(v, 0, 64); return parsed(err) }

func index(v string) error { _, err := strconv.ParseUint(v, 0, 64); return parsed(err) }

func duration(v string) error { _, err := time.ParseDuration(v); return parsed(err) }

func boolean(v string) error { _, err := strconv.ParseBool(v); return parsed(err) }

func parsed(err error) error {
	if err != nil {
		return errParse
	}
	return nil
}

var helpOption = option{name: "help", alias: "h", help: "show help"}

// values are the options that were given, in their order, and the presets of the others. The
// methods panic when the table does not have the option.
type values map[string][]string

func (v values) last(name string) string {
	list, known := v[name]
	if !known {
		panic("etcdctl: there is no option --" + name)
	}
	if len(list) == 0 {
		return ""
	}
	return list[len(list)-1]
}

// text returns the value that was given last.
func (v values) text(name string) string { return v.last(name) }

// all returns the values of an option that may be given several times.
func (v values) all(name string) []string { v.last(name); return v[name] }

func (v values) on(name string) bool {
	b, _ := strconv.ParseBool(v.last(name)) // parse has checked it
	return b
}

func (v values) number(name string) int64 {
	n, _ := strconv.ParseInt(v.last(name), 0, 64)
	return n
}

func (v values) index(name string) uint64 {
	n, _ := strconv.ParseUint(v.last(name), 0, 64)
	return n
}

func (v values) duration(name string) time.Duration {
	d, _ := time.ParseDuration(v.last(name))
	return d
}

// parse returns the options of a command line, wherever they stand, and its arguments. After "--",
// or after this many arguments if foreign is not 0, all words are arguments.
func parse(options []option, words []string, foreign int) (values, []string, error) {
	options = append(slices.Clone(options), helpOption)
	v, given := values{}, values{}
	var args []string
	for len(words) > 0 && (foreign == 0 || len(args) < foreign) {
		word := words[0]
		words = words[1:]
		if word == "--" {
			break
		}
		if !looksLikeOption(word) {
			args = append(args, word)
			continue
		}
		o, value, err := parseOption(options, word, &words)
		if err != nil {
			return nil, nil, err
		}
		given[o.name] = append(given[o.name], value)
	}
	for _, o := range options {
		v[o.name] = given[o.name]
		if v[o.name] == nil && o.preset != "" {
			v[o.name] = []string{o.preset}
		}
	}
	return v, append(args, words...), nil
}

// looksLikeOption reports whether a word is an option. A single dash and negative numbers are not.
func looksLikeOption(word string) bool {
	return len(word) > 1 && word[0] == '-' && (word[1] < '0' || word[1] > '9')
}

// parseOption reads one option, whose value may be the next word.
func parseOption(options []option, word string, words *[]string) (option, string, error) {
	name, value, joined := strings.Cut(strings.TrimPrefix(word[1:], "-"), "=")
	i := slices.IndexFunc(options, func(o option) bool { return name != "" && (o.name == name || o.alias == name) })
	if i < 0 {
		return option{}, "", fmt.Errorf("flag provided but not defined: -%s", name)
	}
	o := options[i]
	switch {
	case joined:
	case o.arg == "":
		value = "true"
	case len(*words) == 0:
		return o, "", fmt.Errorf("flag needs an argument: -%s", name)
	default:
		value, *words = (*words)[0], (*words)[1:]
	}
	check := o.check
	if o.arg == "" {
		check = boolean
	}
	if err := check(value); err != nil {
		return o, "", fmt.Errorf("invalid value %q for flag -%s: %w", value, name, err)
	}
	return o, value, nil
}

// find follows the words down the families. It returns the row, its path, and the words after it.
func (c *command) find(words []string) (*command, []string, []string) {
	var path []string
	for len(words) > 0 {
		i := slices.IndexFunc(c.family, func(sub *command) bool { return sub.name == words[0] })
		if i < 0 {
			break
		}
		c, path, words = c.family[i], append(path, words[0]), words[1:]
	}
	return c, path, words
}
