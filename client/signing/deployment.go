package signing

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"github.com/sigstore/sigstore-go/pkg/tuf"
)

// maxDocument bounds what is read of a deployment's documents, in bytes.
const maxDocument = 4 << 20

// Deployment says which servers of Sigstore are used and what is trusted. The
// zero value is the public deployment, whose addresses and keys come by The
// Update Framework (TUF) and are cached in ~/.sigstore/root.
type Deployment struct {
	// SigningConfig is a file with the addresses (protobuf-specs,
	// sigstore_trustroot.proto, SigningConfig v0.2).
	SigningConfig string
	// TrustedRoot is a file with the keys and certificates (TrustedRoot v0.1 or
	// v0.2). With it verification needs no network.
	TrustedRoot string
	// TUFMirror is the address of a TUF repository that has both documents, and
	// TUFRoot the file of its first root metadata.
	TUFMirror, TUFRoot string

	// Fulcio, Rekor and Timestamps are addresses that go before those of the
	// signing configuration. Timestamp authorities' have their path:
	// https://timestamp.example.com/api/v1/timestamp.
	Fulcio, Rekor string
	// RekorVersion is the major version of the API at Rekor. Zero is 1.
	RekorVersion uint32
	Timestamps   []string
}

// rekor is a transparency log.
type rekor struct {
	url     string
	version uint32
}

// services are the servers that one signer uses.
type services struct {
	fulcio     string
	logs       []rekor
	timestamps []string
}

// forSigning chooses the servers for a kind of signer, and what finished bundles
// are checked against, which is nil when nothing about that is known. The network
// is asked only for what the settings do not say.
func (d Deployment) forSigning(ctx context.Context, keyless, tlog bool) (*services, root.TrustedMaterial, error) {
	s := &services{timestamps: d.Timestamps}
	if keyless {
		s.fulcio = d.Fulcio
	}
	if tlog && d.Rekor != "" {
		s.logs = []rekor{{d.Rekor, max(d.RekorVersion, 1)}}
	}
	if missing := keyless && s.fulcio == "" || tlog && len(s.logs) == 0; missing || d.SigningConfig != "" {
		config, err := d.signingConfig(ctx)
		if err != nil {
			return nil, nil, err
		}
		if err := s.complete(config, keyless, tlog); err != nil {
			return nil, nil, err
		}
	}
	if err := s.check(keyless); err != nil {
		return nil, nil, err
	}
	trusted, err := d.known(ctx, keyless || tlog)
	return s, trusted, err
}

// known is what finished bundles are checked against. A deployment that is given
// by its addresses alone has nothing to check against.
func (d Deployment) known(ctx context.Context, online bool) (root.TrustedMaterial, error) {
	named := d.TrustedRoot != "" || d.TUFMirror != ""
	addresses := d.Fulcio != "" || d.Rekor != "" || len(d.Timestamps) > 0 || d.SigningConfig != ""
	if !named && (addresses || !online) {
		return nil, nil
	}
	return d.trusted(ctx)
}

// complete adds what config knows and s has not.
func (s *services) complete(config *root.SigningConfig, keyless, tlog bool) error {
	now := time.Now()
	if keyless && s.fulcio == "" {
		ca, err := root.SelectService(config.FulcioCertificateAuthorityURLs(), sign.FulcioAPIVersions, now)
		if err != nil {
			return configurationErrorf("signing configuration: certificate authority: %w", err)
		}
		s.fulcio = ca.URL
	}
	if tlog && len(s.logs) == 0 {
		logs, err := root.SelectServices(config.RekorLogURLs(), config.RekorLogURLsConfig(), sign.RekorAPIVersions, now)
		if err != nil {
			return configurationErrorf("signing configuration: transparency log: %w", err)
		}
		for _, l := range logs {
			s.logs = append(s.logs, rekor{l.URL, l.MajorAPIVersion})
		}
	}
	if len(s.timestamps) == 0 && len(config.TimestampAuthorityURLs()) > 0 {
		authorities, err := root.SelectServices(config.TimestampAuthorityURLs(), config.TimestampAuthorityURLsConfig(), sign.TimestampAuthorityAPIVersions, now)
		if err != nil {
			return configurationErrorf("signing configuration: timestamp authority: %w", err)
		}
		for _, a := range authorities {
			s.timestamps = append(s.timestamps, a.URL)
		}
	}
	return nil
}

func (s *services) check(keyless bool) error {
	for _, address := range append([]string{s.fulcio}, s.timestamps...) {
		if err := checkURL(address); err != nil {
			return err
		}
	}
	integrated := false
	for _, l := range s.logs {
		if err := checkURL(l.url); err != nil {
			return err
		}
		if l.version > 2 {
			return configurationErrorf("transparency log %s: there is no version %d of its API here; use 1 or 2", l.url, l.version)
		}
		integrated = integrated || l.version == 1
	}
	if keyless && !integrated && len(s.timestamps) == 0 {
		return configurationErrorf("a keyless signature needs a proof of its time, since its certificate lives for minutes: " +
			"use a log of version 1, or name a timestamp authority (--timestamp-url)")
	}
	return nil
}

func checkURL(address string) error {
	if address == "" {
		return nil
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return configurationErrorf("%q is no address of a server: write https://HOST", address)
	}
	return nil
}

func (d Deployment) signingConfig(ctx context.Context) (*root.SigningConfig, error) {
	if d.SigningConfig != "" {
		data, err := readFile(d.SigningConfig, maxDocument)
		if err != nil {
			return nil, configurationErrorf("signing configuration: %w", err)
		}
		config, err := root.NewSigningConfigFromJSON(data)
		if err != nil {
			return nil, configurationErrorf("signing configuration %s: %w", d.SigningConfig, err)
		}
		return config, nil
	}
	data, err := d.target(ctx, "signing_config.v0.2.json")
	if err != nil {
		return nil, err
	}
	config, err := root.NewSigningConfigFromJSON(data)
	if err != nil {
		return nil, d.tufError(err)
	}
	return config, nil
}

// trusted reads the trusted root.
func (d Deployment) trusted(ctx context.Context) (root.TrustedMaterial, error) {
	if d.TrustedRoot != "" {
		data, err := readFile(d.TrustedRoot, maxDocument)
		if err != nil {
			return nil, configurationErrorf("trusted root: %w", err)
		}
		trusted, err := root.NewTrustedRootFromJSON(data)
		if err != nil {
			return nil, configurationErrorf("trusted root %s: %w", d.TrustedRoot, err)
		}
		return trusted, nil
	}
	data, err := d.target(ctx, "trusted_root.json")
	if err != nil {
		return nil, err
	}
	trusted, err := root.NewTrustedRootFromJSON(data)
	if err != nil {
		return nil, d.tufError(err)
	}
	return trusted, nil
}

// target fetches a document by TUF, which checks its signatures and its age.
func (d Deployment) target(ctx context.Context, name string) ([]byte, error) {
	o := tuf.DefaultOptions().WithContext(ctx)
	if d.TUFMirror != "" {
		if d.TUFRoot == "" {
			return nil, configurationErrorf("TUF repository %s: its first root metadata is needed to trust it (--tuf-root)", d.TUFMirror)
		}
		first, err := readFile(d.TUFRoot, maxDocument)
		if err != nil {
			return nil, configurationErrorf("TUF root metadata: %w", err)
		}
		o = o.WithRepositoryBaseURL(d.TUFMirror).WithRoot(first)
	}
	data, err := interruptible(ctx, func() ([]byte, error) {
		client, err := tuf.New(o)
		if err != nil {
			return nil, err
		}
		return client.GetTarget(name)
	})
	if err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		return nil, d.tufError(err)
	}
	return data, nil
}

func (d Deployment) tufError(err error) error {
	mirror := d.TUFMirror
	if mirror == "" {
		mirror = tuf.DefaultMirror
	}
	return &ServiceError{Service: "TUF repository", URL: mirror, Err: fmt.Errorf("%w (without it: give the documents as files, --trusted-root and --signing-config)", err)}
}
