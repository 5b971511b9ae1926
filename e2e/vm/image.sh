#!/bin/bash
# Makes, once, what the test VMs boot from: $VM_DIR/base.ext4 (a small Debian) and $VM_DIR/initrd.gz.
#
# Needs root and the network. Nothing is mounted, and no root is changed but by debootstrap, which takes care of itself:
# files are put into a folder, and `mkfs -d` makes a disk of it. About two minutes.
set -eu
DIR=${VM_DIR:-/var/tmp/hafen-vm}
ROOT=$DIR/rootfs
case $DIR in /tmp | /tmp/* | / | '') echo "VM_DIR=$DIR: use a folder that nobody clears" >&2; exit 64 ;; esac
mkdir -p "$DIR"
if [ -e "$DIR/base.ext4" ] && [ -e "$DIR/initrd.gz" ] && [ -z "${FORCE:-}" ]; then exit 0; fi

[ "$(id -u)" = 0 ] || { echo "make vm-test needs root, to install packages and to make a network for the VMs" >&2; exit 1; }
missing=
for pair in qemu-system-x86:qemu-system-x86_64 debootstrap:debootstrap busybox-static:busybox \
    cpio:cpio kmod:modprobe socat:socat e2fsprogs:mkfs.ext4; do
    command -v "${pair#*:}" >/dev/null || missing="$missing ${pair%%:*}"
done
ls /boot/vmlinuz-*-amd64 >/dev/null 2>&1 || missing="$missing linux-image-amd64"
if [ -n "$missing" ]; then
    echo "installing with apt:$missing" >&2
    # shellcheck disable=SC2086 # a list of package names
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing
fi
KERNEL=$(find /boot -name 'vmlinuz-*-amd64' | sort -V | tail -1)
RELEASE=${KERNEL#/boot/vmlinuz-}

if [ ! -e "$ROOT/etc/os-release" ]; then
    debootstrap --variant=minbase \
        --include=kmod,iproute2,iputils-ping,iputils-arping,procps,busybox-static,socat,git,resource-agents,psmisc \
        bookworm "$ROOT" >"$DIR/debootstrap.log"
fi
mkdir -p "$ROOT/lib/modules/$RELEASE/kernel"
(
    cd "/lib/modules/$RELEASE"
    cp -a modules.* "$ROOT/lib/modules/$RELEASE/"
    cp -a --parents kernel/drivers/watchdog kernel/drivers/virtio kernel/drivers/char/hw_random kernel/net/core \
        kernel/net/packet "$ROOT/lib/modules/$RELEASE/" 2>/dev/null || true
)
depmod -b "$ROOT" "$RELEASE"

: >"$ROOT/etc/fstab"
cat >"$ROOT/usr/local/sbin/vm-init" <<'INIT'
#!/bin/sh
# The first process: no service manager, so that a boot takes seconds even where every instruction is emulated.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc p /proc; mount -t sysfs s /sys; mountpoint -q /dev || mount -t devtmpfs d /dev
mkdir -p /dev/pts /dev/shm; mount -t devpts d /dev/pts; mount -t tmpfs t /run; mount -t tmpfs t /tmp; mkdir -p /run/lock
mount -t cgroup2 c /sys/fs/cgroup
address= watchdog=
for word in $(cat /proc/cmdline); do
    case $word in
    vm.host=*) hostname "${word#*=}" ;; vm.ip=*) address=${word#*=} ;; vm.watchdog=*) watchdog=${word#*=} ;;
    esac
done
ip link set lo up; ip addr add "$address/24" dev eth0; ip link set eth0 up
mkdir -p /opt/hafen; mount -o ro /dev/vdb /opt/hafen
[ -z "$watchdog" ] || modprobe "$watchdog"
modprobe virtio-rng 2>/dev/null
# Runs what it is sent as a shell script; the network is the VMs' own.
socat -t600 TCP-LISTEN:2323,fork,reuseaddr EXEC:"/bin/bash -l",stderr &
while :; do wait; sleep 1; done
INIT
chmod +x "$ROOT/usr/local/sbin/vm-init"

# An initrd of busybox and the modules that reach an ext4 root on a virtio disk.
INITRD=$DIR/initrd.d
rm -rf "$INITRD"
mkdir -p "$INITRD"/{bin,proc,sys,dev,new,m}
cp "$(command -v busybox)" "$INITRD/bin/"
: >"$INITRD/m/order"
for module in virtio_pci virtio_blk virtio_net crc32c_generic libcrc32c ext4; do
    modprobe -S "$RELEASE" --show-depends "$module" 2>/dev/null | awk '$1 == "insmod" { print $2 }' | while read -r file; do
        name=$(basename "$file")
        [ -e "$INITRD/m/$name" ] || { cp "$file" "$INITRD/m/$name"; echo "$name" >>"$INITRD/m/order"; }
    done
done
cat >"$INITRD/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc p /proc; mount -t sysfs s /sys; mount -t devtmpfs d /dev
while read -r m; do insmod "/m/$m"; done </m/order
n=0; while [ ! -b /dev/vda ] && [ $n -lt 100 ]; do sleep 0.05; n=$((n + 1)); done
mount -t ext4 -o rw,noatime /dev/vda /new || exec sh
umount /sys /proc; mount --move /dev /new/dev
exec switch_root /new /usr/local/sbin/vm-init
INIT
chmod +x "$INITRD/init"
(cd "$INITRD" && find . | cpio -o -H newc 2>/dev/null | gzip -1 >"$DIR/initrd.gz")
rm -f "$DIR/base.ext4"
truncate -s 1500M "$DIR/base.ext4"
mkfs.ext4 -q -F -d "$ROOT" "$DIR/base.ext4"
echo "the VMs' disk is made: $DIR/base.ext4" >&2
