package flags

import (
	"slices"
	"testing"

	_ "etcd2/e2e/pace" // -long
)

func TestAURLMissesWhereNobodyListens(t *testing.T) {
	listening := []string{"http://10.0.0.1:2380", "https://[::]:7001", "https://127.0.0.1:443"}
	for u, want := range map[string]bool{
		"http://10.0.0.1:2380":   false,
		"http://m0.example:2380": false,
		"http://10.0.0.2:2380":   true,
		"http://10.0.0.1:2379":   true,
		"https://10.0.0.1:2380":  true,
		"https://10.0.0.2:7001":  false,
		"https://127.0.0.1":      false,
		"https://localhost:443":  false,
		"http://127.0.0.1":       true,
	} {
		if got := slices.Contains(unserved([]string{u}, listening), u); got != want {
			t.Errorf("%s misses: %v", u, got)
		}
	}
}
