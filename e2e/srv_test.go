package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"etcd2/discovery/dnstest"
)

// resolving is a command that runs another command as if this machine's DNS were the given zone:
// that command alone sees another /etc/resolv.conf. Where that is not permitted, the test is
// skipped.
func resolving(t *testing.T, zone dnstest.Zone) []string {
	t.Helper()
	server, err := zone.Serve(t, "127.53.53.53:53") // resolv.conf knows no other port
	if err != nil {
		t.Skipf("a DNS server is not permitted here: %v", err)
	}
	host, _, _ := net.SplitHostPort(server)
	path := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(path, []byte("nameserver "+host+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	wrap := []string{"unshare", "--mount", "--propagation", "private", "sh",
		"-c", `mount --bind "$0" /etc/resolv.conf && exec "$@"`, path}
	if out, err := exec.Command(wrap[0], append(wrap[1:], "grep", "-q", host,
		"/etc/resolv.conf")...).CombinedOutput(); err != nil {
		t.Skipf("another resolv.conf is not permitted here: %v: %s", err, out)
	}
	return wrap
}

// Three members, a proxy and etcdctl find the cluster by a domain alone.
func TestADomainIsAllThatAClusterNeeds(t *testing.T) {
	t.Parallel()
	const domain = "example.test"
	zone := dnstest.Zone{}
	record := func(service, host, url string) {
		_, port, _ := net.SplitHostPort(strings.TrimPrefix(url, "http://"))
		question := "SRV _" + service + "._tcp." + domain + "."
		zone[question] = append(zone[question], host+" "+port)
	}
	var members []*member
	for i := range 3 {
		m := newMember(t, append(quick, "--discovery-srv="+domain)...)
		m.name, m.founded = fmt.Sprint("m", i), ""
		host := m.name + "." + domain
		zone["A "+host+"."] = []string{"127.0.0.1"}
		record("etcd-server", host+".", m.peer)
		record("etcd-client", host+".", m.url)
		m.reached = strings.Replace(m.peer, "127.0.0.1", host, 1)
		members = append(members, m)
	}
	machine := resolving(t, zone)

	for _, m := range members {
		m.wrap = machine
		m.launch()
	}
	for _, m := range members {
		m.ready()
	}
	proxy := newMember(t, "--proxy=on", "--discovery-srv="+domain)
	proxy.founded, proxy.wrap = "", machine
	proxy.start()
	proxy.put("/k", "by proxy")
	ctl := append(machine[1:], binary, "ctl", "--discovery-srv", domain,
		"--timeout", patience.String(), "--total-timeout", patience.String(), "get", "/k")
	out, err := exec.Command(machine[0], ctl...).CombinedOutput()

	if err != nil || string(out) != "by proxy\n" {
		t.Errorf("etcdctl: %v: %s", err, out)
	}
	c := &cluster{t: t, members: members}
	if list := c.leader().list(); len(list) != 3 {
		t.Errorf("the members: %+v", list)
	}
	stranger := newMember(t, append(quick, "--discovery-srv="+domain)...)
	stranger.name, stranger.founded, stranger.wrap = "m3", "", machine
	if line := stranger.refused(); !hasAll(line, "--discovery-srv="+domain, "--initial-advertise-peer-urls") {
		t.Errorf("one that the DNS does not have: %s", line)
	}
}
