package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/temper-images/temper/client/stage"
	"github.com/temper-images/temper/client/telemetry"
	"github.com/temper-images/temper/client/vulndb"
)

// newDB is the command that looks after the vulnerability database.
func newDB(records *telemetry.Options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "db",
		Short: "Look after the vulnerability database",
		Long: `Look after the vulnerability database that temper scan searches.

It is Grype's, kept in the user's cache or in the directory that ` + vulndb.EnvDir + `
names. Processes share it; a broken download goes on where it ended.`,
	}
	cmd.AddCommand(newDBStatus(), newDBUpdate(records), newDBImport(records))
	return cmd
}

func newDBStatus() *cobra.Command {
	var f databaseFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status [flags]",
		Short: "Say which vulnerability database is there, and check every byte of it",
		Long: `Say which vulnerability database is there, and check every byte of it.

Exit codes: 0 when it can be used, 1 when it is missing, damaged or too old.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := f.options(cmd, "", 0)
			if err != nil {
				return err
			}
			st, err := vulndb.Read(cmd.Context(), o, time.Now())
			if err != nil {
				return err
			}
			if err := writeStatus(cmd.OutOrStdout(), st, asJSON); err != nil {
				return err
			}
			if st.Stale {
				return codeError(exitFailed)
			}
			return nil
		},
	}
	f.add(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "Print JSON")
	return cmd
}

func newDBUpdate(records *telemetry.Options) *cobra.Command {
	var f databaseFlags
	var p progressFlags
	cmd := &cobra.Command{
		Use:   "update [flags]",
		Short: "Fetch the newest vulnerability database",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			updated := false
			st, err := changeDatabase(cmd, *records, &p, &f, func(ctx context.Context, o vulndb.Options) (st *vulndb.Status, err error) {
				st, updated, err = vulndb.Update(ctx, o, time.Now())
				return st, err
			})
			if err != nil {
				return err
			}
			if !updated {
				fmt.Fprintln(cmd.ErrOrStderr(), "there is none newer than what is there")
			}
			return writeStatus(cmd.OutOrStdout(), st, false)
		},
	}
	f.add(cmd.Flags())
	cmd.Flags().BoolVar(&f.insecure, "allow-insecure-registry", false, "Allow registries over HTTP, and HTTPS with certificates that nobody vouches for")
	cmd.Flags().StringVar(&p.progress, "progress", "auto", "Progress: auto, plain, tty, rawjson, none (environment: BUILDKIT_PROGRESS)")
	return cmd
}

func newDBImport(records *telemetry.Options) *cobra.Command {
	var f databaseFlags
	var p progressFlags
	cmd := &cobra.Command{
		Use:   "import [flags] FILE",
		Short: "Take the vulnerability database from a file",
		Long: `Take the vulnerability database from a file: an archive (tar, tar.gz, tar.zst) or
the database itself; or from an OCI artifact, oci-layout://DIR[:TAG] or
oci://REFERENCE, whose only layer is such an archive. It takes the place of what is
there, also of something newer.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			st, err := changeDatabase(cmd, *records, &p, &f, func(ctx context.Context, o vulndb.Options) (*vulndb.Status, error) {
				return vulndb.Import(ctx, o, args[0], time.Now())
			})
			if err != nil {
				return err
			}
			return writeStatus(cmd.OutOrStdout(), st, false)
		},
	}
	cmd.Flags().BoolVar(&f.insecure, "allow-insecure-registry", false, "Allow registries over HTTP, and HTTPS with certificates that nobody vouches for")
	cmd.Flags().StringVar(&p.progress, "progress", "auto", "Progress: auto, plain, tty, rawjson, none (environment: BUILDKIT_PROGRESS)")
	return cmd
}

// changeDatabase is a step that brings a database here, and shows itself.
func changeDatabase(cmd *cobra.Command, records telemetry.Options, p *progressFlags, f *databaseFlags, change func(context.Context, vulndb.Options) (*vulndb.Status, error)) (st *vulndb.Status, err error) {
	mode, err := p.displayMode()
	if err != nil {
		return nil, err
	}
	o, err := f.options(cmd, "", 0)
	if err != nil {
		return nil, err
	}
	err = withTelemetry(cmd, records, func(ctx context.Context, t *telemetry.Telemetry) error {
		if mode, err = besideRecords(mode, t.Format()); err != nil {
			return err
		}
		show, err := openDisplay(ctx, cmd.ErrOrStderr(), mode, "vulnerability database")
		if err != nil {
			return err
		}
		defer show.Close()
		return runner(t, show).Run(ctx, "fetch the vulnerability database", stage.Database, func(ctx context.Context, step *stage.Step) (err error) {
			o.Progress = func(p vulndb.Progress) { step.Progress(p.Step, p.Done, p.Total) }
			if st, err = change(ctx, o); err != nil {
				return err
			}
			step.Set(slog.String("built", st.Built.Format(time.RFC3339)), slog.String("source", st.Source), slog.String("digest", st.Archive))
			return nil
		})
	})
	return st, err
}

func writeStatus(w io.Writer, st *vulndb.Status, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(st)
	}
	age := units.HumanDuration(time.Duration(st.AgeSeconds) * time.Second)
	verdict := "usable"
	if st.Stale {
		verdict = "too old: temper db update fetches a newer one"
	}
	_, err := fmt.Fprintf(w, "built     %s (%s ago, %s)\nschema    %s\nsource    %s\narchive   %s\nfile      %s (%s)\nchecked   %s\n",
		st.Built.UTC().Format(time.RFC3339), age, verdict, st.Schema, st.Source, st.Archive, st.Path, units.HumanSize(float64(st.Size)), st.Checked.UTC().Format(time.RFC3339))
	for _, warning := range st.Warnings {
		fmt.Fprintf(w, "warning   %s\n", warning)
	}
	return err
}
