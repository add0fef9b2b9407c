#!/bin/bash
# Refuses a name that would break the configuration.
set -euo pipefail
if [[ ${SITE_NAME:-site} =~ [^a-z0-9.-] ]]; then
	echo >&2 "SITE_NAME '$SITE_NAME' has characters that are not allowed"
	exit 2
fi
