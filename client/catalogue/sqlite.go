package catalogue

// Syft reads rpm's databases through whichever driver is registered as "sqlite".
// It has to be the one that Grype brings, since a second registration panics.
import _ "github.com/glebarez/go-sqlite"
