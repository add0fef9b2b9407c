package signing

import (
	"errors"
	"fmt"
)

// What a verification can find. Each is wrapped in an error that says more.
var (
	// ErrNotSigned: there is no signature.
	ErrNotSigned = errors.New("not signed")
	// ErrWrongSigner: the signature is somebody else's.
	ErrWrongSigner = errors.New("signed by somebody else")
	// ErrTampered: the document, the signature or the bundle was changed. A
	// detached signature alone cannot tell this from ErrWrongSigner, so that its
	// error wraps both.
	ErrTampered = errors.New("changed after it was signed")
	// ErrNotInLog: the transparency log, or the time, is not proven.
	ErrNotInLog = errors.New("not proven by the transparency log")
)

// KeyError says that a key cannot be used.
type KeyError struct {
	// Ref is the reference as the user wrote it, without a PIN.
	Ref string
	Err error
}

func (e *KeyError) Error() string {
	if e.Ref == "" {
		return fmt.Sprintf("signing key: %v", e.Err)
	}
	return fmt.Sprintf("key %s: %v", e.Ref, e.Err)
}
func (e *KeyError) Unwrap() error { return e.Err }

// ServiceError says that a service was not reached, or did not do its work.
type ServiceError struct {
	// Service says what it is for: "certificate authority".
	Service string
	URL     string
	Err     error
}

func (e *ServiceError) Error() string {
	if e.URL == "" {
		return fmt.Sprintf("%s: %v", e.Service, e.Err)
	}
	return fmt.Sprintf("%s %s: %v", e.Service, e.URL, e.Err)
}
func (e *ServiceError) Unwrap() error { return e.Err }

// IdentityError says that there is no token to sign keyless with.
type IdentityError struct{ Err error }

func (e *IdentityError) Error() string { return fmt.Sprintf("identity token: %v", e.Err) }
func (e *IdentityError) Unwrap() error { return e.Err }

// ConfigurationError says that the settings do not make a whole.
type ConfigurationError struct{ Err error }

func (e *ConfigurationError) Error() string { return e.Err.Error() }
func (e *ConfigurationError) Unwrap() error { return e.Err }

func configurationErrorf(format string, args ...any) error {
	return &ConfigurationError{Err: fmt.Errorf(format, args...)}
}
