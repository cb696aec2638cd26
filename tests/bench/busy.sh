#!/bin/sh
# How much longer a picture takes beside other work: busy.sh [PROGRAM [OTHERS]]. Draws with the default model alone and beside
# OTHERS programs (one a core) that never wait, in turns, and prints the least wall-clock times of three.
# With OTHERS a core the best that can be had is half of the machine: twice the time.
set -eu
program=${1:-build/cc/textinv} others=${2:-$(nproc)}
out=$(mktemp -d)
busy=
trap 'kill $busy 2>/dev/null; rm -rf "$out"' EXIT

draw() { # seconds that a picture takes
  from=$(date +%s%N)
  "$program" generate --quiet --prompt 'a photo of a teapot' --steps 20 --images 4 --out "$out/picture.png"
  echo $((($(date +%s%N) - from) / 1000000))
}

least() { sort -n "$1" | head -n 1; }

for turn in 1 2 3; do
  draw >>"$out/alone"
  busy=
  for i in $(seq "$others"); do
    while :; do :; done &
    busy="$busy $!"
  done
  draw >>"$out/beside"
  kill $busy
  wait 2>/dev/null || true
done
alone=$(least "$out/alone") beside=$(least "$out/beside")
echo "alone $alone ms, beside $others programs $beside ms: $(awk "BEGIN { printf \"%.1f\", $beside / $alone }") times as long"
