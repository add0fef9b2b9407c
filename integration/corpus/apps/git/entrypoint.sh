#!/bin/sh
# Makes what a new server lacks, starts sshd beside it, and then the web server.
set -eu

if [ ! -f "$HOME/host_key" ]; then
    ssh-keygen -q -t ed25519 -N '' -f "$HOME/host_key"
fi
mkdir -p "$HOME/.ssh"
chmod 0700 "$HOME/.ssh"

for name in ${REPOSITORIES:-project}; do
    repo=/srv/git/$name.git
    if [ ! -d "$repo" ]; then
        git init --quiet --bare --initial-branch=main "$repo"
        git -C "$repo" config http.receivepack true
    fi
done

/usr/sbin/sshd -f /etc/git-server/sshd_config
exec "$@"
