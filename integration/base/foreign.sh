#!/bin/sh
# Records the packages that were extracted into $1 in its dpkg database.
set -eu
root=$1
for deb in "$root"/var/cache/apt/archives/*.deb; do
	name=$(dpkg-deb --field "$deb" Package)
	if [ "$(dpkg-deb --field "$deb" Multi-Arch)" = same ]; then
		name=$name:$(dpkg-deb --field "$deb" Architecture)
	fi
	{
		dpkg-deb --field "$deb" | sed 's/^Package: .*/&\nStatus: install ok installed/'
		echo
	} >>"$root/var/lib/dpkg/status"
	dpkg-deb --fsys-tarfile "$deb" | tar --list | sed 's,^\.,,; s,/$,,; s,^$,/.,' >"$root/var/lib/dpkg/info/$name.list"
done
