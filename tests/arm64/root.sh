#!/bin/sh
# Makes $1 the root of an arm64 system with the libraries that programs here are linked with: packages
# of this distribution, fetched by apt and unpacked there. Needs no rights and installs nothing.
set -eu
root=$1
packages="libc6-dev libgomp1 libpng-dev libjpeg-dev zlib1g-dev libzip-dev libjansson-dev libutf8proc-dev
libdnnl-dev libcmocka-dev"

if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
  echo "arm64: this is neither Debian nor Ubuntu; ARM64_ROOT= names a root with what these hold:" $packages >&2
  exit 1
fi

rm -rf "$root"
mkdir -p "$root/usr/lib" "$root/apt/lists/partial" "$root/apt/cache/archives/partial"
ln -s usr/lib "$root/lib"
root=$(cd "$root" && pwd)
: >"$root/apt/status"
apt() {
  apt-get -q -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State="$root/apt" \
    -o Dir::State::status="$root/apt/status" -o Dir::Cache="$root/apt/cache" -o Debug::NoLocking=1 \
    -o APT::Sandbox::User=root "$@"
}
apt update
apt -y --no-install-recommends --download-only install $packages
for package in "$root"/apt/cache/archives/*.deb; do
  dpkg-deb -x "$package" "$root"
done
# links that start at the root of the system start at this one
find "$root" -type l -lname '/*' | while read -r link; do
  ln -sfr "$root$(readlink "$link")" "$link"
done
rm -rf "$root/apt"
