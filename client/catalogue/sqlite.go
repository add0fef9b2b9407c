package catalogue

import (
	// Syft reads rpm's databases through whichever driver is registered as
	// "sqlite". It has to be the one that Grype brings, since a second
	// registration panics.
	_ "github.com/glebarez/go-sqlite"
)
