package inspect

import "github.com/temper-images/temper/frontend/config"

// FromConfig is the policy that temper.yaml states. It is not checked yet.
func FromConfig(image config.Inspect, licences config.Licences) Policy {
	p := Policy{
		Gate: Action(image.Gate), Fail: image.Fail, Warn: image.Warn, Off: image.Off, Exceptions: exceptions(image.Exceptions),
		Licences: LicencePolicy{
			Gate: Action(licences.Gate), Unknown: Action(licences.Unknown), Exceptions: exceptions(licences.Exceptions),
		},
	}
	p.Licences.Allow, p.Licences.Deny = licences.Allow, licences.Deny
	return p
}

func exceptions(list []config.Exception) []Exception {
	var out []Exception
	for _, e := range list {
		out = append(out, Exception{ID: e.ID, Match: e.Match, Version: e.Version, Reason: e.Reason, Expires: e.Expires})
	}
	return out
}
