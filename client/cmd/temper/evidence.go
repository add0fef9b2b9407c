package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/temper-images/temper/client/evidence"
	"github.com/temper-images/temper/client/signing"
)

func newEvidence() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "evidence",
		Short: "Read documents about images back from an evidence store",
		Long: `Read documents about images back from an evidence store.

IMAGE is the digest of an image or of an image index, the directory of an OCI
layout, an archive, or a registry's reference. A reference by tag means the images
that were stored last under it, unless --ask-registry is given.`,
	}
	cmd.AddCommand(newEvidenceList(), newEvidenceGet(), newEvidenceVerify())
	return cmd
}

// evidenceCommand is what the commands that read a store share.
type evidenceCommand struct {
	store storeFlags
	refs  refFlags
	json  bool
}

func (e *evidenceCommand) add(cmd *cobra.Command) {
	e.store.add(cmd.Flags())
	e.refs.add(cmd.Flags())
}

// each opens the store and calls f with each image that name means.
func (e *evidenceCommand) each(cmd *cobra.Command, name string, f func(ctx context.Context, s *evidence.Store, img evidence.Image) error) (err error) {
	ctx := cmd.Context()
	s, err := e.store.open(ctx, evidence.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	images, err := e.refs.find(ctx, s, name)
	if err != nil {
		return err
	}
	for _, img := range images {
		if err := f(ctx, s, img); err != nil {
			return err
		}
	}
	return nil
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func newEvidenceList() *cobra.Command {
	var e evidenceCommand
	cmd := &cobra.Command{
		Use:   "list [flags] IMAGE",
		Short: "List the documents about an image",
		Long: `List the documents about an image that the store's index names. When documents
were stored again with other content, the last one of each name is listed.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var indexes []*evidence.Index
			err := e.each(cmd, args[0], func(ctx context.Context, s *evidence.Store, img evidence.Image) error {
				index, err := s.Index(ctx, img.Digest)
				if err == nil && !e.refs.all {
					index.Documents = index.Current()
				}
				indexes = append(indexes, index)
				return err
			})
			if err != nil {
				return err
			}
			if e.json {
				return writeJSON(cmd.OutOrStdout(), indexes)
			}
			return writeIndexes(cmd.OutOrStdout(), indexes)
		},
	}
	e.add(cmd)
	cmd.Flags().BoolVar(&e.json, "json", false, "Print JSON")
	cmd.Flags().BoolVar(&e.refs.all, "all", false, "List also documents that others of their name came after, and images that IMAGE meant before")
	return cmd
}

func writeIndexes(w io.Writer, indexes []*evidence.Index) error {
	for i, index := range indexes {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%s %s %s\n", index.Image.Digest, index.Image.Platform, strings.Join(index.References, " "))
		t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
		fmt.Fprintln(t, "KIND\tSIZE\tDIGEST\tSIGNED\tPATH")
		for _, d := range index.Documents {
			var signed []string
			if d.Signature != nil {
				signed = append(signed, "signature")
			}
			if d.Bundle != nil {
				signed = append(signed, "bundle")
			}
			if d.Envelope != nil {
				signed = append(signed, "envelope")
			}
			if signed == nil {
				signed = []string{"no"}
			}
			fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\n", d.Kind, d.Size, d.Digest.Encoded()[:12], strings.Join(signed, ", "), d.Path)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	return nil
}

func newEvidenceVerify() *cobra.Command {
	var e evidenceCommand
	var v verifyFlags
	var unsigned bool
	cmd := &cobra.Command{
		Use:   "verify [flags] IMAGE",
		Short: "Read everything about an image back and verify it",
		Long: `Read everything back that the store has about an image, and compare it with the
index, with its signatures, and with what provenance says about it.

Without --key or an identity digests are compared only. That shows damage, not
forgery: whoever can write to the store can also write an index.

Exit codes: 0 when all is as it was stored, 1 when something is not.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o := evidence.VerifyOptions{AllowUnsigned: unsigned}
			if v.key != "" || v.identity != (signing.Identity{}) {
				so, err := v.options(asker{cmd.InOrStdin(), cmd.ErrOrStderr()})
				if err != nil {
					return err
				}
				verifier, err := signing.NewVerifier(cmd.Context(), so)
				if err != nil {
					return err
				}
				o.Verifier = signatureVerifier{verifier}
			}
			var results []*evidence.Verification
			err := e.each(cmd, args[0], func(ctx context.Context, s *evidence.Store, img evidence.Image) error {
				result, err := s.Verify(ctx, img.Digest, o)
				results = append(results, result)
				return err
			})
			if err != nil {
				return err
			}
			if e.json {
				if err := writeJSON(cmd.OutOrStdout(), results); err != nil {
					return err
				}
			}
			var errs []error
			for _, r := range results {
				if !e.json {
					writeVerification(cmd.OutOrStdout(), r, o.Verifier != nil)
				}
				errs = append(errs, r.Err())
			}
			return errors.Join(errs...)
		},
	}
	e.add(cmd)
	v.add(cmd.Flags())
	cmd.Flags().BoolVar(&e.json, "json", false, "Print JSON")
	cmd.Flags().BoolVar(&unsigned, "allow-unsigned", false, "Let documents pass that nobody signed")
	return cmd
}

func writeVerification(w io.Writer, r *evidence.Verification, withKey bool) {
	for _, n := range r.Notes {
		fmt.Fprintln(w, "note:", n)
	}
	if len(r.Problems) > 0 {
		return // the error says it
	}
	signatures := fmt.Sprintf("%d signatures and bundles are good", r.Signatures)
	if !withKey {
		signatures = "signatures were not checked: give --key or an identity"
	}
	fmt.Fprintf(w, "%s %s: %d objects are as they were stored, %d documents are named by provenance; %s\n",
		r.Image.Digest, r.Image.Platform, r.Objects, r.Attested, signatures)
}
