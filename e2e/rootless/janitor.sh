#!/bin/sh
# Ends and removes a rootless demo, however its owner ended: janitor.sh DIR. Waits until its stdin closes.
# Only processes whose home lies in the demo's folder are killed: see `machine`.
set -u
trap '' INT TERM HUP
case ${1##*/} in hafen-demo.[0-9]*) ;; *) echo "refused: $1 is not a demo" >&2; exit 1 ;; esac
cat >/dev/null
while found=$(grep -lzsE "^HOME=$1/[a-z0-9]+$" /proc/[0-9]*/environ | cut -d/ -f3) && [ -n "$found" ]; do
    # shellcheck disable=SC2086 # a list of numbers
    kill -9 $found 2>/dev/null || :
done
rm -rf "$1"
