#!/usr/bin/env bash
# Makes a database cluster when there is none, runs the scripts of
# /docker-entrypoint-initdb.d in it, and starts what the command says.
set -Eeuo pipefail

if [ "${1:-}" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
	mkdir -p "$PGDATA"
	chmod 700 "$PGDATA"
	initdb --username=postgres --auth=trust --encoding=UTF8 >/dev/null
	pg_ctl --silent --wait --options="-c listen_addresses='' -c unix_socket_directories=/tmp" start >/dev/null
	for file in /docker-entrypoint-initdb.d/*; do
		case "$file" in
			*.sql) psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --host=/tmp --username=postgres --file="$file" ;;
			*.sql.gz) gunzip --stdout "$file" | psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --host=/tmp --username=postgres ;;
			*.sh) . "$file" ;;
			*) echo "$0: ignoring $file" ;;
		esac
	done
	pg_ctl --silent --wait --mode=fast stop >/dev/null
	cat >>"$PGDATA/postgresql.conf" <<-'EOF'
		listen_addresses = '*'
		unix_socket_directories = '/tmp'
	EOF
fi

exec "$@"
