package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	digest "github.com/opencontainers/go-digest"
	"github.com/spf13/pflag"

	"github.com/temper-images/temper/client/build"
	"github.com/temper-images/temper/client/evidence"
	"github.com/temper-images/temper/client/ocilayout"
	"github.com/temper-images/temper/client/secretref"
	"github.com/temper-images/temper/client/signing"
	"github.com/temper-images/temper/client/subject"
)

// The environment's names for what the flags of the evidence store say.
const (
	evidenceEnv        = "TEMPER_EVIDENCE_URL"
	evidenceAccountEnv = "TEMPER_EVIDENCE_ACCOUNT"
	evidenceSecretEnv  = "TEMPER_EVIDENCE_SECRET"
)

// storeFlags say which evidence store is used.
type storeFlags struct{ url, account, secret string }

func (f *storeFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.url, "evidence", cmp.Or(os.Getenv(evidenceEnv), evidence.DefaultFolder),
		"Evidence store: a folder, or a file://, s3://, gs:// or azblob:// URL (environment: "+evidenceEnv+")")
	flags.StringVar(&f.account, "evidence-account", os.Getenv(evidenceAccountEnv),
		"Access key ID or storage account, as a secret reference, ref+PROVIDER://… (environment: "+evidenceAccountEnv+"; default: what the store's own tools use)")
	flags.StringVar(&f.secret, "evidence-secret", os.Getenv(evidenceSecretEnv),
		"Secret key of the store, as a secret reference (environment: "+evidenceSecretEnv+")")
}

// check refuses secrets on the command line, where others see them.
func (f *storeFlags) check() error {
	for _, of := range []struct{ flag, text string }{{"--evidence-account", f.account}, {"--evidence-secret", f.secret}} {
		value, err := secretref.Parse(of.text)
		if err == nil && of.text != "" && !value.IsReference() {
			err = errors.New("it must be a secret reference, so that no secret is on the command line: ref+env://NAME, ref+file://PATH and others")
		}
		if err != nil {
			return &build.InputError{Err: fmt.Errorf("%s: %w", of.flag, err)}
		}
	}
	return nil
}

// open opens the store with what the flags say added to o. The secrets become
// known to the filter of everything that is printed.
func (f *storeFlags) open(ctx context.Context, o evidence.Options) (*evidence.Store, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	resolver := stores(ctx)
	where, err := secretref.Parse(f.url)
	if err != nil {
		return nil, &build.InputError{Err: fmt.Errorf("--evidence: %w", err)}
	}
	url, err := resolver.Text(ctx, where)
	if err != nil {
		return nil, fmt.Errorf("--evidence: %w", err)
	}
	for _, of := range []struct {
		flag, text string
		to         *string
	}{{"--evidence-account", f.account, &o.Credentials.Account}, {"--evidence-secret", f.secret, &o.Credentials.Secret}} {
		if of.text == "" {
			continue
		}
		value, err := secretref.Parse(of.text)
		if err != nil {
			return nil, err
		}
		secret, err := resolver.Secret(ctx, value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", of.flag, err)
		}
		*of.to = secret.Reveal()
	}
	return evidence.Open(ctx, url, o)
}

// signatureVerifier is a signing.Verifier for the evidence store.
type signatureVerifier struct{ *signing.Verifier }

func (v signatureVerifier) Verify(ctx context.Context, data, signature, bundle []byte) error {
	_, err := v.Verifier.Verify(ctx, data, signature, bundle)
	return err
}

func (v signatureVerifier) VerifyEnvelope(ctx context.Context, statement, bundle []byte) error {
	_, err := v.Verifier.VerifyEnvelope(ctx, statement, bundle)
	return err
}

// evidenceImage is a subject as the evidence store knows it.
func evidenceImage(img *subject.Image) evidence.Image {
	return evidence.Image{Digest: img.Digest, Reference: img.Reference, Platform: img.Platform, Index: img.Index, Created: img.Created}
}

// refFlags choose the images that evidence is about.
type refFlags struct {
	platforms          []string
	all, ask, insecure bool
}

func (f *refFlags) add(flags *pflag.FlagSet) {
	flags.StringSliceVar(&f.platforms, "platform", nil, "Platforms of IMAGE (default: all)")
	flags.BoolVar(&f.ask, "ask-registry", false, "Ask the registry which image IMAGE names now, instead of the store which it named last")
	flags.BoolVar(&f.insecure, "allow-insecure-registry", false, "Allow registries over HTTP, and HTTPS with certificates that nobody vouches for")
}

// find finds the images that name means: a digest, a layout or archive, or a
// registry's reference.
func (f *refFlags) find(ctx context.Context, s *evidence.Store, name string) ([]evidence.Image, error) {
	if _, err := digest.Parse(name); err != nil && (f.ask || isLocal(name)) {
		return f.findSubject(ctx, s, name)
	}
	images, err := s.Find(ctx, name, f.all)
	var nothing *evidence.NotStoredError
	if errors.As(err, &nothing) {
		return nil, fmt.Errorf("%w: give the image's digest or layout, or --ask-registry to have the registry say which it is", err)
	}
	return f.chosen(images, err, name)
}

func (f *refFlags) findSubject(ctx context.Context, s *evidence.Store, name string) ([]evidence.Image, error) {
	set, err := subject.Open(ctx, name, subject.Options{Platforms: f.platforms, Keychain: keychain(ctx), Insecure: f.insecure})
	if err != nil {
		return nil, err
	}
	defer set.Close()
	var images []evidence.Image
	for _, img := range set.Images {
		found, err := s.Find(ctx, string(img.Digest), f.all)
		if err != nil {
			return nil, fmt.Errorf("%s (%s): %w", name, img.Platform, err)
		}
		images = append(images, found...)
	}
	return images, nil
}

func (f *refFlags) chosen(images []evidence.Image, err error, name string) ([]evidence.Image, error) {
	if err != nil || len(f.platforms) == 0 {
		return images, err
	}
	var chosen []evidence.Image
	for _, p := range f.platforms {
		n := len(chosen)
		for _, img := range images {
			if evidence.Arch(img.Platform) == evidence.Arch(p) {
				chosen = append(chosen, img)
			}
		}
		if len(chosen) == n {
			return nil, &build.InputError{Err: fmt.Errorf("the evidence store has nothing about %s for platform %s", name, p)}
		}
	}
	return chosen, nil
}

// isLocal says that name is a layout or an archive, by the rules of subject.Open:
// what exists as a file wins over a reference of the same spelling.
func isLocal(name string) bool {
	if _, err := os.Stat(name); err == nil || strings.HasPrefix(name, "oci-layout://") {
		return true
	}
	dir, ref, ok := ocilayout.ParseRef("oci-layout://" + name)
	return ok && ref != "" && isDir(dir)
}
