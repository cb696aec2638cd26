#!/bin/sh
# One piece of the shipped size's training on a machine with a GPU and no network:
#   examples/toybox/train/gpu.sh [minutes] [--last]
#   examples/toybox/train/gpu.sh prepare       before it, where not all may travel at once
# build/toybox-gpu must have travelled along (python3 gpu.py pack makes it), and build/toybox-weights
# where training goes on; results go to $OUT.
set -e
cd "$(dirname "$0")"
root=$(cd ../../.. && pwd)
site=${TMPDIR:-/tmp}/toybox-site
if [ -d "$site" ] || ! python3 -c "import diffusers" 2>/dev/null; then
  [ -d "$site" ] || python3 -m zipfile -e "$root/build/toybox-gpu/diffusers.zip" "$site"
  export PYTHONPATH="$site"
fi
if [ "$1" = prepare ]; then
  exec python3 gpu.py "$@"
fi
minutes=9
case ${1:-} in [0-9]*) minutes=$1 && shift ;; esac
exec python3 gpu.py piece --minutes "$minutes" "$@"
