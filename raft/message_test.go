package raft

import (
	"os"
	"strings"
	"testing"
)

// The table above Message is true: in many runs of the simulation, each kind of message uses the
// fields that have a word in its row, and no others.
func TestMessagesUseTheFieldsOfTheTable(t *testing.T) {
	t.Parallel()
	table := messageTable(t)
	used := map[string]map[string]bool{}
	watch := &simMutant{effects: func(_ *core, e *Effects) {
		for i := range e.Messages {
			row := rowOf(&e.Messages[i])
			if used[row] == nil {
				used[row] = map[string]bool{}
			}
			for field, v := range numbersOf(&e.Messages[i]) {
				used[row][field] = used[row][field] || v != 0
			}
		}
	}}

	for seed := uint64(1); seed <= 6; seed++ {
		simulate(simSetup{seed: seed, steps: 5000, world: "lan", mutant: watch})
	}

	table["Propose"]["Reject"] = false // set by an inbox without room, and never sent
	for row, fields := range table {
		for field, has := range fields {
			if used[row][field] != has {
				t.Errorf("%s: the table says %t of %s, and the runs %t", row, has, field, used[row][field])
			}
		}
	}
	if len(table) != len(messageNames) { // none has the number 0, and AppendAnswer has two rows
		t.Errorf("the table has %d rows, and there are %d kinds", len(table), len(messageNames)-1)
	}
}

// rowOf names the row of a message: AppendAnswer has two, one of them for refusals.
func rowOf(m *Message) string {
	if m.Kind == AppendAnswer && m.Reject {
		return "rejecting"
	}
	return m.Kind.String()
}

func numbersOf(m *Message) map[string]uint64 {
	reject := uint64(0)
	if m.Reject && m.Kind != AppendAnswer {
		reject = 1
	}
	return map[string]uint64{"Index": m.Index, "LogTerm": m.LogTerm, "Hint": m.Hint, "Round": m.Round,
		"Commit": m.Commit, "Reject": reject}
}

// messageTable reads which fields have a word in each row of the table in message.go. The two rows
// of AppendAnswer differ in Reject, so it counts in neither.
func messageTable(t *testing.T) map[string]map[string]bool {
	t.Helper()
	source, err := os.ReadFile("message.go")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(source), "//\tkind ")
	header, text, _ := strings.Cut("kind "+text, "\n")
	text, _, _ = strings.Cut(text, "\n//\n")
	fields := strings.Fields(header)[1:]
	table, row := map[string]map[string]bool{}, ""
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimPrefix(line, "//\t") + strings.Repeat(" ", len(header))
		if name := strings.TrimSpace(line[:strings.Index(header, fields[0])]); name != "" {
			row, table[name] = name, map[string]bool{}
		}
		for i, field := range fields {
			from, to := strings.Index(header, field), len(line)
			if i+1 < len(fields) {
				to = strings.Index(header, fields[i+1])
			}
			if byRow := field == "Reject" && (row == "AppendAnswer" || row == "rejecting"); !byRow {
				table[row][field] = table[row][field] || strings.TrimSpace(line[from:to]) != ""
			}
		}
	}
	return table
}
