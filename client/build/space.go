package build

import "golang.org/x/sys/unix"

// minFree is how much must be free, in bytes, for a disk not to count as full.
const minFree = 1 << 20

// full says whether nothing more fits on the file system of path.
func full(path string) bool {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return false
	}
	return st.Bavail*uint64(st.Bsize) < minFree || (st.Files > 0 && st.Ffree == 0)
}
