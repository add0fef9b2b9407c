package signing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/atomicwriter"
	"golang.org/x/sync/errgroup"

	"github.com/temper-images/temper/client/artifact"
)

// maxFile bounds a file that is signed or verified, in bytes. Signatures of the
// kinds that Cosign makes need it whole.
const maxFile = 1 << 30

// SignFiles signs files side by side, and writes FILE.sig and FILE.sigstore.json
// beside each, or into dir when that is not empty; in-toto statements get
// FILE.dsse.sigstore.json too. Nothing is written before everything is signed, and
// each file appears whole or not at all. It returns the paths that it wrote.
func (s *Signer) SignFiles(ctx context.Context, paths []string, dir string) ([]string, error) {
	dirs := map[string]string{}
	for _, p := range paths {
		name := filepath.Base(p)
		if other, taken := dirs[name]; taken && dir != "" {
			return nil, configurationErrorf("%s and %s have the same name, and their signatures would, too: sign them into two directories", other, p)
		}
		dirs[name] = p
	}
	made := make([][]artifact.Artifact, len(paths))
	group, limited := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i, p := range paths {
		group.Go(func() error {
			data, err := readFile(p, maxFile)
			if err != nil {
				return configurationErrorf("sign a file: %w", err)
			}
			if made[i], err = s.signArtifact(limited, artifact.Artifact{Name: filepath.Base(p), MediaType: mediaType(data), Data: data}); err != nil {
				return fmt.Errorf("sign %s: %w", p, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var written []string
	for i, p := range paths {
		to := dir
		if to == "" {
			to = filepath.Dir(p)
		}
		names, err := WriteArtifacts(to, made[i])
		written = append(written, names...)
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// mediaType tells in-toto statements from everything else.
func mediaType(data []byte) string {
	var header struct {
		Type string `json:"_type"`
	}
	if json.Unmarshal(data, &header) == nil && strings.HasPrefix(header.Type, statementType) {
		return artifact.TypeInToto
	}
	return artifact.TypeJSON
}

// WriteArtifacts writes documents into a directory, which it makes. Each appears
// whole or not at all, and stands in for one of the same name. It returns the
// paths that it wrote.
func WriteArtifacts(dir string, documents []artifact.Artifact) ([]string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // signatures are for everybody to verify
		return nil, fmt.Errorf("write signatures: %w", err)
	}
	var written []string
	for _, d := range documents {
		path := filepath.Join(dir, d.Name)
		if err := atomicwriter.WriteFile(path, d.Data, 0o644); err != nil {
			return written, fmt.Errorf("write signatures: %w", err)
		}
		written = append(written, path)
	}
	return written, nil
}

// VerifyFile verifies a file with what lies beside it, or in dir when that is not
// empty: FILE.sig, FILE.sigstore.json or both. Errors are those of Verify.
func (v *Verifier) VerifyFile(ctx context.Context, path, dir string) (*Result, error) {
	data, err := readFile(path, maxFile)
	if err != nil {
		return nil, configurationErrorf("verify a file: %w", err)
	}
	if dir == "" {
		dir = filepath.Dir(path)
	}
	beside := filepath.Join(dir, filepath.Base(path))
	sig, err := readOptional(beside+artifact.SignatureSuffix, maxSignature)
	if err != nil {
		return nil, fmt.Errorf("verify %s: %w", path, err)
	}
	bundle, err := readOptional(beside+artifact.BundleSuffix, maxBundle)
	if err != nil {
		return nil, fmt.Errorf("verify %s: %w", path, err)
	}
	result, err := v.Verify(ctx, data, sig, bundle)
	if err != nil {
		return nil, fmt.Errorf("verify %s: %w", path, err)
	}
	return result, nil
}

// readOptional reads a file that may be missing.
func readOptional(path string, limit int64) ([]byte, error) {
	data, err := readFile(path, limit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}
