#!/bin/sh
# All that docs/toybox.md measures of models/toybox, anew: tables on the standard output, pictures in
# docs/. About 75 minutes of two quiet cores; words that are in FOLDER are not learnt again.
#   examples/toybox/score/report.sh [FOLDER]        build/toybox/report
set -eu
cd "$(dirname "$0")/../../.."
python=${PYTHON:-build/venv/bin/python} program=${PROGRAM:-build/cc/textinv}
folder=${1:-build/toybox/report} here=examples/toybox/score
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"

learn() {
  "$python" $here/learn.py --program "$program" --dtype bf16 "$@"
}

measure() {
  "$python" $here/score.py --pictures "$folder/$1" --nouns "$folder/nouns" --plane "$2" --sheet "$3"
}

# diffusers' loop, an object at a time on each of two cores
peer() {
  TOYBOX_THREADS=1 "$python" $here/peer.py --out "$folder/peer" "$@"
}

"$python" $here/score.py --sanity
"$python" $here/score.py --model models/toybox --count 192
learn --out "$folder/ours"
learn --out "$folder/nouns" --noun
first='' second=''
for word in "$folder"/ours/*.safetensors; do
  name=$(basename "$word" .safetensors) rest=$first
  first="$second $name" second=$rest
done
peer $first &
peer $second
wait $!
learn --out "$folder/peer"
measure ours docs/toybox-plane.png docs/toybox-learnt.png
measure peer "$folder/peer-plane.png" docs/toybox-peer.png
"$python" $here/sheets.py --model models/toybox --program "$program" --seen docs/toybox-samples.png \
  --unseen docs/toybox-unseen.png
"$python" $here/blind.py --model models/toybox --program "$program" --out "$folder/blind"
make demo
cp build/demo/sheet.png docs/demo-sheet.png
