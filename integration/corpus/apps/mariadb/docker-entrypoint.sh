#!/bin/bash
# Makes the system tables when there are none, then starts the server: as the user
# mysql, where it may choose.
set -eu

datadir=/var/lib/mysql
user=()
[ "$(id -u)" != 0 ] || user=(--user=mysql)
if [ "${1:-}" = mariadbd ]; then
	if [ ! -d "$datadir/mysql" ]; then
		mariadb-install-db "${user[@]}" --datadir="$datadir" --skip-test-db --auth-root-authentication-method=normal >/dev/null
		mariadbd "${user[@]}" --bootstrap --datadir="$datadir" <<-'EOF'
			FLUSH PRIVILEGES;
			CREATE DATABASE shop CHARACTER SET utf8mb4;
			CREATE USER app@'%' IDENTIFIED BY 'app';
			GRANT ALL ON *.* TO app@'%' WITH GRANT OPTION;
		EOF
	fi
	set -- "$@" "${user[@]}"
fi

exec "$@"
