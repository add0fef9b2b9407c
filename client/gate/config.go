package gate

import (
	"fmt"
	"time"

	"github.com/temper-images/temper/client/finding"
	"github.com/temper-images/temper/frontend/config"
)

// FromConfig is the policy that the section scan of temper.yaml states. The errors
// are *PolicyError.
func FromConfig(c config.Scan) (Policy, error) {
	p := Policy{
		Mode: Mode(c.Gate), Unfixed: !c.Fixed, IgnoreExploited: !c.Exploited, EPSS: c.EPSS,
		Grace: time.Duration(c.Grace) * 24 * time.Hour, Severities: []finding.Severity{},
	}
	for _, word := range c.Severities {
		s, err := finding.ParseSeverity(word)
		if err != nil {
			return p, &PolicyError{"scan.severities", err}
		}
		p.Severities = append(p.Severities, s)
	}
	for i, e := range c.Exceptions {
		day, err := ParseDate(e.Expires)
		if err != nil {
			return p, &PolicyError{fmt.Sprintf("scan.exceptions[%d].expires", i), err}
		}
		p.Exceptions = append(p.Exceptions, Exception{Vulnerability: e.ID, Package: e.Match, Version: e.Version, Reason: e.Reason, Expires: day})
	}
	return p, p.Check()
}
