package closure

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// Limits on what is read of one file and found in it.
const (
	maxScan  = 256 << 20 // bytes
	maxTotal = 64 << 30  // bytes, of all files
	maxToken = 4096      // bytes
	maxNames = 1 << 16   // distinct names
)

// names are what stands literally in one file.
type names struct {
	// paths are absolute paths, libraries file names of shared libraries, words
	// those among the asked for commands, and runs the commands of a shell script.
	// Each is sorted.
	paths, libraries, words, runs []string
}

// job is a file to read.
type job struct {
	entry int
	// names asks for what stands literally in it, and of commands for those in
	// words, nil for none. shell asks for the commands that it runs.
	names, shell bool
	words        *commands
}

// isName marks the bytes of which paths and names consist.
var isName = func() (t [256]bool) {
	for c := range 256 {
		b := byte(c)
		t[c] = b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b >= 0x80 || strings.IndexByte("._+-/@~", b) >= 0
	}
	return t
}()

// scanner finds the names in files. It is used by several goroutines.
type scanner struct {
	// tops are the names in the root directory: a path begins with one.
	tops map[string]bool
	// total is how many bytes were read.
	total atomic.Int64
}

// commands say which names of programs count in a file.
type commands struct {
	// packages are those of each program, by its name.
	packages map[string][]int32
	// provides lists the capabilities of each package, and asked holds those that
	// the packages of the file ask for: a program counts when its package has one.
	// Without provides every program counts.
	provides [][]int32
	asked    []map[int32]bool
	// mustBeCalled says that a name counts only where something is called with it,
	// and otherwise wherever it stands in quotes.
	mustBeCalled bool
	// known remembers which packages are asked for. Files of the same packages share it.
	known sync.Map
}

// count reports whether a token is the name of a program that counts.
func (c *commands) count(token []byte) bool {
	of := c.packages[string(token)]
	if c.provides == nil {
		return len(of) > 0
	}
	return slices.ContainsFunc(of, c.asks)
}

// asks reports whether a package is asked for. It is found out once: a file may hold
// a name a million times.
func (c *commands) asks(p int32) bool {
	if known, ok := c.known.Load(p); ok {
		return known.(bool)
	}
	asks := slices.ContainsFunc(c.provides[p], func(id int32) bool {
		return slices.ContainsFunc(c.asked, func(asked map[int32]bool) bool { return asked[id] })
	})
	c.known.Store(p, asks)
	return asks
}

// scanAll reads files in parallel.
func (s *scanner) scanAll(ctx context.Context, sys *System, jobs []job) ([]names, error) {
	found := make([]names, len(jobs))
	workers := runtime.GOMAXPROCS(0)
	eg, ctx := errgroup.WithContext(ctx)
	for w := range workers {
		eg.Go(func() error {
			buf := bufio.NewReaderSize(nil, 128<<10)
			for k := w; k < len(jobs); k += workers {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				var err error
				if found[k], err = s.scanFile(sys, jobs[k], buf); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return found, eg.Wait()
}

// scanFile reads one file, through buf.
func (s *scanner) scanFile(sys *System, j job, buf *bufio.Reader) (found names, err error) {
	entry := sys.Entries[j.entry]
	size := min(entry.Size, maxScan)
	if s.total.Add(size) > maxTotal {
		return names{}, fmt.Errorf("search files for the names of others: there is more than %d GiB of them; remove what is not needed, or use level exclusive", maxTotal>>30)
	}
	f, err := sys.Open(entry.Path)
	if err != nil {
		return names{}, err
	}
	defer f.Close()
	r := io.LimitReader(f, size)
	if sys.Objects[entry.Path] != nil {
		r = withoutSymbols(f, size)
	}
	var runs []string
	if j.shell {
		text, err := io.ReadAll(r)
		if err != nil {
			return names{}, fmt.Errorf("read %q: %w", entry.Path, err)
		}
		runs, r = Commands(text), bytes.NewReader(text)
	}
	if j.names {
		buf.Reset(r)
		if found, err = s.scan(buf, j.words); err != nil {
			return names{}, fmt.Errorf("read %q: %w", entry.Path, err)
		}
	}
	found.runs = runs
	return found, nil
}

// scan finds the names in one file.
func (s *scanner) scan(r *bufio.Reader, words *commands) (names, error) {
	found := map[string]byte{}
	token := make([]byte, 0, maxToken+1)
	var before byte // the byte before the token
	called := false // the token stands where a call's arguments begin
	take := func(after byte) {
		if len(token) >= 2 && len(token) <= maxToken && len(found) < maxNames {
			for rest := token; len(rest) > 0; {
				part := rest[:nextPath(rest)]
				rest = rest[len(part):]
				if kind := s.kind(part, words, before, after, called); kind != 0 {
					if _, ok := found[string(part)]; !ok {
						found[string(part)] = kind
					}
				}
			}
		}
		called = words != nil && words.mustBeCalled && isCall(token)
		token = token[:0]
	}
	for {
		chunk, err := r.Peek(r.Size())
		if len(chunk) == 0 {
			take(0)
			if errors.Is(err, io.EOF) {
				return sortNames(found), nil
			}
			return names{}, err
		}
		start := -1
		for i, c := range chunk {
			if isName[c] {
				if start < 0 {
					start = i
				}
				continue
			}
			if start >= 0 {
				token = appendToken(token, chunk[start:i])
				start = -1
			}
			if len(token) > 0 {
				take(c)
			}
			called = called && bytes.IndexByte(callBytes, c) >= 0
			before = c
		}
		if start >= 0 {
			token = appendToken(token, chunk[start:])
		}
		if _, err := r.Discard(len(chunk)); err != nil {
			return names{}, err
		}
	}
}

// nextPath returns where, after the first byte of a token, another absolute path
// begins: some compilers put strings one after the other with nothing between.
func nextPath(token []byte) int {
	for i := 1; i < len(token); i++ {
		j := bytes.IndexByte(token[i:], '/')
		if j < 0 {
			break
		}
		i += j
		for _, top := range []string{"/usr/", "/etc/", "/var/", "/opt/"} {
			if bytes.HasPrefix(token[i:], []byte(top)) {
				return i
			}
		}
	}
	return len(token)
}

// appendToken keeps one byte more than a token may have, by which a longer one is
// known.
func appendToken(token, b []byte) []byte {
	return append(token, b[:min(len(b), maxToken+1-len(token))]...)
}

// kind says what a token names: 'p' a path, 'l' a library, 'w' a word.
func (s *scanner) kind(token []byte, words *commands, before, after byte, called bool) byte {
	if token[0] == '/' {
		top := token[1:]
		if i := slices.Index(top, '/'); i > 0 && s.tops[string(top[:i])] {
			return 'p'
		}
		return 0
	}
	if len(token) > 6 && token[0] == 'l' && token[1] == 'i' && token[2] == 'b' && bytes.Contains(token, []byte(".so")) {
		return 'l'
	}
	if words != nil && isQuote(before) && (isQuote(after) || after == ' ') && (called || !words.mustBeCalled) && words.count(token) {
		return 'w'
	}
	return 0
}

// callBytes stand between a function, or a variable, and the command that it is
// given first: run(["tar", exec('tar, cmd = ("tar".
var callBytes = []byte("([{\"'` \t=")

// callParts are in the names of functions that run a command and of variables
// that hold one, in all languages alike.
var callParts = [][]byte{
	[]byte("popen"), []byte("spawn"), []byte("exec"), []byte("system"), []byte("call"), []byte("check_output"), []byte("run"), []byte("which"),
	[]byte("cmd"), []byte("command"), []byte("args"), []byte("argv"), []byte("program"), []byte("capture"),
}

// isCall reports whether a token may be such a name.
func isCall(token []byte) bool {
	if len(token) > 64 {
		return false
	}
	lower := bytes.ToLower(token[bytes.LastIndexByte(token, '.')+1:])
	return slices.ContainsFunc(callParts, func(p []byte) bool { return bytes.Contains(lower, p) })
}

// isQuote reports whether a command's name may begin or end at c: at a quote, at
// the end of a string in a program, or at the end of a line.
func isQuote(c byte) bool {
	return c == '"' || c == '\'' || c == '`' || c == 0 || c == '\n'
}

func sortNames(found map[string]byte) names {
	var n names
	for name, kind := range found {
		switch kind {
		case 'p':
			n.paths = append(n.paths, name)
		case 'l':
			n.libraries = append(n.libraries, name)
		default:
			n.words = append(n.words, name)
		}
	}
	slices.Sort(n.paths)
	slices.Sort(n.libraries)
	slices.Sort(n.words)
	return n
}
