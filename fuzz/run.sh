#!/bin/bash
# `make fuzz`: runs every target for so many seconds (180 unless told), and says what was found. Installs what is missing.
#
# Works on a copy of the corpus in target/: what is worth keeping is put into fuzz/corpus/TARGET/ by hand, small and with a name
# that says what it shows; `make test` replays it. Without address sanitizer: the code under test is safe Rust, so panics, time
# and memory are what can go wrong, and it is several times faster.
set -eu
cd "$(dirname "$0")"
seconds=${1:-180}
PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
command -v rustup >/dev/null || { echo "error: fuzzing needs a nightly compiler, and rustup to fetch it" >&2; exit 1; }
rustup run nightly rustc --version >/dev/null 2>&1 || rustup toolchain install nightly --profile minimal
command -v cargo-fuzz >/dev/null || cargo +nightly install cargo-fuzz --locked

cargo +nightly fuzz build --sanitizer none
found=0
for target in manifests cib metadata bodies entries snapshots; do
    corpus=target/corpus/$target artifacts=artifacts/$target
    mkdir -p "$corpus" "$artifacts"
    cp -n "corpus/$target"/* "$corpus" || :
    echo "fuzzing $target for $seconds s"
    # 10 s for 16 KiB is a hang; 2 GiB is more than anything that small may need.
    if ! cargo +nightly fuzz run --sanitizer none "$target" "$corpus" -- -max_total_time="$seconds" -timeout=10 \
        -rss_limit_mb=2048 -max_len=16384 -print_final_stats=1 2>"target/$target.log"; then
        found=1
        echo "FOUND by $target: see fuzz/$artifacts and fuzz/target/$target.log" >&2
    fi
    grep -E 'stat::number_of_executed_units|stat::peak_rss_mb' "target/$target.log" || :
done
exit $found
