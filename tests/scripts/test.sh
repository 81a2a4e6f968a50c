#!/usr/bin/env bash
# Everything that CI runs, cheapest first. The test runner comes last: its closing line is the result.
set -euo pipefail

step() { echo "== $*" >&2; "$@"; }

# A folder in memory for the files of unit tests, where there is one with room; gone at the end, whatever that is.
use_memory() {
    local free_kib wanted_mib
    free_kib=$(df --output=avail -k /dev/shm 2>/dev/null | tail -n 1) || return 0
    # Two at a time were seen to have 12 MiB.
    wanted_mib=$((32 + 16 * $(nproc)))
    [ -w /dev/shm ] && [ "${free_kib:-0}" -ge $((wanted_mib * 1024)) ] || return 0
    WATCHTREE_MEMORY=$(mktemp -d /dev/shm/watchtree-test.XXXXXX) || return 0
    trap 'rm -rf "$WATCHTREE_MEMORY"' EXIT
    local host
    host=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
    export WATCHTREE_MEMORY "CARGO_TARGET_${host}_RUNNER=tests/scripts/run-test.sh"
}

step cargo fmt --all --check
step cargo clippy --locked --workspace --all-targets -- -D warnings
# The harness starts the programs as they lie in the target directory, and refuses old ones.
step cargo build --locked --workspace --bins
use_memory
if cargo nextest --version >/dev/null 2>&1; then
    step cargo nextest run --locked --workspace --no-fail-fast
else
    step cargo test --locked --workspace --no-fail-fast
fi
