#!/bin/bash
# A virtual machine whose only fencing is its watchdog (`make vm-test`): it is lost, and another node takes over.
#
# n3 is the machine, with a kernel and a watchdog of its own; it runs the service. n1, n2 and the witness n4 are daemons of
# this machine, in network namespaces, and they alone vote: an emulated machine is some thirty times slower, and would
# lead now and then.
# Each loss is timed from outside: when the address answers from elsewhere, and when the machine ended. The bar for
# the takeover is 15 s; a machine that still held the service when another took over would be a failure of everything.
#   cut     its network is cut; it lets go of everything in time, and resets itself once it learns that it was given up
#   frozen  its daemon stands still (SIGSTOP): its watchdog ends it
#   hangs   its network is cut, and a stop hangs: its watchdog ends it (the last: the service would not move back)
# usage: watchdog.sh [cut|frozen|hangs]...      HAFEN=program (target/debug/hafen)   WATCHDOG=i6300esb|softdog
set -u
cd "$(dirname "$0")" || exit 1
[ "$(id -u)" = 0 ] || { echo "make vm-test: run it as root" >&2; exit 1; }
./image.sh || exit 1
# shellcheck source=e2e/vm/lib.sh
. ./lib.sh
HAFEN=${HAFEN:-../../target/debug/hafen} WATCHDOG=${WATCHDOG:-i6300esb} BAR=${BAR:-15} VIP=$NET.100
CASES=("$@")
[ ${#CASES[@]} -gt 0 ] || CASES=(cut frozen hangs)
FAILED=0
trap down EXIT
trap 'exit 130' INT TERM

HAFEN=$(readlink -f "$HAFEN")
say() { echo "[$(date +%T)] $*"; }
fail() { say "FAILED: $*"; FAILED=1; }

manifests() {
    cat <<Y
apiVersion: hafen/v1alpha1
kind: Cluster
metadata: { name: vm }
# An emulated machine stands still for a second now and then: more of the lease goes to that, and less to the device.
spec:
  detection: { heartbeat: 100ms, suspectAfter: 3s }
  watchdog: { selfStopAfter: 3500ms, timeout: 2s }
---
apiVersion: hafen/v1alpha1
kind: FencingDevice
metadata: { name: dog }
spec: { agent: watchdog, params: { device: /dev/watchdog0 } }
---
# Never the one of the machine that runs this test.
apiVersion: hafen/v1alpha1
kind: FencingDevice
metadata: { name: none }
spec: { agent: watchdog, params: { device: /nonexistent/watchdog } }
---
apiVersion: hafen/v1alpha1
kind: Node
metadata: { name: n1 }
spec: { addresses: [$NET.1], fencing: [[none]] }
---
apiVersion: hafen/v1alpha1
kind: Node
metadata: { name: n2 }
spec: { addresses: [$NET.2], fencing: [[none]] }
---
apiVersion: hafen/v1alpha1
kind: Node
metadata: { name: n3 }
spec: { addresses: [$NET.3], role: Agent, fencing: [[dog]] }
---
apiVersion: hafen/v1alpha1
kind: Node
metadata: { name: n4 }
spec: { addresses: [$NET.4], role: Witness }
Y
    cat <<Y
---
apiVersion: hafen/v1alpha1
kind: Resource
metadata: { name: ip }
spec:
  agent: ocf:heartbeat:IPaddr2
  params: { ip: $VIP, cidr_netmask: "24", nic: eth0 }
  operations: { stop: { timeout: 60s } }
---
apiVersion: hafen/v1alpha1
kind: Resource
metadata: { name: slow }
spec:
  agent: ocf:heartbeat:Delay
  params: { startdelay: "0", stopdelay: "$1", mondelay: "0" }
  operations: { stop: { timeout: 60s } }
---
apiVersion: hafen/v1alpha1
kind: Group
metadata: { name: service }
spec: { members: [ip, slow] }
---
apiVersion: hafen/v1alpha1
kind: Location
metadata: { name: at-home }
spec: { resource: service, nodes: [n3], strength: Preferred, weight: 200 }
Y
}

# on I COMMANDS: runs them on node I, with `hafen` in the path.
on() {
    local i=$1
    shift
    case $i in
    3) vm_sh 3 "export PATH=/opt/hafen:\$PATH; $*" ;;
    *) ip netns exec "$NS-$i" env "PATH=$RUN:$PATH" "HAFEN_DATA_DIR=$RUN/p$i" bash -c "$*" ;;
    esac
}

# agent I: starts its daemon.
agent() {
    local i=$1
    case $i in
    3) vm_sh 3 'HAFEN_LOG=info,openraft=off setsid /opt/hafen/hafen agent >>/var/log/hafen.log 2>&1 </dev/null & sleep 0.1' ;;
    *)
        # A /run of its own, in a mount namespace that `unshare` has made: agents of both nodes keep their state there.
        ip netns exec "$NS-$i" unshare --mount --propagation private bash -c \
            'mount -t tmpfs run /run && exec env HAFEN_LOG=info,openraft=off HAFEN_DATA_DIR="$1" HAFEN_BOOT_ID_FILE="$1.boot" "$2" agent' \
            _ "$RUN/p$i" "$RUN/hafen" >>"$RUN/p$i.log" 2>&1 </dev/null &
        echo $! >"$RUN/p$i.pid"
        disown
        ;;
    esac
}

# peer I: a place on the bridge for a daemon of this machine.
peer() {
    local i=$1
    ip netns add "$NS-$i"
    ip -n "$NS" link add "p$i" type veth peer name eth0 netns "$NS-$i"
    ip -n "$NS" link set "p$i" master br0 up
    ip -n "$NS-$i" link set lo up
    ip -n "$NS-$i" link set eth0 address "52:54:00:79:07:0$i" up
    ip -n "$NS-$i" addr add "$NET.$i/24" dev eth0
    rm -rf "$RUN/p$i" "$RUN/p$i.log"
    echo "boot-$i-$(date +%s)" >"$RUN/p$i.boot"
}

down() {
    local i
    for i in 1 2 4; do
        [ ! -e "$RUN/p$i.pid" ] || kill -9 "$(cat "$RUN/p$i.pid")" 2>/dev/null
        rm -f "$RUN/p$i.pid"
        ip netns del "$NS-$i" 2>/dev/null
    done
    vm_down
}

# push STOPDELAY
push() {
    manifests "$1" >"$RUN/m.yaml"
    on 1 "rm -rf '$RUN/m'; mkdir '$RUN/m'; cd '$RUN/m' && git init -q -b main && git config user.email t@example.net && git config user.name t &&
        git pull -q '$RUN/p1/repo.git' main 2>/dev/null; cp '$RUN/m.yaml' . && git add -A && git commit -q --allow-empty -m 'stop delay $1' &&
        git push '$RUN/p1/repo.git' main 2>&1 | tail -3"
}

# The machine that has the address, by its hardware address.
holder() {
    ip netns exec "$NS" ip neigh flush dev br0 2>/dev/null
    ip netns exec "$NS" ping -qc1 -W1 "$VIP" >/dev/null 2>&1 || return 1
    ip -n "$NS" neigh show "$VIP" | sed -n 's/.*52:54:00:79:07:0\([0-9]\).*/\1/p'
}

wait_for() { # SECONDS WHAT COMMAND...
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || { fail "$what"; return 1; }
        sleep 0.5
    done
}

armed() { [ "$(on 1 'hafen events -n 1000' | grep -c 'n3 has armed its watchdog')" -gt "${ARMED:-0}" ]; }
online() { [ "$(on 1 'hafen status -o json' | tr -d ' \n' | grep -o '"membership":"Online"' | wc -l)" -ge 4 ]; }
answers() { on 1 'hafen status -o json' | tr -d ' \n' | grep -q '"leader":"n'; }
at_home() { [ "$(holder)" = 3 ]; }

logs() {
    echo "--- n1"
    tail -40 "$RUN/p1.log"
    echo "--- n3"
    vm_lives 3 && vm_sh 3 'tail -40 /var/log/hafen.log' 2>/dev/null
}

# ---- up ------------------------------------------------------------------------------------------------------------
down
vm_net
strip -o "$RUN/hafen" "$HAFEN" || cp "$HAFEN" "$RUN/hafen"
vm_payload "$RUN/hafen"
begun=$(now)
vm_start 3 "$WATCHDOG" fresh
for i in 1 2 4; do peer $i; done
on 1 "hafen init --name n1 --addresses $NET.1 --cluster vm"
agent 1
wait_for 60 "n1 leads" answers || { logs; exit 1; }
vm_wait 3 || exit 1
say "the machine is up after $(since "$begun") s, with $WATCHDOG"
for i in 2 4 3; do
    token=$(on 1 'hafen token 2>/dev/null')
    on $i "for try in 1 2 3; do echo '$token' | hafen join - --name n$i --addresses $NET.$i && break; sleep 2; done" 2>&1
    agent $i
done
wait_for 90 "all are online" online || { logs; exit 1; }
push 0
wait_for 90 "the machine has armed its watchdog" armed || { logs; exit 1; }
wait_for 60 "it has the address" at_home || { logs; exit 1; }
on 1 'hafen events | grep -i watchdog'

# ---- losses --------------------------------------------------------------------------------------------------------
# lose CASE: takes the active machine away, and times what follows.
lose() {
    local case=$1 active=3 began ended="" taken="" new by alive
    if [ "$case" = hangs ]; then push 600; else push 0; fi
    sleep 3
    wait_for 150 "$case: the machine has the service" at_home || { logs; return; }
    sleep 3
    say "$case: n3 has the address"
    began=$(now)
    case $case in
    cut | hangs) vm_cut "$active" ;;
    frozen)
        # A login shell of an emulated machine takes seconds to begin: counted from when it says that it is done.
        read -r _ < <(vm_sh "$active" 'kill -STOP $(pidof hafen); echo done')
        began=$(now)
        ;;
    esac
    by=$((SECONDS + 40))
    while [ $SECONDS -lt $by ] && [ -z "$taken" ]; do
        [ -n "$ended" ] || vm_lives "$active" || ended=$(since "$began")
        new=$(holder)
        if [ -n "$new" ] && [ "$new" != "$active" ]; then taken=$(since "$began"); fi
        sleep 0.05
    done
    # What it ended with was its own watchdog: nothing else ends it.
    alive=no
    vm_lives "$active" && alive=yes
    if [ -z "$taken" ]; then
        fail "$case: nobody took over within 40 s"
        logs
    else
        say "$case: n$new took over after $taken s; n$active ended after ${ended:-(it lives)} s"
        awk -v t="$taken" -v bar="$BAR" 'BEGIN { exit !(t <= bar) }' || fail "$case: $taken s are more than $BAR s"
        case $case-$alive in
        hangs-yes | frozen-yes) fail "$case: n$active lived when n$new took over" ;;
        esac
    fi
    if [ "$case" = cut ]; then
        # It let go in time and lives. It learns that it is over, and its watchdog ends it.
        vm_heal "$active"
        by=$((SECONDS + 40))
        while [ $SECONDS -lt $by ] && vm_lives "$active"; do sleep 0.2; done
        if vm_lives "$active"; then
            fail "cut: n$active was given up and lives"
        elif [ -n "$ended" ]; then
            say "cut: its stops took too long, so its watchdog ended n$active"
        else
            say "cut: n$active reset itself once it was heard again"
        fi
    fi
    ARMED=$(on 1 'hafen events -n 1000' | grep -c 'n3 has armed its watchdog')
    vm_lives "$active" && kill -9 "$(cat "$RUN/n$active.pid")"
    sleep 1
    vm_heal "$active" 2>/dev/null
    vm_start "$active" "$WATCHDOG"
    vm_wait "$active" || return
    agent "$active"
    wait_for 90 "n3 is let in again" online || logs
    wait_for 90 "it has armed its watchdog again" armed
}
for case in "${CASES[@]}"; do lose "$case"; done
[ $FAILED = 0 ] && say "every takeover within $BAR s"
exit $FAILED
