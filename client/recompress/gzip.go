package recompress

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"runtime"

	"github.com/klauspost/compress/flate"
)

// What is written depends on these four, on the version of the compressor and on the
// data, and on nothing else: neither on how many processors there are, nor on how the
// data comes in. A change of them changes the digests of all images.
const (
	// level is the one of which layers are about as small as with zlib's default, which
	// every other tool uses, in a third of its time.
	level = 5
	// blockSize is how much is compressed at a time, in bytes, and windowSize how much of
	// what is before a block it can refer to, as DEFLATE has it (RFC 1951, section 2).
	blockSize  = 1 << 20
	windowSize = 32 << 10
	// Version names the four together.
	Version = "gzip-1"
)

// header begins the stream: no name, no time, an unknown system (RFC 1952, section
// 2.3).
var header = []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255}

// Writer compresses with gzip on several processors. It is used by one goroutine, and
// to be closed.
type Writer struct {
	block, window []byte
	sum           uint32
	size          uint32
	// queue has the blocks in their order; room is for as many as are worked on.
	queue  chan chan packed
	done   chan struct{}
	failed chan struct{}
	err    error
	closed bool
}

// packed is a block that was compressed.
type packed struct {
	data []byte
	err  error
}

// NewWriter returns a Writer to w. It keeps at most workers processors busy; 0 is all.
func NewWriter(w io.Writer, workers int) *Writer {
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	z := &Writer{queue: make(chan chan packed, workers), done: make(chan struct{}), failed: make(chan struct{})}
	go z.emit(w)
	return z
}

// emit writes the blocks out. After an error it only waits for what is worked on.
func (z *Writer) emit(w io.Writer) {
	defer close(z.done)
	fail := func(err error) {
		if err != nil && z.err == nil {
			z.err = err
			close(z.failed)
		}
	}
	_, err := w.Write(header)
	fail(err)
	for block := range z.queue {
		p := <-block
		if fail(p.err); z.err != nil {
			continue
		}
		_, err := w.Write(p.data)
		fail(err)
	}
}

// Write takes data. An error may be about what was written before.
func (z *Writer) Write(p []byte) (int, error) {
	if z.closed {
		return 0, errors.New("gzip: write after the end")
	}
	written := len(p)
	z.sum = crc32.Update(z.sum, crc32.IEEETable, p)
	z.size += uint32(len(p)) // the format has the size modulo 2^32
	for len(p) > 0 {
		if z.block == nil {
			z.block = make([]byte, 0, blockSize)
		}
		n := min(len(p), blockSize-len(z.block))
		z.block = append(z.block, p[:n]...)
		p = p[n:]
		if len(z.block) == blockSize {
			if err := z.pack(false); err != nil {
				return 0, err
			}
		}
	}
	return written, nil
}

// pack hands a block on.
func (z *Writer) pack(last bool) error {
	select {
	case <-z.failed:
		return z.err
	default:
	}
	// The queue has room for those that wait behind the one that emit waits for.
	result := make(chan packed, 1)
	z.queue <- result
	block, window := z.block, z.window
	go func() { result <- pack(block, window, last) }()
	z.window, z.block = block[max(0, len(block)-windowSize):], nil
	return nil
}

// pack compresses a block with a compressor of its own, so that no state of another
// block can show in it.
func pack(block, window []byte, last bool) packed {
	buf := bytes.NewBuffer(make([]byte, 0, len(block)/2))
	fw, err := flate.NewWriterDict(buf, level, window)
	if err != nil {
		return packed{err: err}
	}
	if _, err := fw.Write(block); err != nil {
		return packed{err: err}
	}
	if last {
		err = fw.Close()
	} else {
		err = fw.Flush()
	}
	return packed{buf.Bytes(), err}
}

// Close writes what is left, and waits until all is written.
func (z *Writer) Close() error {
	if z.closed {
		return z.err
	}
	err := z.pack(true)
	if err == nil {
		trailer := make(chan packed, 1)
		trailer <- packed{data: binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, z.sum), z.size)}
		z.queue <- trailer
	}
	z.Abort()
	return z.err
}

// Abort ends without the end of the stream. It does nothing after Close.
func (z *Writer) Abort() {
	if !z.closed {
		z.closed = true
		close(z.queue)
		<-z.done
	}
}
