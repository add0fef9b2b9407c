package stage

// Event describes the records of one kind of step.
type Event struct {
	// Name is the event's name in records, spans and metrics: "scan".
	Name string
	// About says in one line what the step does.
	About string
	// Facts are what the record of the completed step may have besides the
	// fields of all records. A fact that does not apply is left out.
	Facts []Fact
}

// Fact is one field of a record.
type Fact struct {
	// Key is the field's name. It ends in _bytes for a size in bytes.
	Key string
	// Number says that the fact is a number, and with that a metric too.
	Number bool
	// About says in one line what it is.
	About string
	// Common says that several events have it, with one meaning.
	Common bool
}

// The names of the events.
const (
	Pipeline   = "pipeline"
	Build      = "build"
	Compress   = "compress"
	Database   = "database"
	Catalogue  = "catalogue"
	SBOM       = "sbom"
	Scan       = "scan"
	Gate       = "gate"
	Inspect    = "inspect"
	Provenance = "provenance"
	Sign       = "sign"
	Store      = "store"
	Verify     = "verify"
	Report     = "report"
	Publish    = "publish"
	Copy       = "copy"
	Save       = "save"
	Load       = "load"
	Journal    = "journal"
	Read       = "read"
)

// The facts that several events have.
var (
	image     = Fact{Key: "image", Common: true, About: "digest of the image manifest, or of the index for all platforms"}
	platform  = Fact{Key: "platform", Common: true, About: "platform of the image, `linux/amd64`"}
	documents = Fact{Key: "documents", Common: true, Number: true, About: "how many documents were made, signed, stored or read"}
	size      = Fact{Key: "size_bytes", Common: true, Number: true, About: "their size together; of a catalogue the size of the image's layers, compressed; of a database what was downloaded"}
	digests   = Fact{Key: "digests", Common: true, About: "digests of the documents by file name"}
)

func number(key, about string) Fact { return Fact{Key: key, Number: true, About: about} }
func text(key, about string) Fact   { return Fact{Key: key, About: about} }

// Events are all events, in the order of the pipeline. docs/logging.md lists them
// for the user.
var Events = []Event{
	{Pipeline, "the whole of one command", []Fact{
		text("command", "the command, `temper build`"), image,
		number("platforms", "how many platforms"),
	}},
	{Build, "build and harden the image", []Fact{
		image, number("platforms", "how many platforms"),
		text("builder", "kind and address of the builder"),
		number("files_before", "files before hardening"), number("files_after", "files after hardening"),
		number("packages_before", "packages before hardening"), number("packages_after", "packages after hardening"),
		number("before_bytes", "size of the root filesystem before hardening"),
		number("after_bytes", "size of the root filesystem after hardening"),
	}},
	{Compress, "finish the image's layout, whose layers were compressed while they came from the builder", []Fact{
		image, number("layers", "layers of the image"), number("unchanged_layers", "of these, layers that an earlier release compressed"),
		number("uncompressed_bytes", "size of the layers as the builder sent them"), number("compressed_bytes", "their size compressed"),
	}},
	{Database, "open, and where due download, the vulnerability database", []Fact{
		text("built", "when the database was built, RFC 3339"), text("source", "where it came from"),
		text("digest", "digest of the database"), size,
	}},
	{Journal, "look for what an earlier run of the same release made", []Fact{
		image, platform, text("release", "the release's id"), text("complete", "whether it was completed before"),
		documents, size, digests,
	}},
	{Catalogue, "list the packages of an image", []Fact{
		image, platform, number("packages", "packages found"), number("files", "files of the image"),
		size,
	}},
	{SBOM, "write CycloneDX and SPDX", []Fact{image, platform, documents, size, digests}},
	{Scan, "match the packages with known vulnerabilities", []Fact{
		image, platform, number("findings", "findings in all"), number("critical", "of severity critical"),
		number("high", "of severity high"), number("medium", "of severity medium"), number("low", "of severity low, negligible or unknown"),
		number("fixable", "with a fixed version"), number("kev", "known to be exploited (CISA KEV)"),
		number("suppressed", "answered by VEX statements"), documents, size, digests,
	}},
	{Gate, "judge the findings by the policy", []Fact{
		image, platform, text("decision", "`pass`, `warn` or `fail`"),
		number("violations", "findings that break the policy"), number("exceptions", "findings let through by an exception"),
	}},
	{Inspect, "judge configuration, files, secrets and licences", []Fact{
		image, platform, text("decision", "`pass`, `warn` or `fail`"), number("findings", "findings in all"),
		number("secrets", "secrets found in layers and configuration"), number("licences", "licences that are not allowed"),
	}},
	{Provenance, "write SLSA provenance", []Fact{
		image, platform, number("dependencies", "resolved dependencies"), documents, size, digests,
	}},
	{Sign, "sign the documents", []Fact{
		documents, number("signatures", "signatures made"), text("key", "which key: a reference without secrets, or `keyless`"),
	}},
	{Store, "put the documents into the evidence store", []Fact{
		image, platform, documents, text("url", "where, without credentials"), number("uploaded", "objects written"),
		number("unchanged", "objects that were there already"), size,
	}},
	{Verify, "read evidence back and check it", []Fact{
		image, documents, number("signatures", "signatures that are good"), size,
	}},
	{Report, "write the HTML page", []Fact{image, text("path", "the file"), size}},
	{Publish, "push the image, its signatures and attestations, and write the tags", []Fact{
		image, text("repository", "the repositories, without credentials"), text("order", "`signature-first` or `digest-first`, in each"),
		number("uploaded", "blobs pushed"), number("mounted", "blobs taken from another repository"), number("unchanged", "blobs that were there already"),
		size, number("signatures", "signatures and attestations pushed"), number("reused", "signatures and attestations that were there already"),
		number("tags", "tags that name the image"),
	}},
	{Copy, "copy an image with everything attached to another registry", moved()},
	{Save, "save an image with everything attached into a file", moved()},
	{Load, "push a saved image with everything attached", moved()},
	{Read, "read the files and packages of an image, to explain or compare them", []Fact{
		image, platform, number("packages", "packages of the distribution"), number("files", "files of the image"), size,
	}},
}

// moved are the facts of an image that went from one place to another.
func moved() []Fact {
	return []Fact{
		image, number("manifests", "manifests of the image"), number("attached", "manifests attached to it"), number("uploaded", "blobs pushed"),
		number("mounted", "blobs taken from another repository"), size,
	}
}

// FindEvent returns the event of a name.
func FindEvent(name string) (Event, bool) {
	for _, e := range Events {
		if e.Name == name {
			return e, true
		}
	}
	return Event{}, false
}
