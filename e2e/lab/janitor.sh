#!/bin/bash
# Cleans up after a lab, however its owner ended.
#
#   janitor.sh watch LAB    waits until its stdin closes (the owner left or died), then removes the lab
#   janitor.sh wipe         removes every lab whose owner is dead (the owner holds a lock on LAB/lock)
#
# A lab is: processes in the nodes, network namespaces LABNAME-sw and LABNAME-cl, cgroups LABNAME.NODE, the folder LAB.
# Only processes whose mounts name the lab's folder are killed, so a recycled pid cannot hit a stranger.
set -u
trap '' INT TERM HUP
CGROUP=$(awk '{ for (i = 7; i <= NF; i++) if ($i == "-" && $(i + 1) == "cgroup2") { print $5; exit } }' /proc/self/mountinfo)

remove() {
    local lab=$1 name file pid group
    name=${lab##*/}
    case $name in hafen-lab.[0-9]*) ;; *) echo "refused: $lab is not a lab" >&2; return 1 ;; esac
    for file in "$lab"/n*/pid; do
        pid=$(cat "$file" 2>/dev/null) || continue
        grep -qsF "upperdir=$lab/" "/proc/$pid/mountinfo" && kill -9 "$pid" 2>/dev/null
    done
    if [ -n "$CGROUP" ]; then
        for group in "$CGROUP/$name".*; do
            [ -d "$group" ] || continue
            echo 1 >"$group/cgroup.kill" 2>/dev/null
            for _ in $(seq 200); do
                find "$group" -depth -type d -exec rmdir {} + 2>/dev/null
                [ -d "$group" ] || break
                sleep 0.01
            done
        done
    fi
    for net in sw cl; do ip netns del "$name-$net" 2>/dev/null; done
    rm -rf --one-file-system "$lab"
}

case ${1:-} in
watch) cat >/dev/null; remove "$2" ;;
wipe)
    for lab in "${HAFEN_LAB_ROOT:-/tmp}"/hafen-lab.[0-9]*; do
        [ -d "$lab" ] || continue
        flock -n "$lab/lock" true || continue
        remove "$lab" && echo "removed $lab" >&2
    done ;;
*) sed -n '2,5s/^# \{0,3\}//p' "$0" >&2; exit 64 ;;
esac
exit 0
