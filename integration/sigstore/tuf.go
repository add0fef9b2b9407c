package sigstore

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// WriteTUF writes a TUF repository into dir that has the deployment's documents and
// expires when it is told. A web server of the directory is a mirror, and the file
// 1.root.json in it is the first root metadata.
func (d *Deployment) WriteTUF(dir string, expires time.Time) error {
	targets, snapshot, timestamp, root := metadata.Targets(expires), metadata.Snapshot(expires), metadata.Timestamp(expires), metadata.Root(expires)
	signers := map[string]signature.Signer{}
	for _, role := range metadata.TOP_LEVEL_ROLE_NAMES {
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return err
		}
		if signers[role], err = signature.LoadSigner(private, crypto.Hash(0)); err != nil {
			return err
		}
		key, err := metadata.KeyFromPublicKey(public)
		if err != nil {
			return err
		}
		if err := root.Signed.AddKey(key, role); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "targets"), 0o755); err != nil {
		return err
	}
	for name, file := range map[string]string{"trusted_root.json": d.TrustedRoot, "signing_config.v0.2.json": d.SigningConfig} {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		target, err := metadata.TargetFile().FromBytes(file, data, "sha256")
		if err != nil {
			return err
		}
		targets.Signed.Targets[name] = target
		if err := os.WriteFile(filepath.Join(dir, "targets", fmt.Sprintf("%x.%s", []byte(target.Hashes["sha256"]), name)), data, 0o600); err != nil {
			return err
		}
	}
	write := func(name string, bytes []byte, err error) error {
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, name), bytes, 0o600)
	}
	if _, err := targets.Sign(signers[metadata.TARGETS]); err != nil {
		return err
	}
	if _, err := snapshot.Sign(signers[metadata.SNAPSHOT]); err != nil {
		return err
	}
	if _, err := timestamp.Sign(signers[metadata.TIMESTAMP]); err != nil {
		return err
	}
	if _, err := root.Sign(signers[metadata.ROOT]); err != nil {
		return err
	}
	data, err := targets.ToBytes(false)
	if err := write("1.targets.json", data, err); err != nil {
		return err
	}
	data, err = snapshot.ToBytes(false)
	if err := write("1.snapshot.json", data, err); err != nil {
		return err
	}
	data, err = timestamp.ToBytes(false)
	if err := write("timestamp.json", data, err); err != nil {
		return err
	}
	data, err = root.ToBytes(false)
	return write("1.root.json", data, err)
}
