package linkage

import (
	"os"
	"testing"
)

// BenchmarkHost parses and resolves all ELF files of this machine's /usr, as
// ldd would one by one.
func BenchmarkHost(b *testing.B) {
	objects, err := parseHost(b.Context(), hostFiles(b, "/usr/bin", "/usr/sbin", "/usr/lib/x86_64-linux-gnu", "/usr/libexec"))
	if err != nil {
		b.Fatal(err)
	}
	files := sortedKeys(objects)
	b.Run("parse", func(b *testing.B) {
		for b.Loop() {
			if _, err := parseHost(b.Context(), files); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(len(files)), "files")
	})
	b.Run("open", func(b *testing.B) { // what parse cannot avoid
		for b.Loop() {
			for _, p := range files {
				f, err := os.Open(p)
				if err != nil {
					b.Fatal(err)
				}
				f.Close()
			}
		}
	})
	b.Run("resolve", func(b *testing.B) {
		fs := &hostFS{links: map[string]string{}}
		var r *Resolver
		for b.Loop() {
			if r, err = New(b.Context(), fs, objects, Options{}); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(r.lookups), "lookups")
		b.ReportMetric(float64(len(r.opened)), "paths")
	})
}
