// Package cloudkms stands in for the key management services of AWS, Google Cloud
// and Azure: small servers on loopback that hold a key, really sign with it, and
// refuse who shows no credentials. Clients reach them under the services' real
// names through a proxy, so that nothing in them is turned or replaced.
package cloudkms

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"google.golang.org/grpc"
)

// Cloud is the three services and the proxy before them.
type Cloud struct {
	// Key is the key that each service holds.
	Key *ecdsa.PrivateKey

	proxy  net.Listener
	server *http.Server
	conns  chan net.Conn
	quit   chan struct{}
	google *grpc.Server
	ca     *x509.Certificate
	caKey  *ecdsa.PrivateKey
	env    map[string]string

	mu     sync.Mutex
	down   bool
	signed map[string]int
}

// Start starts the services; their certificate authority's certificate and the
// clients' credentials are kept in dir. They are to be closed.
func Start(dir string) (*Cloud, error) {
	c := &Cloud{conns: make(chan net.Conn), quit: make(chan struct{}), signed: map[string]int{}}
	var err error
	if c.Key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	if err := c.makeCA(); err != nil {
		return nil, err
	}
	if c.proxy, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	bundle := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.ca.Raw}), 0o600); err != nil {
		return nil, err
	}
	c.env = map[string]string{"HTTPS_PROXY": "http://" + c.proxy.Addr().String(), "SSL_CERT_FILE": bundle}
	c.google = grpc.NewServer()
	if err := c.setUpGoogle(dir); err != nil {
		return nil, err
	}
	c.setUpAWS()
	c.setUpAzure()
	c.server = &http.Server{
		Handler:           http.HandlerFunc(c.route),
		ReadHeaderTimeout: time.Minute,
		TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.certificate},
	}
	go func() { _ = c.server.ServeTLS(listener{c}, "", "") }() // Close ends it
	go c.accept()
	return c, nil
}

// Close ends the services.
func (c *Cloud) Close() error {
	close(c.quit)
	return errors.Join(c.proxy.Close(), c.server.Close())
}

// Env is the environment in which the clients of all three services find them and
// have credentials.
func (c *Cloud) Env() map[string]string { return c.env }

// Signed is how often a service signed.
func (c *Cloud) Signed(service string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.signed[service]
}

// Down has the services answer that they are out of order.
func (c *Cloud) Down(down bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = down
}

func (c *Cloud) isDown() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.down
}

func (c *Cloud) sign(service string, digest []byte) ([]byte, error) {
	c.mu.Lock()
	c.signed[service]++
	c.mu.Unlock()
	return ecdsa.SignASN1(rand.Reader, c.Key, digest)
}

// accept takes the proxy's connections: CONNECT, and then TLS to a host of ours.
func (c *Cloud) accept() {
	for {
		conn, err := c.proxy.Accept()
		if err != nil {
			return
		}
		go func() {
			req, err := http.ReadRequest(bufio.NewReader(conn))
			if err != nil || req.Method != http.MethodConnect {
				conn.Close()
				return
			}
			// A client says nothing before it has the answer.
			if _, err := fmt.Fprint(conn, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
				conn.Close()
				return
			}
			select {
			case c.conns <- conn:
			case <-c.quit:
				conn.Close()
			}
		}()
	}
}

func (c *Cloud) route(w http.ResponseWriter, r *http.Request) {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	switch host {
	case "kms.us-east-1.amazonaws.com":
		c.aws(w, r)
	case "cloudkms.googleapis.com":
		c.google.ServeHTTP(w, r)
	case "oauth2.googleapis.com":
		googleToken(w, r)
	case "login.microsoftonline.com":
		azureLogin(w, r)
	case azureVault:
		c.azure(w, r)
	default:
		http.Error(w, "no such host: "+r.Host, http.StatusBadGateway)
	}
}

// listener hands the proxy's connections to the server.
type listener struct{ *Cloud }

func (l listener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.quit:
		return nil, net.ErrClosed
	}
}
func (l listener) Close() error   { return nil }
func (l listener) Addr() net.Addr { return l.proxy.Addr() }

func (c *Cloud) makeCA() (err error) {
	if c.caKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return err
	}
	c.ca, err = c.issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, c.caKey, nil)
	return err
}

func (c *Cloud) issue(template *x509.Certificate, key *ecdsa.PrivateKey, parent *x509.Certificate) (*x509.Certificate, error) {
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), c.caKey)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func (c *Cloud) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	cert, err := c.issue(&x509.Certificate{Subject: pkix.Name{CommonName: hello.ServerName}, DNSNames: []string{hello.ServerName}}, key, c.ca)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}, nil
}
