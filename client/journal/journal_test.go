package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var now = time.Date(2026, 4, 1, 12, 0, 0, 0, time.UTC)

func open(t *testing.T, dir, id string) (*Journal, *[]string) {
	t.Helper()
	var notices []string
	j, err := Open(t.Context(), id, Options{Dir: dir, Now: now, Notice: func(s string) { notices = append(notices, s) }})
	require.NoError(t, err)
	t.Cleanup(func() { _ = j.Close() })
	return j, &notices
}

func TestID(t *testing.T) {
	require.Equal(t, ID("a", "bc"), ID("a", "bc"))
	require.NotEqual(t, ID("a", "bc"), ID("ab", "c"))
	require.Regexp(t, validID, ID())
	for _, id := range []string{"", "..", "a/b", "A", "-a", strings.Repeat("a", 129)} {
		_, err := Open(t.Context(), id, Options{Dir: t.TempDir()})
		require.ErrorContains(t, err, "an id is made of", id)
	}
}

func TestDefaultDir(t *testing.T) {
	require.True(t, strings.HasSuffix(DefaultDir(), filepath.Join("temper", "releases")), DefaultDir())
}

// What was written is read by the next process.
func TestRememberedAcrossProcesses(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, dir, "r")
	require.NoError(t, j.Append(Record{Op: "tag", State: "started", On: "registry.example.com/app:1"}))
	require.NoError(t, j.Put("signed a", []byte("first")))
	require.NoError(t, j.Put("signed a", []byte("second")))
	require.NoError(t, j.Put("signed b", []byte("first")))
	require.NoError(t, j.Put("nothing", nil))
	require.False(t, j.Completed())
	require.NoError(t, j.Complete())
	before := j.Records()
	require.NoError(t, j.Close())
	require.ErrorContains(t, j.Append(Record{Op: "tag"}), "closed")
	require.ErrorContains(t, j.Put("x", nil), "closed")
	_, err := j.Get("signed a")
	require.ErrorContains(t, err, "closed")

	j, notices := open(t, dir, "r")
	require.Empty(t, *notices)
	require.True(t, j.Completed())
	require.Equal(t, before, j.Records())
	require.Equal(t, Record{Time: now, Op: "tag", State: "started", On: "registry.example.com/app:1"}, j.Records()[0])
	for name, want := range map[string]string{"signed a": "second", "signed b": "first", "nothing": ""} {
		got, err := j.Get(name)
		require.NoError(t, err)
		require.Equal(t, want, string(got))
	}
	_, err = j.Get("signed c")
	require.ErrorIs(t, err, fs.ErrNotExist)
	other, _ := open(t, dir, "s")
	require.Empty(t, other.Records())
}

// What is there already is not written again.
func TestPutTwice(t *testing.T) {
	j, _ := open(t, t.TempDir(), "r")
	require.NoError(t, j.Put("a", []byte("x")))
	require.NoError(t, j.Put("a", []byte("x")))
	require.Len(t, j.Records(), 1)
}

// A process may end at any byte of a record. What was whole stays, and what comes
// after the next start stands on a line of its own.
func TestTornLine(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, dir, "r")
	require.NoError(t, j.Append(Record{Op: "one"}))
	require.NoError(t, j.Append(Record{Op: "two"}))
	require.NoError(t, j.Close())
	file := filepath.Join(dir, "r", recordsFile)
	whole, err := os.ReadFile(file)
	require.NoError(t, err)
	for cut := range len(whole) + 1 {
		require.NoError(t, os.WriteFile(file, whole[:cut], 0o600))
		j, notices := open(t, dir, "r")
		require.Empty(t, *notices, "cut at %d", cut)
		require.Len(t, j.Records(), bytes.Count(whole[:cut], []byte("\n")))
		require.NoError(t, j.Append(Record{Op: "three"}))
		require.NoError(t, j.Close())
		j, notices = open(t, dir, "r")
		require.Empty(t, *notices, "cut at %d", cut)
		records := j.Records()
		require.Equal(t, "three", records[len(records)-1].Op)
		require.NoError(t, j.Close())
	}
	// A machine that crashed may have the length of a line without its content.
	require.NoError(t, os.WriteFile(file, append(bytes.Clone(whole), []byte("\x00\x00\x00\x00\n")...), 0o600))
	j, notices := open(t, dir, "r")
	require.Empty(t, *notices)
	require.Len(t, j.Records(), 2)
}

func TestDamaged(t *testing.T) {
	good := `{"time":"2026-04-01T12:00:00Z","op":"tag"}` + "\n"
	for name, spoil := range map[string]func(t *testing.T, file string){
		"garbage":     write("garbage\n" + good),
		"no object":   write("[1]\n" + good),
		"no op":       write("{}\n" + good),
		"bad digest":  write(`{"op":"file","name":"a","digest":"sha256:zz"}` + "\n" + good),
		"huge file":   write(`{"op":"file","name":"a","digest":"sha256:` + strings.Repeat("0", 64) + `","size":99999999999}` + "\n" + good),
		"long line":   write(`{"op":"` + strings.Repeat("x", maxLine) + `"}` + "\n" + good),
		"too large":   write(strings.Repeat(good, startAnew/len(good)+1)),
		"a directory": func(t *testing.T, file string) { require.NoError(t, os.MkdirAll(filepath.Join(file, "x"), 0o700)) },
		"a link": func(t *testing.T, file string) {
			require.NoError(t, os.Symlink("/etc/passwd", file))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.Mkdir(filepath.Join(dir, "r"), 0o700))
			file := filepath.Join(dir, "r", recordsFile)
			// A second time what was set aside makes room.
			for range 2 {
				require.NoError(t, os.RemoveAll(file))
				spoil(t, file)
				j, notices := open(t, dir, "r")
				require.Len(t, *notices, 1)
				require.Contains(t, (*notices)[0], damagedFile)
				require.Empty(t, j.Records())
				require.NoError(t, j.Put("a", []byte("x")))
				require.NoError(t, j.Close())
				j, notices = open(t, dir, "r")
				require.Empty(t, *notices)
				require.Len(t, j.Records(), 1)
				require.NoError(t, j.Close())
				_, err := os.Lstat(filepath.Join(dir, "r", damagedFile))
				require.NoError(t, err)
			}
		})
	}
}

func write(text string) func(*testing.T, string) {
	return func(t *testing.T, file string) { require.NoError(t, os.WriteFile(file, []byte(text), 0o600)) }
}

// A file that is not what was kept counts as not there, and can be kept again.
func TestChangedFile(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, dir, "r")
	for _, spoil := range []func(file string) error{
		func(file string) error { return os.WriteFile(file, []byte("other"), 0o600) },
		func(file string) error { return os.WriteFile(file, []byte("datb"), 0o600) },
		func(file string) error { return os.Truncate(file, 2) },
		os.Remove,
	} {
		require.NoError(t, j.Put("a", []byte("data")))
		got, err := j.Get("a")
		require.NoError(t, err)
		require.Equal(t, "data", string(got))
		list, err := filepath.Glob(filepath.Join(dir, "r", filesDir, "*"))
		require.NoError(t, err)
		require.Len(t, list, 1)
		require.NoError(t, spoil(list[0]))
		_, err = j.Get("a")
		require.Error(t, err)
	}
	require.Error(t, j.Put("", []byte("x")))
	require.Error(t, j.Put("a", make([]byte, maxFile+1)))
	require.Error(t, j.Append(Record{}))
	require.Error(t, j.Append(Record{Op: strings.Repeat("x", maxLine)}))
}

// A second process of the same release waits, and is told for whom.
func TestLocked(t *testing.T) {
	dir := t.TempDir()
	first, err := Open(t.Context(), "r", Options{Dir: dir, Now: now, Owner: "temper release registry.example.com/app:1"})
	require.NoError(t, err)

	told := make(chan string, 1)
	o := Options{Dir: dir, Now: now, Notice: func(s string) { told <- s }}
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := make(chan error, 1)
	go func() {
		_, err := Open(ctx, "r", o)
		stopped <- err
	}()
	require.Contains(t, <-told, fmt.Sprintf("process %d: temper release registry.example.com/app:1", os.Getpid()))
	why := errors.New("interrupted")
	cancel(why)
	require.ErrorIs(t, <-stopped, why)

	var second *Journal
	go func() {
		var err error
		second, err = Open(t.Context(), "r", o)
		stopped <- err
	}()
	<-told
	require.NoError(t, first.Append(Record{Op: "tag"}))
	require.NoError(t, first.Close())
	require.NoError(t, <-stopped)
	require.Len(t, second.Records(), 1)
	require.NoError(t, second.Close())
}

// Goroutines write side by side.
func TestSideBySide(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, dir, "r")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 5 {
				name := fmt.Sprintf("%d-%d", i, n)
				if err := errors.Join(j.Append(Record{Op: "blob", On: name}), j.Put(name, []byte(name))); err != nil {
					panic(err)
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, j.Close())
	j, notices := open(t, dir, "r")
	require.Empty(t, *notices)
	require.Len(t, j.Records(), 80)
	got, err := j.Get("7-4")
	require.NoError(t, err)
	require.Equal(t, "7-4", string(got))
}

// Journals that are old or too many go; those in use stay, and what is no journal.
func TestPrune(t *testing.T) {
	dir := t.TempDir()
	used := func(id string, at time.Time) {
		j, _ := open(t, dir, id)
		require.NoError(t, j.Put("a", []byte("x")))
		require.NoError(t, j.Close())
		require.NoError(t, os.Chtimes(filepath.Join(dir, id, ownerFile), at, at))
	}
	ids := func() []string {
		list, err := os.ReadDir(dir)
		require.NoError(t, err)
		var names []string
		for _, e := range list {
			if e.IsDir() {
				names = append(names, e.Name())
			}
		}
		return names
	}
	require.NoError(t, os.Mkdir(filepath.Join(dir, "Other"), 0o755))
	used("recent", now.Add(-time.Hour))
	used("older", now.Add(-48*time.Hour))
	used("old", now.Add(-31*24*time.Hour))
	open(t, dir, "busy")
	require.NoError(t, os.Chtimes(filepath.Join(dir, "busy", ownerFile), now.Add(-100*24*time.Hour), now.Add(-100*24*time.Hour)))

	j, err := Open(t.Context(), "r", Options{Dir: dir, Now: now})
	require.NoError(t, err)
	require.NoError(t, j.Close())
	require.Equal(t, []string{"Other", "busy", "older", "r", "recent"}, ids())
	j, err = Open(t.Context(), "new", Options{Dir: dir, Now: now, Keep: 2})
	require.NoError(t, err)
	require.NoError(t, j.Close())
	require.Equal(t, []string{"Other", "busy", "new", "r", "recent"}, ids())
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"time":"2026-04-01T12:00:00Z","op":"tag","state":"done","on":"a"}` + "\n" + `{"op":"complete"}` + "\n" + `{"op":`))
	f.Add([]byte(`{"op":"file","name":"a","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0}` + "\n"))
	f.Add([]byte("\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		records, whole, err := parse(data)
		if err != nil {
			require.Empty(t, records)
			return
		}
		require.LessOrEqual(t, whole, len(data))
		require.Equal(t, bytes.Count(data[:whole], []byte("\n")), len(records))
		// What is read can be written, and read again.
		var again []byte
		for _, r := range records {
			line, err := r.line()
			if err != nil {
				return // longer than it was, for its escapes
			}
			again = append(again, line...)
		}
		second, _, err := parse(again)
		require.NoError(t, err)
		require.Equal(t, len(records), len(second))
	})
}
