#!/bin/sh
set -eu
dir=${CONF_DIR:-/tmp/site}
install -d -m 755 "$dir"
export SITE_NAME="${SITE_NAME:-site}" SITE_PORT="${SITE_PORT:-80}"
envsubst '$SITE_NAME $SITE_PORT' </etc/site/site.conf.template >"$dir/site.conf.new"
mv -f "$dir/site.conf.new" "$dir/site.conf"
chmod 644 "$dir/site.conf"
