#!/bin/sh
# Kills `textinv invert` with SIGKILL after random steps, goes on with --resume latest from the newest checkpoint,
# and compares the file with that of a run that nobody disturbed. KILLS (20) and SEED (the time) may be set.
set -u
build=${BUILD:-build/cc}
model=tests/golden/tiny-sd
kills=${KILLS:-20}
steps=200
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

# the program takes the place of the shell: in parentheses, or with & and then $! is its process
invert() { # name
  mkdir -p "$work/$1"
  exec "$build/textinv" invert --model $model --images "$work/pictures" --placeholder '<toy>' --initializer toy \
    --steps $steps --batch 2 --threads 1 --seed 3 --checkpoint-every 9 --resume latest --output-dir "$work/$1" \
    --out "$work/$1.safetensors" --progress json >"$work/$1.log" 2>&1
}

temporary() { find "$work" -name '.textinv-*'; }

mkdir "$work/pictures"
for i in 1 2 3; do
  "$build/textinv" generate --model $model --prompt 'a dog' --seed $i --steps 4 \
    --out "$work/pictures/$i.png" >/dev/null 2>"$work/generate.log" || { report 1 "pictures"; exit 1; }
done

(invert whole) || { report 1 "undisturbed run: $(tail -n 1 "$work/whole.log")"; exit 1; }
echo "seed $seed"

# where a file has no name before it is whole, a killed run leaves none
case $(stat -f -c %T "$work") in
ext2/ext3 | tmpfs | xfs | btrfs) nameless=1 ;;
*) nameless=0 ;;
esac

i=0
tries=0
while [ $i -lt "$kills" ] && [ $tries -lt $((kills * 3)) ]; do
  tries=$((tries + 1))
  rm -rf "$work/run" "$work/run.log" "$work/run.safetensors"
  last=$(awk -v s=$((seed % 100000 * 100 + tries)) -v n=$steps \
    'BEGIN { srand(s); rand(); print 1 + int(0.95 * n * rand()) }')
  invert run &
  pid=$!
  until grep -qs "\"train\",\"step\":$last," "$work/run.log" || ! kill -0 $pid 2>/dev/null; do
    sleep 0.005
  done
  kill -9 $pid 2>/dev/null
  wait $pid 2>/dev/null
  [ $? = 137 ] || continue # it ended before: once more
  i=$((i + 1))
  left=$(find "$work/run" -name 'checkpoint-*' | sort | tail -n 1)
  from=$(basename "$left" .safetensors | sed 's/^checkpoint-0*//')
  [ $nameless = 0 ] || [ -z "$(temporary)" ]
  report $? "killed after step $last: no temporary file"
  temporary | xargs -r rm
  (invert run)
  report $? "gone on from $(basename "${left:-the beginning}")"
  if [ -n "$left" ]; then
    grep -qF "going on from step $from of $left" "$work/run.log"
  else
    grep -q "starting anew" "$work/run.log"
  fi
  report $? "it says so"
  grep -m 1 '"train"' "$work/run.log" | grep -q "\"step\":$((${from:-0} + 1)),"
  report $? "its first step is $((${from:-0} + 1))"
  ! grep '^warning: ' "$work/run.log"
  report $? "no checkpoint is skipped"
  [ -z "$(temporary)" ]
  report $? "no temporary file of the second run"
  cmp -s "$work/whole.safetensors" "$work/run.safetensors"
  report $? "the same file"
done
[ $i = "$kills" ]
report $? "$i of $tries runs were killed before their end$([ $i = "$kills" ] || tail -n 1 "$work/run.log")"
exit $failed
