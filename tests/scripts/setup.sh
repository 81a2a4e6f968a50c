#!/usr/bin/env bash
# Installs the Debian packages that watchtree builds and runs with. Says which; does nothing if none is missing.
set -euo pipefail

packages=(
    build-essential pkg-config
    # Camera port and test camera: headers of GStreamer and of its RTSP server, then the plugins they use.
    libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev libgstrtspserver-1.0-dev
    gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly
    gstreamer1.0-libav
)

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
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends -o Dpkg::Use-Pty=0 "${missing[@]}"
