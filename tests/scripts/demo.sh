#!/usr/bin/env bash
# Runs the demo in a throw-away directory. Whoever dies, and however, leaves no process and no directory:
#   the demo program dies     its nodes and cameras die with it, this script removes the directory
#   this script or make dies  the demo program notices, stops everything and removes the directory
set -euo pipefail

dir=$(mktemp -d "${TMPDIR:-/tmp}/watchtree-demo.XXXXXX")
trap 'rm -rf -- "$dir"' EXIT

target=${CARGO_TARGET_DIR:-target}
"$target/debug/watchtree-demo" --dir "$dir" --tied-to $$ --tied-to $PPID "$@" &
demo=$!

# Ctrl-C reaches the demo program too, which stops the nodes in order: this script only waits for it.
trap 'signalled=1; kill -TERM "$demo" 2>/dev/null || true' INT TERM HUP
while :; do
    signalled=0 status=0
    wait "$demo" || status=$?
    # A signal ends a wait before its time.
    [ "$signalled" = 1 ] || break
done
[ "$status" -ne 137 ] || echo "demo: watchtree-demo was killed" >&2
exit "$status"
