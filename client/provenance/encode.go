package provenance

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	slsa "github.com/in-toto/attestation/go/predicates/provenance/v1"
	intoto "github.com/in-toto/attestation/go/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// Wrap makes an in-toto statement about images of any predicate, a JSON object.
func Wrap(predicateType string, predicate []byte, images ...Image) ([]byte, error) {
	if len(predicate) > maxDocument {
		return nil, fmt.Errorf("predicate: it has %d bytes, more than %d", len(predicate), maxDocument)
	}
	if err := checkURI("predicate type", predicateType); err != nil {
		return nil, err
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(predicate, &object); err != nil {
		return nil, fmt.Errorf("predicate: it is not a JSON object: %w", err)
	}
	if object == nil {
		return nil, errors.New("predicate: it is not a JSON object")
	}
	subjects := []any{}
	for _, i := range images {
		rd, err := i.subject()
		if err != nil {
			return nil, err
		}
		subjects = append(subjects, map[string]any{"name": rd.Name, "digest": rd.Digest})
	}
	if len(subjects) == 0 {
		return nil, errors.New("statement: it is about no image")
	}
	// The predicate keeps its bytes' meaning to the last digit of a number, which
	// protobuf would not.
	return encode(map[string]any{
		"_type": intoto.StatementTypeUri, "subject": subjects, "predicateType": predicateType, "predicate": json.RawMessage(predicate),
	})
}

func (i Image) subject() (*intoto.ResourceDescriptor, error) {
	if err := i.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("statement about %q: digest %q: %w", i.Name, i.Digest, err)
	}
	return &intoto.ResourceDescriptor{Name: text(i.Name), Digest: digestSet(i.Digest)}, nil
}

// statement is the statement of provenance about an image.
func statement(i Image, p *slsa.Provenance) ([]byte, error) {
	subject, err := i.subject()
	if err != nil {
		return nil, err
	}
	dt, err := protojson.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encode provenance: %w", err)
	}
	predicate := &structpb.Struct{}
	if err := protojson.Unmarshal(dt, predicate); err != nil {
		return nil, fmt.Errorf("encode provenance: %w", err)
	}
	out, err := deterministic(&intoto.Statement{
		Type: intoto.StatementTypeUri, Subject: []*intoto.ResourceDescriptor{subject}, PredicateType: PredicateType, Predicate: predicate,
	})
	if err != nil {
		return nil, err
	}
	if err := Validate(out); err != nil {
		return nil, err
	}
	return out, nil
}

// deterministic is m in JSON. protojson puts spaces in at random, so that nobody
// relies on its bytes.
func deterministic(m proto.Message) ([]byte, error) {
	dt, err := protojson.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode statement: %w", err)
	}
	v, err := decode(dt)
	if err != nil {
		return nil, fmt.Errorf("encode statement: %w", err)
	}
	return encode(v)
}

// decode reads JSON, numbers as they are written.
func decode(dt []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(dt))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if d.More() {
		return nil, errors.New("there is something behind the JSON value")
	}
	return v, nil
}

// encode writes JSON with sorted keys, two spaces of indentation and a final
// newline.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encode JSON: %w", err)
	}
	return b.Bytes(), nil
}

// jsonObject is v as what encoding/json makes of it.
func jsonObject(v any) (map[string]any, error) {
	dt, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var object map[string]any
	if err := json.Unmarshal(dt, &object); err != nil {
		return nil, err
	}
	return object, nil
}

// newStruct is m for protobuf, with text that it can carry.
func newStruct(m map[string]any) (*structpb.Struct, error) {
	s, err := structpb.NewStruct(clean(m).(map[string]any))
	if err != nil {
		return nil, fmt.Errorf("provenance: %w", err)
	}
	return s, nil
}

// clean is v with valid UTF-8 only.
func clean(v any) any {
	switch v := v.(type) {
	case string:
		return text(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = clean(v[i])
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k := range v {
			out[text(k)] = clean(v[k])
		}
		return out
	}
	return v
}
