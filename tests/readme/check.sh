#!/bin/sh
# The program of README.md compiles as it is printed, links the library, and learns a word. Shortened to a
# few steps when it runs; and make install gives a library that pkg-config finds.
set -u
build=$(realpath "${BUILD:-build/cc}")
root=$(pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

result() {
  if [ $? = 0 ]; then
    echo "ok - $1"
  else
    echo "FAIL - $1"
    failed=1
  fi
}

sed -n '/^```c$/,/^```$/p' README.md | grep -v '^```' >"$work/toy.c"
test "$(grep -c . "$work/toy.c")" -gt 9
result "README.md has a program"

stage=$(realpath --relative-to=. "$work")/stage # as a user would write it
make -s install BUILD="${BUILD:-build/cc}" DESTDIR="$stage" PREFIX=/usr/local >"$work/install.log" 2>&1 &&
  [ -d "$work/stage/usr/local/lib" ]
result "make install"
! make -s install BUILD="${BUILD:-build/cc}" DESTDIR="$work/other" PREFIX=relative >"$work/install.log" 2>&1 &&
  [ ! -e "$work/other" ] && grep -q 'PREFIX=relative: an absolute path' "$work/install.log"
result "make install refuses a PREFIX that is not absolute"
page=$work/stage/usr/local/share/man/man1/textinv.1
[ "$(grep -c '^.SH TEXTINV ' "$page")" = "$("$build/textinv" --help | grep -c '^  textinv [a-z]')" ] &&
  grep -q 'optimiser steps (500)' "$page" &&
  { ! command -v man >/dev/null || [ -z "$(man --local-file --warnings --pager=cat "$page" 2>&1 >"$work/page")" ]; }
result "the manual page has all commands, and man has no complaints"
export PKG_CONFIG_PATH="$work/stage/usr/local/lib/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$work/stage"
# shellcheck disable=SC2046
${CC:-cc} -std=c99 -pedantic -Wall -Wextra -Werror "$work/toy.c" $(pkg-config --cflags --libs textinv) \
  -o "$work/toy" -Wl,-rpath,"$work/stage/usr/local/lib"
result "the program of README.md compiles against the installed library"
[ "$(pkg-config --modversion textinv)" = "$("$work/stage/usr/local/bin/textinv" --version | sed 's/textinv //')" ]
result "pkg-config and the installed program name the same version"

if [ -f models/toybox/model_index.json ]; then
  ! (cd "$work" && ./toy) 2>"$work/error" && [ "$(wc -l <"$work/error")" = 1 ] && grep -q 'photos: cannot be opened' "$work/error"
  result "the program of README.md says why it fails"
  mkdir "$work/photos"
  cp examples/toybox/heldout/vase/*.png "$work/photos"
  cd "$work" || exit 1
  "$work/stage/usr/local/bin/textinv" inspect >"$work/inspect" 2>&1
  result "the installed program finds the installed model"
  sed 's/params.steps = 300/params.steps = 2/' toy.c >few.c
  # shellcheck disable=SC2046
  ${CC:-cc} few.c $(pkg-config --cflags --libs textinv) -o few -Wl,-rpath,"$work/stage/usr/local/lib" && ./few
  result "the program of README.md learns a word"
  test -s toy.safetensors && "$build/textinv" inspect toy.safetensors | grep -q '<toy>: 1 vector'
  result "its file holds the word"
  rm toy.safetensors
  sed "s|&model, session, NULL|\&model, session, \"$root/tests/golden/tiny-sdxl\"|" few.c >two.c
  # shellcheck disable=SC2046
  ${CC:-cc} two.c $(pkg-config --cflags --libs textinv) -o two -Wl,-rpath,"$work/stage/usr/local/lib" && ./two
  result "it learns a word for a model of two text encoders"
  test -s toy.safetensors && "$build/textinv" inspect toy.safetensors | grep -q 'encoder 1'
  result "its file holds the vectors of both"
else
  echo "skipped - models/toybox is not here: the program of README.md is not run"
fi
cd "$root" && make -s uninstall DESTDIR="$work/stage" PREFIX=/usr/local && [ -z "$(find "$work/stage" -type f)" ]
result "make uninstall leaves nothing"
exit $failed
