#!/bin/sh
# The same program in C++, Go and Rust: it learns a word and draws it, has the library's words for what it refuses, and its
# callback stops a run. And the program in C with a loop of its own.
set -u
programs=$(realpath "${BUILD:-build/cc}/examples")
textinv=$(realpath "${BUILD:-build/cc}/textinv")
model=$(realpath tests/golden/tiny-sd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

# result of the last command; $1 = what was checked
result() {
  if [ $? = 0 ]; then
    echo "ok - $language: $1"
  else
    echo "FAIL - $language: $1: $(tail -n 1 err)"
    failed=1
  fi
}

try() {
  language=$1 program=$programs/$1/learn
  if [ ! -e "$program" ]; then # make builds it where there is a compiler
    echo "skipped - the program in $language: it is not built"
    return
  fi
  mkdir "$work/$language" && cd "$work/$language" || exit 1
  "$program" ../photos '<toy>' cat 'a photo of <toy>' x.png "$model" 3 2>err
  result "it runs"
  grep -q 'train: step 3 of 3' err
  result "it tells its progress"
  "$textinv" inspect x.png.safetensors 2>err | grep -q '<toy>: 1 vector'
  result "the word is there"
  grep -q 'a photo of <toy>' x.png
  result "the picture is there"
  cmp -s x.png.safetensors ../expected.safetensors
  result "the word is the program textinv's, to the byte"
  "$program" missing '<toy>' cat 'a <toy>' y.png "$model" 3 2>err
  [ $? = 1 ] && grep -q 'TEXTINV_E_NOT_FOUND: missing' err
  result "an error has status and message"
  "$program" ../photos '<toy>' cat 'a <toy>' y.png /nowhere 2>err
  [ $? = 1 ] && grep -q '/nowhere' err
  result "a model that is not there"
  "$program" ../photos 2>err
  [ $? = 2 ]
  result "wrong usage"
  for steps in x 0 -3 4294967297; do
    timeout 60 "$program" ../photos '<toy>' cat 'a <toy>' y.png "$model" $steps 2>err
    [ $? != 0 ] && [ ! -e y.png ]
    result "$steps steps are refused"
  done
  mkdir "$work/$language/$(printf 'b\344r')"
  "$program" "$(printf 'b\344r')" '<toy>' cat 'a <toy>' y.png "$model" 1 2>err
  [ $? = 1 ] && grep -qa 'TEXTINV_E_NOT_FOUND\|TEXTINV_E_INVALID' err
  result "a path that is no UTF-8 reaches the library"
  "$program" ../photos '<toy>' cat 'a <toy>' y.png "$model" 1000000 2>err &
  until grep -q 'train: step 50 ' err || ! kill -0 $! 2>/dev/null; do
    sleep 0.05
  done
  kill -INT $!
  wait $!
  [ $? = 1 ] && grep -q "$2" err
  result "the callback stops a run"
  [ ! -e y.png ] && [ ! -e y.png.safetensors ]
  result "then nothing is written"
}

mkdir "$work/photos"
"$textinv" generate --quiet --model "$model" --prompt 'a cat' --images 3 --steps 2 --separate --out "$work/photos/p.png"
"$textinv" invert --quiet --model "$model" --images "$work/photos" --placeholder '<toy>' --initializer cat --steps 3 \
  --out "$work/expected.safetensors"
language=c
mkdir "$work/c" && cd "$work/c" || exit 1
"$programs/c/loop" "$model" '<toy>' cat loop.safetensors ../photos/*.png >out 2>err && grep -q 'step 300: loss [0-9.]*$' out
result "a loop of its own runs"
"$textinv" inspect loop.safetensors 2>err | grep -q '<toy>: 1 vector'
result "the word is there"
"$programs/c/loop" "$model" '<toy>' cat other.safetensors missing.png >out 2>err
[ $? = 1 ] && grep -q 'missing.png: cannot be opened' err && [ ! -e other.safetensors ]
result "a picture that is not there"
try cpp interrupted # what its callback throws comes out of the call
try go TEXTINV_E_CANCELLED
try rust TEXTINV_E_CANCELLED
exit $failed
