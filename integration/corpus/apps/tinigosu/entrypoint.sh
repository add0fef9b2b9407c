#!/bin/sh
set -e
# As root, give the data to the application's user and become that user.
if [ "$(id -u)" = 0 ]; then
	chown -R app:app /data
	exec gosu app "$0" "$@"
fi
exec "$@"
