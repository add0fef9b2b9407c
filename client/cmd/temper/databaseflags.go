package main

import (
	"cmp"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/temper-images/temper/client/build"
	"github.com/temper-images/temper/client/secretref"
	"github.com/temper-images/temper/client/vulndb"
)

// databaseFlags say where the vulnerability database comes from.
type databaseFlags struct {
	source   string
	maxAge   int
	offline  bool
	insecure bool
}

func (f *databaseFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.source, "db", "", "Vulnerability database: a file, the URL of a mirror, oci://REFERENCE or oci-layout://DIR (default: the one that Grype publishes, kept in the user's cache; environment: "+vulndb.EnvDir+" for another directory)")
	flags.IntVar(&f.maxAge, "db-max-age", 0, "Days after which the database is too old; -1 for never (default 5)")
	flags.BoolVar(&f.offline, "offline", false, "Use no network for the database: what is there must do")
}

// options are the flags over what temper.yaml says. A source may be a secret
// reference, since a mirror's address may hold a password.
func (f *databaseFlags) options(cmd *cobra.Command, source string, maxAge int) (vulndb.Options, error) {
	o := vulndb.Options{Source: cmp.Or(f.source, source), Offline: f.offline, Keychain: keychain(cmd.Context()), Insecure: f.insecure}
	o.MaxAge = time.Duration(cmp.Or(f.maxAge, maxAge)) * 24 * time.Hour
	value, err := secretref.Parse(o.Source)
	if err != nil {
		return o, &build.InputError{Err: fmt.Errorf("--db: %w", err)}
	}
	if o.Source, err = stores(cmd.Context()).Text(cmd.Context(), value); err != nil {
		return o, fmt.Errorf("--db: %w", err)
	}
	return o, nil
}
