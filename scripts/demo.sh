#!/bin/sh
# Learns one object that the default model has never seen from its five pictures, draws it again, then
# elsewhere, and puts everything on one sheet. usage: demo.sh PROGRAM FOLDER [CONCEPT INITIALIZER]
set -eu
program=$1 folder=$2
concept=${3-yellow-scooter} initializer=${4-scooter}
pictures=examples/toybox/heldout/$concept
word="<$concept>"

mkdir -p "$folder"
say() { # the command as it could be typed, then its run
  printf '$ textinv'
  shift
  for word_; do
    case $word_ in
    *[!A-Za-z0-9_./=-]*) printf " '%s'" "$word_" ;;
    *) printf ' %s' "$word_" ;;
    esac
  done
  echo
  "$program" "$@"
}

say textinv invert --images "$pictures" --placeholder "$word" --initializer "$initializer" \
  --vectors 4 --steps "${DEMO_STEPS:-1000}" --batch 4 --out "$folder/$concept.safetensors"
say textinv generate --embedding "$folder/$concept.safetensors" --prompt "a photo of $word" \
  --images 5 --seed 1 --steps 25 --separate --out "$folder/again.png"
say textinv generate --embedding "$folder/$concept.safetensors" --prompt "$word on the beach" \
  --prompt "$word in the snow" --prompt "an oil painting of $word" --prompt "a pencil drawing of $word" \
  --seed 2 --steps 25 --separate --out "$folder/edit.png"
"$program" sheet --quiet --out "$folder/sheet.png" \
  --row "five pictures of $word, an object that the model has never seen" "$pictures"/*.png \
  --row "a photo of $word" "$folder"/again-00[0-4].png \
  --row "elsewhere, and in other styles" "$word on the beach=$folder/edit-000.png" \
  "$word in the snow=$folder/edit-001.png" "an oil painting of $word=$folder/edit-002.png" \
  "a pencil drawing of $word=$folder/edit-003.png"
echo "demo: $folder/sheet.png"
