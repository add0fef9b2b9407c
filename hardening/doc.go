// Package hardening turns the root filesystem of a runtime stage into a
// smaller one that can neither install packages nor run as root, and checks
// that what it wrote keeps its promises.
//
// Harden decides and writes, in one pass: it reads the root filesystem once,
// finds package managers, follows package dependencies and ELF linkage to what
// only they needed, drops the classes of files that no program needs to run,
// and copies the rest. Check reads the result again, from the disk, and tests
// the promises without trusting anything that Harden concluded.
//
// Both run as root inside the build sandbox, on files that nobody trusts:
// every access goes through os.Root, every read is bounded, and a malformed
// file is plain data.
package hardening
