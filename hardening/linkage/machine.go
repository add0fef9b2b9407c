package linkage

import "debug/elf"

// machine is what glibc and musl know of an ABI. The tables only matter where
// the root filesystem's own loader does not answer.
type machine struct {
	// loaders are the usual paths of the dynamic loaders, glibc's first.
	loaders []string
	// dirs are glibc's default directories where its loader does not name them:
	// Debian's multiarch ones, then those of other distributions.
	dirs []string
	// hwcaps are the subdirectories of glibc-hwcaps (glibc 2.33 and later), and
	// legacy those of the directory itself (before 2.37), that hold variants for
	// certain processors.
	hwcaps, legacy []string
	// platforms are the values of $PLATFORM (AT_PLATFORM).
	platforms []string
	// cacheIDs are the flags of its entries in ld.so.cache (glibc's ldconfig.h).
	cacheIDs []int32
}

var machines = map[ABI]machine{
	{elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_X86_64}: {
		loaders:   []string{"/lib64/ld-linux-x86-64.so.2", "/lib/ld-musl-x86_64.so.1"},
		dirs:      []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"},
		hwcaps:    []string{"x86-64-v4", "x86-64-v3", "x86-64-v2"},
		legacy:    []string{"tls", "haswell", "xeon_phi", "avx512_1", "x86_64"},
		platforms: []string{"x86_64", "haswell", "xeon_phi"},
		cacheIDs:  []int32{0x303},
	},
	{elf.ELFCLASS32, elf.ELFDATA2LSB, elf.EM_X86_64}: {
		loaders:   []string{"/libx32/ld-linux-x32.so.2", "/lib/ld-musl-x32.so.1"},
		dirs:      []string{"/lib/x86_64-linux-gnux32", "/usr/lib/x86_64-linux-gnux32", "/libx32", "/usr/libx32"},
		hwcaps:    []string{"x86-64-v4", "x86-64-v3", "x86-64-v2"},
		legacy:    []string{"tls", "haswell", "xeon_phi", "avx512_1", "x86_64"},
		platforms: []string{"x86_64", "haswell", "xeon_phi"},
		cacheIDs:  []int32{0x803},
	},
	{elf.ELFCLASS32, elf.ELFDATA2LSB, elf.EM_386}: {
		loaders:   []string{"/lib/ld-linux.so.2", "/lib/ld-musl-i386.so.1"},
		dirs:      []string{"/lib/i386-linux-gnu", "/usr/lib/i386-linux-gnu", "/lib", "/usr/lib"},
		legacy:    []string{"tls", "i686", "i586", "haswell", "xeon_phi", "sse2", "cmov"},
		platforms: []string{"i686", "i586", "i486", "i386"},
		cacheIDs:  []int32{0x003},
	},
	{elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_AARCH64}: {
		loaders:   []string{"/lib/ld-linux-aarch64.so.1", "/lib/ld-musl-aarch64.so.1"},
		dirs:      []string{"/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"},
		legacy:    []string{"tls", "aarch64", "atomics"},
		platforms: []string{"aarch64"},
		cacheIDs:  []int32{0xa03},
	},
	{elf.ELFCLASS32, elf.ELFDATA2LSB, elf.EM_ARM}: {
		loaders: []string{
			"/lib/ld-linux-armhf.so.3", "/lib/ld-linux.so.3",
			"/lib/ld-musl-armhf.so.1", "/lib/ld-musl-arm.so.1",
		},
		dirs: []string{
			"/lib/arm-linux-gnueabihf", "/usr/lib/arm-linux-gnueabihf",
			"/lib/arm-linux-gnueabi", "/usr/lib/arm-linux-gnueabi", "/lib", "/usr/lib",
		},
		legacy:    []string{"tls", "v5l", "v6l", "v7l", "v8l", "vfp", "neon", "half", "fast-mult", "edsp", "thumb"},
		platforms: []string{"v7l", "v8l", "v6l", "v5l"},
		cacheIDs:  []int32{0x003, 0x903, 0xb03},
	},
	{elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_RISCV}: {
		loaders:   []string{"/lib/ld-linux-riscv64-lp64d.so.1", "/lib/ld-musl-riscv64.so.1"},
		dirs:      []string{"/lib/riscv64-linux-gnu", "/usr/lib/riscv64-linux-gnu", "/lib64/lp64d", "/usr/lib64/lp64d", "/lib64", "/usr/lib64", "/lib", "/usr/lib"},
		legacy:    []string{"tls"},
		platforms: []string{"riscv64"},
		cacheIDs:  []int32{0xf03, 0x1003},
	},
	{elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_PPC64}: {
		loaders:   []string{"/lib64/ld64.so.2", "/lib/ld-musl-powerpc64le.so.1"},
		dirs:      []string{"/lib/powerpc64le-linux-gnu", "/usr/lib/powerpc64le-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"},
		hwcaps:    []string{"power10", "power9"},
		legacy:    []string{"tls", "power8", "power9", "power10", "altivec", "vsx", "dfp", "arch_2_07"},
		platforms: []string{"power8", "power9", "power10"},
		cacheIDs:  []int32{0x503},
	},
	{elf.ELFCLASS64, elf.ELFDATA2MSB, elf.EM_S390}: {
		loaders:   []string{"/lib/ld64.so.1", "/lib/ld-musl-s390x.so.1"},
		dirs:      []string{"/lib/s390x-linux-gnu", "/usr/lib/s390x-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"},
		hwcaps:    []string{"z16", "z15", "z14", "z13"},
		legacy:    []string{"tls", "z900", "z990", "z9-109", "z10", "z196", "zEC12", "z13", "z14", "z15", "vx", "te", "dfp", "eimm", "ldisp", "high_gprs"},
		platforms: []string{"z13", "z14", "z15", "z16"},
		cacheIDs:  []int32{0x403},
	},
	{elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_LOONGARCH}: {
		loaders:   []string{"/lib64/ld-linux-loongarch-lp64d.so.1", "/lib/ld-musl-loongarch64.so.1"},
		dirs:      []string{"/lib/loongarch64-linux-gnu", "/usr/lib/loongarch64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"},
		platforms: []string{"loongarch64"},
		cacheIDs:  []int32{0x1103, 0x1203},
	},
}

// machineOf returns what is known of an ABI; of an unknown one, what all have in common.
func machineOf(abi ABI) machine {
	if m, ok := machines[abi]; ok {
		return m
	}
	return machine{dirs: []string{"/lib64", "/usr/lib64", "/lib", "/usr/lib"}, legacy: []string{"tls"}}
}
