#!/bin/bash
# Makes the system tables when there are none, then starts the server.
set -eu

datadir=/var/lib/mysql
if [ "${1:-}" = mariadbd ] && [ ! -d "$datadir/mysql" ]; then
	mariadb-install-db --user=mysql --datadir="$datadir" --skip-test-db --auth-root-authentication-method=normal >/dev/null
	mariadbd --bootstrap --datadir="$datadir" <<-'EOF'
		FLUSH PRIVILEGES;
		CREATE DATABASE shop CHARACTER SET utf8mb4;
		CREATE USER app@'%' IDENTIFIED BY 'app';
		GRANT ALL ON *.* TO app@'%' WITH GRANT OPTION;
	EOF
fi

exec "$@"
