#!/bin/sh
# What needs a GPU, without a network. Every step runs whatever became of those before; ends with 1
# when one failed.
#
#   run.sh quick [FOLDER]   two minutes: kernels, networks, products beside other libraries', a profile
#   run.sh check [FOLDER]   kernels, networks, whole inversions, then kernels under compute-sanitizer;
#                           WORDS names a file that gets words learnt on the GPU, for the yardstick
#   run.sh bench [FOLDER]   every operation beside other libraries', a profile, whole steps beside
#                           PyTorch; the table of the steps goes into docs/performance.md
#
# FOLDER holds the programs, the libraries and the plug-in: build/cuda-bundle, which `make cuda-bundle`
# fills. `make check-cuda` and `make bench-cuda` build all of it first. What needs PyTorch or diffusers
# is skipped where Python (PYTHON names one) has them not.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd) || exit 1
folder=${2:-$root/build/cuda-bundle}
plugin=$folder/libtextinv-cuda.so
python=${PYTHON:-python3}
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

# in the background: a name, then a command, whose output is shown when it fails
aside() {
  began=$(date +%s) log="$logs/$1"
  name=$1
  shift
  timeout -k 5 60 "$@" >"$log" 2>&1
  status=$?
  took=$(($(date +%s) - began))
  if [ $status = 0 ]; then
    echo "$name: $took s, $(grep -h PASSED "$log")" >>"$summary"
  else
    echo "$name: $took s, FAILED with status $status" >>"$summary"
    printf '== %s\n%s\n' "$name" "$(grep -v 'Host Frame' "$log" | head -n 60)"
  fi
}

# seconds that the inversions may take; the operations run apart, because after some errors a process
# can use the device no more
kernels() {
  for part in 'attention n' 'conv2d n' 'linear rows' 'attention hopper' 'conv2d hopper' 'linear hopper' \
    'linear cublas' groupnorm -attention,conv2d,linear,groupnorm; do
    aside "kernels $part" "$folder/kernels_check" "$plugin" "$part" &
  done
  wait
  step 45 session_test "$folder/session_test"
  has numpy inversion_check &&
    step "$1" inversion_check "$python" tests/cuda/inversion_check.py "$plugin" ${WORDS:+--words "$WORDS"}
}

# some of one type, as kernels are 10 to 100 times slower there
sanitize() {
  [ -n "$sanitizer" ] || {
    echo "sanitizers: skipped, compute-sanitizer is not installed" | tee -a "$summary"
    return
  }
  for tool in memcheck racecheck; do
    for part in 'bf16 attention n' 'bf16 conv2d n' 'bf16 linear rows' 'bf16 attention hopper' \
      'bf16 conv2d hopper' 'bf16 linear hopper' 'bf16 groupnorm' 'bf16 layernorm' \
      'bf16 act,bf16 add,bf16 copy,bf16 cast' 'bf16 ge,bf16 gather,bf16 e,bf16 m,bf16 u,update,noise'; do
      aside "$tool $part" "$sanitizer" --tool "$tool" --error-exitcode 9 "$folder/kernels_check" "$plugin" "$part" &
    done
    wait
  done
}

peers() {
  limit=$1
  shift
  has torch cuda_peers &&
    step $((limit + 20)) "cuda_peers $*" "$python" tests/bench/cuda_peers.py "$folder/cuda_bench" "$plugin" --seconds "$limit" "$@"
}

profile() {
  has diffusers,torch cuda_profile && step 90 cuda_profile "$python" -W ignore tests/bench/cuda_profile.py "$@"
}

cd "$root" || exit 1
case ${1:-} in
quick)
  # for the profile; done before anything is timed
  "$python" -W ignore tests/parity/models.py sd15-bf16 >"$logs/model" 2>&1 &
  kernels 60
  peers 65 --batch 4
  profile --batches 4,1
  ;;
check)
  kernels 240
  sanitize
  ;;
bench)
  peers 100 --batch 4
  peers 60 --batch 1
  profile
  has diffusers,torch cuda_steps &&
    step 430 cuda_steps "$python" tests/bench/cuda_steps.py --write docs/performance.md
  ;;
*)
  echo "usage: $0 quick|check|bench [FOLDER]" >&2
  exit 2
  ;;
esac
echo "== summary"
cat "$summary"
! grep -q FAILED "$summary"
