#!/bin/sh
# The C++ program of examples/cpp: it learns a word and draws it, has the library's words for what it refuses, and what its
# callback throws comes out of the call.
set -u
program=$(realpath "${BUILD:-build/cc}/examples/cpp/learn")
textinv=$(realpath "${BUILD:-build/cc}/textinv")
model=$(realpath tests/golden/tiny-sd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"

# result of the last command; $1 = what was checked
result() {
  if [ $? = 0 ]; then
    echo "ok - $1"
  else
    echo "FAIL - $1: $(tail -n 1 "$work/err")"
    failed=1
  fi
}

cxx=${CXX:-g++}
if ! command -v "${cxx%% *}" >/dev/null; then # as in the Makefile; it may be "ccache g++"
  echo "skipped - the C++ program: there is no $cxx"
  exit 0
fi
cd "$work" || exit 1
mkdir photos
"$textinv" generate --model "$model" --prompt 'a cat' --images 3 --steps 2 --separate --out photos/p.png 2>err
"$program" photos '<toy>' cat 'a photo of <toy>' x.png "$model" 3 2>err
result "it runs"
grep -q 'train: step 3 of 3' err
result "it tells its progress"
"$textinv" inspect x.png.safetensors 2>err | grep -q '<toy>: 1 vector'
result "the word is there"
grep -q 'a photo of <toy>' x.png
result "the picture is there"
"$program" missing '<toy>' cat 'a <toy>' y.png "$model" 3 2>err
[ $? = 1 ] && grep -q 'TEXTINV_E_NOT_FOUND: missing' err
result "an error is an exception"
"$program" photos '<toy>' cat 'a <toy>' y.png /nowhere 2>err
[ $? = 1 ] && grep -q '/nowhere' err
result "a model that is not there"
"$program" photos 2>err
[ $? = 2 ]
result "wrong usage"
"$program" photos '<toy>' cat 'a <toy>' y.png "$model" 1000000 2>err &
until grep -q 'train: step 50 ' err || ! kill -0 $! 2>/dev/null; do
  sleep 0.05
done
kill -INT $!
wait $!
[ $? = 1 ] && grep -q 'interrupted' err
result "what a callback throws comes out of the call"
[ ! -e y.png ] && [ ! -e y.png.safetensors ]
result "then nothing is written"
exit $failed
