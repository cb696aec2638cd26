#!/bin/sh
# Installs the packages that are missing to build, run and test libtextinv: Debian 12 and 13, Ubuntu
# 22.04 and 24.04. Does nothing when nothing is missing. With the argument "ci": also what .ci/run needs;
# with "coverage": what "make coverage" does.
set -eu

# compiler, libraries, tests
packages="gcc make pkg-config libc6-dev libpng-dev libjpeg-dev zlib1g-dev libzip-dev libjansson-dev
libutf8proc-dev libdnnl-dev libcmocka-dev g++ abigail-tools"
if [ "${1-}" = ci ]; then
  # of locales, tests compile one with a decimal comma; python3, Go, Rust and Open MPI for the
  # examples in them
  packages="$packages clang locales python3 golang-go rustc libopenmpi-dev openmpi-bin"
fi
if [ "${1-}" = coverage ]; then
  packages="$packages gcovr"
fi

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  echo "deps: this is neither Debian nor Ubuntu; install what these packages hold:" $packages >&2
  exit 1
fi

installed() {
  case $(dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null) in
  ii*) return 0 ;;
  esac
  # a package of another name may provide it, as libjpeg-turbo8-dev or pkgconf do
  case $1 in
  gcc | g++ | make | pkg-config | clang | python3 | rustc) command -v "$1" >/dev/null ;;
  golang-go) command -v go >/dev/null ;;
  *) return 1 ;;
  esac
}

missing=
for package in $packages; do
  installed "$package" || missing="$missing $package"
done
if [ -z "$missing" ]; then
  echo "deps: nothing is missing"
  exit 0
fi

echo "deps: installing$missing"
if [ "$(id -u)" = 0 ]; then
  root=
elif command -v sudo >/dev/null; then
  root=sudo
else
  echo "deps: neither root nor sudo; run as root: apt-get install --no-install-recommends$missing" >&2
  exit 1
fi
$root apt-get update -q
$root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
echo "deps: done"
