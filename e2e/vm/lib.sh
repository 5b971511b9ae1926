# Virtual machines for tests that need a kernel of their own. Sourced by bash; see image.sh for what they boot from.
#
# Each is emulated (no KVM needed), has one network card on a bridge in the network namespace $NS, and answers shell
# commands on TCP 2323 there. Nothing leaves that namespace. Processes are ended by the ids that were noted for them.
DIR=${VM_DIR:-/var/tmp/hafen-vm} NS=${VM_NS:-hafen-vm} NET=10.79.7
RUN=$DIR/run
mkdir -p "$RUN"
KERNEL=$(find /boot -name 'vmlinuz-*-amd64' | sort -V | tail -1)

now() { date +%s.%N; }
since() { awk -v a="$1" -v b="$(now)" 'BEGIN { printf "%.1f", b - a }'; }

# vm_net: the bridge of the machines.
vm_net() {
    ip netns list | grep -qw "$NS" && return
    ip netns add "$NS"
    ip -n "$NS" link set lo up
    ip -n "$NS" link add br0 type bridge
    ip -n "$NS" addr add "$NET.254/24" dev br0
    ip -n "$NS" link set br0 up
}

# vm_payload FILE...: the disk that every machine sees, read-only, at /opt/hafen.
vm_payload() {
    rm -rf "$RUN/payload" "$RUN/payload.ext4"
    mkdir -p "$RUN/payload"
    cp "$@" "$RUN/payload/"
    truncate -s $(($(du -sm "$RUN/payload" | cut -f1) * 5 / 4 + 16))M "$RUN/payload.ext4"
    mkfs.ext4 -q -F -O ^has_journal -d "$RUN/payload" "$RUN/payload.ext4"
    rm -rf "$RUN/payload"
}

# vm_start I WATCHDOG [fresh]: starts machine I; `fresh` forgets what its disk held.
vm_start() {
    local i=$1 dog=$2 r=$RUN/n$1 device=() cpu=Nehalem
    [ "${3:-}" != fresh ] || cp --sparse=always --reflink=auto "$DIR/base.ext4" "$r.img"
    [ "$dog" != i6300esb ] || device=(-device i6300esb -action watchdog=poweroff)
    # A timer of a guest's kernel is refused as evidence. This guest says that it is none, and nobody pauses it.
    [ "$dog" != softdog ] || cpu=Nehalem,-hypervisor
    ip -n "$NS" link show "n$i" >/dev/null 2>&1 || ip -n "$NS" tuntap add "n$i" mode tap
    ip -n "$NS" link set "n$i" master br0 up
    # The clock is read from the emulated HPET: the TSC is calibrated at boot, and on a busy machine it then runs several
    # times too fast. VM_NICE: whoever tests timing on a machine that is busy otherwise may want less than 0.
    ip netns exec "$NS" nice -n "${VM_NICE:-0}" qemu-system-x86_64 -name "hafen-n$i" -accel tcg -M q35 -cpu "$cpu" -m 512 -nodefaults \
        -display none -no-reboot -kernel "$KERNEL" -initrd "$DIR/initrd.gz" \
        -append "console=ttyS0 quiet root=/dev/vda mitigations=off tsc=unstable clocksource=hpet no_timer_check cryptomgr.notests random.trust_cpu=on audit=0 selinux=0 apparmor=0 net.ifnames=0 vm.host=n$i vm.ip=$NET.$i vm.watchdog=$dog" \
        -drive "file=$r.img,format=raw,if=none,id=d0,cache=unsafe" -device virtio-blk-pci,drive=d0 \
        -drive "file=$RUN/payload.ext4,format=raw,if=none,id=d1,read-only=on" -device virtio-blk-pci,drive=d1 \
        -netdev "tap,id=nn,ifname=n$i,script=no,downscript=no" \
        -device "virtio-net-pci,netdev=nn,mac=52:54:00:79:07:0$i,romfile=" -device virtio-rng-pci \
        "${device[@]}" -serial "file:$r.console" -pidfile "$r.pid" >"$r.err" 2>&1 </dev/null &
    disown
}

# vm_sh I COMMANDS: runs them there and prints what they say.
vm_sh() {
    local i=$1
    shift
    printf '%s\n' "$*" | ip netns exec "$NS" timeout "${VM_TIMEOUT:-60}" socat -t"${VM_TIMEOUT:-60}" - \
        "TCP:$NET.$i:2323,connect-timeout=3"
}

# vm_wait I: until it answers.
vm_wait() {
    local deadline=$((SECONDS + 240))
    until echo 'echo up' | ip netns exec "$NS" timeout 3 socat -t3 - "TCP:$NET.$1:2323,connect-timeout=1" 2>/dev/null | grep -q up; do
        [ $SECONDS -lt $deadline ] || { echo "n$1 did not boot; the end of its console:" >&2; tail -5 "$RUN/n$1.console" >&2; return 1; }
        sleep 0.5
    done
}

vm_lives() { [ -e "$RUN/n$1.pid" ] && [ -d "/proc/$(cat "$RUN/n$1.pid")" ]; }
vm_cut() { ip -n "$NS" link set "n$1" nomaster; }
vm_heal() { ip -n "$NS" link set "n$1" master br0; }

# vm_down: ends the machines and takes the network away.
vm_down() {
    local pid
    for pid in "$RUN"/n*.pid; do
        [ ! -e "$pid" ] || kill -9 "$(cat "$pid")" 2>/dev/null || true
        rm -f "$pid"
    done
    ip netns del "$NS" 2>/dev/null || true
}
