//go:build cgo

package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/ThalesIgnite/crypto11"
	"github.com/sigstore/cosign/v2/pkg/cosign/pkcs11key"
	"github.com/sigstore/sigstore/pkg/signature"
)

// pinEnv has the token's PIN, as with Cosign.
const pinEnv = "COSIGN_PKCS11_PIN"

var errNotHere = errors.New("keys are made with the token's own tools")

// token is a key in a token. It implements the plugin protocol's methods.
type token struct {
	context *crypto11.Context
	signer  crypto.Signer
}

// open opens the key that a PKCS#11 URI (RFC 7512) names. The URI comes without
// its scheme.
func open(uri string) (*token, error) {
	c := pkcs11key.NewPkcs11UriConfig()
	if err := c.Parse("pkcs11:" + strings.TrimPrefix(uri, "pkcs11:")); err != nil {
		return nil, err
	}
	if !filepath.IsAbs(c.ModulePath) {
		return nil, fmt.Errorf("module-path %q: it has to be absolute, since code is loaded from it", c.ModulePath)
	}
	if info, err := os.Stat(c.ModulePath); err != nil {
		return nil, fmt.Errorf("module-path: %w", err)
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("module-path %s is no file", c.ModulePath)
	}
	config := &crypto11.Config{Path: c.ModulePath, Pin: c.Pin, MaxSessions: 2}
	if config.Pin == "" {
		config.Pin = os.Getenv(pinEnv)
	}
	config.LoginNotSupported = config.Pin == ""
	if config.SlotNumber = c.SlotID; c.SlotID == nil {
		config.TokenLabel = c.TokenLabel
	}
	ctx, err := crypto11.Configure(config)
	if err != nil {
		return nil, fmt.Errorf("open the token: %w", err)
	}
	t := &token{context: ctx}
	if t.signer, err = find(ctx, c); err != nil {
		return nil, errors.Join(err, ctx.Close())
	}
	return t, nil
}

func find(ctx *crypto11.Context, c *pkcs11key.Pkcs11UriConfig) (crypto.Signer, error) {
	id, label := c.KeyID, c.KeyLabel
	if len(id) == 0 {
		id = nil
	}
	if len(label) == 0 {
		label = nil
	}
	signer, err := ctx.FindKeyPair(id, label)
	if err != nil {
		return nil, fmt.Errorf("find the key: %w", err)
	}
	if signer == nil {
		return nil, errors.New("the token has no key pair of that name and id: is the PIN missing? (" + pinEnv + ")")
	}
	return signer, nil
}

func (t *token) close() {
	if err := t.context.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

// PublicKey returns the public half.
func (t *token) PublicKey(...signature.PublicKeyOption) (crypto.PublicKey, error) {
	return t.signer.Public(), nil
}

// SignMessage signs a message, or the digest that comes in its stead.
func (t *token) SignMessage(message io.Reader, opts ...signature.SignOption) ([]byte, error) {
	var hash crypto.SignerOpts = crypto.SHA256
	for _, o := range opts {
		o.ApplyCryptoSignerOpts(&hash)
	}
	supported := []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512}
	digest, h, err := signature.ComputeDigestForSigning(message, hash.HashFunc(), supported, opts...)
	if err != nil {
		return nil, err
	}
	return t.signer.Sign(rand.Reader, digest, h)
}

// VerifySignature verifies with the public half, without the token.
func (t *token) VerifySignature(sig, message io.Reader, opts ...signature.VerifyOption) error {
	verifier, err := signature.LoadDefaultVerifier(t.signer.Public())
	if err != nil {
		return err
	}
	return verifier.VerifySignature(sig, message, opts...)
}

// CreateKey makes no key.
func (t *token) CreateKey(context.Context, string) (crypto.PublicKey, error) {
	return nil, errNotHere
}

// CryptoSigner is not part of the protocol.
func (t *token) CryptoSigner(context.Context, func(error)) (crypto.Signer, crypto.SignerOpts, error) {
	return t.signer, crypto.SHA256, nil
}

// SupportedAlgorithms are those that keys can be made of: none.
func (t *token) SupportedAlgorithms() []string { return nil }

// DefaultAlgorithm is that of new keys: none.
func (t *token) DefaultAlgorithm() string { return "" }
