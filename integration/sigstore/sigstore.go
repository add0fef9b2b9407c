// Package sigstore starts a real Sigstore deployment on loopback: Fulcio, Rekor
// (version 2), a timestamp authority and an OpenID Connect issuer, with the
// trusted root and the signing configuration that describe it. .ci/sigstore builds
// the servers.
package sigstore

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/temper-images/temper/integration/tools"
)

// Deployment is a running deployment.
type Deployment struct {
	// Fulcio, Rekor and Timestamp are addresses; Timestamp has its path.
	Fulcio, Rekor, Timestamp string
	// Issuer is the address of the OpenID Connect issuer.
	Issuer string
	// TrustedRoot and SigningConfig are files, made by the cosign command line.
	TrustedRoot, SigningConfig string
	// Authority is the file with Fulcio's certificates, PEM.
	Authority string

	dir       string
	issuer    *issuer
	processes []*process
}

// Start starts all servers with their files in dir. ctx bounds the start only: call
// Stop to end them.
func Start(ctx context.Context, dir string) (*Deployment, error) {
	d := &Deployment{dir: dir}
	for _, step := range []func(context.Context) error{d.startIssuer, d.startFulcio, d.startTimestamp, d.startRekor, d.describe} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, d.Stop())
		}
	}
	return d, nil
}

// Stop ends the servers.
func (d *Deployment) Stop() error {
	var errs []error
	for _, p := range d.processes {
		errs = append(errs, p.stop())
	}
	if d.issuer != nil {
		errs = append(errs, d.issuer.server.Close())
	}
	return errors.Join(errs...)
}

// Token vouches for an e-mail address for as long as is given.
func (d *Deployment) Token(email string, lifetime time.Duration) (string, error) {
	return d.issuer.token(email, lifetime)
}

func (d *Deployment) startIssuer(context.Context) error {
	var err error
	if d.issuer, err = startIssuer(); err != nil {
		return fmt.Errorf("start the issuer: %w", err)
	}
	d.Issuer = d.issuer.url
	return nil
}

func (d *Deployment) run(ctx context.Context, name string, args []string, url string) error {
	p, err := start(ctx, d.dir, name, args, url)
	if err != nil {
		return err
	}
	d.processes = append(d.processes, p)
	return nil
}

func (d *Deployment) startFulcio(ctx context.Context) error {
	free, err := ports(3)
	if err != nil {
		return err
	}
	config := filepath.Join(d.dir, "fulcio.yaml")
	yaml := fmt.Sprintf("oidc-issuers:\n  %[1]s:\n    issuer-url: %[1]s\n    client-id: sigstore\n    type: email\n", d.Issuer)
	if err := os.WriteFile(config, []byte(yaml), 0o600); err != nil {
		return err
	}
	d.Fulcio = "http://127.0.0.1:" + free[0]
	return d.run(ctx, "fulcio", []string{"serve", "--ca=ephemeralca", "--ct-log-url=", "--config-path=" + config, "--host=127.0.0.1", "--port=" + free[0],
		"--grpc-host=127.0.0.1", "--grpc-port=" + free[1], "--metrics-port=" + free[2], "--legacy-unix-domain-socket=@temper-test-fulcio-" + free[0]},
		d.Fulcio+"/api/v1/rootCert")
}

func (d *Deployment) startTimestamp(ctx context.Context) error {
	free, err := ports(1)
	if err != nil {
		return err
	}
	base := "http://127.0.0.1:" + free[0]
	d.Timestamp = base + "/api/v1/timestamp"
	return d.run(ctx, "timestamp-server", []string{"serve", "--host=127.0.0.1", "--port=" + free[0], "--timestamp-signer=memory", "--disable-ntp-monitoring"},
		base+"/ping")
}

func (d *Deployment) startRekor(ctx context.Context) error {
	free, err := ports(3)
	if err != nil {
		return err
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		return err
	}
	key := filepath.Join(d.dir, "rekor.key")
	if err := writePEM(key, "PRIVATE KEY", der); err != nil {
		return err
	}
	if err := writePEM(filepath.Join(d.dir, "rekor.pub"), "PUBLIC KEY", public); err != nil {
		return err
	}
	d.Rekor = "http://127.0.0.1:" + free[0]
	return d.run(ctx, "rekor-server", []string{"serve", "--hostname=127.0.0.1", "--http-port=" + free[0], "--grpc-port=" + free[1], "--http-metrics-port=" + free[2],
		"--storage-dir=" + filepath.Join(d.dir, "rekor"), "--signer-filepath=" + key, "--checkpoint-interval=1s", "--batch-max-age=50ms"},
		d.Rekor+"/healthz")
}

func writePEM(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

// describe writes the trusted root and the signing configuration.
func (d *Deployment) describe(ctx context.Context) error {
	d.Authority = filepath.Join(d.dir, "fulcio.pem")
	if err := download(ctx, d.Fulcio+"/api/v1/rootCert", d.Authority); err != nil {
		return err
	}
	tsa := filepath.Join(d.dir, "tsa.pem")
	if err := download(ctx, d.Timestamp+"/certchain", tsa); err != nil {
		return err
	}
	log := "--rekor=url=" + d.Rekor + ",public-key=" + filepath.Join(d.dir, "rekor.pub") + ",start-time=2024-01-01T00:00:00Z,origin=127.0.0.1"
	var err error
	d.TrustedRoot, d.SigningConfig, err = d.documents(ctx, d.dir, log, "2")
	return err
}

// documents writes the two with a log of that version; log is the flag that describes
// it.
func (d *Deployment) documents(ctx context.Context, dir, log, version string) (trustedRoot, signingConfig string, err error) {
	tsa := filepath.Join(d.dir, "tsa.pem")
	trustedRoot, signingConfig = filepath.Join(dir, "trusted-root-"+version+".json"), filepath.Join(dir, "signing-config-"+version+".json")
	since := "start-time=2024-01-01T00:00:00Z"
	of := ",api-version=1," + since + ",operator=test"
	url, _, _ := strings.Cut(strings.TrimPrefix(log, "--rekor=url="), ",")
	for _, args := range [][]string{
		{"trusted-root", "create", "--out=" + trustedRoot, "--fulcio=url=" + d.Fulcio + ",certificate-chain=" + d.Authority, log,
			"--tsa=url=" + d.Timestamp + ",certificate-chain=" + tsa},
		{"signing-config", "create", "--out=" + signingConfig,
			"--fulcio=url=" + d.Fulcio + of, "--oidc-provider=url=" + d.Issuer + of,
			"--rekor=url=" + url + ",api-version=" + version + "," + since + ",operator=test", "--rekor-config=ANY",
			"--tsa=url=" + d.Timestamp + of, "--tsa-config=ANY"},
	} {
		if out, err := exec.CommandContext(ctx, tools.Path("cosign3"), args...).CombinedOutput(); err != nil {
			return "", "", fmt.Errorf("cosign3 %s: %w: %s", args[0], err, out)
		}
	}
	return trustedRoot, signingConfig, nil
}

func download(ctx context.Context, url, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", url, resp.Status, data)
	}
	return os.WriteFile(path, data, 0o600)
}
