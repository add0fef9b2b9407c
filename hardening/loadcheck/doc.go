// Package loadcheck plays the dynamic loader on a hardened root filesystem, for
// every program as if it were started and for every library as if it were
// loaded by itself, and says what it misses that it did not miss before.
//
// It is a second opinion. Package linkage decides what stays; this package reads
// the files anew, from the disk, with code of its own: it maps addresses as a
// loader does, keeps one link map for each process, and follows glibc's
// elf/dl-load.c, dl-deps.c and dl-version.c, and musl's ldso/dynlink.c, step by
// step. Nothing is run, and nothing that is read is trusted.
package loadcheck
