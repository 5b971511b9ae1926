#!/bin/bash
# PID 1 of a lab node. Called inside fresh pid, mount, net, uts, ipc and cgroup namespaces.
#
#   init.sh LAB NAME PLAIN|SYSTEMD PEER...    (a PEER is "n1=1": a node's name and its number)
#
# Gives the node a root of its own: a tmpfs with overlays of the host's /usr, /etc and /var whose upper layers are the
# node's disk ($LAB/NAME/disk: it stays over power cuts; /run, /tmp and /dev/shm do not). Then sets name and addresses,
# writes a fresh boot id to /run/hafen-boot-id, starts the stack if one is set, and reaps orphans for ever.
#
# Nothing is started, deleted or written below / before `verify_root` has seen that the root was really changed.
set -euo pipefail
LAB=$1 NAME=$2 KIND=$3; shift 3
HERE=$(cd "$(dirname "$0")" && pwd)
MARKER=.hafen-lab-root
[ $$ = 1 ] || { echo "refused: not PID 1 of a new pid namespace" >&2; exit 1; }
[ -d "$LAB/$NAME" ] && [ ! -e "/$MARKER" ] || { echo "refused: $LAB/$NAME is not a lab node's folder" >&2; exit 1; }

read -r host_pid _ </proc/self/stat                   # /proc is still the host's, so this is the pid as the host sees it
echo "$host_pid" >"$LAB/$NAME/pid.new"; mv "$LAB/$NAME/pid.new" "$LAB/$NAME/pid"

new_root() { # builds the node's root at $1
    local R=$1 D=$LAB/$NAME d
    mount -t tmpfs -o size=64m,mode=755 "$LAB/$NAME" "$R"
    mkdir -p "$R"/{usr,etc,var,proc,sys,dev,run,tmp,root,home,mnt,old,opt/lab,opt/hafen,srv/shared}
    for d in bin sbin lib lib32 lib64 libx32; do [ ! -d "/usr/$d" ] || ln -s "usr/$d" "$R/$d"; done
    for d in usr etc var; do
        mkdir -p "$D/disk/$d" "$D/disk/.work-$d"
        mount -t overlay "$NAME-$d" -o "lowerdir=/$d,upperdir=$D/disk/$d,workdir=$D/disk/.work-$d" "$R/$d"
    done
    mount --bind "$HERE" "$R/opt/lab"
    mount --bind "$D/bin" "$R/opt/hafen"
    mount --bind "$LAB/shared" "$R/srv/shared"
    mount -t proc proc "$R/proc"
    mount -t sysfs sysfs "$R/sys"
    mount -t cgroup2 cgroup2 "$R/sys/fs/cgroup" 2>/dev/null || echo "no cgroup v2 on this host"
    mount -t tmpfs -o mode=755 run "$R/run"
    mount -t tmpfs -o mode=1777 tmp "$R/tmp"
    mount -t tmpfs -o mode=755 dev "$R/dev"           # a /dev of its own: no watchdog and no disks of the host in here
    mkdir "$R/dev/shm" "$R/dev/pts"
    mount -t tmpfs -o mode=1777 shm "$R/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=0666 pts "$R/dev/pts"
    for d in null:3 zero:5 full:7 random:8 urandom:9; do mknod -m 666 "$R/dev/${d%:*}" c 1 "${d#*:}"; done
    mknod -m 666 "$R/dev/tty" c 5 0
    ln -s pts/ptmx "$R/dev/ptmx"; ln -s /proc/self/fd "$R/dev/fd"
    ln -s /proc/self/fd/1 "$R/dev/stdout"; ln -s /proc/self/fd/2 "$R/dev/stderr"
    echo "$LAB $NAME" >"$R/$MARKER"
}
verify_root() { # the new root is ours and nothing of the old one is in reach
    [ "$(cat "/$MARKER")" = "$LAB $NAME" ] && [ ! -e "/old/$MARKER" ] || return 1
    case $1 in
        attached) [ -d "/old/$LAB/$NAME/disk" ] ;;
        detached) [ -z "$(ls -A /old)" ] && [ ! -e "$LAB" ] ;;
    esac
}

mkdir -p "$LAB/$NAME/root"
new_root "$LAB/$NAME/root"
cd "$LAB/$NAME/root"
pivot_root . old
cd /
verify_root attached || { echo "refused: the root was not changed" >&2; exit 1; }
umount -l /old
verify_root detached || { echo "refused: the old root is still in reach" >&2; exit 1; }
HERE=/opt/lab

cat /proc/sys/kernel/random/uuid >/run/hafen-boot-id
mkdir -p /run/lock /var/log /etc/default
hostname "$NAME"; echo "$NAME" >/etc/hostname
index=
{ echo "127.0.0.1 localhost"
  for peer in "$@"; do echo "10.77.0.1${peer#*=} ${peer%=*}"; done; } >/etc/hosts
for peer in "$@"; do [ "${peer%=*}" != "$NAME" ] || index=${peer#*=}; done
ln -sfn "$HERE/fence_lab" /usr/sbin/fence_lab
if [ -e /sys/fs/cgroup/cgroup.procs ]; then            # the node's top group stays free of processes
    mkdir -p /sys/fs/cgroup/{init,stack,shell}
    [ "$KIND" = SYSTEMD ] || echo $$ >/sys/fs/cgroup/init/cgroup.procs
fi

ip link set lo up
until [ -e /sys/class/net/eth0 ] && [ -e /sys/class/net/eth1 ]; do sleep 0.005; done
ip -batch - <<NET
addr add 10.77.0.1$index/24 dev eth0
addr add 10.78.0.1$index/24 dev eth1
link set eth0 up
link set eth1 up
NET

export HOME=/root LANG=C.UTF-8 HAFEN_BOOT_ID_FILE=/run/hafen-boot-id OCF_ROOT=/usr/lib/ocf
export PATH=/opt/hafen:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
if [ "$KIND" = SYSTEMD ]; then . "$HERE/systemd.sh"; fi   # does not return
[ ! -e "/srv/shared/.lab/$NAME.stack" ] || "$HERE/stack.sh" start
cat /run/hafen-boot-id >"/srv/shared/.lab/$NAME.up"
while :; do sleep 3600 & wait $! || :; done               # bash reaps orphans while it waits
