package config

// The sections below are for the client. The frontend checks them, so that a build
// by any door finds a mistake, and makes no use of them: they change no image.

// Gate says what becomes of a release that breaks a rule.
type Gate string

// The values of Gate.
const (
	// GateFail ends the release.
	GateFail Gate = "fail"
	// GateWarn goes on, and says so everywhere.
	GateWarn Gate = "warn"
	// GateOff asks nothing.
	GateOff Gate = "off"
)

// Exception lets one finding through. It has a reason and an end.
type Exception struct {
	// What the gate found: a vulnerability, a rule or a licence.
	ID string `yaml:"-" json:"id,omitempty"`
	// Name or glob of the package, or of the file or variable; empty means any.
	Match string `yaml:"-" json:"match,omitempty"`
	// Version or glob of the package's version; empty means any.
	Version string `yaml:"-" json:"version,omitempty"`
	// Why the finding is accepted.
	Reason string `yaml:"-" json:"reason,omitempty"`
	// The last day on which it is accepted, YYYY-MM-DD.
	Expires string `yaml:"-" json:"expires,omitempty"`
}

// SBOM tunes the software catalogues.
type SBOM struct {
	// Which documents are written.
	Formats []string `yaml:"formats" json:"formats,omitempty"`
	// Version of the CycloneDX specification.
	CycloneDX string `yaml:"cyclonedx" json:"cyclonedx,omitempty"`
	// Version of the SPDX specification.
	SPDX string `yaml:"spdx" json:"spdx,omitempty"`
	// Whether the build context is catalogued too, as build dependencies.
	Context bool `yaml:"context" json:"context,omitempty"`
	// Builder stages that are catalogued too, as build dependencies.
	Stages []string `yaml:"stages" json:"stages,omitempty"`
}

// Scan tunes the vulnerability gate.
type Scan struct {
	// What becomes of a release with a vulnerability that counts.
	Gate Gate `yaml:"gate" json:"gate,omitempty"`
	// Severities that count.
	Severities []string `yaml:"severities" json:"severities,omitempty"`
	// Whether only vulnerabilities count that an update would fix.
	Fixed bool `yaml:"fixed" json:"fixed,omitempty"`
	// Whether a vulnerability that is known to be exploited (CISA KEV) counts whatever else is said.
	Exploited bool `yaml:"exploited" json:"exploited,omitempty"`
	// Probability of exploitation (EPSS, 0 to 1) from which on a vulnerability counts whatever its severity; 0 means never.
	EPSS float64 `yaml:"epss" json:"epss,omitempty"`
	// Days that a vulnerability with a fix may be known before it counts.
	Grace int `yaml:"grace" json:"grace,omitempty"`
	// VEX documents (OpenVEX or CSAF), as paths in the build context.
	VEX []string `yaml:"vex" json:"vex,omitempty"`
	// Vulnerability database: an archive, the URL of a mirror, or oci://REFERENCE; empty means the published one.
	Database string `yaml:"database" json:"database,omitempty"`
	// Days after which the database is too old to be believed.
	MaxAge int `yaml:"maxage" json:"maxage,omitempty"`
	// Findings that are let through.
	Exceptions []Exception `yaml:"exceptions" json:"exceptions,omitempty"`
}

// Inspect tunes the gate on the image itself.
type Inspect struct {
	// What becomes of a release with a fault that counts.
	Gate Gate `yaml:"gate" json:"gate,omitempty"`
	// Rules that stop a release.
	Fail []string `yaml:"fail" json:"fail,omitempty"`
	// Rules that are only told.
	Warn []string `yaml:"warn" json:"warn,omitempty"`
	// Rules that are not asked.
	Off []string `yaml:"off" json:"off,omitempty"`
	// Faults that are let through.
	Exceptions []Exception `yaml:"exceptions" json:"exceptions,omitempty"`
}

// Licences tunes the gate on licences.
type Licences struct {
	// What becomes of a release with a licence that counts.
	Gate Gate `yaml:"gate" json:"gate,omitempty"`
	// The only licences that may be there, as SPDX identifiers or globs; empty means all.
	Allow []string `yaml:"allow" json:"allow,omitempty"`
	// Licences that must not be there.
	Deny []string `yaml:"deny" json:"deny,omitempty"`
	// What becomes of packages without a known licence.
	Unknown Gate `yaml:"unknown" json:"unknown,omitempty"`
	// Licences that are let through.
	Exceptions []Exception `yaml:"exceptions" json:"exceptions,omitempty"`
}

// TLog says whether signatures go into a transparency log.
type TLog string

// The values of TLog.
const (
	// TLogAuto means on for keyless signatures, which need it, and off for keys.
	TLogAuto TLog = "auto"
	TLogOn   TLog = "on"
	TLogOff  TLog = "off"
)

// Sign says with what the evidence is signed.
type Sign struct {
	// Key: a file, env://, awskms://, gcpkms://, azurekms://, hashivault://, k8s:// or pkcs11: reference, or "keyless"; empty means no signatures.
	Key string `yaml:"key" json:"key,omitempty"`
	// Password of a key file, as a secret reference (ref+…); COSIGN_PASSWORD when empty.
	Password string `yaml:"password" json:"password,omitempty"`
	// Whether signatures go into a transparency log.
	TLog TLog `yaml:"tlog" json:"tlog,omitempty"`
	// URL of a Rekor transparency log of your own.
	Rekor string `yaml:"rekor" json:"rekor,omitempty"`
	// URL of a Fulcio certificate authority of your own.
	Fulcio string `yaml:"fulcio" json:"fulcio,omitempty"`
	// Identity token for keyless signatures, as a secret reference (ref+…); the CI platform's when empty.
	Token string `yaml:"token" json:"token,omitempty"`
	// URL of an RFC 3161 timestamp authority.
	Timestamp string `yaml:"timestamp" json:"timestamp,omitempty"`
	// Trusted root file of a Sigstore deployment of your own.
	Root string `yaml:"root" json:"root,omitempty"`
	// Signing config file of a Sigstore deployment of your own, with the addresses of its services.
	Services string `yaml:"services" json:"services,omitempty"`
	// URL of a TUF repository with the trusted root and the signing config.
	TUF string `yaml:"tuf" json:"tuf,omitempty"`
	// File with the first root metadata of the TUF repository.
	TUFRoot string `yaml:"tufroot" json:"tufroot,omitempty"`
}

// Evidence says where the evidence is stored.
type Evidence struct {
	// Directory, file://, s3://, gs:// or azblob:// URL.
	URL string `yaml:"url" json:"url,omitempty"`
	// Access key or account of the store, as a secret reference (ref+…); the store's usual environment when empty.
	Account string `yaml:"account" json:"account,omitempty"`
	// Secret key of the store, as a secret reference (ref+…).
	Secret string `yaml:"secret" json:"secret,omitempty"`
}

// Order says whether signatures are in the registry before the image.
type Order string

// The values of Order.
const (
	// OrderAuto is OrderSignatureFirst where the registry allows it.
	OrderAuto Order = "auto"
	// OrderSignatureFirst has nobody see an image, by tag or by digest, without its signature.
	OrderSignatureFirst Order = "signature-first"
	// OrderDigestFirst has nobody see a tag whose image is without its signature.
	OrderDigestFirst Order = "digest-first"
)

// The forms of what is signed about an image.
const (
	FormatBundle = "bundle"
	FormatCosign = "cosign"
)

// Push says how the image is published.
type Push struct {
	// What is pushed first: signatures or the image's manifest; the tag is always last.
	Order Order `yaml:"order" json:"order,omitempty"`
	// Forms of signatures and attestations: Sigstore bundles as OCI 1.1 referrers, Cosign's .sig and .att tags.
	Formats []string `yaml:"formats" json:"formats,omitempty"`
	// Whether each platform's image gets a tag of its own, TAG-ARCH.
	ArchTags bool `yaml:"archtags" json:"archtags,omitempty"`
	// Whether the image is pushed without BuildKit's attestation manifests, and a single platform's without an index, for consumers that refuse them.
	Plain bool `yaml:"plain" json:"plain,omitempty"`
	// Credentials for registries; Docker's configuration and its helpers serve all others.
	Logins []Login `yaml:"logins" json:"logins,omitempty"`
}

// Login is what to log in to a registry with.
type Login struct {
	// Host of the registry, or the beginning of a repository's name.
	Registry string `yaml:"-" json:"registry,omitempty"`
	// User name, or a secret reference.
	Username string `yaml:"-" json:"username,omitempty"`
	// Password, as a secret reference (ref+…).
	Password string `yaml:"-" json:"password,omitempty"`
	// Bearer token that the registry takes as it is, as a secret reference (ref+…).
	Token string `yaml:"-" json:"token,omitempty"`
}

// Log says what is recorded of a run.
type Log struct {
	// Form of the records on standard error.
	Format LogFormat `yaml:"format" json:"format,omitempty"`
	// Least level that is recorded.
	Level string `yaml:"level" json:"level,omitempty"`
	// URL of an OpenTelemetry collector (OTLP); OTEL_EXPORTER_OTLP_ENDPOINT when empty.
	OTLP string `yaml:"otlp" json:"otlp,omitempty"`
	// Headers for the collector, NAME=VALUE; values may be secret references (ref+…).
	Headers []string `yaml:"headers" json:"headers,omitempty"`
}

// LogFormat is the form of log records.
type LogFormat string

// The values of LogFormat.
const (
	LogNone LogFormat = "none"
	LogText LogFormat = "text"
	LogJSON LogFormat = "json"
)
