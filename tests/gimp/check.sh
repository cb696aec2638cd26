#!/bin/sh
# GIMP's plug-in, from a script: a layer is drawn, what is selected is drawn anew and the rest stays, and errors come back.
set -u
plugin=$(realpath "${BUILD:-build/cc}/examples/gimp/textinv-gimp")
textinv=$(realpath "${BUILD:-build/cc}/textinv")
model=$(realpath tests/golden/tiny-sd) inpaint=$(realpath tests/golden/tiny-inpaint)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

if [ ! -e "$plugin" ] || ! command -v gimp-console >/dev/null; then
  echo "skipped - the plug-in for GIMP: GIMP 2.10 or its headers are not installed"
  exit 0
fi

# result of the last command; $1 = what was checked
result() {
  if [ $? = 0 ]; then
    echo "ok - $1"
  else
    echo "FAIL - $1: $(tail -n 3 "$work/log" | tr '\n' ' ')"
    failed=1
  fi
}

# gimp NAME: runs NAME.scm, with GIMP's own things in this folder
gimp() {
  GIMP2_DIRECTORY="$work" gimp-console --no-interface --no-data --no-fonts --batch-interpreter=plug-in-script-fu-eval \
    --batch="(load \"$work/$1.scm\")" --batch='(gimp-quit 1)' >"$work/log" 2>&1
}

mkdir "$work/words" "$work/plugins"
cp "$plugin" "$work/plugins/"
# as GIMP asks for it; the library stays where it is
LIBRARY=$(dirname "$textinv")
export LD_LIBRARY_PATH="$LIBRARY"
echo "(plug-in-path \"$work/plugins:\${gimp_plug_in_dir}/plug-ins\")" >"$work/gimprc"
"$textinv" generate --quiet --model "$model" --prompt 'a cat' --steps 2 --width 96 --height 64 --out "$work/cat.png"
mkdir "$work/photos" && cp "$work/cat.png" "$work/photos"
"$textinv" invert --quiet --model "$model" --images "$work/photos" --placeholder '<toy>' --initializer cat --steps 2 \
  --out "$work/words/toy.safetensors"

# draws over the whole image, then into a part of it, and tells pixels (x, y) before and after
cat >"$work/draw.scm" <<END
(define (pixel layer x y)
  (let* ((values (cadr (gimp-drawable-get-pixel layer x y))))
    (map (lambda (i) (aref values i)) '(0 1 2))))
(define (text x)
  (cond ((string? x) x)
        ((number? x) (number->string x))
        ((boolean? x) (if x "same" "other"))
        (else (apply string-append (map (lambda (i) (string-append (text i) ";")) x)))))
(define (tell . what)
  (gimp-message (text what)))
(let* ((image (car (gimp-file-load RUN-NONINTERACTIVE "$work/cat.png" "cat.png")))
       (layer (car (gimp-image-get-active-layer image)))
       (outside (pixel layer 20 8))
       (inside (pixel layer 48 32)))
  (plug-in-textinv RUN-NONINTERACTIVE image layer "a <toy>" "$work/words" "$model" 2 7.5 1.0 3)
  (let* ((drawn (car (gimp-image-get-active-layer image))))
    (tell "layer" (car (gimp-item-get-name drawn)) (car (gimp-drawable-width drawn)) (car (gimp-drawable-height drawn)))
    (tell "drawn" (equal? inside (pixel drawn 48 32)) (equal? outside (pixel drawn 20 8)))
    (gimp-image-remove-layer image drawn))
  (gimp-image-select-rectangle image CHANNEL-OP-REPLACE 32 16 32 32)
  (plug-in-textinv RUN-NONINTERACTIVE image layer "a <toy>" "$work/words/toy.safetensors" "$model" 2 7.5 1.0 3)
  (let* ((part (car (gimp-image-get-active-layer image))))
    (tell "part" (gimp-drawable-offsets part) (car (gimp-drawable-width part)) (car (gimp-drawable-height part))))
  (gimp-selection-none image)
  (let* ((merged (car (gimp-image-flatten image))))
    (tell "merged" (equal? inside (pixel merged 48 32)) (equal? outside (pixel merged 20 8))))
  (gimp-quit 0))
END
gimp draw
result "it runs"
grep -q 'layer;a <toy>;96;64;' "$work/log"
result "the layer has the prompt for a name and the image's size"
grep -q 'drawn;other;other;' "$work/log"
result "with nothing selected all of it is drawn"
grep -q 'part;16;0;;64;64;' "$work/log"
result "with a selection the layer is that and what is around it"
grep -q 'merged;other;same;' "$work/log"
result "what is not selected stays as it was"

cat >"$work/error.scm" <<END
(let* ((image (car (gimp-image-new 64 64 RGB))))
  (plug-in-textinv RUN-NONINTERACTIVE image -1 "a cat" "$work/missing.safetensors" "$model" 2 7.5 1.0 3)
  (gimp-quit 0))
END
gimp error
grep -q 'missing.safetensors' "$work/log"
result "an error has the library's message"

cat >"$work/hidden.scm" <<END
(let* ((image (car (gimp-image-new 64 64 RGB)))
       (layer (car (gimp-layer-new image 64 64 RGB-IMAGE "x" 100 LAYER-MODE-NORMAL))))
  (plug-in-textinv RUN-NONINTERACTIVE image -1 "a" "" "$model" 2 7.5 0.5 3)
  (gimp-image-insert-layer image layer 0 -1)
  (gimp-image-select-rectangle image CHANNEL-OP-REPLACE 0 0 32 32)
  (map (lambda (i) (gimp-item-set-visible i FALSE)) (vector->list (cadr (gimp-image-get-layers image))))
  (plug-in-textinv RUN-NONINTERACTIVE image -1 "b" "" "$model" 2 7.5 1.0 3)
  (gimp-message (string-append "layers: " (number->string (car (gimp-image-get-layers image)))))
  (gimp-quit 0))
END
gimp hidden
grep -q 'layers: 3' "$work/log"
result "where no layer is visible the background is seen"

cat >"$work/grey.scm" <<END
(let* ((image (car (gimp-image-new 64 64 GRAY))))
  (plug-in-textinv RUN-NONINTERACTIVE image -1 "a cat" "" "$model" 2 7.5 1.0 3)
  (gimp-quit 0))
END
gimp grey
grep -q 'is grey or has a palette' "$work/log"
result "a grey image is refused"

cat >"$work/long.scm" <<END
(let* ((image (car (gimp-image-new 64 64 RGB))))
  (plug-in-textinv RUN-NONINTERACTIVE image -1 (make-string 5000 #\a) "" "$model" 2 7.5 1.0 3)
  (gimp-quit 0))
END
gimp long
grep -q 'over 4095 bytes' "$work/log"
result "a prompt that is too long is refused"

# a model made for inpainting: with nothing selected, and with everything
for select in none all; do
  cat >"$work/$select.scm" <<END
(let* ((image (car (gimp-file-load RUN-NONINTERACTIVE "$work/cat.png" "cat.png"))))
  (gimp-selection-$select image)
  (plug-in-textinv RUN-NONINTERACTIVE image -1 "a <toy>" "$work/words" "$inpaint" 2 7.5 1.0 3)
  (gimp-message (car (gimp-item-get-name (car (gimp-image-get-active-layer image)))))
  (gimp-quit 0))
END
done
gimp none
grep -q 'made for inpainting: select what it is to draw' "$work/log"
result "a model made for inpainting wants a selection"
gimp all
grep -q 'a <toy>' "$work/log"
result "a model made for inpainting draws into it"
exit $failed
