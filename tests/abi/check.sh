#!/bin/sh
# The contract of the built library: the header compiles everywhere, the exported names are those of
# lib/textinv.map and of the header, nothing is imported that a library must not call, and the
# interface is the one that lib/libtextinv.abi describes.
set -u
build=${BUILD:-build/cc}
library=$(readlink -e "$build/libtextinv.so") || exit 1 # older versions may lie beside it
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
status=0

# result of the last command; $1 = what was checked
result() {
  if [ $? = 0 ]; then
    echo "ok - $1"
  else
    echo "FAIL - $1"
    status=1
  fi
}
skip() { echo "skipped - $1"; }

# --- the header, in every language that may include it
for compiler in 'gcc -std=c99' 'gcc -std=c11' 'g++ -xc++ -std=c++98' 'g++ -xc++ -std=c++20' \
  'clang -std=c99' 'clang -std=c11' 'clang++ -xc++ -std=c++98' 'clang++ -xc++ -std=c++20'; do
  if command -v "${compiler%% *}" >/dev/null; then
    $compiler -pedantic -Wall -Wextra -Werror -Iinclude -fsyntax-only tests/abi/header.c
    result "the header, $compiler"
  else
    skip "the header, $compiler: there is no ${compiler%% *}"
  fi
done

# --- names
nm -D --defined-only "$library" | awk '$2 != "A" { sub("@.*", "", $3); print $3 }' | sort >"$work/exported"
sed -n 's/^ *\(textinv_[a-z0-9_]*\);$/\1/p' lib/textinv.map | sort >"$work/map"
# a declaration is a line with TEXTINV_API; its name may stand on the line after
sed '/^#/d' include/textinv/textinv.h | tr '\n' ' ' | grep -o 'TEXTINV_API [^(]*(' |
  sed -n 's/.*[ *]\(textinv_[a-z0-9_]*\)($/\1/p' | sort >"$work/header"
diff "$work/map" "$work/exported"
result "the exported names are those of lib/textinv.map"
diff "$work/header" "$work/map"
result "lib/textinv.map has the names of the header"
test "$(wc -l <"$work/map")" -gt 50
result "$(wc -l <"$work/map") names are exported"
readelf -d "$library" | grep -q "SONAME.*\[libtextinv\.so\.$(sed -n 's/#define TEXTINV_VERSION_MAJOR //p' \
  include/textinv/version.h)\]"
result "the soname carries the major version alone"

# --- what a library in another's process must not do
nm -D --undefined-only "$library" | awk '{ sub("@.*", "", $2); print $2 }' | sort >"$work/imported"
for name in abort exit _exit _Exit quick_exit raise kill fork vfork system signal sigaction atexit \
  at_quick_exit setlocale chdir fchdir putenv setenv printf fprintf dprintf sprintf snprintf vprintf \
  vfprintf vsprintf vsnprintf vdprintf asprintf vasprintf puts fputs putchar fputc putc perror \
  __printf_chk __fprintf_chk __sprintf_chk __snprintf_chk __vprintf_chk __vfprintf_chk __vsprintf_chk \
  __vsnprintf_chk __assert_fail stdout stderr strtod strtof atof rand srand; do
  if grep -qx "$name" "$work/imported"; then
    echo "the library calls $name"
  fi
done >"$work/forbidden"
cat "$work/forbidden"
test ! -s "$work/forbidden"
result "none of the functions that a library must not call is imported"
if nm -D "$library" | grep -q ' __cxa_\(guard\|throw\)'; then false; fi
result "no C++ run time"
if strings -a "$library" | grep -qF "$(pwd)/"; then false; fi
result "the folder of the build is not in the library"

# --- the interface against the stored one; baseline and comparison as docs/abi.md explains. The baseline is that of
# x86-64; other processors of 64 bits lay the same structs out in the same way
if command -v abidiff >/dev/null; then
  if readelf -S "$library" | grep -q debug_info; then
    abidiff --no-architecture --headers-dir2 include --suppressions lib/textinv.suppr lib/libtextinv.abi "$library"
    result "the interface is that of lib/libtextinv.abi (after a deliberate addition: make store-abi)"
  else
    skip "the interface: the library has no debug information"
  fi
else
  skip "the interface: there is no abidiff"
fi
exit $status
