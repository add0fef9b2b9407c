package inspect

import (
	"bytes"
	"context"
	"crypto/md5"  //nolint:gosec // dpkg's database has no other
	"crypto/sha1" //nolint:gosec // apk's database has no other
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/temper-images/temper/client/imagefs"
	"github.com/temper-images/temper/client/inspect/secrets"
)

// Bounds of the search for secrets, in bytes.
const (
	// maxText is how much of a text is searched, a window at a time. Windows overlap,
	// so that a key that lies across their border is found.
	maxText = 64 << 20
	window  = 4 << 20
	overlap = 64 << 10
	// maxBinary bounds the files that are no texts and whose strings are searched.
	maxBinary = 4 << 20
	// head is how much of a file says whether it is a text.
	head = 8 << 10
	// leastString is how long a run of printable characters is that may hold a secret.
	leastString = 12
)

// hashes are what package databases use.
var hashes = map[string]func() hash.Hash{
	"md5": md5.New, "sha1": sha1.New, "sha256": sha256.New, "sha384": sha512.New384, "sha512": sha512.New,
}

// candidate is a file that is to be searched.
type candidate struct {
	*imagefs.Entry
	removed bool
}

// result is what the search of one file came to.
type result struct {
	candidate
	findings []secrets.Finding
	// credentials says what kind of saved credentials the file is.
	credentials string
	packaged    bool

	text, skipped, truncated bool
	bytes                    int64
}

// contents searches the files for secrets.
func (in *inspection) contents(ctx context.Context) error {
	var list []candidate
	done, total := 0, 0
	add := func(e *imagefs.Entry, removed bool) {
		if e.Mode.IsRegular() && e.Size > 0 && !e.IsHardLink() {
			list = append(list, candidate{e, removed})
			total += int(e.Size)
		}
	}
	for e := range in.fsys.Entries() {
		add(e, false)
	}
	for e := range in.fsys.Shadowed() {
		add(e, true)
		in.examined.Removed++
	}
	results := make([]result, len(list))
	search := search{inspection: in, origins: in.origins()}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(max(1, in.options.Parallelism))
	if in.options.Parallelism == 0 {
		g.SetLimit(runtime.GOMAXPROCS(0))
	}
	var mu sync.Mutex
	for i, c := range list {
		if gctx.Err() != nil {
			break
		}
		g.Go(func() (err error) {
			if err := gctx.Err(); err != nil {
				return err
			}
			if results[i], err = search.file(c); err != nil {
				return err
			}
			if in.options.Progress != nil {
				mu.Lock()
				defer mu.Unlock()
				done += int(c.Size)
				in.options.Progress(done, total)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	in.report(results)
	return nil
}

// report turns results into findings, in their order.
func (in *inspection) report(results []result) {
	// A file that a layer wrote again, for its mode or owner, is told of once.
	told := map[[3]string]bool{}
	for _, r := range results {
		in.tally(r)
		s := Subject{Kind: File, Name: r.Path}
		if r.removed {
			s.Layer = r.Layer.String()
		}
		if r.credentials != "" {
			key := [3]string{r.Path, r.credentials}
			if !r.removed || !told[key] {
				in.add(r.rule(ruleCredentials), s, r.credentials, show(r.Path)+" holds saved credentials"+r.place())
			}
			told[key] = true
			continue
		}
		for _, f := range r.findings {
			key := [3]string{r.Path, f.Rule, f.Fingerprint}
			if r.removed && told[key] {
				continue
			}
			told[key] = true
			s.Line = f.Line
			out := Finding{Rule: r.rule(ruleSecret), Subject: s, Detail: f.Rule, Fingerprint: f.Fingerprint}
			switch f.Rule {
			case secrets.PrivateKey:
				out.Rule = r.rule(rulePrivateKey)
				out.Message = where(s) + " holds a private key" + r.place()
			case secrets.Generic:
				if !r.packaged {
					out.Rule = ruleGeneric
				}
				out.Message = where(s) + " looks like a secret" + r.place()
			default:
				out.Message = fmt.Sprintf("%s holds a secret (%s)%s", where(s), f.Rule, r.place())
			}
			in.put(out)
		}
	}
}

func (in *inspection) tally(r result) {
	switch {
	case r.packaged && !in.asked(rulePackaged):
		in.examined.Packaged++
	case r.skipped:
		in.examined.Skipped++
	case r.text:
		in.examined.Texts++
	default:
		in.examined.Binaries++
	}
	if r.truncated {
		in.examined.Truncated++
	}
	in.examined.Bytes += r.bytes
}

// rule is the rule for a finding in the file, where it would be another one in a
// file that is there and not a package's.
func (r result) rule(rule string) string {
	switch {
	case r.packaged:
		return rulePackaged
	case r.removed:
		return ruleRemoved
	}
	return rule
}

// place says where a removed file still is.
func (r result) place() string {
	if !r.removed {
		return ""
	}
	return fmt.Sprintf(": the file was removed or replaced, and layer %.19s… still has it", r.Layer.String())
}

// search looks into files. Its methods can be called by several goroutines.
type search struct {
	*inspection
	origins origins
}

func (s *search) file(c candidate) (_ result, err error) {
	r := result{candidate: c}
	f, err := s.fsys.OpenEntry(c.Entry)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if r.credentials, err = credentials(c.Path, f); err != nil || r.credentials != "" {
		r.text, r.bytes = true, c.Size
		return r, err
	}
	if s.finder.Ignores(c.Path) {
		r.skipped = true
		return r, nil
	}
	first := make([]byte, min(head, c.Size))
	if _, err := f.ReadAt(first, 0); err != nil {
		return r, err
	}
	r.text = bytes.IndexByte(first, 0) < 0
	if !r.text {
		return s.binary(r, f)
	}
	if r.packaged, err = s.packaged(f); err != nil || r.packaged && !s.asked(rulePackaged) {
		return r, err
	}
	return s.texts(r, f)
}

// packaged says that the file's content is that of a file of a package.
func (s *search) packaged(f *imagefs.File) (bool, error) {
	for _, algorithm := range sortedKeys(s.origins.digests) {
		h := hashes[algorithm]()
		if _, err := io.Copy(h, io.NewSectionReader(f, 0, f.Size())); err != nil {
			return false, err
		}
		if s.origins.digests[algorithm][hex.EncodeToString(h.Sum(nil))] {
			return true, nil
		}
	}
	return false, nil
}

// texts searches a text, window by window.
func (s *search) texts(r result, f *imagefs.File) (result, error) {
	size := f.Size()
	if size > maxText {
		size, r.truncated = maxText, true
	}
	seen := map[secrets.Finding]bool{}
	lines := 0
	for at := int64(0); at < size; {
		text := make([]byte, min(window, size-at))
		if _, err := f.ReadAt(text, at); err != nil {
			return r, err
		}
		for _, m := range s.finder.Find(r.Path, text) {
			m.Line += lines
			if !seen[m] {
				seen[m] = true
				r.findings = append(r.findings, m)
			}
		}
		next := int64(len(text))
		if at+next < size {
			// The next window begins with a line where there is one.
			next -= overlap
			if i := bytes.IndexByte(text[next:], '\n'); i >= 0 {
				next += int64(i) + 1
			}
		}
		lines += bytes.Count(text[:next], []byte{'\n'})
		at += next
	}
	r.bytes = size
	return r, nil
}

// binary searches the strings of a file that is no text. Only what has an
// unmistakable form counts there.
func (s *search) binary(r result, f *imagefs.File) (result, error) {
	if f.Size() > maxBinary || s.origins.owned(r.Path) {
		r.skipped = true
		return r, nil
	}
	dt := make([]byte, f.Size())
	if _, err := f.ReadAt(dt, 0); err != nil {
		return r, err
	}
	told := map[string]bool{secrets.Generic: true}
	for _, m := range s.finder.Find(r.Path, printable(dt)) {
		if !told[m.Rule] {
			told[m.Rule] = true
			m.Line = 0
			r.findings = append(r.findings, m)
		}
	}
	r.bytes = f.Size()
	return r, nil
}

// printable are the runs of printable ASCII characters in dt, one a line.
func printable(dt []byte) []byte {
	out := make([]byte, 0, len(dt)/4)
	start := -1
	flush := func(end int) {
		if start >= 0 && end-start >= leastString {
			out = append(append(out, dt[start:end]...), '\n')
		}
		start = -1
	}
	for i, c := range dt {
		switch {
		case c >= ' ' && c <= '~' || c == '\t' || c == '\n':
			if start < 0 {
				start = i
			}
		default:
			flush(i)
		}
	}
	flush(len(dt))
	return out
}
