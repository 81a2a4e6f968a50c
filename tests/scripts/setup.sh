#!/usr/bin/env bash
# Installs the Debian packages that watchtree builds and runs with. Says which; does nothing if none is missing.
set -euo pipefail

packages=(
    build-essential pkg-config
    # Camera port and test camera: headers of GStreamer and of its RTSP server, then the plugins they use.
    libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev libgstrtspserver-1.0-dev
    gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly
    gstreamer1.0-libav
    # Tests of metrics, dashboards and alerts run the real Prometheus and its promtool.
    prometheus
    # What restarts are measured against.
    erlang-base
    # What a call over a link is measured against.
    nats-server
    # ffprobe reads what is recorded, independently of us; cameras are measured against ffmpeg and against motion.
    ffmpeg motion
    # Recorded files are played in a browser.
    chromium
)

# Daemons that come with those packages. Tests start their own: one that was not wanted before is not left running.
units=(prometheus.service epmd.socket epmd.service nats-server.service motion.service)

fail() {
    echo "setup: $*" >&2
    exit 1
}

# A fresh shell may not know yet where rustup put it: the Makefile's other recipes would not find it either.
command -v cargo >/dev/null ||
    fail "cargo is missing: install Rust 1.95 or newer from https://rustup.rs, then open a new shell"

missing=()
for package in "${packages[@]}"; do
    status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

echo "setup: installing ${missing[*]}"
command -v apt-get >/dev/null || fail "no apt-get here: install the packages above in your system's way, then try again"
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || fail "needs root for that: run as root, or install sudo"
    as_root=(sudo)
fi

has_systemd() { [ -d /run/systemd/system ] && command -v systemctl >/dev/null; }
is_known() { [ -n "$(systemctl list-unit-files --no-legend "$1" 2>/dev/null)" ]; }

new_units=()
if has_systemd; then
    for unit in "${units[@]}"; do
        is_known "$unit" || new_units+=("$unit")
    done
fi

"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends -o Dpkg::Use-Pty=0 "${missing[@]}"

for unit in ${new_units[@]+"${new_units[@]}"}; do
    is_known "$unit" || continue
    echo "setup: $unit came with its package and is not needed: stopped, and not started at boot"
    "${as_root[@]}" systemctl disable --quiet --now "$unit"
done
