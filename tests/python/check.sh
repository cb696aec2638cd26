#!/bin/sh
# The Python binding of examples/python, with the standard library alone and, where it is there, with numpy: found in the
# source tree and installed, its calls, errors and interruptions; then its programs and the lines of README.md.
set -u
build=$(realpath "${BUILD:-build/cc}")
root=$(pwd -P)
python=${PYTHON:-python3}
work=$(realpath "$(mktemp -d)")
trap 'rm -rf "$work"' EXIT
failed=0
export PYTHONDONTWRITEBYTECODE=1 PYTHONPATH="$root/examples/python"

if ! command -v "$python" >/dev/null; then
  echo "skipped - the Python binding: there is no $python"
  exit 0
fi

# result of the last command; $1 = what was checked
result() {
  if [ $? = 0 ]; then
    echo "ok - $1"
  else
    echo "FAIL - $1"
    failed=1
  fi
}

export TEXTINV_LIBRARY="$build/libtextinv.so"
"$python" tests/python/binding_test.py plain || failed=1
for numpy in "$python" build/venv/bin/python ''; do # the latter is that of make check-parity
  if [ -z "$numpy" ]; then
    echo "skipped - the binding with numpy: $python has no numpy"
  elif "$numpy" -c 'import numpy' 2>/dev/null; then
    "$numpy" tests/python/binding_test.py numpy || failed=1
    break
  fi
done

# --- where library and header are found
where='import textinv; print(*textinv.paths)'
cd "$work" || exit 1
[ "$("$python" -c "$where")" = "$build/libtextinv.so $root/include/textinv/textinv.h" ]
result "TEXTINV_LIBRARY names the library, the header is that of the tree"
mkdir -p alone usr/lib/pkgconfig
cp "$root/examples/python/textinv.py" alone
cp -L "$build/libtextinv.so" usr/lib
cp -R "$root/include" usr
sed -e "s|@PREFIX@|$work/usr|; s|@LIBDIR@|$work/usr/lib|; s|@INCLUDEDIR@|$work/usr/include|; s|@VERSION@|0|" \
  "$root/pkgconfig/textinv.pc.in" >usr/lib/pkgconfig/textinv.pc
if command -v pkg-config >/dev/null; then
  [ "$(env -u TEXTINV_LIBRARY PYTHONPATH=alone PKG_CONFIG_PATH=usr/lib/pkgconfig "$python" -c "$where")" = \
    "$work/usr/lib/libtextinv.so $work/usr/include/textinv/textinv.h" ]
  result "alone it finds what is installed"
else
  echo "skipped - alone it finds what is installed: there is no pkg-config"
fi
[ "$(TEXTINV_LIBRARY=$work/usr/lib/libtextinv.so PYTHONPATH=alone "$python" -c "$where")" = \
  "$work/usr/lib/libtextinv.so $work/usr/include/textinv/textinv.h" ]
result "alone it finds the header beside the library"
[ "$(TEXTINV_LIBRARY=usr/lib/libtextinv.so PYTHONPATH=alone "$python" -c "$where")" = \
  "$work/usr/lib/libtextinv.so $work/usr/include/textinv/textinv.h" ]
result "a relative path stays true after a change of folder"
TEXTINV_LIBRARY=nowhere/libtextinv.so "$python" -c 'import textinv' 2>&1 | grep -q 'ImportError: .*TEXTINV_LIBRARY'
result "without a library the import says what to do"

# --- programs: shortened to a few steps
if [ -f "$root/models/toybox/model_index.json" ]; then
  mkdir photos
  cp "$root"/examples/toybox/heldout/vase/*.png photos
  sed 's/steps=300/steps=2/; s/, words)/, words, steps=2)/' "$root/examples/python/toy.py" >toy.py
  "$python" toy.py >toy.log && grep -q 'train 2 of 2' toy.log && [ -s toy.safetensors ] && [ -s snow.png ]
  result "examples/python/toy.py learns a word and draws it"
  sed -n '/^```python$/,/^```$/p' "$root/README.md" | grep -v '^```' |
    sed 's/steps=300/steps=2/; s/, words)/, words, steps=2)/' >readme.py
  rm -f toy.safetensors snow.png
  "$python" readme.py && [ -s toy.safetensors ] && [ -s snow.png ]
  result "the lines of README.md run"
else
  echo "skipped - models/toybox is not here: examples/python/toy.py and the lines of README.md are not run"
fi
exit $failed
