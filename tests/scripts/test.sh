#!/usr/bin/env bash
# Everything that CI runs, cheapest first. The test runner comes last: its closing line is the result.
set -euo pipefail

step() { echo "== $*" >&2; "$@"; }

step cargo fmt --all --check
step cargo clippy --locked --workspace --all-targets -- -D warnings
# The harness starts the programs as they lie in the target directory, and refuses old ones.
step cargo build --locked --workspace --bins
if cargo nextest --version >/dev/null 2>&1; then
    step cargo nextest run --locked --workspace --no-fail-fast
else
    step cargo test --locked --workspace --no-fail-fast
fi
