package sbom

import (
	"bytes"

	"github.com/google/uuid"
)

// unidentified stands in a document for its own UUID until that is known.
const unidentified = "00000000-0000-0000-0000-000000000000"

// identify gives a document its UUID. It is a UUID of version 5 (RFC 9562, section
// 5.5) that is made from the image's digest and the rest of the document, so that
// the same document has the same one, and another document has another.
func identify(f Facts, dt []byte) []byte {
	name := append([]byte(f.Subject.Digest+"\n"), dt...)
	return bytes.ReplaceAll(dt, []byte(unidentified), []byte(uuid.NewSHA1(uuid.NameSpaceURL, name).String()))
}
