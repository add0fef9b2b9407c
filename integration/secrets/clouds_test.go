package secrets

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// clouds are stand-ins for the clouds' stores, on loopback. Those that cannot be
// told another address are reached at their own, through a proxy that leads here
// and with certificates of an authority of the test's own.
type clouds struct {
	// proxy is the URL of the proxy, authority the file of the authority's certificate.
	proxy, authority string
	// secure answers TLS, plain does not, silent never answers.
	secure, plain, silent string

	ca      *x509.Certificate
	key     *ecdsa.PrivateKey
	closers []io.Closer

	mu           sync.Mutex
	certificates map[string]*tls.Certificate

	aws    *aws
	google *google
	azure  *azure
	kube   *kube
}

func startClouds(dir string) (*clouds, error) {
	c := &clouds{certificates: map[string]*tls.Certificate{}, authority: filepath.Join(dir, "authority.pem")}
	if err := c.makeAuthority(); err != nil {
		return nil, err
	}
	var err error
	if c.google, err = newGoogle(); err != nil {
		return nil, err
	}
	c.aws, c.azure, c.kube = &aws{}, &azure{}, &kube{}

	secure, err := c.listen()
	if err != nil {
		return nil, err
	}
	c.secure = secure.Addr().String()
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	c.serve(&http.Server{
		Handler: http.HandlerFunc(c.route), Protocols: protocols, ReadHeaderTimeout: time.Minute,
		TLSConfig: &tls.Config{GetCertificate: c.certificate, MinVersion: tls.VersionTLS12},
	}, secure, true)

	plain, err := c.listen()
	if err != nil {
		return nil, err
	}
	c.plain = plain.Addr().String()
	c.serve(&http.Server{Handler: c.aws, ReadHeaderTimeout: time.Minute}, plain, false)

	proxy, err := c.listen()
	if err != nil {
		return nil, err
	}
	c.proxy = "http://" + proxy.Addr().String()
	c.serve(&http.Server{Handler: http.HandlerFunc(c.connect), ReadHeaderTimeout: time.Minute}, proxy, false)

	silent, err := c.listen()
	if err != nil {
		return nil, err
	}
	c.silent = silent.Addr().String()
	return c, nil
}

func (c *clouds) listen() (net.Listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		c.closers = append(c.closers, l)
	}
	return l, err
}

func (c *clouds) serve(s *http.Server, l net.Listener, secure bool) {
	c.closers = append(c.closers, s)
	s.ErrorLog = log.New(io.Discard, "", 0)
	go func() {
		if secure {
			_ = s.ServeTLS(l, "", "") // ends with stop
			return
		}
		_ = s.Serve(l)
	}()
}

func (c *clouds) stop() {
	for _, s := range c.closers {
		_ = s.Close()
	}
}

// route finds the stand-in for a host.
func (c *clouds) route(w http.ResponseWriter, r *http.Request) {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	switch {
	case host == "secretmanager.googleapis.com":
		c.google.server.ServeHTTP(w, r)
	case strings.HasPrefix(host, "login.microsoft"):
		c.azure.login(w, r)
	case strings.HasSuffix(host, ".vault.azure.net"):
		c.azure.vault(w, r)
	case strings.HasPrefix(r.URL.Path, "/api/v1/"):
		c.kube.ServeHTTP(w, r)
	default:
		http.Error(w, "no stand-in for "+r.Host, http.StatusNotFound)
	}
}

// connect is the proxy: whatever host is asked for, the connection leads here.
func (c *clouds) connect(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		http.Error(w, "only CONNECT", http.StatusMethodNotAllowed)
		return
	}
	server, err := net.Dial("tcp", c.secure)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	client, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		server.Close()
		return
	}
	_, _ = io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n")
	for _, pair := range [][2]net.Conn{{client, server}, {server, client}} {
		go func() {
			_, _ = io.Copy(pair[0], pair[1])
			pair[0].Close()
		}()
	}
}

func (c *clouds) makeAuthority() error {
	var err error
	if c.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Authority of the test"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, c.key.Public(), c.key)
	if err != nil {
		return err
	}
	if c.ca, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	return os.WriteFile(c.authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600)
}

// certificate makes one for whatever host is asked for, or for the address when none is.
func (c *clouds) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cert := c.certificates[hello.ServerName]; cert != nil {
		return cert, nil
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(int64(len(c.certificates) + 2)), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	if hello.ServerName != "" {
		template.DNSNames = []string{hello.ServerName}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, c.ca, c.key.Public(), c.key)
	if err != nil {
		return nil, err
	}
	cert := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: c.key}
	c.certificates[hello.ServerName] = cert
	return cert, nil
}

var errNobody = errors.New("the credentials are nobody's")
