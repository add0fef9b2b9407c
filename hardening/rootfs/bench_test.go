package rootfs

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// makeBench makes 4,000 files of 90 MB in 400 directories, the shape of Debian
// with nginx: most files are small, some are libraries.
func makeBench(b *testing.B) string {
	b.Helper()
	dir := b.TempDir()
	data := make([]byte, 2<<20)
	for i := range data {
		data[i] = byte(i * 7)
	}
	for i := range 4000 {
		size := 2000 + i
		if i%100 == 0 {
			size = 2 << 20
		}
		path := filepath.Join(dir, fmt.Sprintf("usr/share/package%d/directory%d/file%d", i%40, i%400, i))
		must(b, os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data[:size], 0o644))
	}
	return dir
}

func BenchmarkScan(b *testing.B) {
	root := openDir(b, makeBench(b))
	for b.Loop() {
		if _, err := Scan(b.Context(), root, ScanOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCopy(b *testing.B) {
	tree := scanDir(b, makeBench(b))
	dst := openDir(b, b.TempDir())
	for b.Loop() {
		if _, err := Copy(b.Context(), tree, dst, Plan{}); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		must(b, removeAll(dst))
		b.StartTimer()
	}
}

func BenchmarkResolve(b *testing.B) {
	tree := scanDir(b, makeTree(b, "usr/lib/x86_64-linux-gnu/libc.so.6=", "lib->usr/lib"))
	for b.Loop() {
		if _, err := tree.Resolve("/lib/x86_64-linux-gnu/libc.so.6"); err != nil {
			b.Fatal(err)
		}
	}
}
