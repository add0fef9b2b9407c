package release

import (
	"cmp"

	"github.com/temper-images/temper/client/inspect"
	"github.com/temper-images/temper/frontend/config"
)

// inspectPolicy is the policy of temper.yaml for the image itself.
func inspectPolicy(c *config.Config) inspect.Policy {
	p := inspect.Policy{
		Gate: inspect.Action(c.Inspect.Gate), Fail: c.Inspect.Fail, Warn: c.Inspect.Warn, Off: c.Inspect.Off,
		Licences: inspect.LicencePolicy{Gate: inspect.Action(c.Licences.Gate), Unknown: inspect.Action(c.Licences.Unknown)},
	}
	p.Licences.Allow, p.Licences.Deny = c.Licences.Allow, c.Licences.Deny
	for _, list := range [][]config.Exception{c.Inspect.Exceptions, c.Licences.Exceptions} {
		for _, e := range list {
			p.Exceptions = append(p.Exceptions, inspect.Exception{
				ID: cmp.Or(e.ID, "*"), Match: e.Match, Version: e.Version, Reason: e.Reason, Expires: e.Expires,
			})
		}
	}
	return p
}
