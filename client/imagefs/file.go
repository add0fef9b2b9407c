package imagefs

import (
	"errors"
	"io"
	"io/fs"
	"sync"
)

// File reads a regular file. It keeps the block that it read last, so that small
// reads near each other are cheap. It can be used by several goroutines.
type File struct {
	entry    *Entry
	contents *contents

	mu     sync.Mutex
	offset int64
	block  *[blockSize]byte
	number int // of the block that is held, or -1
	closed bool
}

var _ interface {
	io.ReadSeekCloser
	io.ReaderAt
	io.WriterTo
} = (*File)(nil)

func (c *contents) open(e *Entry) *File {
	return &File{entry: e, contents: c, number: -1}
}

// Entry is the entry that is read.
func (f *File) Entry() *Entry { return f.entry }

// Size is the length of the file in bytes.
func (f *File) Size() int64 { return f.entry.content.size }

// Close gives the reader's memory back.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.block != nil {
		buffers.Put(f.block)
		f.block = nil
	}
	f.closed = true
	return nil
}

// at is what the file holds from offset to the end of the block there. It is
// valid until the next call.
func (f *File) at(offset int64) ([]byte, error) {
	if f.closed {
		return nil, &fs.PathError{Op: "read", Path: f.entry.Path, Err: fs.ErrClosed}
	}
	size := f.entry.content.size
	if offset >= size {
		return nil, io.EOF
	}
	n := int(offset / blockSize)
	length := min(blockSize, size-int64(n)*blockSize)
	if f.number != n {
		if f.block == nil {
			f.block = buffers.Get().(*[blockSize]byte)
		}
		f.number = -1
		if err := f.contents.read(f.entry.content, n, f.block[:length]); err != nil {
			return nil, &fs.PathError{Op: "read", Path: f.entry.Path, Err: err}
		}
		f.number = n
	}
	return f.block[offset-int64(n)*blockSize : length], nil
}

// Read reads up to the end of a block.
func (f *File) Read(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	dt, err := f.at(f.offset)
	if err != nil {
		return 0, err
	}
	n := copy(p, dt)
	f.offset += int64(n)
	return n, nil
}

// ReadAt reads len(p) bytes from offset.
func (f *File) ReadAt(p []byte, offset int64) (int, error) {
	if offset < 0 {
		return 0, &fs.PathError{Op: "read", Path: f.entry.Path, Err: errors.New("negative offset")}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for n < len(p) {
		dt, err := f.at(offset + int64(n))
		if err != nil {
			return n, err
		}
		n += copy(p[n:], dt)
	}
	return n, nil
}

// WriteTo writes what has not been read yet.
func (f *File) WriteTo(w io.Writer) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var sum int64
	for {
		dt, err := f.at(f.offset)
		if errors.Is(err, io.EOF) {
			return sum, nil
		}
		if err != nil {
			return sum, err
		}
		n, err := w.Write(dt)
		f.offset += int64(n)
		sum += int64(n)
		if err != nil {
			return sum, err
		}
	}
}

// Seek sets where Read goes on.
func (f *File) Seek(offset int64, whence int) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch whence {
	case io.SeekCurrent:
		offset += f.offset
	case io.SeekEnd:
		offset += f.entry.content.size
	}
	if offset < 0 {
		return 0, &fs.PathError{Op: "seek", Path: f.entry.Path, Err: errors.New("negative offset")}
	}
	f.offset = offset
	return offset, nil
}
