package rpmdb

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	judge "github.com/anchore/go-rpmdb/pkg"
	"github.com/google/go-cmp/cmp"

	"github.com/temper-images/temper/hardening/packages/rpmdb/rpmdbtest"
)

// listing is what two readers must agree on: a package and its files.
func listing(t testing.TB, blobs [][]byte) []string {
	t.Helper()
	var list []string
	for _, blob := range blobs {
		h, err := ParseHeader(blob)
		if err != nil {
			t.Fatal(err)
		}
		texts := func(tag uint32) []string {
			list, err := h.Strings(tag)
			if err != nil {
				t.Fatal(err)
			}
			return list
		}
		var line strings.Builder
		fmt.Fprint(&line, texts(TagName), texts(TagVersion), texts(TagRelease), texts(TagArch))
		indexes, err := h.Numbers(TagDirIndexes)
		if err != nil {
			t.Fatal(err)
		}
		dirs := texts(TagDirNames)
		for i, base := range texts(TagBaseNames) {
			line.WriteString(" " + path.Join(dirs[indexes[i]], base))
		}
		list = append(list, line.String())
	}
	return list
}

// judged is the listing by go-rpmdb, the reader that Syft and others use.
func judged(t testing.TB, file string) []string {
	t.Helper()
	db, err := judge.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	packages, err := db.ListPackages()
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, p := range packages {
		arch := []string{p.Arch}
		if p.Arch == "" {
			arch = nil
		}
		var line strings.Builder
		fmt.Fprint(&line, []string{p.Name}, []string{p.Version}, []string{p.Release}, arch)
		files, err := p.InstalledFileNames()
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			line.WriteString(" " + name)
		}
		list = append(list, line.String())
	}
	return list
}

// TestRealDatabases reads what real distributions wrote and writes it again;
// both times go-rpmdb must find the same.
func TestRealDatabases(t *testing.T) {
	for _, file := range realDatabases(t) {
		t.Run(filepath.Base(filepath.Dir(file)), func(t *testing.T) {
			db, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			blobs, err := Read(t.Context(), db, nil)
			if err != nil {
				t.Fatal(err)
			}
			want := judged(t, file)
			got := listing(t, blobs)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("read (-go-rpmdb +Read):\n%.2000s", diff)
			}

			var entries []Entry
			for i, blob := range blobs {
				entries = append(entries, Entry{Name: fmt.Sprint("package-", i), Blob: blob})
			}
			after, err := Write(t.Context(), entries)
			if err != nil {
				t.Fatal(err)
			}
			written := filepath.Join(t.TempDir(), rpmSQLite)
			if err := os.WriteFile(written, after, 0o600); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, judged(t, written)); diff != "" {
				t.Errorf("written (-before +go-rpmdb):\n%.2000s", diff)
			}
			again, err := Write(t.Context(), entries)
			if err != nil || !bytes.Equal(after, again) {
				t.Errorf("the same packages gave other bytes (error %v)", err)
			}
		})
	}
}

func TestRead(t *testing.T) {
	long := append(demoHeader("long"), bytes.Repeat([]byte("x"), 3000)...)
	blobs := [][]byte{demoHeader("one"), long}
	written, err := Write(t.Context(), []Entry{{"one", blobs[0]}, {"long", blobs[1]}})
	if err != nil {
		t.Fatal(err)
	}
	for name, db := range map[string][]byte{
		"ndb":                  rpmdbtest.NDB(blobs...),
		"bdb little-endian":    rpmdbtest.BDB(binary.LittleEndian, blobs...),
		"bdb big-endian":       rpmdbtest.BDB(binary.BigEndian, blobs...),
		"sqlite":               written,
		"sqlite, stranger log": written,
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Read(t.Context(), db, bytes.Repeat([]byte("x"), 100))
			if err != nil {
				t.Fatal(err)
			}
			if !equalBlobs(blobs, got) {
				t.Errorf("got %q", got)
			}
		})
	}
}

// TestReadLog reads a database whose last packages are only in its log, as a
// container's file system holds it that was snapshotted while rpm ran.
func TestReadLog(t *testing.T) {
	file := filepath.Join(t.TempDir(), rpmSQLite)
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=journal_mode(WAL)&_pragma=wal_autocheckpoint(0)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	exec := func(query string, args ...any) {
		t.Helper()
		if _, err := conn.ExecContext(t.Context(), query, args...); err != nil {
			t.Fatal(err)
		}
	}
	exec(schema())
	exec("PRAGMA wal_checkpoint(TRUNCATE)")
	var want [][]byte
	for i := range 20 {
		blob := append(demoHeader(fmt.Sprint("package-", i)), make([]byte, 5000)...)
		exec("INSERT INTO Packages(blob) VALUES (?)", blob)
		want = append(want, blob)
	}
	exec("DELETE FROM Packages WHERE hnum = 20")
	want = want[:19]
	read := func(name string) []byte {
		dt, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return dt
	}
	main, wal := read(file), read(file+"-wal")
	if got, err := Read(t.Context(), main, wal); err != nil || !equalBlobs(want, got) {
		t.Errorf("got %d packages of %d, error %v", len(got), len(want), err)
	}
	if got, err := Read(t.Context(), main, nil); err != nil || len(got) != 0 {
		t.Errorf("without the log: got %d packages, error %v", len(got), err)
	}
	// A log that was cut counts up to its last whole transaction.
	if got, err := Read(t.Context(), main, wal[:len(wal)-5000]); err != nil || len(got) != 20 {
		t.Errorf("with a cut log: got %d packages, error %v", len(got), err)
	}
}

func TestReadDamaged(t *testing.T) {
	blob := append(demoHeader("p"), make([]byte, 2000)...)
	edit := func(db []byte, change func(db []byte)) []byte {
		db = bytes.Clone(db)
		change(db)
		return db
	}
	little := binary.LittleEndian
	bdb, ndb := rpmdbtest.BDB(little, blob), rpmdbtest.NDB(blob)
	query := func(statements string) []byte {
		var dt []byte
		err := inMemory(t.Context(), func(conn *sql.Conn) error {
			if _, err := conn.ExecContext(t.Context(), statements); err != nil {
				return err
			}
			return conn.Raw(func(driver any) (err error) {
				dt, err = driver.(interface{ Serialize() ([]byte, error) }).Serialize()
				return err
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		return dt
	}
	tests := map[string][]byte{
		"bdb: chain that never ends":  edit(bdb, func(db []byte) { little.PutUint32(db[2*512+16:], 2); little.PutUint16(db[2*512+22:], 0) }),
		"bdb: chain to another type":  edit(bdb, func(db []byte) { little.PutUint32(db[2*512+16:], 1) }),
		"bdb: item past the page":     edit(bdb, func(db []byte) { little.PutUint16(db[512+bdbPageHeader+2:], 0xffff) }),
		"bdb: item at the page's end": edit(bdb, func(db []byte) { little.PutUint16(db[512+bdbPageHeader+2:], 511); db[1023] = bdbItemOffPage }),
		"bdb: too many entries":       edit(bdb, func(db []byte) { little.PutUint16(db[512+20:], 0xfffe) }),
		"bdb: odd entries":            edit(bdb, func(db []byte) { db[512+20] = 3 }),
		"bdb: value of 4 GiB":         edit(bdb, func(db []byte) { little.PutUint32(db[1024-5-4:], 0xffffffff) }),
		"bdb: more pages than file":   edit(bdb, func(db []byte) { little.PutUint32(db[32:], 0xffffffff) }),
		"bdb: page size":              edit(bdb, func(db []byte) { little.PutUint32(db[20:], 0) }),
		"bdb: encrypted":              edit(bdb, func(db []byte) { db[24] = 1 }),
		"bdb: cut":                    bdb[:1500],
		"ndb: blob of 4 GiB":          edit(ndb, func(db []byte) { little.PutUint32(db[ndbPageSize+12:], 0xffffffff) }),
		"ndb: blob past the end":      edit(ndb, func(db []byte) { little.PutUint32(db[2*ndbBlock+8:], 0xffffffff) }),
		"ndb: slot magic":             edit(ndb, func(db []byte) { db[3*ndbBlock] = 'x' }),
		"ndb: too many pages":         edit(ndb, func(db []byte) { little.PutUint32(db[12:], 0xffffffff) }),
		"ndb: cut":                    ndb[:20],
		"sqlite: cut":                 []byte(sqliteMagic),
		"sqlite: no table":            query("CREATE TABLE x(y)"),
		"sqlite: garbage":             append([]byte(sqliteMagic), bytes.Repeat([]byte{0xff}, 4096)...),
		"sqlite: view": query(`CREATE VIEW Packages AS
			WITH RECURSIVE n(hnum) AS (SELECT 1 UNION ALL SELECT hnum+1 FROM n) SELECT hnum, zeroblob(1000000) AS blob FROM n`),
		"sqlite: computed column": query(`CREATE TABLE Packages(hnum INTEGER PRIMARY KEY, blob AS (zeroblob(100000000)));
			INSERT INTO Packages(hnum) VALUES (1), (2), (3)`),
		"sqlite: virtual table": query(`CREATE VIRTUAL TABLE Packages USING fts5(hnum, blob)`),
	}
	for name, db := range tests {
		t.Run(name, func(t *testing.T) {
			if blobs, err := Read(t.Context(), db, nil); err == nil {
				t.Errorf("no error, %d blobs", len(blobs))
			}
		})
	}
	for _, db := range [][]byte{nil, []byte("Packages"), make([]byte, 4096)} {
		if _, err := Read(t.Context(), db, nil); !errors.Is(err, ErrFormat) {
			t.Errorf("%d bytes of no database: error %v, want ErrFormat", len(db), err)
		}
	}
}

func TestReadCanceled(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stop")
	cancel(stop)
	for _, db := range [][]byte{rpmdbtest.NDB(demoHeader("p")), rpmdbtest.BDB(binary.LittleEndian, demoHeader("p"))} {
		if _, err := Read(ctx, db, nil); !errors.Is(err, stop) {
			t.Errorf("error %v, want the cause of the cancelation", err)
		}
	}
}

func TestHeader(t *testing.T) {
	h, err := ParseHeader(demoHeader("p"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := h.Strings(TagDirNames); err != nil || !slices.Equal(got, []string{"/usr/bin/", "/usr/share/doc/"}) {
		t.Errorf("directories %q, error %v", got, err)
	}
	if got, err := h.Numbers(TagDirIndexes); err != nil || !slices.Equal(got, []uint32{0, 1}) {
		t.Errorf("indexes %d, error %v", got, err)
	}
	if got, err := h.Strings(TagOldFileNames); err != nil || got != nil {
		t.Errorf("absent tag: %q, error %v", got, err)
	}
	if _, err := h.Strings(TagDirIndexes); err == nil {
		t.Error("numbers were read as strings")
	}
	if _, err := h.Numbers(TagDirNames); err == nil {
		t.Error("strings were read as numbers")
	}
	for cut := range len(demoHeader("p")) {
		if _, err := ParseHeader(demoHeader("p")[:cut]); err == nil {
			t.Errorf("a header cut at %d is no error", cut)
		}
	}
}

func FuzzRead(f *testing.F) {
	blob := append(demoHeader("p"), make([]byte, 1000)...)
	written, err := Write(f.Context(), []Entry{{"p", demoHeader("p")}})
	if err != nil {
		f.Fatal(err)
	}
	for _, db := range [][]byte{rpmdbtest.NDB(blob), rpmdbtest.BDB(binary.LittleEndian, blob), rpmdbtest.BDB(binary.BigEndian, blob), written} {
		f.Add(db, []byte(nil))
	}
	f.Fuzz(func(t *testing.T, db, wal []byte) {
		blobs, _ := Read(t.Context(), db, wal)
		total := 0
		for _, blob := range blobs {
			total += len(blob)
			readHeader(blob)
		}
		if total > len(db)+len(wal) {
			t.Errorf("%d bytes of headers in a database of %d", total, len(db)+len(wal))
		}
	})
}

func FuzzHeader(f *testing.F) {
	f.Add(demoHeader("p"))
	f.Fuzz(func(_ *testing.T, blob []byte) { readHeader(blob) })
}

func readHeader(blob []byte) {
	h, err := ParseHeader(blob)
	if err != nil {
		return
	}
	for tag := range h.tags {
		_, _ = h.Strings(tag)
		_, _ = h.Numbers(tag)
	}
}
