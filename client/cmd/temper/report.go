package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/atomicwriter"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/temper-images/temper/client/artifact"
	"github.com/temper-images/temper/client/build"
	"github.com/temper-images/temper/client/evidence"
	"github.com/temper-images/temper/client/report"
)

func newReport() *cobra.Command {
	c := &reportCommand{}
	cmd := &cobra.Command{
		Use:   "report [flags] DIR|IMAGE",
		Short: "Write one HTML page about a release",
		Long: `Write one HTML page about a release, out of its documents of evidence: what the
gates decided, what hardening removed and why, the findings, dependencies, tests,
provenance, signatures, and the commands that verify all this.

DIR is a directory of documents, as temper evidence get writes them. IMAGE is the
digest of an image, the directory of an OCI layout, an archive, or a registry's
reference; its documents are then read from the evidence store, and their digests
are checked. A directory that is an OCI layout is an image.

The page needs no network and no script. It says what the documents say and checks
no signature: temper evidence verify does.`,
		Example: `  temper report evidence-of-app -o report.html
  temper report registry.example.com/team/app:1 --evidence s3://evidence`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.run(cmd, args[0])
		},
	}
	c.add(cmd)
	cmd.Flags().StringVarP(&c.output, "output", "o", "report.html", "File for the page, or - for standard output")
	cmd.Flags().StringVar(&c.key, "public-key", "cosign.pub", "Name of the public key in the commands that the page shows")
	return cmd
}

// reportCommand is what temper report was asked.
type reportCommand struct {
	evidenceCommand
	output, key string
}

func (c *reportCommand) run(cmd *cobra.Command, name string) error {
	o := report.Options{Version: version(), Key: c.key}
	var r *report.Release
	var err error
	switch {
	case isDir(name) && !isLayout(name):
		if cmd.Flags().Changed("evidence") {
			return &build.InputError{Err: fmt.Errorf("%s is a directory of documents, and --evidence names a store for an image: give one of them", name)}
		}
		r, err = report.Load(cmd.Context(), name)
	case isMissing(name):
		return &build.InputError{Err: fmt.Errorf("%s: there is no such directory, layout or archive", name)}
	default:
		r, o.Store, err = c.stored(cmd, name)
	}
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := r.Write(&b, o); err != nil {
		return err
	}
	if c.output == "-" {
		_, err := cmd.OutOrStdout().Write(b.Bytes())
		return err
	}
	if err := atomicwriter.WriteFile(c.output, b.Bytes(), 0o644); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	fmt.Fprintln(cmd.OutOrStdout(), c.output)
	return nil
}

// isLayout says that a directory is an OCI image layout.
func isLayout(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, ocispecs.ImageLayoutFile))
	return err == nil
}

// isMissing says that nobody would write a registry reference so, and that there is
// no file of that name.
func isMissing(name string) bool {
	_, err := os.Stat(name)
	return err != nil && (filepath.IsAbs(name) || strings.HasPrefix(name, "./") || strings.HasPrefix(name, "../"))
}

// stored reads the documents about an image from the evidence store.
func (c *reportCommand) stored(cmd *cobra.Command, name string) (*report.Release, string, error) {
	var docs []artifact.Artifact
	url := ""
	err := c.each(cmd, name, func(ctx context.Context, s *evidence.Store, img evidence.Image) error {
		url = s.URL()
		index, err := s.Index(ctx, img.Digest)
		if err != nil {
			return err
		}
		for _, d := range index.Current() {
			for ending, o := range map[string]*evidence.Object{
				"": &d.Object, artifact.SignatureSuffix: d.Signature, artifact.BundleSuffix: d.Bundle, artifact.EnvelopeSuffix: d.Envelope,
			} {
				if o == nil {
					continue
				}
				data, err := s.Get(ctx, *o)
				if err != nil {
					return err
				}
				docs = append(docs, artifact.Artifact{Kind: d.Kind, Name: d.Name + ending, MediaType: d.MediaType, Platform: d.Platform, Data: data})
			}
		}
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	if len(docs) == 0 {
		return nil, "", fmt.Errorf("the evidence store has no documents about %s", strings.TrimSpace(name))
	}
	r, err := report.Read(docs)
	return r, url, err
}
