package main

import (
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/spf13/pflag"

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

// options are the flags over what temper.yaml says.
func (f *databaseFlags) options(source string, maxAge int) vulndb.Options {
	o := vulndb.Options{Source: source, Offline: f.offline, Keychain: authn.DefaultKeychain, Insecure: f.insecure}
	if f.source != "" {
		o.Source = f.source
	}
	if f.maxAge != 0 {
		maxAge = f.maxAge
	}
	o.MaxAge = time.Duration(maxAge) * 24 * time.Hour
	return o
}
