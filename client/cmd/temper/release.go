package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/moby/buildkit/util/progress/progressui"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/temper-images/temper/client/build"
	"github.com/temper-images/temper/client/catalogue"
	"github.com/temper-images/temper/client/display"
	"github.com/temper-images/temper/client/release"
	"github.com/temper-images/temper/client/settings"
	"github.com/temper-images/temper/client/subject"
	"github.com/temper-images/temper/client/telemetry"
	"github.com/temper-images/temper/frontend/config"
	"github.com/temper-images/temper/hardening/summary"
)

const releaseHelp = `Build an image, and make, judge, sign and store the evidence about it.

CONTEXT and the flags for what to build are those of temper build. The image is
written as an OCI image layout, and then, for each platform:

  catalogue   its packages and files, once, with Syft
  sbom        CycloneDX and SPDX
  scan        known vulnerabilities, with Grype, and the gate on them
  inspect     configuration, file modes, secrets and licences, and their gate
  sign        each document: FILE.sig and FILE.sigstore.json, as Cosign has them
  store       everything, in a folder or an object store
  provenance  SLSA v1, with all documents by digest and place, signed and stored

What the gates ask, with what is signed and where evidence goes is said in
temper.yaml; flags go before it. A gate that refuses the image ends the release
with exit code 5: nothing is signed or stored then, and the documents about the
refusal lie in NAME.refused beside the layout.

With -t the image is then published, and nobody ever sees it unsigned: its
signature and attestations are in the registry, read back and verified, before its
manifest is, and the tag comes last:

  publish     blobs, signatures and attestations, manifests, TAG-ARCH, TAG

A tag that names another image stays, unless --move-tag is given, and latest is
refused. Without -t, or with --no-push, the release ends with the evidence.

A release that was killed, or that has nothing new to say, is run again and ends in
the same state. --no-cache makes everything anew.`

// evidenceFlags say how evidence is made; they go before temper.yaml.
type evidenceFlags struct {
	databaseFlags
	storeFlags
	config string
	key    string
	tlog   string
	gate   string
	vex    []string
	report string
}

func (f *evidenceFlags) add(flags *pflag.FlagSet) {
	f.addSigning(flags)
	f.databaseFlags.add(flags)
	flags.StringVar(&f.gate, "gate", "", "What becomes of an image with vulnerabilities that count: fail, warn, off (default: scan.gate, else fail)")
	flags.StringArrayVar(&f.vex, "vex", nil, "VEX document besides those of scan.vex, OpenVEX or CSAF; \"attached\" for what is attached to the image, which nobody vouches for")
	flags.StringVar(&f.report, "report", "", "Write the report, one HTML page, to this file")
}

// addSigning defines those that say with what is signed, and where evidence is.
func (f *evidenceFlags) addSigning(flags *pflag.FlagSet) {
	f.storeFlags.add(flags)
	flags.StringVar(&f.config, "config", "", "Settings in the place of the context's temper.yaml")
	flags.StringVar(&f.key, "key", "", "Key to sign with: a file, env://NAME, k8s://NAMESPACE/SECRET, pkcs11:…, awskms://…, gcpkms://…, azurekms://…, hashivault://…, a secret reference (ref+…), or keyless (default: sign.key, else no signatures)")
	flags.StringVar(&f.tlog, "tlog", "", "Enter signatures in the transparency log: on, off (default: sign.tlog)")
}

// apply puts what the flags say over the settings.
func (f *evidenceFlags) apply(cmd *cobra.Command, s *settings.Settings) error {
	if err := f.check(); err != nil {
		return err
	}
	// The flag has a default of its own for commands without settings.
	if !cmd.Flags().Changed("evidence") && os.Getenv(evidenceEnv) == "" {
		f.url = ""
	}
	for _, over := range []struct {
		value string
		dst   *string
	}{
		{f.key, &s.Sign.Key}, {f.source, &s.Scan.Database},
		{f.url, &s.Evidence.URL}, {f.account, &s.Evidence.Account}, {f.secret, &s.Evidence.Secret},
	} {
		if over.value != "" {
			*over.dst = over.value
		}
	}
	if f.maxAge != 0 {
		s.Scan.MaxAge = f.maxAge
	}
	switch g := config.Gate(f.gate); g {
	case "":
	case config.GateFail, config.GateWarn, config.GateOff:
		s.Scan.Gate = g
	default:
		return &build.InputError{Err: fmt.Errorf("--gate %s: it is one of fail, warn, off", f.gate)}
	}
	switch t := config.TLog(f.tlog); t {
	case "":
	case config.TLogOn, config.TLogOff:
		s.Sign.TLog = t
	default:
		return &build.InputError{Err: fmt.Errorf("--tlog %s: it is on or off", f.tlog)}
	}
	return nil
}

// options are what a pipeline needs besides the settings.
func (f *evidenceFlags) options(cmd *cobra.Command, s *settings.Settings, t *telemetry.Telemetry, show *display.Display) (release.Options, error) {
	ask := asker{cmd.InOrStdin(), cmd.ErrOrStderr()}
	o := release.Options{
		Settings: s, Steps: runner(t, show), Secrets: stores(cmd.Context()), Lookup: os.LookupEnv, Now: time.Now, Version: version(),
		Password: func(context.Context) ([]byte, error) { return ask.prompt("Password of the key: ") },
		PIN:      ask.secret(pinEnv, "PIN of the token: "),
		Offline:  f.offline, VEX: f.vex, Report: f.report, Known: redactor(cmd),
	}
	var err error
	o.Keychain, err = logins(cmd.Context(), s.Push.Logins)
	return o, err
}

func newRelease(bf *builderFlags, records *telemetry.Options) *cobra.Command {
	f := &releaseFlags{}
	cmd := &cobra.Command{
		Use:   "release [CONTEXT]",
		Short: "Build an image with signed and stored evidence",
		Long:  releaseHelp + "\n\n" + exitCodesHelp,
		Example: `  temper release -t registry.example.com/app:1 --key cosign.key .
  temper release --key awskms:///alias/release --evidence 's3://evidence?region=eu-central-1' .
  temper release --gate warn --report report.html .
  temper release --dry-run -t registry.example.com/app:1 --key cosign.key .`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				f.req.Context = args[0]
			}
			return f.start(cmd, bf, *records)
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
	}
	f.requestFlags.add(cmd.Flags())
	f.evidenceFlags.add(cmd.Flags())
	flags := cmd.Flags()
	flags.Lookup("tag").Usage = "Name and tag to publish the image under; may be given several times"
	flags.Lookup("no-cache").Usage = "Do not use the build cache, nor what an earlier release with the same inputs made"
	flags.BoolVar(&f.noPush, "no-push", false, "Publish nothing: -t names the image in its layout and in the evidence")
	f.addPush(flags)
	cmd.MarkFlagsMutuallyExclusive("no-push", "dry-run")
	return cmd
}

// releaseFlags are the flags of temper release.
type releaseFlags struct {
	requestFlags
	evidenceFlags
	pushFlags
	noPush bool
}

// start reads the settings, which say where records go, and runs the release.
func (f *releaseFlags) start(cmd *cobra.Command, bf *builderFlags, records telemetry.Options) error {
	s, err := settings.Load(settings.Options{
		Context: f.req.Context, Dockerfile: f.req.Dockerfile, File: f.config, BuildArgs: f.req.BuildArgs, LookupEnv: os.LookupEnv,
	})
	if err != nil {
		return &build.InputError{Err: err}
	}
	if err := f.apply(cmd, s); err != nil {
		return err
	}
	if err := f.checkPush(f.req.Tags); err != nil {
		return err
	}
	if records, err = recordsOf(cmd, records, s); err != nil {
		return err
	}
	return withTelemetry(cmd, records, func(ctx context.Context, t *telemetry.Telemetry) error {
		return f.run(ctx, cmd, bf, t, s)
	})
}

func (f *releaseFlags) run(ctx context.Context, cmd *cobra.Command, bf *builderFlags, t *telemetry.Telemetry, s *settings.Settings) (err error) {
	mode, err := f.displayMode()
	if err != nil {
		return err
	}
	if mode, err = besideRecords(mode, t.Format()); err != nil {
		return err
	}
	if err := f.complete(); err != nil {
		return err
	}
	c, err := f.connect(ctx, cmd, bf)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close(context.WithoutCancel(ctx))) }()
	show, err := openDisplay(ctx, cmd.ErrOrStderr(), mode, "releasing on "+c.Builder().String())
	if err != nil {
		return err
	}
	defer show.Close()
	o, err := f.options(cmd, s, t, show)
	if err != nil {
		return err
	}
	o.AllowArgs, o.Fresh = f.allowArgs, f.req.NoCache
	if !f.noPush {
		o.Push = &f.push
	}
	f.req.Status = show.Build()
	o.Build = func(ctx context.Context, r build.Request) (*build.Result, error) { return recordedBuild(ctx, t, c, r) }
	res, err := c.Release(ctx, f.req, o)
	show.Close()
	if res != nil && mode != progressui.RawJSONMode && mode != progressui.QuietMode {
		err = errors.Join(err, summariseRelease(cmd.ErrOrStderr(), res))
	}
	if err == nil && res.Plan != nil {
		return f.printPlan(cmd.OutOrStdout(), res.Plan)
	}
	if err == nil && f.quiet {
		_, err = fmt.Fprintln(cmd.OutOrStdout(), res.Build.ImageID())
	}
	return err
}

func summariseRelease(w io.Writer, res *release.Result) error {
	for _, platform := range res.Build.Platforms() {
		if err := summary.Write(w, platform, res.Build.Reports[platform]); err != nil {
			return err
		}
	}
	fmt.Fprintln(w)
	fmt.Fprintln(w, "image", res.Build.Digest())
	fmt.Fprintln(w, "written to", res.Layout)
	if res.Evidence == nil {
		return nil
	}
	if err := summariseEvidence(w, res.Evidence); err != nil || res.Published == nil {
		return err
	}
	return summarisePublished(w, res.Published)
}

func summariseEvidence(w io.Writer, e *release.Evidence) error {
	if err := e.WriteSummary(w); err != nil {
		return fmt.Errorf("write the summary: %w", err)
	}
	return nil
}

func newEvidenceCreate(records *telemetry.Options) *cobra.Command {
	f := &evidenceCreateFlags{}
	cmd := &cobra.Command{
		Use:   "create IMAGE",
		Short: "Make, judge, sign and store the evidence about an image that exists",
		Long: `Do for IMAGE what temper release does after the build: catalogue it, write its
SBOMs, scan and inspect it, ask the gates, sign and store. IMAGE is an OCI layout,
an archive or a registry's reference.

Nobody saw the image being built, so its provenance says no more than what can be
seen of it, and marks what is attached to it as somebody's word. Settings come from
--config only.` + "\n\n" + exitCodesHelp,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return f.start(cmd, *records, args[0]) },
	}
	f.progressFlags.add(cmd.Flags())
	f.evidenceFlags.add(cmd.Flags())
	cmd.Flags().StringArrayVar(&f.platforms, "platform", nil, "Platforms of IMAGE (default: all)")
	cmd.Flags().BoolVar(&f.insecure, "allow-insecure-registry", false, "Allow registries over HTTP, and HTTPS with certificates that nobody vouches for")
	return cmd
}

// settingsOf are the settings of a command that has no context: those of a file, or
// nothing but defaults.
func settingsOf(file string) (*settings.Settings, error) {
	o := settings.Options{File: file}
	if file == "" {
		o.Context = "-"
	}
	s, err := settings.Load(o)
	if err != nil {
		return nil, &build.InputError{Err: err}
	}
	s.Remote = false
	return s, nil
}

// evidenceCreateFlags are the flags of temper evidence create.
type evidenceCreateFlags struct {
	progressFlags
	evidenceFlags
	platforms []string
	insecure  bool
}

func (f *evidenceCreateFlags) start(cmd *cobra.Command, records telemetry.Options, spec string) error {
	s, err := settingsOf(f.config)
	if err != nil {
		return err
	}
	if err := f.apply(cmd, s); err != nil {
		return err
	}
	if records, err = recordsOf(cmd, records, s); err != nil {
		return err
	}
	return withTelemetry(cmd, records, func(ctx context.Context, t *telemetry.Telemetry) error {
		return f.run(ctx, cmd, t, s, spec)
	})
}

func (f *evidenceCreateFlags) run(ctx context.Context, cmd *cobra.Command, t *telemetry.Telemetry, s *settings.Settings, spec string) (err error) {
	catalogue.Warm()
	mode, err := f.displayMode()
	if err != nil {
		return err
	}
	if mode, err = besideRecords(mode, t.Format()); err != nil {
		return err
	}
	show, err := openDisplay(ctx, cmd.ErrOrStderr(), mode, "making evidence")
	if err != nil {
		return err
	}
	defer show.Close()
	o, err := f.options(cmd, s, t, show)
	if err != nil {
		return err
	}
	set, err := subject.Open(ctx, spec, subject.Options{Platforms: f.platforms, Keychain: o.Keychain, Insecure: f.insecure})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, set.Close()) }()
	e, err := release.Make(ctx, set, o)
	show.Close()
	if e != nil && mode != progressui.RawJSONMode && mode != progressui.QuietMode {
		err = errors.Join(err, summariseEvidence(cmd.ErrOrStderr(), e))
	}
	return err
}
