#!/bin/sh
# The program of examples/mpi in several processes of this machine: they learn what one learns, stop together, go on, and
# share out a list.
set -u
program=$(realpath -m "${BUILD:-build/cc}/examples/mpi/textinv-mpi")
textinv=$(realpath -m "${BUILD:-build/cc}/textinv")
model=$(realpath tests/golden/tiny-sd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe # as Open MPI 5 has it

# result of the last command; $1 = what was checked
result() {
  if [ $? = 0 ]; then
    echo "ok - $1"
  else
    echo "FAIL - $1: $(tail -n 3 "$work/err")"
    failed=1
  fi
}

for needed in mpirun "$program"; do
  if ! command -v "$needed" >/dev/null; then
    echo "skipped - textinv-mpi: there is no ${needed##*/}"
    exit 0
  fi
done

# $1 = processes
mpi() {
  n=$1
  shift
  timeout 300 mpirun -n "$n" "$program" --model "$model" --threads 1 "$@" 2>err
}

# largest difference of two words, in millionths
differ() {
  for file; do tail -c 64 "$file" | od -An -v -t f4 -w4; done |
    awk '{ if (NR <= 16) a[NR] = $1; else { d = $1 - a[NR - 16]; if (d < 0) d = -d; if (d > max) max = d } }
      END { if (NR != 32) exit 1; printf "%.0f\n", max * 1e6 }'
}

cd "$work" || exit 1
mkdir photos
"$textinv" generate --model "$model" --prompt 'a cat' --images 3 --steps 2 --separate --out photos/p.png 2>err

# --- one word
mpi 1 --steps 20 --batch 6 photos '<toy>' cat one.safetensors
result "one process"
for n in 2 3; do
  mpi $n --steps 20 --batch $((6 / n)) photos '<toy>' cat $n.safetensors
  result "$n processes"
  [ "$(differ one.safetensors "$n.safetensors")" -lt 10 ]
  result "they learn what one process learns with $n times the batch"
done
mpi 1 --steps 20 --batch 2 photos '<toy>' cat part.safetensors
[ "$(differ one.safetensors part.safetensors)" -gt 1000 ]
result "which is not what one learns with their batch"
grep -q 'train, step 20 of 20' err
result "it tells its progress"
mpi 3 --steps 20 --batch 2 photos '<toy>' cat again.safetensors && cmp -s 3.safetensors again.safetensors
result "the same bytes again"

mpi 3 nowhere '<toy>' cat x.safetensors
[ $? = 1 ] && grep -q 'rank 2: <toy>: TEXTINV_E_NOT_FOUND: nowhere' err && [ ! -e x.safetensors ]
result "an error ends all"
mpi 2 --model /nowhere photos '<toy>' cat x.safetensors
[ $? = 1 ] && grep -q '/nowhere' err
result "a model that is not there"
echo 'int textinv_embeddings_new(void **out, void *session) { (void)session; return *out = 0, -2; }' >short.c
if ${CC:-cc} -shared -fPIC -o short.so short.c 2>err; then
  # shellcheck disable=SC2016
  timeout 60 mpirun -n 2 sh -c '[ "$OMPI_COMM_WORLD_RANK" = 0 ] || export LD_PRELOAD=./short.so; exec "$@"' sh "$program" \
    --model "$model" --threads 1 --steps 200 photos '<toy>' cat x.safetensors 2>err
  [ $? = 1 ] && grep -q 'rank 1: <toy>: TEXTINV_E_NOMEM' err && [ ! -e x.safetensors ]
  result "one that is short of memory before it meets the others ends all"
else
  echo "skipped - one that is short of memory: there is no compiler"
fi
mpi 2 photos
[ $? = 2 ] && [ "$(grep -c usage: err)" = 1 ]
result "wrong usage"
for wrong in '--steps 4294967297' '--steps x' '--batch 2x' '--threads -1'; do
  # shellcheck disable=SC2086
  mpi 2 $wrong photos '<toy>' cat x.safetensors
  [ $? = 2 ] && [ ! -e x.safetensors ]
  result "wrong usage: $wrong"
done
mpi 2 --checkpoints checkpoints --list list
[ $? = 2 ]
result "wrong usage: checkpoints of a list"

# --- one process is asked to stop
mpi 2 --steps 600 --batch 1 photos '<toy>' cat whole.safetensors
mkdir checkpoints
: >err # that of the whole run has step 50, too
# shellcheck disable=SC2016
timeout 300 mpirun -n 2 sh -c 'echo $$ >"$(mktemp pid.XXXXXX)"; exec "$@"' sh "$program" --model "$model" --threads 1 \
  --steps 600 --batch 1 --checkpoints checkpoints photos '<toy>' cat resumed.safetensors 2>err &
until grep -q 'train, step 50 ' err || ! kill -0 $! 2>/dev/null; do
  sleep 0.05
done
kill -TERM "$(cat pid.* | tail -n 1)"
wait $!
[ $? = 1 ] && [ "$(grep -c '^rank.*TEXTINV_E_CANCELLED' err)" = 2 ] && grep -q 'stopped at step .* of 600' err
result "when one is asked to stop, all do"
[ "$(find checkpoints -name '*.safetensors' | wc -l)" -gt 0 ] && [ ! -e resumed.safetensors ]
result "they leave a checkpoint"
mpi 2 --steps 600 --batch 1 --checkpoints checkpoints photos '<toy>' cat resumed.safetensors &&
  cmp -s whole.safetensors resumed.safetensors
result "which they go on from, to the same bytes"

# --- a list
printf 'photos\t<%s>\tcat\t%s.safetensors\n' a a b b c c old old >list
printf 'nowhere\t<d>\tcat\td.safetensors\n\nno tabs\n' >>list
echo 'as it was' >old.safetensors
mpi 2 --steps 3 --batch 2 --list list
[ $? = 1 ] && grep -q 'TEXTINV_E_NOT_FOUND: nowhere' err && grep -q 'list, line 7: PICTURES' err
result "a list: what cannot be learnt is told"
mpi 1 --steps 3 --batch 2 photos '<c>' cat single.safetensors
for word in a b c; do
  "$textinv" inspect $word.safetensors 2>err | grep -q "<$word>: 1 vector"
  result "a list: the word $word"
done
[ "$(differ c.safetensors single.safetensors)" = 0 ] && [ "$(cat old.safetensors)" = 'as it was' ] && [ ! -e d.safetensors ]
result "a list: each word is learnt as alone, and what is there stays"
exit $failed
