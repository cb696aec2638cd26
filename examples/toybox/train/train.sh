#!/bin/sh
# Trains the toybox model, or goes on with it: every stage picks up where it stands.
#   examples/toybox/train/train.sh [minutes for the UNet]        size "first", two CPU cores
#   TOYBOX_SIZE=shipped examples/toybox/train/train.sh 100       the model of models/toybox, on from there
# State is kept in build/toybox; where there is none, training goes on from the weights of the folder
# that it writes ("shipped": models/toybox, others: build/toybox/SIZE-model), or with FRESH=1 from
# nothing. A stage that has its weights is not run again; what is exported is the best that was seen.
set -e
cd "$(dirname "$0")"
size=${TOYBOX_SIZE:-first}
minutes=${1:-90}
python=${PYTHON:-python3}
root=$(cd ../../.. && pwd)
state=${TOYBOX_STATE:-$root/build/toybox}/$size
case $size in shipped) model=$root/models/toybox ;; *) model=$state-model ;; esac
model=${TOYBOX_OUT:-$model}

start=$state/unet/start.pt first=0
if [ -n "$FRESH" ] && [ -f "$start" ]; then
  echo "train.sh: $start is not from nothing; move $state away" >&2
  exit 1
fi
if [ ! -f "$start" ] && [ ! -f "$state/unet/last.pt" ] && [ -z "$FRESH" ] && [ -f "$model/model_index.json" ]; then
  $python export.py --size "$size" --out "$model" --restore
fi
[ ! -f "$start" ] || first=24   # what is trained has seen the plain shards
$python data.py --size "$size" --first "${TOYBOX_FIRST:-$first}" --shards "${TOYBOX_SHARDS:-10}"
[ -f "$state/tokenizer/vocab.json" ] || $python tokenizer.py --size "$size"
[ -f "$state/vae/best.pt" ] || $python vae.py --size "$size" --minutes "${TOYBOX_VAE_MINUTES:-25}"
$python unet.py --size "$size" --minutes "$minutes"
[ -f "$state/polish/best.pt" ] || $python vae.py --size "$size" --polish --crop 64 \
  --minutes "${TOYBOX_POLISH_MINUTES:-10}"
$python export.py --size "$size" --out "$model"
