package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	digest "github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/temper-images/temper/client/build"
	"github.com/temper-images/temper/client/ocilayout"
	"github.com/temper-images/temper/client/referrer"
	"github.com/temper-images/temper/client/registry"
	"github.com/temper-images/temper/client/signing"
	"github.com/temper-images/temper/client/stage"
	"github.com/temper-images/temper/client/telemetry"
	"github.com/temper-images/temper/client/transfer"
	"github.com/temper-images/temper/client/verify"
)

// formatVSA is a SLSA Verification Summary Attestation.
const formatVSA = "vsa"

// policyFlags are a verification policy by flags. What a flag says goes before what
// the policy file says.
type policyFlags struct {
	verifyFlags
	file, gate       string
	require, formats []string
	platforms        []string
	builders         []string
	provenance       verify.ProvenancePolicy
	maxScanAge       string
}

func (f *policyFlags) add(flags *pflag.FlagSet) {
	f.verifyFlags.add(flags)
	flags.StringVar(&f.file, "policy", "", "File with the policy (YAML, see docs/verify.md); flags go before it")
	flags.StringSliceVar(&f.require, "require", nil, "What must be there and in order: signature, provenance, sbom, scan, gate, hardening, inspection, vex, test (default: the first four)")
	flags.StringArrayVar(&f.platforms, "platform", nil, "Platforms of IMAGE (default: all)")
	flags.StringArrayVar(&f.builders, "builder-id", nil, "builder.id that provenance must name; one of several")
	flags.StringVar(&f.provenance.Source, "source", "", "Repository that the image must be built from: https://github.com/team/app")
	flags.StringVar(&f.provenance.Ref, "ref", "", "Branch or tag that it must be built from: refs/heads/main, refs/tags/v*")
	flags.StringVar(&f.provenance.Commit, "commit", "", "Commit that it must be built from, in full")
	flags.StringVar(&f.provenance.Workflow, "workflow", "", "Workflow file or job that must have built it: .github/workflows/release.yml")
	flags.IntVar(&f.provenance.Level, "slsa-level", 0, "Lowest level of SLSA's Build track that will do: 1, 2, 3")
	flags.StringSliceVar(&f.formats, "sbom-format", nil, "Formats in which there must be a bill of materials: cyclonedx, spdx (default: one of them)")
	flags.StringVar(&f.maxScanAge, "max-scan-age", "", "How old the knowledge of the newest scan may be: 7d, 36h (default: any age)")
	flags.StringVar(&f.gate, "gate", "", "Decision of the vulnerability gate that will do: warn, pass (default: warn, when the gate is required)")
}

// policy is that of the file with what the flags say.
func (f *policyFlags) policy() (verify.Policy, error) {
	var p verify.Policy
	if f.file != "" {
		var err error
		if p, err = verify.ReadPolicy(f.file); err != nil {
			return p, err
		}
	}
	if f.key != "" || f.identity != (signing.Identity{}) {
		p.Signers = []verify.Signer{{
			Key: f.key, Identity: f.identity.Subject, IdentityPattern: f.identity.SubjectPattern,
			Issuer: f.identity.Issuer, IssuerPattern: f.identity.IssuerPattern,
		}}
	}
	for i := range p.Signers {
		if f.tlog != "" {
			p.Signers[i].TLog = f.tlog
		}
		p.Signers[i].Timestamp = p.Signers[i].Timestamp || f.timestamp
	}
	for _, s := range []struct {
		to   *string
		flag string
	}{
		{&p.Sigstore.TrustedRoot, f.TrustedRoot}, {&p.Sigstore.TUFMirror, f.TUFMirror}, {&p.Sigstore.TUFRoot, f.TUFRoot},
		{&p.Provenance.Source, f.provenance.Source}, {&p.Provenance.Ref, f.provenance.Ref},
		{&p.Provenance.Commit, f.provenance.Commit}, {&p.Provenance.Workflow, f.provenance.Workflow}, {&p.Gate.Accept, f.gate},
	} {
		if s.flag != "" {
			*s.to = s.flag
		}
	}
	if f.provenance.Level != 0 {
		p.Provenance.Level = f.provenance.Level
	}
	if len(f.builders) > 0 {
		known := p.Provenance.Builders
		p.Provenance.Builders = nil
		for _, id := range f.builders {
			b := verify.Builder{ID: id}
			for _, k := range known {
				if k.ID == id {
					b = k
				}
			}
			p.Provenance.Builders = append(p.Provenance.Builders, b)
		}
	}
	if len(f.require) > 0 {
		p.Require = nil
		for _, k := range f.require {
			p.Require = append(p.Require, verify.Kind(k))
		}
	}
	if len(f.platforms) > 0 {
		p.Platforms = nil
		for _, list := range f.platforms {
			p.Platforms = append(p.Platforms, strings.Split(list, ",")...)
		}
	}
	if len(f.formats) > 0 {
		p.SBOM.Formats = f.formats
	}
	if f.maxScanAge != "" {
		p.Scan.MaxAge = verify.Age(f.maxScanAge)
	}
	return p, p.Check()
}

// verifyCommand is what temper verify was asked.
type verifyCommand struct {
	policyFlags
	progress progressFlags
	output   string
	signKey  string
	summary  verify.SummaryOptions
	insecure bool
}

func newVerify(records *telemetry.Options) *cobra.Command {
	c := &verifyCommand{}
	cmd := &cobra.Command{
		Use:   "verify [flags] IMAGE",
		Short: "Verify a published image: signatures, provenance, SBOM, scan and more",
		Long: `Verify an image with what is attached to it, before it is deployed.

IMAGE is a registry's reference by tag or digest, or an OCI layout or archive that
temper save wrote. A tag is looked up once, and everything else is read by digest:
the index, and each image in it. Nothing counts that is not signed by --key, or by
--certificate-identity and --certificate-oidc-issuer, or by a signer of --policy.

--output json prints the report for machines, --output vsa a SLSA Verification
Summary Attestation, which --sign-key signs.

Exit codes: 0 when the policy is met; 6 when the image is not signed, 7 when it is
signed by somebody else or was changed, 8 when the policy is not met otherwise, 9
when the registry cannot be reached, throttles or denies access.`,
		Example: `  temper verify registry.example.com/team/app:1.2 --key release.pub
  temper verify registry.example.com/team/app:1.2 --policy policy.yaml --output json
  temper verify app.oci.tar --key release.pub --require signature,sbom,hardening --max-scan-age 7d`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withTelemetry(cmd, *records, func(ctx context.Context, t *telemetry.Telemetry) error {
				return c.run(ctx, cmd, t, args[0])
			})
		},
	}
	flags := cmd.Flags()
	c.policyFlags.add(flags)
	flags.StringVarP(&c.output, "output", "o", formatTable, "What is printed: table, json, vsa")
	flags.StringVar(&c.signKey, "sign-key", "", "Key that signs the summary of --output vsa, as for temper sign; the output is a Sigstore bundle then")
	flags.StringVar(&c.summary.VerifierID, "verifier-id", "", "URI that names who verifies, in --output vsa")
	flags.StringVar(&c.summary.PolicyURI, "policy-uri", "", "URI of the policy, in --output vsa")
	flags.StringVar(&c.progress.progress, "progress", "auto", "Progress: auto, plain, tty, rawjson, none (environment: BUILDKIT_PROGRESS)")
	flags.BoolVarP(&c.progress.quiet, "quiet", "q", false, "Print nothing but what is wrong")
	flags.BoolVar(&c.insecure, "allow-insecure-registry", false, "Allow registries over HTTP, and HTTPS with certificates that nobody vouches for")
	return cmd
}

func (c *verifyCommand) run(ctx context.Context, cmd *cobra.Command, t *telemetry.Telemetry, spec string) (err error) {
	mode, err := c.progress.displayMode()
	if err != nil {
		return err
	}
	if mode, err = besideRecords(mode, t.Format()); err != nil {
		return err
	}
	switch {
	case c.output != formatTable && c.output != formatJSON && c.output != formatVSA:
		return &build.InputError{Err: fmt.Errorf("--output %s: it is one of %s, %s, %s", c.output, formatTable, formatJSON, formatVSA)}
	case c.signKey != "" && c.output != formatVSA:
		return &build.InputError{Err: errors.New("--sign-key signs a summary: it goes with --output vsa")}
	}
	p, err := c.policy()
	if err != nil {
		return err
	}
	ask := asker{cmd.InOrStdin(), cmd.ErrOrStderr()}
	signers, err := p.Verifiers(ctx, ask.secret(pinEnv, "PIN of the token: "))
	if err != nil {
		return err
	}
	show, err := openDisplay(ctx, cmd.ErrOrStderr(), mode, "verifying "+spec)
	if err != nil {
		return err
	}
	var report *verify.Report
	err = runner(t, show).Run(ctx, "verify", stage.Verify, func(ctx context.Context, s *stage.Step) (err error) {
		from, err := openPublished(ctx, spec, c.insecure, func(text string) { s.Log(text) })
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, from.close()) }()
		report, err = verify.Image(ctx, from.source, from.top, verify.Options{
			Policy: p, Signers: signers, Image: from.name, Now: time.Now(),
			Progress: func(done, total int) { s.Progress("reading signatures and attestations", int64(done), int64(total)) },
		})
		if err != nil {
			return err
		}
		s.Set(slog.String("image", report.Digest.String()), slog.Int("signatures", len(report.Attestations)))
		return nil
	})
	show.Close()
	if err != nil {
		return err
	}
	return c.tell(ctx, cmd.OutOrStdout(), ask, report)
}

// tell prints the report. The error says that the policy is not met.
func (c *verifyCommand) tell(ctx context.Context, w io.Writer, ask asker, r *verify.Report) (err error) {
	failed := r.Err()
	var out []byte
	switch {
	case c.output == formatVSA:
		out, err = c.vsa(ctx, ask, r)
	case c.progress.quiet:
	case c.output == formatJSON:
		out, err = r.Marshal()
	default:
		var b bytes.Buffer
		err = r.WriteTable(&b)
		out = b.Bytes()
		// The table has said what is wrong.
		if failed != nil {
			failed = codeError(verifyCodes[r.Reason])
		}
	}
	if err != nil {
		return err
	}
	if _, err := w.Write(out); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return failed
}

// vsa is the summary, signed when there is a key.
func (c *verifyCommand) vsa(ctx context.Context, ask asker, r *verify.Report) ([]byte, error) {
	o := c.summary
	o.Version = version()
	statement, err := r.Summary(o)
	if err != nil || c.signKey == "" {
		return statement, err
	}
	signer, err := signing.Open(ctx, signing.Options{
		Key: c.signKey, Password: ask.secret(passwordEnv, "Password of the key: "), PIN: ask.secret(pinEnv, "PIN of the token: "),
	})
	if err != nil {
		return nil, err
	}
	defer signer.Close()
	bundle, err := signer.SignStatement(ctx, statement)
	if err != nil {
		return nil, err
	}
	return append(bundle, '\n'), nil
}

// verifyCodes are the exit codes for why an image does not pass.
var verifyCodes = map[verify.Reason]int{
	verify.Unsigned: exitUnsigned, verify.WrongSigner: exitWrongSigner, verify.NotMet: exitPolicy,
}

// published is an image where it can be verified.
type published struct {
	source referrer.Source
	top    digest.Digest
	// name is the image's, without tag and digest; empty when it has none.
	name  string
	close func() error
}

// openPublished finds an image in a registry, or in a layout or archive. What exists
// as a file wins over a reference of the same spelling.
func openPublished(ctx context.Context, spec string, insecure bool, notice func(string)) (*published, error) {
	dir, ref, layout := ocilayout.ParseRef(spec)
	if !layout {
		dir = spec
	}
	if _, err := os.Stat(dir); layout || err == nil {
		return openSaved(ctx, dir, ref)
	}
	options := []name.Option{name.WeakValidation}
	if insecure {
		options = append(options, name.Insecure)
	}
	parsed, err := name.ParseReference(spec, options...)
	if err != nil {
		return nil, &build.InputError{Err: fmt.Errorf("%s: there is no such file, and it is no reference of a registry: %w", spec, err)}
	}
	r, err := registry.Open(ctx, parsed.Context(), registry.Options{Keychain: keychain(ctx), Insecure: insecure, Notice: notice})
	if err != nil {
		return nil, err
	}
	p := &published{source: r, name: parsed.Context().Name(), close: func() error { return nil }}
	if d, ok := parsed.(name.Digest); ok {
		p.top = digest.Digest(d.DigestStr())
		return p, nil
	}
	p.top, err = verify.Resolve(ctx, r, parsed.Identifier())
	return p, err
}

func openSaved(ctx context.Context, path, ref string) (*published, error) {
	a, err := transfer.OpenArchive(ctx, path)
	if err != nil {
		return nil, err
	}
	desc, called, err := a.Resolve(ref)
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	p := &published{source: a, top: desc.Digest, close: a.Close}
	if parsed, err := name.ParseReference(called, name.StrictValidation); err == nil {
		p.name = parsed.Context().Name()
	}
	return p, nil
}
