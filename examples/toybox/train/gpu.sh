#!/bin/sh
# One piece of the shipped size's training on a machine with a GPU and no network:
#   examples/toybox/train/gpu.sh [minutes] [--last]
# build/toybox-gpu must have travelled along (python3 gpu.py pack makes it); results go to $OUT.
set -e
cd "$(dirname "$0")"
root=$(cd ../../.. && pwd)
site=${TMPDIR:-/tmp}/toybox-site
if ! python3 -c "import diffusers" 2>/dev/null && [ ! -d "$site" ]; then
  python3 -m pip install -q --no-index --no-deps --no-compile --target "$site" \
    "$root"/build/toybox-gpu/wheels/*.whl
fi
[ ! -d "$site" ] || export PYTHONPATH="$site"
minutes=${1:-9}
[ $# -eq 0 ] || shift
exec python3 gpu.py piece --minutes "$minutes" "$@"
