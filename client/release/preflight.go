package release

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/temper-images/temper/client/build"
	"github.com/temper-images/temper/client/evidence"
	"github.com/temper-images/temper/client/gate"
	"github.com/temper-images/temper/client/inspect"
	"github.com/temper-images/temper/client/secretlint"
	"github.com/temper-images/temper/client/secretref"
)

// preflight finds before the build what would stop the release after it, as far as
// that is possible without opening a key or asking a server.
func (o Options) preflight(ctx context.Context, dockerfile document) error {
	if err := o.checkStore(ctx); err != nil {
		return err
	}
	if err := checkKey(o.Settings.Sign.Key); err != nil {
		return err
	}
	if _, err := gate.FromConfig(o.Settings.Scan); err != nil {
		return err
	}
	policy := inspect.FromConfig(o.Settings.Inspect, o.Settings.Licences)
	if err := policy.Check(); err != nil {
		return err
	}
	return o.checkDockerfile(dockerfile)
}

// checkStore reads the location of the store. A reference in it is left for later:
// secrets are resolved when they are used.
func (o Options) checkStore(ctx context.Context) error {
	v, err := secretref.Parse(o.Settings.Evidence.URL)
	if err != nil || v.IsReference() {
		return err
	}
	s, err := evidence.Open(ctx, o.Settings.Evidence.URL, evidence.Options{})
	if err != nil {
		var location *evidence.LocationError
		if errors.As(err, &location) {
			return err
		}
		// Whether the credentials are good is known when they are resolved.
		return nil
	}
	return s.Close()
}

// checkKey looks whether a key that is named by a path is there.
func checkKey(ref string) error {
	v, err := secretref.Parse(ref)
	if err != nil {
		return &build.InputError{Err: fmt.Errorf("sign.key: %w", err)}
	}
	if ref == "" || ref == keyless || v.IsReference() || strings.Contains(ref, "://") || strings.HasPrefix(ref, "pkcs11:") {
		return nil
	}
	if _, err := os.Stat(ref); errors.Is(err, fs.ErrNotExist) {
		return &build.InputError{Err: fmt.Errorf("key %s: there is no such file; temper key generate makes one", ref)}
	}
	return nil
}

// checkDockerfile refuses a Dockerfile that keeps secrets in variables and
// arguments. One that only the builder sees is judged by the inspection.
func (o Options) checkDockerfile(d document) error {
	if d.path == "" {
		return nil
	}
	settings, err := secretlint.Dockerfile(d.text)
	if err != nil {
		// The build says what is wrong with it, and where.
		return nil //nolint:nilerr // see above
	}
	if err := secretlint.Check(settings, secretlint.Options{Allow: o.AllowArgs, Known: o.Known}); err != nil {
		return &build.InputError{Err: fmt.Errorf("%s: %w", d.path, err)}
	}
	// What is let through is not to be printed all the same.
	return secretlint.Learn(settings, o.Known)
}
