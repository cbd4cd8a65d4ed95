package discovery

import (
	"errors"
	"fmt"
	"testing"
)

// Whatever keeps a member from its cluster, the line has the flag to blame, its value, and a
// remedy.
func TestEveryRefusalOfDiscoveryNamesAFlagAndARemedy(t *testing.T) {
	s := Sources{List: "LIST", Join: []string{"JOIN"}}
	n := Newcomer{Name: "NAME", PeerURLs: []string{"PEER"}}
	if len(remedies) < 28 {
		t.Fatal(len(remedies), "remedies")
	}
	for _, r := range remedies {
		line := s.refused(n, "join", fmt.Errorf("%w: x", r.err)).Error()

		value := map[string]string{
			"": "--join=JOIN", "name": "--name=NAME", "initial-cluster": "--initial-cluster=LIST",
			"initial-advertise-peer-urls": "--initial-advertise-peer-urls=PEER",
		}[r.flag]
		if value == "" || r.remedy == "" || line != value+": "+r.err.Error()+": x: "+r.remedy {
			t.Errorf("%s", line)
		}
	}
	if line := s.refused(n, "initial-cluster", errors.New("x")).Error(); line != "--initial-cluster=LIST: x" {
		t.Error(line)
	}
}
