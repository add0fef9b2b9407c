package vulndb

import (
	"archive/tar"
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	v6 "github.com/anchore/grype/grype/db/v6"
	"github.com/stretchr/testify/require"
)

func mustOpen(t *testing.T, o Options, at time.Time) *Database {
	t.Helper()
	d, err := Open(t.Context(), o, at)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}

func TestOpenFetchesOnce(t *testing.T) {
	s := serve(t, get(t, database))
	o := options(t, s.URL)
	var steps []string
	o.Progress = func(p Progress) {
		if len(steps) == 0 || steps[len(steps)-1] != p.Step {
			steps = append(steps, p.Step)
		}
	}
	d := mustOpen(t, o, now)
	require.Equal(t, built, d.Built)
	require.Equal(t, []string{"downloading", "unpacking", "indexing"}, steps)
	covered, err := d.Covers("debian", "12", "bookworm")
	require.NoError(t, err)
	require.True(t, covered)
	covered, err = d.Covers("plan9", "4", "")
	require.NoError(t, err)
	require.False(t, covered)

	asked := s.requests.Load()
	mustOpen(t, o, now.Add(time.Hour))
	require.Equal(t, asked, s.requests.Load(), "nobody is asked again within the interval")
	mustOpen(t, o, now.Add(3*time.Hour))
	require.Equal(t, asked+1, s.requests.Load(), "only latest.json is asked for after it")
}

// Other programs read the store as Grype's own.
func TestLayoutIsGrypes(t *testing.T) {
	o := options(t, "")
	_, err := Import(t.Context(), o, get(t, database).Archive, now)
	require.NoError(t, err)
	desc, err := v6.ReadDescription(filepath.Join(o.Dir, "6", "vulnerability.db"))
	require.NoError(t, err)
	require.Equal(t, built, desc.Built.UTC())
	require.FileExists(t, filepath.Join(o.Dir, "6", "import.json"))
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestNewerReplacesOlder(t *testing.T) {
	old := serve(t, get(t, database))
	o := options(t, old.URL)
	reader := mustOpen(t, o, now)
	next := serve(t, get(t, newer))
	old.latest, old.archive, old.name = next.latest, next.archive, next.name
	st, updated, err := Update(t.Context(), o, now)
	require.NoError(t, err)
	require.True(t, updated)
	require.Equal(t, built.Add(24*time.Hour), st.Built)
	require.FileExists(t, reader.Path, "a database that somebody reads stays")
	_, err = reader.Covers("debian", "12", "")
	require.NoError(t, err)
	require.NoError(t, reader.reader.Close())
	require.NoError(t, reader.lock.Close())

	_, updated, err = Update(t.Context(), o, now)
	require.NoError(t, err)
	require.False(t, updated)
	require.NoFileExists(t, reader.Path, "what nobody reads and nobody points to goes")
}

func TestAge(t *testing.T) {
	s := serve(t, get(t, database))
	o := options(t, s.URL)
	_, err := Open(t.Context(), o, built.Add(13*24*time.Hour))
	var stale *StaleError
	require.ErrorAs(t, err, &stale)
	require.ErrorContains(t, err, "was built on 2026-05-04 03:02 UTC, 13 days ago; the limit is 5 days")
	require.ErrorContains(t, err, "temper db update")
	require.ErrorContains(t, err, "--db")
	require.ErrorContains(t, err, "scan.database")

	s.Close()
	_, err = Open(t.Context(), o, built.Add(13*24*time.Hour))
	require.ErrorAs(t, err, &stale)
	require.ErrorContains(t, err, "and no newer one could be fetched")
	o.CheckInterval = -1
	o.MaxAge = -1
	mustOpen(t, o, built.Add(13*24*time.Hour))
	o.MaxAge = 14 * 24 * time.Hour
	d := mustOpen(t, o, built.Add(13*24*time.Hour))
	require.Len(t, d.Warnings, 1, "a server that is away is told of")
	require.Contains(t, d.Warnings[0], "no newer vulnerability database could be had")
}

func TestMissing(t *testing.T) {
	var missing *MissingError
	o := options(t, "http://127.0.0.1:1")
	_, err := Open(t.Context(), o, now)
	require.ErrorAs(t, err, &missing)
	require.ErrorContains(t, err, "none could be fetched")
	o.Offline = true
	_, err = Open(t.Context(), o, now)
	require.ErrorAs(t, err, &missing)
	require.ErrorContains(t, err, "temper db import FILE")
	_, err = Read(t.Context(), o, now)
	require.ErrorAs(t, err, &missing)
	_, err = Open(t.Context(), options(t, filepath.Join(t.TempDir(), "none.tar.zst")), now)
	require.ErrorAs(t, err, &missing)
	_, err = Open(t.Context(), options(t, "ftp://example.com/db"), now)
	require.ErrorContains(t, err, "begins with none of")
	_, _, err = Update(t.Context(), o, now)
	require.ErrorContains(t, err, "offline")
}

func TestDownloadGoesOn(t *testing.T) {
	db := get(t, database)
	t.Run("within one process", func(t *testing.T) {
		s := serve(t, db)
		s.chunk = len(s.archive)/7 + 1
		mustOpen(t, options(t, s.URL), now)
		require.Equal(t, int64(len(s.archive)), s.sent.Load(), "nothing was sent twice")
	})
	t.Run("in the next process", func(t *testing.T) {
		s := serve(t, db)
		s.chunk = len(s.archive)/2 + 1
		o := options(t, s.URL)
		ctx, cancel := context.WithCancelCause(t.Context())
		killed := errors.New("killed")
		o.Progress = func(p Progress) {
			if p.Done > 0 {
				cancel(killed)
			}
		}
		_, err := Open(ctx, o, now)
		require.ErrorIs(t, err, killed)
		parts, err := filepath.Glob(filepath.Join(o.Dir, "downloads", "*.part"))
		require.NoError(t, err)
		require.Len(t, parts, 1)
		had := must(os.Stat(parts[0])).Size()
		require.Positive(t, had)
		s.sent.Store(0)
		s.chunk = len(s.archive)
		o.Progress = nil
		mustOpen(t, o, now)
		require.Equal(t, int64(len(s.archive))-had, s.sent.Load())
		require.NoFileExists(t, parts[0])
	})
	t.Run("without ranges", func(t *testing.T) {
		s := serve(t, db)
		o := options(t, s.URL)
		part := filepath.Join(o.Dir, "downloads", get2(t, s).Encoded()+".part")
		require.NoError(t, os.MkdirAll(filepath.Dir(part), 0o755))
		require.NoError(t, os.WriteFile(part, s.archive[:100], 0o644))
		s.noRanges = true
		mustOpen(t, o, now)
	})
	t.Run("after a beginning of something else", func(t *testing.T) {
		s := serve(t, db)
		o := options(t, s.URL)
		part := filepath.Join(o.Dir, "downloads", get2(t, s).Encoded()+".part")
		require.NoError(t, os.MkdirAll(filepath.Dir(part), 0o755))
		require.NoError(t, os.WriteFile(part, []byte(zeros(100)), 0o644))
		mustOpen(t, o, now)
	})
	t.Run("when everything had come", func(t *testing.T) {
		s := serve(t, db)
		o := options(t, s.URL)
		part := filepath.Join(o.Dir, "downloads", get2(t, s).Encoded()+".part")
		require.NoError(t, os.MkdirAll(filepath.Dir(part), 0o755))
		require.NoError(t, os.WriteFile(part, s.archive, 0o644))
		mustOpen(t, o, now)
	})
	t.Run("through a storm", func(t *testing.T) {
		s := serve(t, db)
		s.unavailable.Store(3)
		mustOpen(t, options(t, s.URL), now)
	})
	t.Run("but not for ever", func(t *testing.T) {
		s := serve(t, db)
		s.unavailable.Store(1 << 20)
		_, err := Open(t.Context(), options(t, s.URL), now)
		require.ErrorContains(t, err, "503")
		require.Equal(t, int32(fruitless), s.requests.Load())
	})
	t.Run("a refusal is final", func(t *testing.T) {
		s := serve(t, db)
		_, err := Open(t.Context(), options(t, s.URL+"/elsewhere"), now)
		require.ErrorContains(t, err, "404")
		require.Equal(t, int32(1), s.requests.Load())
	})
}

func TestInvalidArchives(t *testing.T) {
	db := get(t, database)
	file := string(must(os.ReadFile(db.File)))
	tests := []struct {
		name    string
		archive func(t *testing.T, good []byte) []byte
		options func(*Options)
		want    string
	}{
		{"truncated", func(_ *testing.T, good []byte) []byte { return good[:len(good)/2] }, nil, "unexpected EOF"},
		{"empty", func(*testing.T, []byte) []byte { return nil }, nil, "neither a database nor an archive"},
		{"xz", func(*testing.T, []byte) []byte { return []byte("\xFD7zXZ\x00 and so on") }, nil, "xz"},
		{"no database", func(t *testing.T, _ []byte) []byte {
			return archive(t, member{name: "other.db", content: "x"}, member{name: "../vulnerability.db/x", content: "x"})
		}, nil, "no file vulnerability.db"},
		{"link", func(t *testing.T, _ []byte) []byte {
			return archive(t, member{name: "vulnerability.db", kind: tar.TypeSymlink})
		}, nil, "not as a regular file"},
		{"twice", func(t *testing.T, _ []byte) []byte {
			return archive(t, member{name: "vulnerability.db", content: file}, member{name: "./vulnerability.db", content: "x"})
		}, nil, "twice"},
		{"crowd", func(t *testing.T, _ []byte) []byte {
			list := make([]member, maxMembers+1)
			for i := range list {
				list[i] = member{name: "x"}
			}
			return archive(t, list...)
		}, nil, "more than 100 members"},
		{"no SQLite", func(t *testing.T, _ []byte) []byte {
			return archive(t, member{name: "vulnerability.db", content: "hello"})
		}, nil, "not usable"},
		{"bomb", func(t *testing.T, _ []byte) []byte {
			return archive(t, member{name: "vulnerability.db", content: zeros(4 << 20)})
		}, func(o *Options) { o.MaxDatabase = 1 << 20 }, "larger than 1048576 bytes"},
		{"bomb beside it", func(t *testing.T, _ []byte) []byte {
			return archive(t, member{name: "other", content: zeros(8 << 20)}, member{name: "vulnerability.db", content: "x"})
		}, func(o *Options) { o.MaxDatabase = 1 << 20 }, "larger than 1048576 bytes"},
		{"large archive", func(_ *testing.T, good []byte) []byte { return good }, func(o *Options) { o.MaxArchive = 1 << 10 }, "larger than 1024 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, db)
			s.replace(t, tt.archive(t, s.archive))
			o := options(t, s.URL)
			if tt.options != nil {
				tt.options(&o)
			}
			_, err := Open(t.Context(), o, now)
			var invalid *InvalidError
			require.ErrorAs(t, err, &invalid)
			require.ErrorContains(t, err, tt.want)
			left, err := filepath.Glob(filepath.Join(o.Dir, newPrefix+"*"))
			require.NoError(t, err)
			require.Empty(t, left, "nothing half-made stays")
			require.NoFileExists(t, store{must(o.withDefaults())}.link())
		})
	}
}

func TestInvalidListings(t *testing.T) {
	for name, tt := range map[string]struct{ from, to, want string }{
		"wrong checksum": {`"checksum": "sha256:`, `"checksum": "sha256:00`, "which is no SHA-256"},
		"no checksum":    {`"checksum": "sha256:`, `"other": "`, "which is no SHA-256"},
		"other schema":   {`"schemaVersion": "v6`, `"schemaVersion": "v7`, "of schema"},
		"other time":     {`"built": "2026-05-04`, `"built": "2026-05-05`, "its source says"},
		"no JSON":        {`{`, `<html>`, "not usable"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, get(t, database))
			changed := strings.Replace(string(s.latest), tt.from, tt.to, 1)
			require.NotEqual(t, string(s.latest), changed)
			s.latest = []byte(changed)
			_, err := Open(t.Context(), options(t, s.URL), now)
			var invalid *InvalidError
			require.ErrorAs(t, err, &invalid)
			require.ErrorContains(t, err, tt.want)
		})
	}
	t.Run("other content", func(t *testing.T) {
		s := serve(t, get(t, database))
		s.archive[len(s.archive)/2] ^= 1
		_, err := Open(t.Context(), options(t, s.URL), now)
		require.ErrorContains(t, err, "has the checksum")
	})
}

func TestDamagedStore(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, d *Database){
		"a byte": func(t *testing.T, d *Database) {
			f, err := os.OpenFile(d.Path, os.O_RDWR, 0)
			require.NoError(t, err)
			_, err = f.WriteAt([]byte("x"), 5000)
			require.NoError(t, err)
			require.NoError(t, f.Close())
		},
		"truncated": func(t *testing.T, d *Database) { require.NoError(t, os.Truncate(d.Path, 4096)) },
		"gone":      func(t *testing.T, d *Database) { require.NoError(t, os.Remove(d.Path)) },
		"no description": func(t *testing.T, d *Database) {
			require.NoError(t, os.Remove(filepath.Join(filepath.Dir(d.Path), descriptionFile)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, get(t, database))
			o := options(t, s.URL)
			d, err := Open(t.Context(), o, now)
			require.NoError(t, err)
			require.NoError(t, d.Close())
			damage(t, d)
			var invalid *InvalidError
			_, err = Read(t.Context(), o, now)
			require.ErrorAs(t, err, &invalid)
			o.Offline = true
			_, err = Open(t.Context(), o, now)
			require.ErrorAs(t, err, &invalid, "never passed over in silence")
			require.ErrorContains(t, err, "temper db update")
			o.Offline = false
			mustOpen(t, o, now)
			_, err = Read(t.Context(), o, now)
			require.NoError(t, err)
		})
	}
	t.Run("a copied store is still good", func(t *testing.T) {
		s := serve(t, get(t, database))
		o := options(t, s.URL)
		d := mustOpen(t, o, now)
		require.NoError(t, os.Chtimes(d.Path, now, now))
		o.Offline = true
		mustOpen(t, o, now)
	})
}

// Readers never see half a database, and several processes fetch it once.
func TestManyAtOnce(t *testing.T) {
	s := serve(t, get(t, database))
	o := options(t, s.URL)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			d, err := Open(t.Context(), o, now)
			if err == nil {
				_, err = d.Covers("debian", "12", "")
				err = errors.Join(err, d.Close())
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.Equal(t, int32(2), s.requests.Load(), "latest.json and the archive, once each")
}

func TestReadersDuringUpdates(t *testing.T) {
	first, second := get(t, database), get(t, newer)
	o := options(t, "")
	o.Offline = true
	_, err := Import(t.Context(), o, first.Archive, now)
	require.NoError(t, err)
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				d, err := Open(t.Context(), o, now)
				if err == nil {
					_, err = d.Covers("debian", "12", "")
					err = errors.Join(err, d.Close())
				}
				if err != nil {
					t.Error(err)
					return
				}
				runtime.Gosched()
			}
		})
	}
	for i := range 6 {
		from := []string{second.Archive, first.Archive}[i%2]
		_, err := Import(t.Context(), o, from, now)
		require.NoError(t, err)
	}
	close(done)
	wg.Wait()
}

func TestWaitsForOthers(t *testing.T) {
	o := must(options(t, "").withDefaults())
	held, err := store{o}.lock(t.Context())
	require.NoError(t, err)
	defer held.Close()
	waiting := make(chan struct{}, 1)
	o.Progress = func(p Progress) {
		if p.Step == Waiting {
			waiting <- struct{}{}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-waiting; cancel() }()
	_, err = Import(ctx, o, get(t, database).Archive, now)
	require.ErrorIs(t, err, context.Canceled)
}

func TestRedact(t *testing.T) {
	require.Equal(t, "https://user:xxxxx@example.com/x", redactURL("https://user:secret@example.com/x?token=secret"))
	require.Equal(t, "/some/file", redactURL("/some/file"))
	o := options(t, "http://user:secret@127.0.0.1:1/")
	_, err := Open(t.Context(), o, now)
	require.Error(t, err)
	require.NotContains(t, err.Error(), "secret")
}

func TestBadDirectory(t *testing.T) {
	_, err := Open(t.Context(), Options{Dir: filepath.Join(t.TempDir(), "a?b")}, now)
	require.ErrorContains(t, err, EnvDir)
	t.Setenv(EnvDir, "/some/where")
	require.Equal(t, "/some/where", DefaultDir())
}

func TestTransportIsUsed(t *testing.T) {
	o := options(t, "")
	asked := ""
	o.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
		asked = r.URL.String()
		return nil, errors.New("no network")
	})
	_, err := Open(t.Context(), o, now)
	require.ErrorContains(t, err, "no network")
	require.Equal(t, "https://grype.anchore.io/databases/v6/latest.json", asked)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
