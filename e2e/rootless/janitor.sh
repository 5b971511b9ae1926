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
# As root hafen makes cgroups, called by the data directory (src/agent/cgroup.rs).
mount=$(awk '{ for (i = 7; i < NF; i++) if ($i == "-" && $(i + 1) == "cgroup2") { print $5; exit } }' /proc/self/mountinfo)
for node in n1 n2 n3; do
    group=$mount/hafen/$(printf %s "$1/$node/data" | sha256sum | cut -c1-8)
    [ ! -d "$group" ] || find "$group" -depth -type d -exec rmdir {} + 2>/dev/null
done
rmdir "$mount/hafen" 2>/dev/null
rm -rf "$1"
