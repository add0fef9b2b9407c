package build

import (
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/moby/sys/atomicwriter"
	"github.com/temper-images/temper/hardening/spec"
)

// metadataKey is where the metadata file holds the summaries of hardening.
const metadataKey = "temper.hardening"

// summarised is how many groups of removed files a summary names.
const summarised = 10

// Summary is what the metadata file says about the hardening of one platform.
// The whole report is attached to the image.
type Summary struct {
	Level        spec.Level   `json:"level"`
	Distribution string       `json:"distribution,omitempty"`
	User         spec.User    `json:"user"`
	Before       spec.Totals  `json:"before"`
	After        spec.Totals  `json:"after"`
	Removed      []spec.Group `json:"removed,omitempty"`
	Checks       []spec.Check `json:"checks,omitempty"`
}

// Metadata is the content of the metadata file: the keys that docker buildx
// build writes, and "temper.hardening" with a Summary for each platform.
func (r *Result) metadata() map[string]any {
	out := map[string]any{}
	for k, v := range r.Exporter {
		out[k] = decoded(v)
	}
	summaries := map[string]Summary{}
	for platform, rep := range r.Reports {
		s := Summary{
			Level: rep.Level, Distribution: rep.Distribution, User: rep.User,
			Before: rep.Before, After: rep.After, Checks: rep.Checks,
		}
		for _, g := range rep.Removed[:min(len(rep.Removed), summarised)] {
			g.Paths = nil
			s.Removed = append(s.Removed, g)
		}
		summaries[platform] = s
	}
	if len(summaries) > 0 {
		out[metadataKey] = summaries
	}
	return out
}

// decoded is the JSON object or array of objects that v holds in base64, or v.
func decoded(v string) any {
	dt, err := base64.StdEncoding.DecodeString(v)
	if err != nil {
		return v
	}
	var object map[string]any
	var list []map[string]any
	if json.Unmarshal(dt, &object) == nil && len(object) > 0 || json.Unmarshal(dt, &list) == nil && len(list) > 0 {
		return json.RawMessage(dt)
	}
	return v
}

// WriteMetadata writes the metadata file in one step.
func (r *Result) WriteMetadata(path string) error {
	dt, err := json.MarshalIndent(r.metadata(), "", "  ")
	if err != nil {
		return fmt.Errorf("encode the metadata of the build: %w", err)
	}
	if err := atomicwriter.WriteFile(path, append(dt, '\n'), 0o644); err != nil {
		return fmt.Errorf("write metadata file: %w", err)
	}
	return nil
}
