#!/bin/sh
# Answers one question.
read -r question
case $question in
who) id -un ;;
first) tr '\0' ' ' </proc/1/cmdline | cut -d ' ' -f 1 ;;
zombies) grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l ;;
keep) date -u -d @0 +%F >/data/kept && cat /data/kept ;;
*) echo "what is $question?" ;;
esac
