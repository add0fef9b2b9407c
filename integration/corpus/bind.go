package corpus

import (
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/temper-images/temper/integration/container"
)

func init() {
	register(App{Name: "bind", Bases: []string{"debian:bookworm-slim"}, Works: bindWorks, Others: bindOthers})
}

// resolver asks the name server on port 5353.
type resolver struct {
	*Instance
	network string
}

// query asks one question and returns the whole answer.
func (r resolver) query(name string, kind dnsmessage.Type, class dnsmessage.Class) dnsmessage.Message {
	conn := r.Dial(r.network, "127.0.0.1:5353")
	defer conn.Close()
	q := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 4711},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: kind, Class: class}},
	}
	// EDNS with the DNSSEC OK bit, RFC 3225.
	var edns dnsmessage.ResourceHeader
	require.NoError(r, edns.SetEDNS0(4096, dnsmessage.RCodeSuccess, true))
	q.Additionals = []dnsmessage.Resource{{Header: edns, Body: &dnsmessage.OPTResource{}}}
	dt, err := q.Pack()
	require.NoError(r, err)
	if r.network == "tcp" {
		dt = append(binary.BigEndian.AppendUint16(nil, uint16(len(dt))), dt...)
	}
	_, err = conn.Write(dt)
	require.NoError(r, err)
	answer := r.receive(conn)
	require.Equal(r, q.ID, answer.ID)
	return answer
}

func (r resolver) receive(conn net.Conn) dnsmessage.Message {
	buf := make([]byte, 65535)
	var n int
	var err error
	if r.network == "tcp" {
		var size [2]byte
		_, err = io.ReadFull(conn, size[:])
		require.NoError(r, err)
		n = int(binary.BigEndian.Uint16(size[:]))
		_, err = io.ReadFull(conn, buf[:n])
	} else {
		n, err = conn.Read(buf)
	}
	require.NoError(r, err)
	var m dnsmessage.Message
	require.NoError(r, m.Unpack(buf[:n]))
	return m
}

// bindStart starts the server and waits until it has loaded its zones and signed
// one: it listens before.
func bindStart(i *Instance) resolver {
	i.Start(Process{})
	require.NoError(i, i.Dial("tcp", "127.0.0.1:5353").Close())
	r := resolver{i, "tcp"}
	for deadline := time.Now().Add(readyLimit); ; time.Sleep(50 * time.Millisecond) {
		plain := r.query("example.test.", dnsmessage.TypeSOA, dnsmessage.ClassINET)
		signed := r.query("signed.test.", dnsmessage.TypeSOA, dnsmessage.ClassINET)
		if len(plain.Answers) == 1 && len(signed.Answers) == 2 {
			return resolver{i, "udp"}
		}
		require.True(i, time.Now().Before(deadline), "the zones are not loaded")
	}
}

func bindWorks(i *Instance) {
	r := bindStart(i)
	a := r.query("www.example.test.", dnsmessage.TypeA, dnsmessage.ClassINET)
	require.Len(i, a.Answers, 1)
	require.Equal(i, [4]byte{192, 0, 2, 10}, a.Answers[0].Body.(*dnsmessage.AResource).A)
	require.True(i, a.Authoritative)
	mx := r.query("example.test.", dnsmessage.TypeMX, dnsmessage.ClassINET)
	require.Equal(i, "mail.example.test.", mx.Answers[0].Body.(*dnsmessage.MXResource).MX.String())
	require.Equal(i, dnsmessage.RCodeNameError, r.query("absent.example.test.", dnsmessage.TypeA, dnsmessage.ClassINET).RCode)
}

// bindOthers: TCP and a zone transfer, the server's own zone, signatures, the
// control channel, statistics as JSON and XML, a plugin, DNS over TLS and HTTPS,
// the tools for zones and keys, and what is refused.
func bindOthers(i *Instance) {
	r := bindStart(i)
	tcp := resolver{i, "tcp"}
	require.Greater(i, len(tcp.query("example.test.", dnsmessage.TypeAXFR, dnsmessage.ClassINET).Answers), 7)
	require.Len(i, tcp.query("alias.example.test.", dnsmessage.TypeA, dnsmessage.ClassINET).Answers, 2)
	require.Equal(i, []string{"anything goes"}, r.query("x.wild.example.test.", dnsmessage.TypeTXT, dnsmessage.ClassINET).Answers[0].Body.(*dnsmessage.TXTResource).TXT)
	require.Contains(i, r.query("version.bind.", dnsmessage.TypeTXT, dnsmessage.ClassCHAOS).Answers[0].Body.(*dnsmessage.TXTResource).TXT[0], "Debian")
	require.Equal(i, dnsmessage.RCodeRefused, r.query("elsewhere.test.", dnsmessage.TypeA, dnsmessage.ClassINET).RCode)
	const rrsig = dnsmessage.Type(46)
	signed := tcp.query("www.signed.test.", dnsmessage.TypeA, dnsmessage.ClassINET)
	require.Len(i, signed.Answers, 2)
	require.Equal(i, rrsig, signed.Answers[1].Header.Type)

	status, body := i.Get("http://127.0.0.1:8053/json/v1/server")
	require.Equal(i, 200, status)
	require.True(i, json.Valid([]byte(body)))
	_, body = i.Get("http://127.0.0.1:8053/xml/v3/status")
	require.Contains(i, body, "<statistics version=")

	rndc := func(args ...string) string {
		return i.ExecOutput(append([]string{"rndc", "-c", "/etc/bind/rndc.conf", "-s", "127.0.0.1", "-p", "9953", "-y", "rndc"}, args...)...)
	}
	require.Contains(i, rndc("status"), "server is up and running")
	require.Contains(i, rndc("zonestatus", "signed.test"), "inline signing: yes")
	require.Contains(i, rndc("reload"), "successful")
	rndc("dumpdb", "-all")
	i.Stop()

	zone := ReadOnly(i.File("broken", "$TTL 300\n@ IN SOA ns hostmaster 1 1 1 1\n"), "/broken")
	check := i.Run(Process{Args: []string{"named-checkzone", "example.test", "/broken"}, Mounts: []container.Mount{zone}})
	require.NotZero(i, check.Code)
	require.Contains(i, check.Stdout+check.Stderr, "not loaded due to errors")
	require.Contains(i, i.Output("named-checkzone", "example.test", "/var/lib/bind/zones/example.test"), "OK")
	require.Contains(i, i.Output("named-checkconf", "-px", "/etc/bind/named.conf"), `secret "????????????????????????????????????????????`)
	require.Contains(i, i.Output("rndc-confgen", "-A", "hmac-sha512"), "hmac-sha512")
	require.Contains(i, i.Output("dnssec-keygen", "-K", "/tmp", "-a", "ED25519", "example.test"), "Kexample.test.+015+")

	conf := `options { directory "/var/cache/bind"; listen-on port 5353 { 127.0.0.1; }; listen-on port 8853 tls ephemeral { 127.0.0.1; };
  listen-on port 8443 tls ephemeral http default { 127.0.0.1; }; listen-on-v6 { none; }; recursion no; dnssec-validation no; };
plugin query "filter-aaaa.so" { filter-aaaa-on-v4 break-dnssec; };
zone "example.test" { type primary; file "/var/lib/bind/zones/example.test"; };
`
	i.Start(Process{Args: []string{"named", "-f", "-4", "-c", "/filter.conf"}, Mounts: []container.Mount{ReadOnly(i.File("filter.conf", conf), "/filter.conf")}})
	require.NoError(i, i.Dial("tcp", "127.0.0.1:5353").Close())
	require.Empty(i, r.query("www.example.test.", dnsmessage.TypeAAAA, dnsmessage.ClassINET).Answers)
	require.NoError(i, tlsHandshake(i, "127.0.0.1:8853", "dot"))
	require.NoError(i, tlsHandshake(i, "127.0.0.1:8443", "h2"))
	require.NotContains(i, strings.ToLower(i.Stop()), "plugin failed")
}

// tlsHandshake connects over TLS to a server whose certificate nobody knows, and
// agrees on a protocol.
func tlsHandshake(i *Instance, addr, protocol string) error {
	conn := tls.Client(i.Dial("tcp", addr), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}}) // made up at the start
	defer conn.Close()
	return conn.HandshakeContext(i.Context())
}
