#!/bin/bash
# `make demo`: builds what the demo needs and runs it (e2e/demo.rs). Options are the demo's: --rootless.
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
command -v cargo >/dev/null || { echo "error: Rust is missing; https://rustup.rs tells how to install it" >&2; exit 1; }

binary=${CARGO_TARGET_DIR:-target}/debug/hafen
[ -e "$binary" ] || echo "Building hafen. The first time this takes some minutes (about four on two cores); later, seconds." >&2
cargo build --locked --bin hafen --example demo
# cargo becomes the demo: signals reach it, and it removes what it made.
exec cargo run --locked --quiet --example demo -- "$@"
