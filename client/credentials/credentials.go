// Package credentials finds what to log in to registries with: in secret references,
// and in Docker's configuration with its credential helpers.
package credentials

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/temper-images/temper/client/redact"
	"github.com/temper-images/temper/client/secretref"
	"github.com/temper-images/temper/client/secretstore"
)

// Login is what to log in with. Either a user and a password, or a token.
type Login struct {
	Username secretref.Value
	Password secretref.Value
	// Token is a bearer token that the registry takes as it is.
	Token secretref.Value
}

// Options are where credentials come from.
type Options struct {
	// Logins are asked first, by registry ("registry.example.com:5000") or by the
	// beginning of a repository's name ("registry.example.com/team"), of which the
	// longest counts.
	Logins map[string]Login
	// Docker is asked for registries without a login; nil means Docker's and Podman's
	// configuration files and their credential helpers, as authn.DefaultKeychain
	// reads them. Names, passwords and tokens in them may be references.
	Docker authn.Keychain
	// Stores resolves references.
	Stores *secretstore.Resolver
	// Secrets learns every password and token before it is handed out.
	Secrets *redact.Redactor
}

// Keychain finds credentials for registries. It is safe for concurrent use, and
// resolves references only for registries that are used.
type Keychain struct {
	o      Options
	logins map[string]Login
}

var (
	_ authn.Keychain        = (*Keychain)(nil)
	_ authn.ContextKeychain = (*Keychain)(nil)
)

// New returns a keychain. It fails when a login's registry is no registry's name, or
// a login has no or too much to log in with.
func New(o Options) (*Keychain, error) {
	if o.Docker == nil {
		o.Docker = authn.DefaultKeychain
	}
	k := &Keychain{o: o, logins: map[string]Login{}}
	for scope, login := range o.Logins {
		normal, err := normalize(scope)
		if err != nil {
			return nil, fmt.Errorf("credentials for %q: %w", scope, err)
		}
		if login.Token.IsEmpty() == (login.Username.IsEmpty() || login.Password.IsEmpty()) {
			return nil, fmt.Errorf("credentials for %s: give a user name and a password, or a token", scope)
		}
		if _, twice := k.logins[normal]; twice {
			return nil, fmt.Errorf("credentials for %s are given twice", normal)
		}
		k.logins[normal] = login
	}
	return k, nil
}

// normalize writes a scope as resources write themselves: "docker.io" is "index.docker.io".
func normalize(scope string) (string, error) {
	host, repository, _ := strings.Cut(strings.TrimSuffix(scope, "/"), "/")
	registry, err := name.NewRegistry(host)
	if err != nil {
		return "", err
	}
	if repository == "" {
		return registry.RegistryStr(), nil
	}
	return registry.RegistryStr() + "/" + repository, nil
}

// Error says that credentials were there but could not be had. It holds none.
type Error struct {
	// Registry is the registry, or repository, that they are for.
	Registry string
	Err      error
}

func (e *Error) Error() string { return fmt.Sprintf("credentials for %s: %v", e.Registry, e.Err) }
func (e *Error) Unwrap() error { return e.Err }

// Resolve is ResolveContext without a context, for callers that have none.
func (k *Keychain) Resolve(target authn.Resource) (authn.Authenticator, error) {
	return k.ResolveContext(context.Background(), target) //nolint:forbidigo // authn.Keychain has no context
}

// ResolveContext finds the credentials for a registry or repository, or
// authn.Anonymous when there are none. The error is an *Error.
func (k *Keychain) ResolveContext(ctx context.Context, target authn.Resource) (authn.Authenticator, error) {
	auth, err := k.resolve(ctx, target)
	if err != nil {
		return nil, &Error{target.String(), k.o.Secrets.Error(err)}
	}
	return auth, nil
}

func (k *Keychain) resolve(ctx context.Context, target authn.Resource) (authn.Authenticator, error) {
	if login, ok := k.login(target.String()); ok {
		return k.from(ctx, login)
	}
	auth, err := k.docker(ctx, target)
	if err != nil || auth == authn.Anonymous {
		return auth, err
	}
	cfg, err := authn.Authorization(ctx, auth)
	if err != nil {
		return nil, err
	}
	for _, secret := range []*string{&cfg.Username, &cfg.Password, &cfg.IdentityToken, &cfg.RegistryToken} {
		if *secret, err = k.reference(ctx, *secret); err != nil {
			return nil, err
		}
	}
	// The user and the password as Docker keeps them, in base64, are found by the password.
	for _, secret := range []string{cfg.Password, cfg.IdentityToken, cfg.RegistryToken, cfg.Auth} {
		k.o.Secrets.Add([]byte(secret))
	}
	if cfg.Username != "" && cfg.Password != "" {
		cfg.Auth = "" // it may hold a reference
	}
	return authn.FromConfig(*cfg), nil
}

// login finds the login with the longest scope that target lies in.
func (k *Keychain) login(target string) (Login, bool) {
	for {
		if login, ok := k.logins[target]; ok {
			return login, true
		}
		i := strings.LastIndexByte(target, '/')
		if i < 0 {
			return Login{}, false
		}
		target = target[:i]
	}
}

func (k *Keychain) from(ctx context.Context, login Login) (authn.Authenticator, error) {
	var cfg authn.AuthConfig
	for _, f := range []struct {
		value  secretref.Value
		to     *string
		secret bool
	}{
		{login.Username, &cfg.Username, false},
		{login.Password, &cfg.Password, true},
		{login.Token, &cfg.RegistryToken, true},
	} {
		text, err := k.text(ctx, f.value)
		if err != nil {
			return nil, err
		}
		// Files end with a line break, which no registry takes for part of a password.
		*f.to = strings.TrimRight(text, "\r\n")
		if f.secret {
			k.o.Secrets.Add([]byte(text))
		}
	}
	return authn.FromConfig(cfg), nil
}

// reference resolves what Docker's configuration holds where it is a reference as a whole.
func (k *Keychain) reference(ctx context.Context, s string) (string, error) {
	if !strings.HasPrefix(s, "ref+") && !strings.HasPrefix(s, "secretref+") {
		return s, nil
	}
	v, err := secretref.Parse(s)
	if err != nil {
		return "", fmt.Errorf("in Docker's configuration: %w", err)
	}
	text, err := k.text(ctx, v)
	return strings.TrimRight(text, "\r\n"), err
}

func (k *Keychain) text(ctx context.Context, v secretref.Value) (string, error) {
	if k.o.Stores != nil {
		return k.o.Stores.Text(ctx, v)
	}
	var b strings.Builder
	for _, p := range v.Parts() {
		if p.Reference != nil {
			return "", fmt.Errorf("%s: no store of secrets is asked here", p.Reference)
		}
		b.WriteString(p.Text)
	}
	return b.String(), nil
}

// docker asks Docker's configuration. A helper takes no context: one that is given
// up goes on by itself.
func (k *Keychain) docker(ctx context.Context, target authn.Resource) (authn.Authenticator, error) {
	type answer struct {
		auth authn.Authenticator
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		auth, err := authn.Resolve(ctx, k.o.Docker, target)
		answers <- answer{auth, err}
	}()
	select {
	case a := <-answers:
		return a.auth, helperError(a.err)
	case <-ctx.Done():
		return nil, fmt.Errorf("ask Docker's configuration: %w", context.Cause(ctx))
	}
}

// helperError leaves out what a credential helper printed, which may be the credentials.
func helperError(err error) error {
	if err == nil {
		return nil
	}
	text, _, helper := strings.Cut(err.Error(), ", out: `")
	if !helper {
		return fmt.Errorf("read Docker's configuration: %w", err)
	}
	return errors.New("Docker's credential helper failed: " + strings.TrimPrefix(text, "error getting credentials - err: ") +
		": run docker-credential-HELPER get by hand, or log in again")
}
