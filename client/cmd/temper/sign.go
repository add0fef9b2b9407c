package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/spf13/cobra"

	"github.com/temper-images/temper/client/artifact"
	"github.com/temper-images/temper/client/signing"
	"github.com/temper-images/temper/client/subject"
)

func newSign() *cobra.Command {
	var f signFlags
	var s signCommand
	cmd := &cobra.Command{
		Use:   "sign [flags] FILE…|IMAGE…",
		Short: "Sign files and images",
		Long: `Sign files and images in the forms that Cosign verifies.

FILE gets FILE.sig, a detached signature in base64, and FILE.sigstore.json, a
Sigstore bundle. A FILE that is an in-toto statement gets FILE.dsse.sigstore.json
too, for cosign verify-blob-attestation.

IMAGE is the directory of an OCI layout or, with --image, an archive or a
registry's reference. What is signed of it is the digest of each platform's
manifest, in a document signature-NAME-ARCH.json (simple signing) that is written
with its signatures into the directory evidence beside the layout. Nothing is
published into registries yet.

The password of a key comes from COSIGN_PASSWORD or the terminal, the PIN of a
token from its URI, COSIGN_PKCS11_PIN or the terminal. Nothing is written unless
everything was signed.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := f.options(cmd.InOrStdin(), cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			written, err := s.run(cmd.Context(), o, args)
			for _, path := range written {
				fmt.Fprintln(cmd.OutOrStdout(), path)
			}
			return err
		},
	}
	f.add(cmd.Flags())
	cmd.Flags().StringVarP(&s.dir, "output", "o", "", "Directory for the signatures (default: beside FILE; evidence beside IMAGE)")
	cmd.Flags().BoolVar(&s.image, "image", false, "The arguments are images, also those that are files")
	cmd.Flags().StringArrayVar(&s.platforms, "platform", nil, "Platforms of IMAGE to sign (default: all)")
	cmd.Flags().BoolVar(&s.insecure, "allow-insecure-registry", false, "Allow registries over HTTP, and HTTPS with certificates that nobody vouches for")
	return cmd
}

// signCommand is what temper sign was asked.
type signCommand struct {
	dir       string
	image     bool
	platforms []string
	insecure  bool
}

// run returns the paths that it wrote.
func (s *signCommand) run(ctx context.Context, o signing.Options, args []string) (written []string, err error) {
	var files, images []string
	for _, arg := range args {
		if s.image || isDir(arg) || strings.HasPrefix(arg, "oci-layout://") {
			images = append(images, arg)
		} else {
			files = append(files, arg)
		}
	}
	// What is to be signed is looked at before a key is opened for it.
	byDir := map[string][]artifact.Artifact{}
	var dirs []string
	for _, spec := range images {
		dir, documents, err := s.payloads(ctx, spec)
		if err != nil {
			return nil, err
		}
		if _, seen := byDir[dir]; !seen {
			dirs = append(dirs, dir)
		}
		byDir[dir] = append(byDir[dir], documents...)
	}
	for _, path := range files {
		if _, err := os.Stat(path); err != nil {
			return nil, &signing.ConfigurationError{Err: fmt.Errorf("sign a file: %w (an image in a registry is signed with --image)", err)}
		}
	}
	signer, err := signing.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	defer signer.Close()
	for _, dir := range dirs {
		made, err := signer.SignArtifacts(ctx, byDir[dir])
		if err != nil {
			return nil, err
		}
		byDir[dir] = append(byDir[dir], made...)
	}
	if written, err = signer.SignFiles(ctx, files, s.dir); err != nil {
		return written, err
	}
	for _, dir := range dirs {
		paths, err := signing.WriteArtifacts(dir, byDir[dir])
		written = append(written, paths...)
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// payloads are the documents that are signed in the stead of spec's images, and the
// directory that they belong into.
func (s *signCommand) payloads(ctx context.Context, spec string) (dir string, documents []artifact.Artifact, err error) {
	set, err := subject.Open(ctx, spec, subject.Options{Platforms: s.platforms, Keychain: keychain(ctx), Insecure: s.insecure})
	if err != nil {
		return "", nil, err
	}
	defer set.Close()
	if dir = s.dir; dir == "" {
		dir = "evidence"
		if _, err := os.Stat(spec); err == nil {
			dir = filepath.Join(filepath.Dir(filepath.Clean(spec)), dir)
		}
	}
	for _, img := range set.Images {
		claimed := img.Name
		if ref, err := name.ParseReference(img.Reference); img.Reference != "" && err == nil {
			claimed = ref.Context().Name()
		}
		payload, err := signing.ImagePayload(claimed, img.Digest, nil)
		if err != nil {
			return "", nil, err
		}
		documents = append(documents, artifact.Artifact{
			Kind: artifact.Attestation, Name: "signature-" + img.Name + "-" + img.Arch() + ".json",
			MediaType: signing.PayloadMediaType, Platform: img.Platform, Data: payload,
		})
	}
	return dir, documents, nil
}
