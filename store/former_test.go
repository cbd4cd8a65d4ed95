package store

import (
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

// The files in testdata were written by the last build that knew no version 4: commands, one a
// line, and last the state after them. A member that finds the state and one that finds the
// commands have the same state afterwards, and do the same with what follows.
func TestWhatBuildsBeforeVersion4WroteIsRead(t *testing.T) {
	for _, name := range []string{"former-2.txt", "former-3.txt"} {
		t.Run(name, func(t *testing.T) {
			lines := formerLines(t, name)
			commands, state := lines[:len(lines)-1], lines[len(lines)-1]
			replayed, found := New(Limits{}), restored(t, Limits{}, state)
			for i, c := range commands {
				answer := replayed.Apply(uint64(i+1), time.Unix(1.7e9, int64(i)), c)
				if err, failed := answer.(error); failed && !errors.As(err, new(*Error)) {
					t.Fatalf("%s: %v", Describe(c), err)
				}
			}
			retry := Command{Op: OpCreateInOrder, Path: "/q", Value: "x", RequestID: "one", Revision: found.revision}
			at := time.Unix(1.7e9, 100)
			for _, s := range []*Store{replayed, found} {
				again, _ := s.Apply(uint64(len(commands)+1), at, retry.Append(nil)).(*Event)
				expect(t, "the first answer", again != nil && again.Index == 5 &&
					again.Node.Path == "/q/00000000000000000005", true)
			}

			expect(t, "frozen", string(found.frozenBytes(t)), string(replayed.frozenBytes(t)))
			restored(t, Limits{}, found.frozenBytes(t)).check(t)
		})
	}
}

func formerLines(t *testing.T, name string) (lines [][]byte) {
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		b, err := hex.DecodeString(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, b)
	}
	return lines
}
