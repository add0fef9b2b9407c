package evidence

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	digest "github.com/opencontainers/go-digest"

	"github.com/temper-images/temper/client/artifact"
)

// The media types of what the store adds of its own.
const (
	TypeRecord = "application/vnd.temper.evidence.index.v1+json"
	TypeRef    = "application/vnd.temper.evidence.ref.v1+json"
)

// MaxDocuments bounds how many documents one record names.
const MaxDocuments = 10_000

// Image is the image that documents are about.
type Image struct {
	// Digest is the digest of the image's manifest.
	Digest digest.Digest `json:"digest"`
	// Reference is its name in a registry, or empty.
	Reference string `json:"reference,omitempty"`
	// Platform is "linux/amd64".
	Platform string `json:"platform"`
	// Index is the digest of the image index that lists it, or empty.
	Index digest.Digest `json:"index,omitempty"`
	// Created is the time that the documents bear, the image's own, never the
	// time of storing. It is in whole seconds.
	Created time.Time `json:"created"`
}

func (i Image) validate() error {
	if err := checkDigest(i.Digest); err != nil {
		return err
	}
	if i.Index != "" {
		if err := checkDigest(i.Index); err != nil {
			return err
		}
	}
	if !archName.MatchString(Arch(i.Platform)) {
		return fmt.Errorf("platform %q has not the form os/architecture", i.Platform)
	}
	if i.Reference != "" {
		if _, err := canonical(i.Reference); err != nil {
			return err
		}
	}
	return nil
}

// Object is something in the store.
type Object struct {
	// Path is its place below the store's root.
	Path string `json:"path"`
	// Size is in bytes.
	Size   int64         `json:"size"`
	Digest digest.Digest `json:"digest"`
}

// Entry is a document as the index names it.
type Entry struct {
	Kind artifact.Kind `json:"kind"`
	// Name is the document's file name. Several entries of one image may share
	// it: the last one stored is the current one.
	Name string `json:"name"`
	Object
	MediaType     string `json:"mediaType"`
	PredicateType string `json:"predicateType,omitempty"`
	Platform      string `json:"platform,omitempty"`
	// Signature is the detached signature, Bundle the Sigstore bundle, and Envelope
	// the bundle that holds an in-toto statement itself.
	Signature *Object `json:"signature,omitempty"`
	Bundle    *Object `json:"bundle,omitempty"`
	Envelope  *Object `json:"envelope,omitempty"`
}

// same says whether two entries are the same.
func (e Entry) same(o Entry) bool {
	equal := func(a, b *Object) bool { return (a == nil) == (b == nil) && (a == nil || *a == *b) }
	return equal(e.Signature, o.Signature) && equal(e.Bundle, o.Bundle) && equal(e.Envelope, o.Envelope) &&
		e.Kind == o.Kind && e.Name == o.Name && e.Object == o.Object && e.MediaType == o.MediaType &&
		e.PredicateType == o.PredicateType && e.Platform == o.Platform
}

// objects are all objects of the entry.
func (e Entry) objects() []Object {
	list := []Object{e.Object}
	for _, o := range []*Object{e.Signature, e.Bundle, e.Envelope} {
		if o != nil {
			list = append(list, *o)
		}
	}
	return list
}

// record is one document of the index: what one run stored about an image.
type record struct {
	SchemaVersion int     `json:"schemaVersion"`
	MediaType     string  `json:"mediaType"`
	Image         Image   `json:"image"`
	Documents     []Entry `json:"documents"`
}

// ref says what a name meant at a time.
type ref struct {
	SchemaVersion int    `json:"schemaVersion"`
	MediaType     string `json:"mediaType"`
	// Name is a full image name, or the digest of an image index.
	Name  string `json:"name"`
	Image Image  `json:"image"`
}

func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// decode reads one JSON document. Fields that are not known are for newer readers.
func decode(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more behind the document")
	}
	return nil
}

// parseRecord reads a record about the image with the given digest.
func parseRecord(data []byte, d digest.Digest) (*record, error) {
	var r record
	if err := decode(data, &r); err != nil {
		return nil, err
	}
	if r.MediaType != TypeRecord || r.SchemaVersion != 1 {
		return nil, fmt.Errorf("it is of type %q, version %d, where this temper reads %q, version 1", r.MediaType, r.SchemaVersion, TypeRecord)
	}
	if r.Image.Digest != d {
		return nil, fmt.Errorf("it is about %s", r.Image.Digest)
	}
	if err := r.Image.validate(); err != nil {
		return nil, err
	}
	if len(r.Documents) > MaxDocuments {
		return nil, fmt.Errorf("it names more than %d documents", MaxDocuments)
	}
	for _, e := range r.Documents {
		if err := e.validate(d); err != nil {
			return nil, fmt.Errorf("document %q: %w", e.Name, err)
		}
	}
	return &r, nil
}

func (e Entry) validate(d digest.Digest) error {
	if err := artifact.CheckName(e.Name); err != nil {
		return err
	}
	if e.Kind.Dir() == "" {
		return fmt.Errorf("unknown kind %q", e.Kind)
	}
	if e.MediaType == "" {
		return errors.New("it has no media type")
	}
	for _, o := range e.objects() {
		if err := checkPath(o.Path, d); err != nil {
			return err
		}
		if err := checkDigest(o.Digest); err != nil {
			return err
		}
		if o.Size < 0 || o.Size > MaxDocument {
			return fmt.Errorf("%s has a size of %d bytes", o.Path, o.Size)
		}
	}
	return nil
}

// parseRef reads what a name meant.
func parseRef(data []byte, name string) (*ref, error) {
	var r ref
	if err := decode(data, &r); err != nil {
		return nil, err
	}
	if r.MediaType != TypeRef || r.SchemaVersion != 1 {
		return nil, fmt.Errorf("it is of type %q, version %d, where this temper reads %q, version 1", r.MediaType, r.SchemaVersion, TypeRef)
	}
	if r.Name != name {
		return nil, fmt.Errorf("it is about %q", r.Name)
	}
	if err := r.Image.validate(); err != nil {
		return nil, err
	}
	return &r, nil
}
