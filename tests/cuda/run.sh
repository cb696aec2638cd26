#!/bin/sh
# What needs a GPU, without a network. Every step runs whatever became of those before; ends with 1
# when one failed.
#
#   run.sh quick [FOLDER]   two minutes, or SECONDS_IN_ALL: kernels, networks, whole steps, a profile, and with what is
#                           left the operations beside other libraries'; nothing else should use the GPU
#   run.sh compiled [FOLDER] four minutes, or SECONDS_IN_ALL: kernels; convolutions and attention beside other libraries'
#                           while torch.compile compiles; a training step and a picture (or JOBS) beside what it has
#                           compiled, which for a step of batch 4 takes longer than that
#   run.sh beside [FOLDER]  a minute or two that need no GPU of their own: some kernels under compute-sanitizer, an
#                           inversion beside the CPU's; `run.sh inversion` that alone
#   run.sh check [FOLDER]   kernels, networks, whole inversions, then kernels under compute-sanitizer;
#                           WORDS names a file that gets words learnt on the GPU, for the yardstick
#   run.sh bench [FOLDER]   every operation beside other libraries', a profile, whole steps beside PyTorch
#
# FOLDER holds the programs, the libraries and the plug-in: build/cuda-bundle, which `make cuda-bundle`
# fills. `make check-cuda` and `make bench-cuda` build all of it first. What needs PyTorch or diffusers
# is skipped where Python (PYTHON names one) has them not. The tables of quick and bench go into the file
# TABLES (docs/performance.md).
set -u
root=$(cd "$(dirname "$0")/../.." && pwd) || exit 1
folder=${2:-$root/build/cuda-bundle}
plugin=$folder/libtextinv-cuda.so
python=${PYTHON:-python3}
tables=${TABLES:-$root/docs/performance.md}
sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null)
summary=$(mktemp) logs=$(mktemp -d) || exit 1
trap 'rm -rf "$summary" "$logs"' EXIT
export TEXTINV_TEST_PLUGIN="$plugin" TEXTINV_LIBRARY="$folder/libtextinv.so" PYTHONUNBUFFERED=1

# cuBLASLt may be installed for Python alone
packages=$("$python" -c 'import glob, nvidia
print(":".join(lib for path in nvidia.__path__ for lib in sorted(glob.glob(path + "/*/lib"))))' 2>/dev/null)
export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}${packages:+$packages:}/usr/local/cuda/lib64"

# limit in seconds, a name, then a command
step() {
  limit=$1 name=$2 began=$(date +%s)
  shift 2
  echo "== $name"
  timeout -k 5 "$limit" "$@"
  status=$?
  echo "$name: $(($(date +%s) - began)) s$([ $status = 0 ] || echo ", FAILED with status $status")" >>"$summary"
  tail -n 1 "$summary"
  return $status
}

has() {
  "$python" -c "import importlib.util as u; assert all(map(u.find_spec, '$1'.split(',')))" 2>/dev/null || {
    echo "$2: skipped, $python has not all of $1 (PYTHON names another)" | tee -a "$summary"
    return 1
  }
}

# in the background: limit in seconds, a name, then a command, whose output is shown when it fails
aside() {
  limit=$1 name=$2 began=$(date +%s) log="$logs/$2"
  shift 2
  timeout -k 5 "$limit" "$@" >"$log" 2>&1
  status=$?
  took=$(($(date +%s) - began))
  if [ $status = 0 ]; then
    echo "$name: $took s, $(grep -h PASSED "$log")" >>"$summary"
    return
  fi
  found=FAILED
  [ $status = 124 ] && ! grep -q -e FAILED -e '========= *\(Invalid\|Misaligned\|.*[Rr]ace\)' "$log" && found="not finished, nothing found"
  echo "$name: $took s, $found (status $status)" >>"$summary"
  printf '== %s\n%s\n' "$name" "$(grep -v 'Host Frame' "$log" | head -n 60)"
}

# the operations run apart, because after some errors a process can use the device no more
kernels() {
  for part in 'attention n' 'conv2d n' 'linear rows' 'attention hopper' 'conv2d hopper' 'linear hopper' \
    'linear cublas' 'conv2d cudnn' groupnorm -attention,conv2d,linear,groupnorm; do
    aside 60 "kernels $part" "$folder/kernels_check" "$plugin" "$part" &
    jobs="${jobs:-} $!"
  done
  wait $jobs
  cat "$summary"
  for program in "$folder"/*_test; do
    step 45 "${program##*/}" "$program"
  done
}

# and meanwhile what whole steps and their profile need: done before anything is timed
model_and_kernels() {
  "$python" -W ignore tests/parity/models.py sd15-bf16 >"$logs/model" 2>&1 &
  model=$!
  kernels
  wait $model
}

# seconds that it may take
inversion() {
  model=$root/models/toybox
  has numpy inversion_check || return
  if [ ! -f "$model/model_index.json" ]; then
    has diffusers,torch 'inversion_check without models/toybox' || return
    model=$("$python" -W ignore tests/parity/models.py sd1 2>/dev/null | tail -n 1)
  fi
  step $(($1 + 20)) inversion_check "$python" tests/cuda/inversion_check.py "$plugin" --model "$model" --seconds "$1" \
    ${WORDS:+--words "$WORDS"}
}

# limit in seconds of each; some of one type, as kernels are 10 to 100 times slower there
sanitize() {
  [ -n "$sanitizer" ] || {
    echo "sanitizers: skipped, compute-sanitizer is not installed" | tee -a "$summary"
    return
  }
  checks= long='bf16 attention hopper n 1 heads 1'
  for tool in memcheck racecheck; do
    for part in 'bf16 attention n 1 heads 1' "$long" 'bf16 conv2d n 1 5x6,bf16 conv2d n 2' \
      'bf16 conv2d hopper n 2' 'bf16 linear rows 77,bf16 linear hopper' 'bf16 groupnorm,bf16 layernorm' \
      'bf16 act,bf16 add,bf16 copy,bf16 cast,bf16 ge,bf16 gather,bf16 e,bf16 m,bf16 u,update,noise'; do
      # what racecheck finds where a ring of sums is used again, here at 5.. queries, is no race: docs/cuda.md
      [ "$tool $part" = "racecheck $long" ] && part="$long tq 1,$long tq 2,$long tq 3,$long tq 4,$long tq 6"
      aside "$1" "$tool $part" nice "$sanitizer" --tool "$tool" --error-exitcode 9 "$folder/kernels_check" "$plugin" \
        "$part" &
      checks="$checks $!"
    done
  done
  wait $checks
}

peers() {
  limit=$1
  shift
  has torch cuda_peers &&
    step $((limit + 10)) "cuda_peers $*" "$python" tests/bench/cuda_peers.py "$folder/cuda_bench" "$plugin" --seconds "$limit" "$@"
}

# limit in seconds, and arguments
profile() {
  limit=$1
  shift
  has diffusers,torch cuda_profile && step "$limit" cuda_profile "$python" -W ignore tests/bench/cuda_profile.py "$@"
}

# the same
steps() {
  limit=$1
  shift
  has diffusers,torch cuda_steps &&
    step $((limit + 10)) cuda_steps "$python" tests/bench/cuda_steps.py --seconds "$limit" --write "$tables" "$@"
}

cd "$root" || exit 1
case ${1:-} in
quick)
  end=$(($(date +%s) + ${SECONDS_IN_ALL:-120}))
  model_and_kernels
  steps 70 --rounds 2 --jobs train-4,train-1,image-1
  profile 35 --tasks train --batches 4
  left=$((end - $(date +%s)))
  peers $((left > 30 ? left : 30)) --batch 4 --write "$tables"
  ;;
compiled)
  end=$(($(date +%s) + ${SECONDS_IN_ALL:-240}))
  model_and_kernels
  left=$((end - $(date +%s) - 10))
  steps $left --together --systems textinv,compile --jobs "${JOBS:-train-4,image-1}" --rounds 3 --compile-seconds $((left - 25)) &
  compiled=$!
  sleep 20 # ours are ready by then
  peers 60 --batch 4 --names conv2d,attention --write "$tables"
  wait $compiled
  ;;
beside)
  sanitize 40
  inversion 40
  ;;
inversion)
  inversion 40
  ;;
check)
  kernels
  inversion 240
  sanitize 120
  ;;
bench)
  peers 100 --batch 4 --ways all --write "$tables"
  peers 60 --batch 1
  profile 90
  steps 430 --systems textinv,cudnn,torch,script,compile
  ;;
*)
  echo "usage: $0 quick|compiled|beside|inversion|check|bench [FOLDER]" >&2
  exit 2
  ;;
esac
echo "== summary"
cat "$summary"
! grep -q FAILED "$summary"
