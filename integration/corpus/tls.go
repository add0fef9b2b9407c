package corpus

import (
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/integration/container"
)

// Mount shows something of this machine in a container.
type Mount = container.Mount

// authority is a certificate authority with a certificate for localhost, and one
// for a client, all in PEM.
type authority struct {
	ca                    string
	cert, key             string
	clientCert, clientKey string
	pool                  *x509.CertPool
	server                tls.Certificate
}

func newAuthority(i *Instance) *authority {
	now := time.Now()
	template := func(n int64, name string) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(n), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
			KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
		}
	}
	key := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(i, err)
		return k
	}
	caKey, ca := key(), template(1, "corpus authority")
	ca.IsCA, ca.KeyUsage = true, x509.KeyUsageCertSign
	sign := func(c *x509.Certificate, k *ecdsa.PrivateKey) (certPEM, keyPEM string) {
		der, err := x509.CreateCertificate(rand.Reader, c, ca, k.Public(), caKey)
		require.NoError(i, err)
		keyDER, err := x509.MarshalPKCS8PrivateKey(k)
		require.NoError(i, err)
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
	}
	a := &authority{pool: x509.NewCertPool()}
	a.ca, _ = sign(ca, caKey)
	server := template(2, "localhost")
	server.DNSNames, server.IPAddresses, server.ExtKeyUsage = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	a.cert, a.key = sign(server, key())
	client := template(3, "corpus client")
	client.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	a.clientCert, a.clientKey = sign(client, key())
	a.pool.AppendCertsFromPEM([]byte(a.ca))
	var err error
	a.server, err = tls.X509KeyPair([]byte(a.cert), []byte(a.key))
	require.NoError(i, err)
	return a
}

// clientConfig believes the authority.
func (a *authority) clientConfig() *tls.Config {
	return &tls.Config{RootCAs: a.pool, MinVersion: tls.VersionTLS12}
}

// serverConfig shows the certificate for localhost, and asks clients for theirs
// when it must.
func (a *authority) serverConfig(clients bool) *tls.Config {
	c := &tls.Config{Certificates: []tls.Certificate{a.server}, MinVersion: tls.VersionTLS12}
	if clients {
		c.ClientCAs, c.ClientAuth = a.pool, tls.RequireAndVerifyClientCert
	}
	return c
}

// gunzip unpacks text.
func gunzip(i *Instance, packed string) string {
	z, err := gzip.NewReader(strings.NewReader(packed))
	require.NoError(i, err)
	dt, err := io.ReadAll(z)
	require.NoError(i, err)
	return string(dt)
}

// tlsListener listens for TLS in the instance's network until the function ends.
func tlsListener(i *Instance, addr string, c *tls.Config) net.Listener {
	l := tls.NewListener(i.Listen("tcp", addr), c)
	context.AfterFunc(i.Context(), func() { _ = l.Close() })
	return l
}
