package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

	digest "github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/temper-images/temper/client/artifact"
	"github.com/temper-images/temper/client/build"
	"github.com/temper-images/temper/client/evidence"
)

func newEvidenceGet() *cobra.Command {
	var g evidenceGet
	cmd := &cobra.Command{
		Use:   "get [flags] IMAGE",
		Short: "Fetch the documents about an image",
		Long: `Fetch the documents about an image, with their signatures and bundles, and check
their digests. A file that exists with other content is not overwritten.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return g.run(cmd, args[0]) },
	}
	g.add(cmd)
	cmd.Flags().StringVarP(&g.dir, "output", "o", ".", "Directory for the documents, or - to write one document to standard output")
	cmd.Flags().StringArrayVar(&g.names, "name", nil, "Names of the documents (default: all)")
	cmd.Flags().StringArrayVar(&g.kinds, "kind", nil, "Kinds of the documents (default: all)")
	cmd.Flags().BoolVar(&g.refs.all, "all", false, "Fetch also documents that others of their name came after, each under its path in the store")
	return cmd
}

// evidenceGet is what temper evidence get was asked.
type evidenceGet struct {
	evidenceCommand
	dir          string
	names, kinds []string
}

func (g *evidenceGet) wants(e evidence.Entry) bool {
	return (len(g.names) == 0 || slices.Contains(g.names, e.Name)) && (len(g.kinds) == 0 || slices.Contains(g.kinds, string(e.Kind)))
}

func (g *evidenceGet) run(cmd *cobra.Command, name string) (err error) {
	found := 0
	var single []byte
	err = g.each(cmd, name, func(ctx context.Context, s *evidence.Store, img evidence.Image) error {
		index, err := s.Index(ctx, img.Digest)
		if err != nil {
			return err
		}
		documents := index.Current()
		if g.refs.all {
			documents = index.Documents
		}
		for _, d := range documents {
			if !g.wants(d) {
				continue
			}
			found++
			if g.dir == "-" {
				single, err = s.Get(ctx, d.Object)
			} else {
				err = g.fetch(ctx, cmd, s, d)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case found == 0:
		return &build.InputError{Err: fmt.Errorf("the evidence store has no such document about %s: see temper evidence list", name)}
	case g.dir == "-" && found > 1:
		return &build.InputError{Err: fmt.Errorf("--output - takes one document and there are %d: choose with --name and --platform", found)}
	case g.dir == "-":
		_, err = cmd.OutOrStdout().Write(single)
	}
	return err
}

// fetch writes a document and what signs it.
func (g *evidenceGet) fetch(ctx context.Context, cmd *cobra.Command, s *evidence.Store, e evidence.Entry) error {
	for _, of := range []struct {
		object *evidence.Object
		name   string
	}{{&e.Object, e.Name}, {e.Signature, e.Name + artifact.SignatureSuffix}, {e.Bundle, e.Name + artifact.BundleSuffix}, {e.Envelope, e.Name + artifact.EnvelopeSuffix}} {
		if of.object == nil {
			continue
		}
		data, err := s.Get(ctx, *of.object)
		if err != nil {
			return err
		}
		name := of.name
		if g.refs.all {
			name = of.object.Path
		}
		if err := writeNew(g.dir, name, data); err != nil {
			return err
		}
		fmt.Fprintln(cmd.OutOrStdout(), filepath.Join(g.dir, filepath.FromSlash(name)))
	}
	return nil
}

// writeNew writes a file below dir that does not exist, or exists with the same
// content. The file appears whole or not at all.
func writeNew(dir, name string, data []byte) (err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // documents are for everybody to read
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	temp := name + ".part"
	if err := root.WriteFile(temp, data, 0o644); err != nil {
		return err
	}
	defer func() {
		if rerr := root.Remove(temp); !errors.Is(rerr, fs.ErrNotExist) {
			err = errors.Join(err, rerr)
		}
	}()
	existing, err := root.ReadFile(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return root.Rename(temp, name)
	case err != nil:
		return err
	case digest.FromBytes(existing) != digest.FromBytes(data):
		return fmt.Errorf("%s exists with other content: move it away, or choose another directory", filepath.Join(dir, filepath.FromSlash(name)))
	}
	return nil
}
