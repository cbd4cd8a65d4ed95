package etcdctl

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"
)

// tell prints to stdout or stderr. The format is this program's own, but its arguments may come
// from a server: a key with an ESC in it could rewrite a terminal, and a key with a line feed could
// look like two. So on a terminal they are printed with escapes. In a pipe they are printed as they
// are.
func (s *session) tell(stream io.Writer, format string, args ...any) {
	show := s.shower(stream)
	for i, arg := range args {
		switch v := arg.(type) {
		case string:
			args[i] = show(v)
		case []byte:
			args[i] = show(string(v))
		case error, fmt.Stringer, []string:
			args[i] = show(fmt.Sprint(v))
		}
	}
	fmt.Fprintf(stream, format, args...)
}

// shower returns the function that makes a text of a server fit for a stream.
func (s *session) shower(stream io.Writer) func(string) string {
	if s.terminal != nil && s.terminal(stream) {
		return visible
	}
	return func(text string) string { return text }
}

// visible returns text with escapes, as in JSON, for everything that a terminal does not show as it
// is: control characters, characters that change the direction of writing, and invalid UTF-8.
func visible(text string) string {
	if strings.IndexFunc(text, isHidden) < 0 {
		return text
	}
	var b strings.Builder
	for i, r := range text {
		switch {
		case r == '\n':
			b.WriteString(`\n`)
		case r == utf8.RuneError && !strings.HasPrefix(text[i:], "\uFFFD"):
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case isHidden(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func isHidden(r rune) bool { return r == utf8.RuneError || !unicode.IsGraphic(r) }

// oneLine returns text without line feeds.
func oneLine(text string) string { return strings.ReplaceAll(text, "\n", `\n`) }

// isTerminal reports whether a stream is one.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok || f.Name() == os.DevNull {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
