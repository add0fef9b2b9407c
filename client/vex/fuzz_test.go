package vex

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// No document makes the reader or the comparison fail in another way than by an
// error.
func FuzzRead(f *testing.F) {
	f.Add([]byte(document(`{"@id": "pkg:oci/app", "subcomponents": [{"@id": "pkg:deb/debian/libssl3"}]}`)))
	f.Add([]byte(document(`"registry.example.com:5000/team/app:1.2"`)))
	f.Add([]byte(csafText("fixed", "IMAGE:PACKAGE")))
	f.Fuzz(func(t *testing.T, dt []byte) {
		d, err := Read("fuzz", dt)
		if err != nil {
			return
		}
		if s := Find([]*Document{d}, img, found); s != nil {
			require.NotEmpty(t, s.Product)
			require.NotEmpty(t, s.Status)
		}
	})
}

func FuzzProduct(f *testing.F) {
	f.Add("pkg:oci/app@sha256:00?repository_url=docker.io/library")
	f.Add("docker://registry.example.com:5000/team/app@sha256:00")
	f.Fuzz(func(_ *testing.T, id string) {
		img.is(id)
		isPackage([]string{id}, found.Package)
	})
}
