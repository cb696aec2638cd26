#!/bin/sh
# Kills `textinv invert` with SIGKILL at random moments, goes on with --resume latest, and compares the file with
# that of a run that nobody disturbed. KILLS (20) and SEED (the time) may be set.
set -u
build=${BUILD:-build/cc}
model=tests/golden/tiny-sd
kills=${KILLS:-20}
seed=${SEED:-$(date +%s)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

report() { # status, text
  if [ "$1" = 0 ]; then
    echo "ok - $2"
  else
    echo "FAIL - $2"
    failed=1
  fi
}

invert() { # name
  mkdir -p "$work/$1"
  "$build/textinv" invert --model $model --images "$work/pictures" --placeholder '<toy>' --initializer toy \
    --steps 200 --batch 2 --threads 1 --seed 3 --checkpoint-every 9 --resume latest --output-dir "$work/$1" \
    --out "$work/$1.safetensors" >>"$work/$1.log" 2>&1
}

milliseconds() { echo $(($(date +%s%N) / 1000000)); }

mkdir "$work/pictures"
for i in 1 2 3; do
  "$build/textinv" generate --model $model --prompt 'a dog' --seed $i --steps 4 \
    --out "$work/pictures/$i.png" >/dev/null 2>"$work/generate.log" || { report 1 "pictures"; exit 1; }
done

began=$(milliseconds)
invert whole || { report 1 "undisturbed run: $(tail -n 1 "$work/whole.log")"; exit 1; }
length=$(($(milliseconds) - began))
echo "undisturbed: $length ms; seed $seed"

i=0
early=0
while [ $i -lt "$kills" ]; do
  i=$((i + 1))
  moment=$(awk -v s=$((seed % 100000 * 100 + i)) -v n=$length \
    'BEGIN { srand(s); rand(); printf "%.3f", (0.02 + 0.93 * rand()) * n / 1000 }')
  mkdir -p "$work/run"
  invert run &
  pid=$!
  sleep "$moment"
  # the program is the child of the shell that runs the function
  for child in $(cat "/proc/$pid/task/$pid/children" 2>/dev/null); do
    kill -9 "$child" 2>/dev/null && early=$((early + 1))
  done
  wait $pid 2>/dev/null
  left=$(find "$work/run" -name 'checkpoint-*' | sort | tail -n 1)
  invert run
  report $? "killed after $moment s, gone on from $(basename "${left:-the beginning}")"
  cmp -s "$work/whole.safetensors" "$work/run.safetensors"
  report $? "the same file"
  rm -rf "$work/run" "$work/run.safetensors"
done
[ $early -ge $((kills * 3 / 4)) ]
report $? "$early of $kills runs were killed before their end"
exit $failed
