/*
Package dnstest is a DNS server for tests.

# What it is

A server that has records of a few names and answers over UDP, on loopback. A test chooses the
answers, which may be failures or none. Only tests import this package.

# Picture

	Zone ──► Serve ──► an address, for /etc/resolv.conf
	  └────► Resolver, for net

# Types

	Zone  the answers, by question

# Life of a question

It has one name and one type. When the zone has an answer, that is the reply; when it has another
type of the name, the reply is empty; else there is no such name. The answer "fail" is a SERVFAIL,
and "silence" none at all.

# Invariants

  - Answers keep their order in the zone.
  - Tests do not affect each other: each server has an address of its own.

# What is left out

TCP, types other than A, AAAA and SRV, and malformed questions.
*/
package dnstest

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// A Zone is the answers of a server by question, such as "SRV _etcd-server._tcp.example." or "A
// a.example.".
type Zone map[string][]string

// Serve answers at an address until the end of the test, and returns the address with its port.
func (z Zone) Serve(t testing.TB, address string) (string, error) {
	server, err := net.ListenPacket("udp", address)
	if err != nil {
		return "", err
	}
	t.Cleanup(func() { server.Close() })
	go z.serve(server)
	return server.LocalAddr().String(), nil
}

func (z Zone) serve(server net.PacketConn) {
	b := make([]byte, 1500)
	for {
		n, from, err := server.ReadFrom(b)
		if err != nil {
			return
		}
		if reply := z.answer(b[:n]); reply != nil {
			server.WriteTo(reply, from)
		}
	}
}

// Resolver returns a resolver that asks a server for the zone.
func (z Zone) Resolver(t testing.TB) *net.Resolver {
	t.Helper()
	address, err := z.Serve(t, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", address)
	}}
}

var types = map[uint16]string{1: "A", 28: "AAAA", 33: "SRV"}

// Codes of replies.
const (
	found    = 0
	failed   = 2
	notFound = 3
)

// answer makes the reply to one question (RFC 1035, section 4); nil is none.
func (z Zone) answer(q []byte) []byte {
	name, kind, end := question(q)
	answers, code := z.find(types[kind], name)
	if answers == nil && code == found {
		return nil
	}
	const isReply, recurses = 0x85, 0x80
	reply := append([]byte{q[0], q[1], isReply, recurses | code, 0, 1, 0, byte(len(answers)), 0, 0, 0, 0}, q[12:end]...)
	for _, a := range answers {
		data := rdata(kind, a)
		reply = append(reply, 0xc0, 12, byte(kind>>8), byte(kind), 0, 1, 0, 0, 0, 60)
		reply = binary.BigEndian.AppendUint16(reply, uint16(len(data)))
		reply = append(reply, data...)
	}
	return reply
}

// question returns what a message asks for, and where the question ends.
func question(q []byte) (name string, kind uint16, end int) {
	end = 12
	for q[end] != 0 {
		name += string(q[end+1:end+1+int(q[end])]) + "."
		end += 1 + int(q[end])
	}
	return name, binary.BigEndian.Uint16(q[end+1:]), end + 5
}

// find looks for a name; without answers and code there is silence.
func (z Zone) find(kind, name string) (answers []string, code byte) {
	answers = append([]string{}, z[kind+" "+name]...)
	if len(answers) == 0 && !z.knows(name) {
		return nil, notFound
	}
	switch {
	case slices.Contains(answers, "silence"):
		return nil, found
	case slices.Contains(answers, "fail"):
		return nil, failed
	}
	return answers, found
}

// knows tells whether there is a name, of whatever type.
func (z Zone) knows(name string) bool {
	for question := range z {
		if strings.HasSuffix(question, " "+name) {
			return true
		}
	}
	return false
}

// rdata is the data of a record: an address, or "target port" of an SRV.
func rdata(kind uint16, text string) []byte {
	if kind != 33 {
		return netip.MustParseAddr(text).AsSlice()
	}
	var target string
	var port uint16
	fmt.Sscan(text, &target, &port)
	data := binary.BigEndian.AppendUint16([]byte{0, 10, 0, 20}, port)
	for label := range strings.SplitSeq(strings.TrimSuffix(target, "."), ".") {
		data = append(append(data, byte(len(label))), label...)
	}
	return append(data, 0)
}
