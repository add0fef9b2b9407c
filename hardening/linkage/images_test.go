package linkage

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"strings"

	"github.com/temper-images/temper/hardening/linkage/linkagetest"
)

// The ABIs that the tests make files for.
var (
	amd64   = ABI{elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_X86_64}
	i386    = ABI{elf.ELFCLASS32, elf.ELFDATA2LSB, elf.EM_386}
	arm64   = ABI{elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_AARCH64}
	arm     = ABI{elf.ELFCLASS32, elf.ELFDATA2LSB, elf.EM_ARM}
	riscv64 = ABI{elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_RISCV}
	ppc64le = ABI{elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_PPC64}
	s390x   = ABI{elf.ELFCLASS64, elf.ELFDATA2MSB, elf.EM_S390}
)

func str(s string) *string { return &s }

// forABI makes an image of an ABI.
func forABI(abi ABI, e linkagetest.Image) linkagetest.Image {
	e.Class, e.Data, e.Machine = abi.Class, abi.Data, abi.Machine
	return e
}

// cacheLine is an entry of a crafted ld.so.cache.
type cacheLine struct {
	flags uint32
	hwcap uint64
	path  string
}

func base(p string) string { return p[strings.LastIndexByte(p, '/')+1:] }

// cacheImage writes ld.so.cache in the format of glibc 2.32 and later.
func cacheImage(order binary.AppendByteOrder, endian byte, lines []cacheLine) []byte {
	b := []byte(cacheMagicNew)
	var names []byte
	start := uint32(cacheHeaderNew + len(lines)*cacheEntryNew)
	b = order.AppendUint32(b, uint32(len(lines)))
	at := len(b)
	b = append(b, make([]byte, cacheHeaderNew-len(b))...)
	b[28] = endian
	for _, l := range lines {
		b = order.AppendUint32(b, l.flags)
		value := start + uint32(len(names))
		b = order.AppendUint32(b, value+uint32(len(l.path)-len(base(l.path))))
		b = order.AppendUint32(b, value)
		b = order.AppendUint32(b, 0)
		b = order.AppendUint64(b, l.hwcap)
		names = append(append(names, l.path...), 0)
	}
	order.AppendUint32(b[at:at], uint32(len(names)))
	return append(b, names...)
}

// oldCacheImage writes the format before glibc 2.2, with newer behind it.
func oldCacheImage(order binary.AppendByteOrder, lines []cacheLine, newer []byte) []byte {
	b := append([]byte(cacheMagicOld), 0)
	b = order.AppendUint32(b, uint32(len(lines)))
	var names []byte
	for _, l := range lines {
		b = order.AppendUint32(b, l.flags)
		at := uint32(len(names))
		b = order.AppendUint32(b, at+uint32(len(l.path)-len(base(l.path))))
		b = order.AppendUint32(b, at)
		names = append(append(names, l.path...), 0)
	}
	if newer != nil {
		b = append(b, bytes.Repeat([]byte{0}, (8-len(b)%8)%8)...)
		return append(b, newer...)
	}
	return append(b, names...)
}
