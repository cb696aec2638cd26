#!/bin/sh
# What needs a GPU, in at most ten minutes and without a network; ends with 1 when something failed.
#
#   run.sh check [FOLDER]   kernels, networks and inversions, then kernels under compute-sanitizer
#   run.sh bench [FOLDER]   every operation, then whole steps beside PyTorch where diffusers is installed;
#                           the table of the steps goes into docs/performance.md
#
# FOLDER holds the programs, the libraries and the plug-in: build/cuda-bundle, which `make cuda-bundle`
# fills. `make check-cuda` and `make bench-cuda` build all of it first.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd) || exit 1
folder=${2:-$root/build/cuda-bundle}
plugin=$folder/libtextinv-cuda.so
sanitizer=$(command -v compute-sanitizer)
python=${PYTHON:-python3}
failed=0
export LD_LIBRARY_PATH="$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export TEXTINV_TEST_PLUGIN="$plugin" TEXTINV_LIBRARY="$folder/libtextinv.so"

# seconds, then a command
step() {
  seconds=$1
  shift
  echo "== $*"
  timeout -k 5 "$seconds" "$@"
  status=$?
  if [ $status != 0 ]; then
    echo "FAILED with status $status: $*"
    failed=1
  fi
}

cd "$root" || exit 1
case ${1:-} in
check)
  step 120 "$folder/kernels_check" "$plugin"
  [ $failed = 0 ] || exit 1
  step 120 "$folder/session_test"
  if [ -n "$sanitizer" ]; then
    step 160 "$sanitizer" --tool memcheck --error-exitcode 1 "$folder/kernels_check" "$plugin" bf16
    step 160 "$sanitizer" --tool racecheck --error-exitcode 1 "$folder/kernels_check" "$plugin" bf16
  else
    echo "skipped: compute-sanitizer is not installed"
  fi
  ;;
bench)
  step 150 "$folder/cuda_bench" "$plugin"
  [ $failed = 0 ] || exit 1
  if "$python" -c 'import diffusers, torch' 2>/dev/null; then
    step 430 "$python" tests/bench/cuda_steps.py --write docs/performance.md
  else
    echo "skipped: whole steps beside PyTorch ($python has no diffusers; PYTHON names another)"
  fi
  ;;
*)
  echo "usage: $0 check|bench [FOLDER]" >&2
  exit 2
  ;;
esac
exit $failed
