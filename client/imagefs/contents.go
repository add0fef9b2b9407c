package imagefs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/klauspost/compress/s2"

	"github.com/temper-images/temper/client/tempfile"
)

const (
	// blockSize is how much of a file is compressed at a time: reading at random
	// unpacks one block.
	blockSize = 128 << 10
	// segmentSize is what memory for blocks is allocated in. A block lies in one
	// segment.
	segmentSize = 4 << 20
)

// content names the bytes of a regular file: size bytes in consecutive blocks, or,
// where archive is not nil, as they lie there from at on.
type content struct {
	first   int
	size    int64
	archive *io.SectionReader
	at      int64
}

// block is where one compressed block lies.
type block struct {
	// at is the place: below the spilled offset it is in memory, segment by
	// segment, and from there on in the temporary file.
	at int64
	// length is the compressed length; raw blocks are stored as they are.
	length uint32
	raw    bool
}

// contents are the bytes of all regular files, written once and then only read.
type contents struct {
	budget  int64
	tempDir string

	segments [][]byte
	blocks   []block

	file  *os.File
	out   *bufio.Writer
	spill int64 // how much went to the file

	in, packed []byte

	mu     sync.RWMutex
	closed bool
}

// spilled marks places in the temporary file.
const spilled = int64(1) << 62

func newContents(o Options) *contents {
	c := &contents{budget: o.Memory, tempDir: o.TempDir, in: make([]byte, blockSize), packed: make([]byte, s2.MaxEncodedLen(blockSize))}
	if c.budget == 0 {
		c.budget = DefaultMemory
	}
	return c
}

// add stores what rd holds, which is to be size bytes.
func (c *contents) add(ctx context.Context, rd io.Reader, size int64) (content, error) {
	out := content{first: len(c.blocks)}
	for out.size < size {
		if err := context.Cause(ctx); err != nil {
			return content{}, err
		}
		n, err := io.ReadFull(rd, c.in[:min(blockSize, size-out.size)])
		if err != nil {
			return content{}, err
		}
		if err := c.write(c.in[:n]); err != nil {
			return content{}, err
		}
		out.size += int64(n)
	}
	return out, nil
}

func (c *contents) write(p []byte) error {
	b := block{}
	dt := s2.Encode(c.packed, p)
	if len(dt) >= len(p) {
		dt, b.raw = p, true
	}
	b.length = uint32(len(dt))
	if c.file == nil && c.inMemory(dt, &b) {
		c.blocks = append(c.blocks, b)
		return nil
	}
	if c.file == nil {
		f, err := tempfile.New(c.tempDir)
		if err != nil {
			return fmt.Errorf("make a temporary file for the image's files: %w", err)
		}
		c.file, c.out = f, bufio.NewWriterSize(f, 1<<20)
	}
	if _, err := c.out.Write(dt); err != nil {
		return fmt.Errorf("write the image's files to a temporary file (TMPDIR names another directory): %w", err)
	}
	b.at = spilled + c.spill
	c.spill += int64(len(dt))
	c.blocks = append(c.blocks, b)
	return nil
}

func (c *contents) inMemory(dt []byte, b *block) bool {
	last := len(c.segments) - 1
	if last < 0 || len(c.segments[last])+len(dt) > segmentSize {
		if int64(len(c.segments)+1)*segmentSize > c.budget {
			return false
		}
		c.segments = append(c.segments, make([]byte, 0, segmentSize))
		last++
	}
	b.at = int64(last)*segmentSize + int64(len(c.segments[last]))
	c.segments[last] = append(c.segments[last], dt...)
	return true
}

// finish ends writing.
func (c *contents) finish() error {
	c.in, c.packed = nil, nil
	if c.out == nil {
		return nil
	}
	err := c.out.Flush()
	c.out = nil
	if err != nil {
		return fmt.Errorf("write the image's files to a temporary file (TMPDIR names another directory): %w", err)
	}
	return nil
}

func (c *contents) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	c.segments = nil
	if c.file == nil {
		return nil
	}
	return c.file.Close()
}

// buffers hold blocks while they are read.
var buffers = sync.Pool{New: func() any { return new([blockSize]byte) }}

// read reads the block n of a file into p, which has the block's length.
func (c *contents) read(of content, n int, p []byte) error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.closed {
		return fs.ErrClosed
	}
	if of.archive != nil {
		if _, err := of.archive.ReadAt(p, of.at+int64(n)*blockSize); err != nil {
			return fmt.Errorf("read the layer's archive: %w", err)
		}
		return nil
	}
	b := c.blocks[of.first+n]
	var dt []byte
	if b.at < spilled {
		dt = c.segments[b.at/segmentSize][b.at%segmentSize:][:b.length]
	} else {
		buf := buffers.Get().(*[blockSize]byte)
		defer buffers.Put(buf)
		dt = buf[:b.length]
		if _, err := c.file.ReadAt(dt, b.at-spilled); err != nil {
			return fmt.Errorf("read the temporary file: %w", err)
		}
	}
	if b.raw {
		copy(p, dt)
		return nil
	}
	out, err := s2.Decode(p, dt)
	if err == nil && len(out) != len(p) {
		err = errors.New("a block has another length than it was written with")
	}
	return err
}
