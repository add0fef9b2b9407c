package spec

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
)

// RefusalFile is the name of the file in which the helper leaves a Refusal, in
// the place of a report, before it fails.
const RefusalFile = "refusal.json"

// maxRefusal bounds what ReadRefusal reads, in bytes.
const maxRefusal = 1 << 20

// Refusal says why an image cannot be hardened as asked. It carries the helper's
// words from the build step to whoever asked for the build.
type Refusal struct {
	// Message is the whole error.
	Message string `json:"message"`
	// Rules are the values of temper.yaml that are at fault, if any is.
	Rules []Rule `json:"rules,omitempty"`
}

// Rule is a value in temper.yaml.
type Rule struct {
	// Field is the field's path, "harden.keep", and Value the text of it or, in a
	// list, of the item.
	Field string `json:"field"`
	Value string `json:"value"`
}

// Compare orders rules by field and value.
func (r Rule) Compare(other Rule) int {
	return cmp.Or(cmp.Compare(r.Field, other.Field), cmp.Compare(r.Value, other.Value))
}

// Marshal encodes the refusal with a final newline.
func (r Refusal) Marshal() ([]byte, error) {
	dt, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode refusal: %w", err)
	}
	return append(dt, '\n'), nil
}

// ReadRefusal decodes a refusal, reading at most 1 MiB.
func ReadRefusal(rd io.Reader) (Refusal, error) {
	var r Refusal
	if err := json.NewDecoder(io.LimitReader(rd, maxRefusal)).Decode(&r); err != nil {
		return Refusal{}, fmt.Errorf("decode refusal: %w", err)
	}
	return r, nil
}
