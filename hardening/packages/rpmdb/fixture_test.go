package rpmdb

import (
	"bytes"
	"encoding/binary"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// makeHeader returns a header blob with string arrays and lists of 32-bit
// numbers, in the order of their tags.
func makeHeader(texts map[uint32][]string, numbers map[uint32][]uint32) []byte {
	var index, data []byte
	n := 0
	add := func(tag, kind, count int) {
		for _, v := range []int{tag, kind, len(data), count} {
			index = binary.BigEndian.AppendUint32(index, uint32(v))
		}
		n++
	}
	for tag := uint32(0); tag < 6000; tag++ {
		if list, ok := texts[tag]; ok {
			kind := typeStringArray
			if len(list) == 1 && tag < TagOldFileNames {
				kind = typeString
			}
			add(int(tag), kind, len(list))
			for _, s := range list {
				data = append(append(data, s...), 0)
			}
		}
		if list, ok := numbers[tag]; ok {
			data = append(data, make([]byte, (4-len(data)%4)%4)...)
			add(int(tag), typeInt32, len(list))
			for _, v := range list {
				data = binary.BigEndian.AppendUint32(data, v)
			}
		}
	}
	blob := binary.BigEndian.AppendUint32(nil, uint32(n))
	blob = binary.BigEndian.AppendUint32(blob, uint32(len(data)))
	return append(append(blob, index...), data...)
}

// demoHeader returns the header of a package with two files.
func demoHeader(name string) []byte {
	return makeHeader(map[uint32][]string{
		TagName: {name}, TagVersion: {"1.0"}, TagRelease: {"2"}, TagArch: {"noarch"}, TagSourceRPM: {name + ".src.rpm"},
		TagProvideName: {name, "cap"}, TagRequireName: {"glibc", "(a or b)"},
		TagBaseNames: {name, "README"}, TagDirNames: {"/usr/bin/", "/usr/share/doc/"},
	}, map[uint32][]uint32{TagDirIndexes: {0, 1}, TagRequireFlags: {0, 0}})
}

// makeNDB returns an ndb database.
func makeNDB(blobs ...[]byte) []byte {
	db := make([]byte, ndbPageSize)
	copy(db, ndbMagic)
	db[12] = 1
	for off := 2 * ndbBlock; off < len(db); off += ndbBlock {
		copy(db[off:], ndbSlotMagic)
	}
	for i, blob := range blobs {
		slot := db[(2+i)*ndbBlock:]
		binary.LittleEndian.PutUint32(slot[4:], uint32(i+1))
		binary.LittleEndian.PutUint32(slot[8:], uint32(len(db)/ndbBlock))
		head := make([]byte, ndbBlock)
		copy(head, ndbBlobMagic)
		binary.LittleEndian.PutUint32(head[4:], uint32(i+1))
		binary.LittleEndian.PutUint32(head[12:], uint32(len(blob)))
		db = append(append(db, head...), blob...)
		db = append(db, make([]byte, (ndbBlock-len(db)%ndbBlock)%ndbBlock)...)
	}
	return db
}

// makeBDB returns a BerkeleyDB hash database with pages of 512 bytes: the
// metadata, one page of items, then the overflow pages.
func makeBDB(order binary.ByteOrder, blobs ...[]byte) []byte {
	const size = 512
	db := make([]byte, 2*size)
	order.PutUint32(db[12:], bdbHashMagic)
	order.PutUint32(db[20:], size)
	db[25] = bdbPageHashMeta
	page := db[size : 2*size]
	page[25] = bdbPageHash
	order.PutUint16(page[20:], uint16(2*len(blobs)))
	top := size
	var overflow []byte
	for i, blob := range blobs {
		top -= 5 // the key: a type and a number
		page[top] = bdbItemOnPage
		order.PutUint16(page[bdbPageHeader+4*i:], uint16(top))
		top -= bdbOffPageSize
		page[top] = bdbItemOffPage
		order.PutUint16(page[bdbPageHeader+4*i+2:], uint16(top))
		order.PutUint32(page[top+4:], uint32(2+len(overflow)/size))
		order.PutUint32(page[top+8:], uint32(len(blob)))
		for len(blob) > 0 {
			part := blob[:min(len(blob), size-bdbPageHeader)]
			blob = blob[len(part):]
			next := make([]byte, size)
			next[25] = bdbPageOverflow
			order.PutUint16(next[22:], uint16(len(part)))
			if len(blob) > 0 {
				order.PutUint32(next[16:], uint32(3+len(overflow)/size))
			}
			copy(next[bdbPageHeader:], part)
			overflow = append(overflow, next...)
		}
	}
	db = append(db, overflow...)
	order.PutUint32(db[32:], uint32(len(db)/size-1))
	return db
}

// realDatabases returns the paths of the databases of real distributions that
// are part of the module go-rpmdb.
func realDatabases(t *testing.T) []string {
	t.Helper()
	cmd := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/anchore/go-rpmdb")
	cmd.Stderr = t.Output()
	dir, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", cmd.Args, err)
	}
	var files []string
	for _, name := range []string{rpmBDB, rpmNDB, rpmSQLite} {
		found, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), "pkg/testdata/*", name))
		if err != nil {
			t.Fatal(err)
		}
		if len(found) == 0 {
			t.Fatalf("go-rpmdb holds no database of the name %s", name)
		}
		files = append(files, found...)
	}
	return files
}

const (
	rpmBDB    = "Packages"
	rpmNDB    = "Packages.db"
	rpmSQLite = "rpmdb.sqlite"
)

func equalBlobs(a, b [][]byte) bool {
	return bytes.Equal(bytes.Join(a, []byte("|")), bytes.Join(b, []byte("|")))
}
