#!/usr/bin/env bash
# Runs one test program, as cargo and nextest are told to. All but the tests of whole sites keep their files in
# $WATCHTREE_MEMORY: none of them tests the disk, and thousands of syncs make it the slowest part of the machine.
set -euo pipefail
[ "${CARGO_PKG_NAME:-tests}" = tests ] || export TMPDIR=$WATCHTREE_MEMORY
exec "$@"
