#!/bin/bash
# Installs what building and testing need on Debian or Ubuntu: `make deps`.
#
# Says first what it will do. Without root it prints what is missing and goes on (exit 0), since building and unit tests may
# still work. Services that come with the packages are not started: while apt runs, policy-rc.d says no; a policy that was
# there before is put back. Quick when nothing is missing: it looks for files, not at apt.
set -eu

# package: a file that shows it is there
NEEDED="
gcc:/usr/bin/gcc
libc6-dev:/usr/include/stdio.h
make:/usr/bin/make
pkg-config:/usr/bin/pkg-config
git:/usr/bin/git
curl:/usr/bin/curl
ca-certificates:/etc/ssl/certs/ca-certificates.crt
util-linux:/usr/bin/nsenter
procps:/usr/bin/ps
iproute2:/usr/sbin/ip|/usr/bin/ip|/sbin/ip
iputils-ping:/usr/bin/ping
nftables:/usr/sbin/nft
perl-base:/usr/bin/perl
dbus:/usr/bin/dbus-daemon
resource-agents:/usr/lib/ocf/resource.d/heartbeat/IPaddr2
fence-agents:/usr/sbin/fence_ipmilan
nginx-light:/usr/sbin/nginx
mariadb-server:/usr/sbin/mariadbd
"

missing=
for entry in $NEEDED; do
    found=
    for file in $(echo "${entry#*:}" | tr '|' ' '); do [ ! -e "$file" ] || found=yes; done
    [ -n "$found" ] || missing="$missing ${entry%%:*}"
done

if [ -n "$missing" ]; then
    if ! command -v apt-get >/dev/null; then
        echo "missing, and this is not Debian or Ubuntu; install what matches:$missing" >&2
    elif [ "$(id -u)" != 0 ]; then
        echo "missing:$missing" >&2
        echo "hint: sudo apt-get install --no-install-recommends$missing" >&2
    else
        echo "installing with apt:$missing" >&2
        policy=/usr/sbin/policy-rc.d kept=
        restore() {
            rm -f "$policy"
            [ -z "$kept" ] || mv "$kept" "$policy"
        }
        if [ -e "$policy" ] || [ -L "$policy" ]; then
            kept=$policy.before-hafen-deps
            mv "$policy" "$kept"
        fi
        trap restore EXIT
        trap 'exit 130' INT
        trap 'exit 143' TERM
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq
        # Some releases have split these two.
        for split in "fence-agents:fence-agents-all" "resource-agents:resource-agents-base resource-agents-extra"; do
            if [ -z "$(apt-cache madison "${split%%:*}")" ]; then
                missing=$(echo " $missing " | sed "s/ ${split%%:*} / ${split#*:} /")
            fi
        done
        # shellcheck disable=SC2086 # a list of package names
        apt-get install -qq -y --no-install-recommends $missing
    fi
fi

if ! command -v cargo >/dev/null && [ ! -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then
    echo "installing Rust with rustup into ${CARGO_HOME:-$HOME/.cargo}; rust-toolchain.toml says which version" >&2
    if command -v curl >/dev/null; then
        curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --no-modify-path --profile minimal --default-toolchain none
        echo "hint: . ${CARGO_HOME:-$HOME/.cargo}/env" >&2
    else
        echo "missing: curl, to fetch rustup" >&2
    fi
fi
[ -n "$missing" ] || echo "nothing is missing" >&2
