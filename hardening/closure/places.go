package closure

import (
	"path"
	"slices"
)

// libraryDirs and programDirs are what "@lib" and "@bin" stand for, in canonical
// and in unmerged systems.
var (
	libraryDirs = []string{
		"/lib", "/lib32", "/lib64", "/libx32", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libx32", "/usr/local/lib", "/usr/local/lib64",
		"/lib/*-linux-*", "/usr/lib/*-linux-*", "/usr/local/lib/*-linux-*",
	}
	programDirs = []string{
		"/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/usr/games", "/usr/libexec", "/opt/bin",
	}
)

// sharedDirs hold files of many packages: naming one says nothing about what is
// in it. In all of sharedParents, so does every directory.
var (
	sharedParents = []string{"/", "/usr", "/usr/local", "/var", "/lib", "/lib64", "/usr/lib/debug"}
	sharedDirs    = []string{
		"/etc/alternatives", "/etc/default", "/etc/init.d", "/etc/systemd", "/etc/profile.d", "/usr/lib/locale", "/usr/lib/modules", "/usr/lib/systemd",
		"/usr/share/applications", "/usr/share/doc", "/usr/share/fonts", "/usr/share/icons", "/usr/share/info", "/usr/share/locale",
		"/usr/share/man", "/usr/share/mime", "/usr/share/pixmaps", "/usr/share/zoneinfo", "/var/lib/dpkg", "/usr/share/themes", "/usr/share/i18n",
		"/usr/share/perl5", "/usr/lib/python3", "/usr/lib/python3/dist-packages", "/usr/share/java", "/usr/share/maven-repo", "/usr/lib/ssl",
		"/usr/lib/jvm", "/usr/share/X11", "/usr/lib/pkgconfig", "/usr/share/pkgconfig", "/usr/share/gir-1.0", "/usr/share/nodejs", "/usr/lib/nodejs",
	}
)

// isShared reports whether many packages put files into a directory.
func isShared(dir string) bool {
	return slices.Contains(sharedParents, path.Dir(dir)) || dir == "/" || slices.Contains(sharedDirs, dir) ||
		isLibraryDir(dir) || IsProgramDir(dir)
}

// IsProgramDir reports whether programs lie in a directory, by its canonical path.
func IsProgramDir(dir string) bool { return slices.Contains(programDirs, dir) }

// isLibraryDir reports whether the loader looks for libraries in a directory by
// itself.
func isLibraryDir(dir string) bool {
	return slices.ContainsFunc(libraryDirs, func(glob string) bool {
		ok, err := path.Match(glob, dir)
		return err == nil && ok
	})
}
