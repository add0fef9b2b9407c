package release

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/temper-images/temper/client/artifact"
	"github.com/temper-images/temper/client/evidence"
	"github.com/temper-images/temper/client/secretref"
	"github.com/temper-images/temper/client/signing"
	"github.com/temper-images/temper/client/stage"
	"github.com/temper-images/temper/client/subject"
	"github.com/temper-images/temper/frontend/config"
)

// keyless as sign.key asks for signatures without a key.
const keyless = "keyless"

// keep signs the documents and stores them, then the provenance that names where
// they are. The index names all of it at the end, so that what broke off does not
// count as stored. Without a signer nothing is signed.
func (o Options) keep(ctx context.Context, e *Evidence, src *origin, signer *signing.Signer, p *past) (err error) {
	store, err := o.openStore(ctx, signer)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	e.URL, e.Signed = store.URL(), signer != nil
	for _, img := range e.Images {
		if err := o.upload(ctx, store, signer, img, img.Documents, p); err != nil {
			return err
		}
		statement, err := o.provenance(ctx, store, img, src, p)
		if err != nil {
			return err
		}
		img.Documents = append(img.Documents, statement)
		if err := o.upload(ctx, store, signer, img, []artifact.Artifact{statement}, p); err != nil {
			return err
		}
	}
	for _, img := range e.Images {
		if err := store.Commit(ctx, img.Receipt); err != nil {
			return err
		}
	}
	return nil
}

// upload signs documents and sends them to the store.
func (o Options) upload(ctx context.Context, store *evidence.Store, signer *signing.Signer, img *ImageEvidence, documents []artifact.Artifact, p *past) error {
	all := documents
	if signer != nil {
		err := o.Steps.Run(ctx, title(6, "sign", img.Image), stage.Sign, func(ctx context.Context, s *stage.Step) error {
			signatures, err := p.signatures(ctx, signer, documents)
			if err != nil {
				return err
			}
			all = slices.Concat(documents, signatures)
			img.signatures = append(img.signatures, signatures...)
			s.Set(slog.Int("documents", len(documents)), slog.Int("signatures", len(signatures)), slog.String("key", o.keyName()))
			return nil
		})
		if err != nil {
			return err
		}
	}
	return o.Steps.Run(ctx, title(7, "store", img.Image), stage.Store, func(ctx context.Context, s *stage.Step) error {
		receipt, err := store.Upload(ctx, evidence.Image{
			Digest: img.Image.Digest, Reference: img.Image.Reference, Platform: img.Image.Platform,
			Index: img.Image.Index, Created: img.Image.Created,
		}, all)
		if err != nil {
			return err
		}
		s.Set(append(of(img.Image), slog.String("url", store.URL()), slog.Int("uploaded", receipt.Sent),
			slog.Int("unchanged", receipt.Present), slog.Int64("size_bytes", receipt.SentBytes))...)
		if img.Receipt == nil {
			img.Receipt = receipt
			return nil
		}
		img.Receipt.Entries = append(img.Receipt.Entries, receipt.Entries...)
		img.Receipt.Sent += receipt.Sent
		img.Receipt.Present += receipt.Present
		img.Receipt.SentBytes += receipt.SentBytes
		return nil
	})
}

// own recognises the signatures of an earlier run with the same key, so that what
// was signed and stored is not stored a second time.
type own struct{ *signing.Verifier }

func (v own) Verify(ctx context.Context, data, signature, bundle []byte) error {
	_, err := v.Verifier.Verify(ctx, data, signature, bundle)
	return err
}

func (v own) VerifyEnvelope(ctx context.Context, statement, bundle []byte) error {
	_, err := v.Verifier.VerifyEnvelope(ctx, statement, bundle)
	return err
}

// openStore opens the evidence store of the settings.
func (o Options) openStore(ctx context.Context, signer *signing.Signer) (*evidence.Store, error) {
	var c evidence.Credentials
	for _, f := range []struct {
		from string
		to   *string
	}{{o.Settings.Evidence.Account, &c.Account}, {o.Settings.Evidence.Secret, &c.Secret}} {
		secret, err := o.secret(ctx, f.from)
		if err != nil {
			return nil, err
		}
		if secret != nil {
			*f.to = secret.Reveal()
		}
	}
	url, err := o.text(ctx, o.Settings.Evidence.URL)
	if err != nil {
		return nil, err
	}
	opts := evidence.Options{Credentials: c}
	if signer != nil {
		v, err := signer.Verifier()
		if err != nil {
			return nil, err
		}
		if v != nil {
			opts.Verifier = own{v}
		}
	}
	return evidence.Open(ctx, url, opts)
}

// openSigner opens the key of the settings. It returns nil when there is none.
func (o Options) openSigner(ctx context.Context) (*signing.Signer, error) {
	if o.Settings.Sign.Key == "" {
		return nil, nil
	}
	opts, err := o.signing(ctx)
	if err != nil {
		return nil, err
	}
	return signing.Open(ctx, opts)
}

// signing is how the settings sign.
func (o Options) signing(ctx context.Context) (signing.Options, error) {
	c := o.Settings.Sign
	for _, address := range []*string{&c.Fulcio, &c.Rekor, &c.TUF, &c.Timestamp} {
		var err error
		if *address, err = o.text(ctx, *address); err != nil {
			return signing.Options{}, err
		}
	}
	opts := signing.Options{
		TLog: signing.TLog(strings.TrimPrefix(string(c.TLog), string(config.TLogAuto))), PIN: o.PIN, Password: o.password,
		Sigstore: signing.Deployment{
			Fulcio: c.Fulcio, Rekor: c.Rekor, TrustedRoot: c.Root, SigningConfig: c.Services, TUFMirror: c.TUF, TUFRoot: c.TUFRoot,
		},
	}
	if c.Timestamp != "" {
		opts.Sigstore.Timestamps = []string{c.Timestamp}
	}
	if token, err := o.secret(ctx, c.Token); err != nil {
		return opts, err
	} else if token != nil {
		opts.IDToken = strings.TrimSpace(token.Reveal())
	}
	if c.Key != keyless {
		opts.Key = c.Key
		value, err := secretref.Parse(c.Key)
		if err != nil {
			return opts, err
		}
		if value.IsReference() {
			opts.Key = value.String()
			opts.KeyPEM = func(ctx context.Context) ([]byte, error) {
				secret, err := o.Secrets.Secret(ctx, value)
				if err != nil {
					return nil, err
				}
				defer secret.Wipe()
				return slices.Clone(secret.Bytes()), nil
			}
		}
	}
	return opts, nil
}

// passwordVariable is Cosign's name for the password of a key.
const passwordVariable = "COSIGN_PASSWORD"

// password is the key's: of the settings, else of the environment, else of the user.
func (o Options) password(ctx context.Context) ([]byte, error) {
	secret, err := o.secret(ctx, o.Settings.Sign.Password)
	if err != nil {
		return nil, err
	}
	if secret != nil {
		defer secret.Wipe()
		// A file ends with a line break that is no part of the password.
		return slices.Clone(bytes.TrimRight(secret.Bytes(), "\r\n")), nil
	}
	if value, ok := o.Lookup(passwordVariable); ok {
		return []byte(value), nil
	}
	if o.Password == nil {
		return nil, nil
	}
	return o.Password(ctx)
}

// keyName names the key without a secret.
func (o Options) keyName() string {
	value, err := secretref.Parse(o.Settings.Sign.Key)
	if err != nil || value.IsReference() {
		return cmp.Or(value.String(), "a reference")
	}
	return signing.KeyName(o.Settings.Sign.Key)
}

// secret resolves a setting that is a secret; nil when it is empty.
func (o Options) secret(ctx context.Context, s string) (*secretref.Secret, error) {
	if s == "" {
		return nil, nil
	}
	v, err := secretref.Parse(s)
	if err != nil {
		return nil, err
	}
	return o.Secrets.Secret(ctx, v)
}

// text resolves a setting with references in it.
func (o Options) text(ctx context.Context, s string) (string, error) {
	v, err := secretref.Parse(s)
	if err != nil {
		return "", err
	}
	return o.Secrets.Text(ctx, v)
}

// refusedDir is where documents about a refused image go: beside its layout, or in
// the working directory.
func refusedDir(set *subject.Set) string {
	name := set.Images[0].Name + ".refused"
	if fi, err := os.Stat(set.Spec); err == nil && fi.IsDir() {
		return filepath.Join(filepath.Dir(filepath.Clean(set.Spec)), name)
	}
	return name
}

// write writes all documents into a new directory, in the place of one of an
// earlier run.
func (e *Evidence) write(dir string) (err error) {
	tmp, err := os.MkdirTemp(filepath.Dir(dir), ".temper-refused-")
	if err != nil {
		return fmt.Errorf("keep the documents: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	if err := os.Chmod(tmp, 0o755); err != nil { //nolint:gosec // documents are for everybody to read
		return fmt.Errorf("keep the documents: %w", err)
	}
	for _, img := range e.Images {
		for _, d := range img.Documents {
			if err := d.Validate(); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(tmp, d.Name), d.Data, 0o644); err != nil { //nolint:gosec // documents are for everybody to read
				return fmt.Errorf("keep the documents: %w", err)
			}
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("keep the documents: %w", err)
	}
	if err := os.Rename(tmp, dir); err != nil {
		return fmt.Errorf("keep the documents: %w", err)
	}
	return nil
}
