package sbom

import (
	"bytes"

	"github.com/google/uuid"
)

// unidentified stands in a document for its own UUID until that is known. Nothing
// else has it: it was made at random.
const unidentified = "8d1f7c3e-52b6-4c0a-9e7d-3fa14b6c2d98"

// identify gives a document its UUID. It is a UUID of version 5 (RFC 9562, section
// 5.5) that is made from the image's digest and the rest of the document, so that
// the same document has the same one, and another document has another.
func identify(f Facts, dt []byte) []byte {
	name := append([]byte(f.Subject.Digest+"\n"), dt...)
	return bytes.ReplaceAll(dt, []byte(unidentified), []byte(uuid.NewSHA1(uuid.NameSpaceURL, name).String()))
}
