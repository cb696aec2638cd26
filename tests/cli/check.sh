#!/bin/sh
# The program from the outside: forms, messages, exit codes, what is on stdout, what is left behind.
# Runs on the tiny random models of tests/golden, so every call takes a fraction of a second.
set -u
program=$(realpath -e "${BUILD:-build/cc}/textinv") || exit 1
golden=$(realpath tests/golden)
completion=$(realpath examples/cli/completion.bash)
library=$(dirname "$program")/$(readlink "$(dirname "$program")/libtextinv.so")
emulated=$(realpath -e build/cuda-emulated/libtextinv-cuda.so 2>/dev/null)
model=$golden/tiny-sd
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
failed=0

# run STATUS LABEL ARGUMENTS...: run the program, keep stdout in out and stderr in err, compare the exit code
run() {
  want=$1 label=$2
  shift 2
  "$program" "$@" >out 2>err
  got=$?
  if [ "$got" = "$want" ]; then
    echo "ok - $label"
  else
    echo "FAIL - $label: exit $got in place of $want: $*"
    cat err
    failed=1
  fi
}

# says LABEL TEXT FILE: FILE holds TEXT
says() {
  if grep -qF -- "$2" "$3"; then
    echo "ok - $1"
  else
    echo "FAIL - $1: \"$2\" is not in: $(tr -cd '[:print:]\n' <"$3")"
    failed=1
  fi
}

# holds LABEL COMMAND...: the command succeeds
holds() {
  label=$1
  shift
  if "$@"; then
    echo "ok - $label"
  else
    echo "FAIL - $label"
    failed=1
  fi
}

silent() { [ ! -s "$1" ]; }
nothing_left() { [ -z "$(find . -newer before -type f ! -name out ! -name err)" ]; }

# refused LABEL TEXT ARGUMENTS...: a usage error whose message has TEXT; nothing on stdout, nothing left behind
refused() {
  label=$1 text=$2
  shift 2
  touch before
  run 2 "$label" "$@"
  says "$label: message" "$text" err
  holds "$label: stdout is empty" silent out
  holds "$label: nothing is left behind" nothing_left
}

# pictures: noise of an untrained model will do
mkdir photos
run 0 "pictures to learn from" generate --model "$model" --prompt 'a cat' --images 3 --steps 2 --separate \
  --out photos/p.png
holds "three files" [ "$(ls photos | tr '\n' ' ')" = "p-000.png p-001.png p-002.png " ]

# --- help
run 0 "--version" --version
says "--version prints the release" "textinv 0." out
run 0 "--help" --help
holds "--help: nothing stands before the end of a line" [ "$(grep -c ' $' out)" = 0 ]
cp out help
for option in -h help; do
  run 0 "$option" $option
  holds "$option is --help" cmp out help
done
run 0 "sheet --help" sheet --help
cp out help
run 0 "help sheet" help sheet
holds "help sheet is sheet --help" cmp out help
run 2 "no command" 
holds "no command: stdout is empty" silent out
for command in invert generate evaluate inspect convert tokenize sheet devices; do
  run 0 "$command --help" $command --help
  holds "$command --help fits a screen" [ "$(wc -l <out)" -le 24 ]
  holds "$command --help fits its width" [ "$(awk 'length > 80' out | wc -l)" = 0 ]
  run 0 "$command --help-all" $command --help-all
  holds "$command --help-all: nothing stands before the end of a line" [ "$(grep -c ' $' out)" = 0 ]
  holds "$command --help-all fits the width" [ "$(awk 'length > 80' out | wc -l)" = 0 ]
done

# --- completion
# completes WANTED WORD...: what the last word may be
completes() {
  want=$1
  shift
  # shellcheck disable=SC2016
  got=$(bash -c '. "$0"; COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _textinv "$1"; echo "${COMPREPLY[*]}"' \
    "$completion" "$program" "$@")
  holds "completes $*: $got" [ "$got" = "$want" ]
}

if command -v bash >out; then
  completes "invert generate evaluate inspect convert tokenize sheet devices" ''
  completes "--checkpoint-every --checkpoint-keep" invert --images photos --check
  completes "auto ddim pndm euler euler_a dpmpp_2m dpmpp_2m_karras unipc" generate --sampler ''
  completes "torch-cpu torch-cpu-scalar" generate --rng t
  completes "torch-cpu torch-cpu-scalar" generate --rng = t
  completes "cpu cuda" invert --backend =
  completes "latest" invert --resume ''
  completes "" generate --embedding ''
  completes "" generate --clip-skip ''
  completes "" nonsense ''
  completes "--help --help-all $("$program" inspect --help-all | sed -n 's/^  \(--[^ ]*\).*/\1/p' | tr '\n' ' ' | sed 's/ $//')" \
    inspect --
else
  echo "skipped - completion: there is no bash"
fi

# --- usage errors: one line each that names option, value and what is expected
invert="invert --threads 1 --model $model --images photos --placeholder <x> --out x.safetensors"
generate="generate --threads 1 --model $model --prompt a --out x.png"
refused "unknown command" "did you mean generate?" generat
refused "typing error" "did you mean --steps?" $invert --stpes 3
refused "beginning of a name" "did you mean --initializer?" $invert --init cat
refused "single dash" "did you mean --steps?" $invert -steps 3
# every name of diffusers' script
for names in pretrained_model_name_or_path:model train_data_dir:images placeholder_token:placeholder \
  initializer_token:initializer learnable_property:property num_vectors:vectors max_train_steps:steps \
  train_batch_size:batch gradient_accumulation_steps:accumulate learning_rate:lr lr_scheduler:lr-schedule lr_warmup:warmup \
  lr_warmup_steps:warmup adam_beta1:beta1 adam_beta2:beta2 adam_epsilon:epsilon adam_weight_decay:weight-decay \
  mixed_precision:dtype validation_prompt:preview validation_steps:preview-every num_validation_images:preview-images \
  checkpointing_steps:checkpoint-every save_steps:checkpoint-every checkpoints_total_limit:checkpoint-keep \
  resume_from_checkpoint:resume; do
  refused "--${names%:*} is --${names#*:}" "--${names#*:} needs a value" invert "--${names%:*}"
done
for names in negative_prompt:negative guidance_scale:guidance; do
  refused "--${names%:*} is --${names#*:}" "--${names#*:} needs a value" generate "--${names%:*}"
done
refused "no value" "--steps needs a value" $invert --steps
refused "an option as value" "--seed needs a value, but --steps follows" $invert --seed --steps 3
refused "value of a flag" "--scale-lr takes no value" $invert --scale-lr=1
refused "stray argument" "unexpected argument" $invert stray
refused "steps 0" "--steps 0: a whole number from 1 to 10000000" $invert --steps 0
refused "steps of words" "--steps many" $invert --steps many
refused "steps with a rest" "--steps 10x" $invert --steps 10x
refused "negative steps" "--steps -5" $invert --steps -5
refused "steps beyond all numbers" "--steps 99999999999999999999" $invert --steps 99999999999999999999
refused "batch 1025" "--batch 1025: a whole number from 1 to 1024" $invert --batch 1025
refused "lr 0" "--lr 0: a number above 0" $invert --lr 0
refused "lr NaN" "--lr nan" $invert --lr nan
refused "lr infinite" "--lr inf" $invert --lr inf
refused "flip 1.5" "--flip 1.5: a number from 0 to 1" $invert --flip 1.5
refused "vectors 33" "--vectors 33: a whole number from 0 to 32" $invert --vectors 33
refused "vectors 0 without initializer" "--initializer" $invert --vectors 0
refused "property" "object or style" $invert --property colour
refused "dtype" "f32, bf16 or f16 is expected" $invert --dtype f8
refused "backend" "cpu or cuda" $invert --backend tpu
refused "lr-schedule" "constant, linear or cosine" $invert --lr-schedule step
refused "memory budget" "--memory-budget 4x" $invert --memory-budget 4x
refused "threads" "--threads 5000: a whole number from 0 to 1024" $invert --threads 5000
refused "warm-up beyond the run" "--warmup 20: at most the 10" $invert --steps 10 --warmup 20
refused "placeholder with a space" "without spaces" invert --images photos --placeholder 'a b' --out x.safetensors
refused "no placeholder" "--placeholder is required" invert --images photos --out x.safetensors
refused "no images" "--images is required" invert --placeholder '<x>' --out x.safetensors
refused "no out" "--out is required" invert --images photos --placeholder '<x>'
refused "two words, one folder" "2 --placeholder but 1 --images" $invert --placeholder '<y>'
refused "one word twice" "given twice" $invert --placeholder '<x>' --images photos
refused "template without a place" "{}" $invert --prompt 'a photo'
refused "no prompt" "--prompt is required" generate --out x.png
refused "guidance" "--guidance -1" $generate --guidance -1
refused "guidance-rescale" "--guidance-rescale 1.5: a number from 0 to 1" $generate --guidance-rescale 1.5
refused "guidance-rescale NaN" "--guidance-rescale nan" $generate --guidance-rescale nan
refused "sampler" "euler_a" $generate --sampler heun
refused "strength 0" "--strength 0: a number above 0" $generate --strength 0
refused "images 0" "--images 0" $generate --images 0
refused "width 0" "--width 0" $generate --width 0
refused "a sheet of too many pixels" "at most 16384 a side and 67108864 in all" $generate --images 1024 --width 120 \
  --height 128
refused "a sheet of files of too many pixels" "at most 16384 a side and 67108864 in all" sheet --out x.png --size 4096 \
  --columns 3 $(for i in 1 2 3; do ls photos/*; done)
refused "format" "a1111" convert a b --format gguf
refused "safetensors into .pt" "OUT b.pt: what is written is a safetensors file" convert a b.pt --format diffusers
refused "safetensors into .bin" ".safetensors is expected" convert a learned_embeds.bin --format kohya
refused "a torch file into .safetensors" "what is written is a torch file; .pt is expected" convert a b.safetensors --format a1111
refused "a word to learn into .pt" "--out x.pt: what is written is a safetensors file" invert --model "$model" \
  --images photos --placeholder '<x>' --out x.pt
refused "a word to learn into .BIN" "--out x.BIN" invert --model "$model" --images photos --placeholder '<x>' --out x.BIN
for ending in jpg jpeg webp GIF png ckpt; do
  refused "a word to learn into .$ending" "what is written is a safetensors file" $invert --out x.$ending
  refused "a conversion into .$ending" "what is written is a safetensors file" convert a b.$ending
  refused "a1111 into .$ending" "what is written is a torch file" convert a b.$ending --format a1111
done
for ending in jpg jpeg webp gif safetensors PT bin ckpt; do
  refused "a picture into .$ending" "what is written is a PNG picture; .png is expected" $generate --out x.$ending
  refused "a sheet into .$ending" "what is written is a PNG picture; .png is expected" sheet --out x.$ending photos/p-000.png
done
refused "the picture to start from as output" "--out ./photos/p-000.png: is read, too, as photos/p-000.png" $generate \
  --init-image photos/p-000.png --out ./photos/p-000.png
refused "a mask without a picture" "--mask a.png: --init-image, the picture to keep parts of, is expected, too" $generate \
  --mask a.png
refused "strength without a picture" "--strength 0.8: --init-image, the picture to start from, is expected" $generate \
  --strength 0.8
refused "pixels to keep without a mask" "--keep-pixels: --mask, which says which to keep, is expected, too" $generate \
  --init-image photos/p-000.png --keep-pixels
refused "the mask as output" "--out ./photos/p-001.png: is read, too, as photos/p-001.png" $generate \
  --init-image photos/p-000.png --mask photos/p-001.png --out ./photos/p-001.png
refused "the mask as one of several outputs" "--out photos/p-001.png: is read, too, as photos/p-001.png" $generate \
  --init-image photos/p-002.png --mask photos/p-001.png --separate --images 2 --out photos/p.png
refused "a picture of the sheet as output" "--out photos/p-000.png: is read, too, as photos/p-000.png" sheet \
  --out photos/p-000.png photos/p-001.png label=photos/p-000.png
ln -s "$golden/../fuzz/corpus/embedding/text.png" toy.png
refused "an embedding as output" "--out toy.png: is read, too, as $golden/" $generate \
  --embedding "toy=$golden/../fuzz/corpus/embedding/text.png" --out toy.png
rm toy.png
refused "one file to convert" "1 argument" convert a --format a1111
refused "nothing to tokenize" "0 arguments" tokenize
refused "devices of a model" "unexpected argument" devices model
holds "devices of a model: nothing stands before the end of the line" [ "$(grep -c ' $' err)" = 0 ]

refused "no pictures to score" "--pictures is required" evaluate --references photos
refused "nothing to compare with" "--references, --prompt or both are required" evaluate --pictures photos
refused "prompts for some" "2 --prompt, but --pictures has 3 values" evaluate --pictures a b c --prompt a --prompt b
refused "captions and templates" "--captions with --prompt a {}: one of them" $invert --captions --prompt 'a {}'
refused "a model beside a file" "x.png and --model /nowhere: one of them" inspect x.png --model /nowhere
refused "a placeholder of no prompt" "--placeholder is a word of --prompt" evaluate --pictures photos --references photos \
  --placeholder '<x>'

# --- what is not there is refused before the model is opened
touch before
run 1 "no output folder" generate --model /nowhere --prompt a --out missing/x.png
says "no output folder: message" "the folder missing" err
run 1 "output is a folder" generate --model /nowhere --prompt a --out photos
says "output is a folder: message" "is a folder" err
for command in "$generate" "$invert" "sheet photos/p-000.png"; do
  run 1 "output is -" $command --out -
  says "output is -: message" "--out -: the name of a file is expected" err
done
mkfifo pipe
run 1 "output is a pipe" generate --model /nowhere --prompt a --out pipe
says "output is a pipe: message" "is a device, pipe or socket" err
run 1 "a path of two lines" generate --model /nowhere --prompt a --out "two
lines/x.png"
holds "a path of two lines: one line" [ "$(wc -l <err)" = 1 ]
run 1 "a path with C1" generate --model /nowhere --prompt a --out "$(printf 'no\302\233/x.png')"
says "a path with C1: message" "the folder no??: " err
run 1 "no folder of pictures" invert --model /nowhere --images missing --placeholder '<x>' --out x.safetensors
says "no folder of pictures: message" "--images missing" err
run 1 "no checkpoint" $invert --resume missing.safetensors
says "no checkpoint: message" "--resume missing.safetensors" err
run 1 "no output-dir" $invert --output-dir missing
says "no output-dir: message" "the folder missing" err
run 1 "no model" generate --model /nowhere --prompt a --out x.png
says "no model: message" "/nowhere" err
run 1 "no embedding" $generate --embedding missing.safetensors
says "no embedding: message" "missing.safetensors" err
run 1 "no mask" $generate --init-image photos/p-000.png --mask missing.png
says "no mask: message" "--mask missing.png: No such file" err
refused "width no multiple" "--width 17: a multiple of 2 is expected" $generate --width 17
refused "height no multiple" "--height 33: a multiple of 2 is expected" $generate --height 33 --width 32
run 1 "a word of the vocabulary" invert --model "$model" --images photos --placeholder cat --out x.safetensors
says "a word of the vocabulary: message" "cat" err
mkdir empty
run 1 "no pictures" invert --model "$model" --images empty --placeholder '<x>' --out x.safetensors
says "no pictures: message" "empty" err
run 1 "not an embedding" $generate --embedding photos/p-000.png
run 1 "not known" inspect "$program"
run 1 "a LoRA for a model" generate --model "$golden/../fuzz/corpus/single/lora" --prompt a --out x.png
says "a LoRA for a model: what it is" "single/lora: is a LoRA, which changes a model: merge it" err
run 1 "a single file of odd sizes" inspect "$golden/../fuzz/corpus/single/sd1"
says "a single file of odd sizes: what is odd" "single/sd1: vae: norm_num_groups 32 does not divide" err
holds "refusals leave nothing behind" nothing_left
holds "refusals leave no folder behind" [ ! -e x-run ]

# --- generate
run 0 "generate" $generate --steps 2
says "generate says what it wrote" "wrote x.png" err
holds "generate: stdout is empty" silent out
says "the picture carries its parameters" "Steps: 2, Sampler: " x.png
run 0 "generate, --name=value and underscores" generate --model="$model" --prompt=a --out=y.png --steps=2 \
  --guidance_scale=7.5 --seed=0
holds "the same seed gives the same file" cmp x.png y.png
holds "guidance is not rescaled" [ -z "$(grep -a 'CFG Rescale' x.png)" ]
run 0 "inspect a picture" inspect y.png
says "inspect a picture: its size" "size: " out
says "inspect a picture: what was drawn" "  a" out
says "inspect a picture: how" "  Steps: 2, Sampler: " out
run 0 "guidance is rescaled" $generate --steps 2 --guidance_rescale 0.7
says "the picture says how far" "CFG Rescale: 0.7, " x.png
run 0 "generate --quiet" $generate --steps 2 --quiet
holds "generate --quiet says nothing" silent err
run 0 "a sheet of four" $generate --steps 2 --images 4 --seed 7
run 0 "a sheet of two prompts" $generate --steps 2 --images 2 --prompt b
while IFS='|' read -r sampler name; do
  run 0 "sampler $sampler" $generate --steps 3 --sampler $sampler --rng native --negative b
  says "sampler $sampler: the picture says so" "Steps: 3, Sampler: $name, " x.png
done <<END
ddim|DDIM
pndm|PLMS
euler|Euler
euler_a|Euler a
dpmpp_2m|DPM++ 2M
dpmpp_2m_karras|DPM++ 2M Karras
unipc|UniPC
END
cp -r "$golden/tiny-sd" deis && sed -i 's/"[A-Za-z]*Scheduler"/"DEISMultistepScheduler"/' deis/model_index.json
run 0 "a scheduler that is not there" generate --model deis --prompt a --prompt b --out x.png --steps 2
says "a scheduler that is not there: who stands in" "DEISMultistepScheduler, which this library does not have" err
holds "a scheduler that is not there: one warning" [ "$(grep -c '^warning: ' err)" = 1 ]
run 0 "inspect its model" inspect deis
says "a scheduler that is not there: inspect says who draws" "sampler: dpmpp_2m" out
run 0 "brackets are text" generate --model "$model" --prompt 'a (cat:2000)' --out x.png --steps 2
run 1 "brackets that weigh too much" generate --model "$model" --prompt 'a (cat:2000)' --prompt-weights --out x.png --steps 2
says "brackets that weigh too much: by how much" "has the weight 2000; -1000 to 1000 are possible" err
run 0 "image to image" $generate --steps 4 --init-image photos/p-000.png --strength 0.5
run 0 "beside the picture to start from" $generate --steps 2 --init-image photos/p-000.png --out photos/p-000.png --separate
rm photos/p-000-000.png
# a pixel of black; one of white beside one of black
echo iVBORw0KGgoAAAANSUhEUgAAAAEAAAABAQAAAAA3bvkkAAAACklEQVR42mNgAAAAAgAB5Sfe/AAAAABJRU5ErkJggg== | base64 -d >black.png
echo iVBORw0KGgoAAAANSUhEUgAAAAIAAAABAQAAAADcWUInAAAACklEQVR42mNoAAAAggCB2kUIOwAAAABJRU5ErkJggg== | base64 -d >half.png
masked="$generate --steps 2 --init-image photos/p-000.png --strength 1"
run 0 "a mask" $masked --mask half.png --keep-pixels
holds "a mask: nothing to warn of" [ "$(grep -c "^warning: " err)" = 0 ]
run 0 "a mask that keeps all" $masked --mask black.png --images 5 --keep-pixels --separate --out kept.png
says "a mask that keeps all: it says so" "warning: mask keeps the whole picture" err
holds "a mask that keeps all: one warning" [ "$(grep -c '^warning: ' err)" = 1 ]
for each in photos/p-000 x kept-000 kept-004; do
  run 0 "a sheet of $each" sheet --out "$(basename $each)-sheet.png" "a=$each.png"
done
holds "black pixels are kept to the bit" cmp p-000-sheet.png kept-000-sheet.png
holds "with every seed" cmp p-000-sheet.png kept-004-sheet.png
holds "white ones are not" [ "$(cmp p-000-sheet.png x-sheet.png | wc -l)" = 1 ]
rm kept-00?.png ./*-sheet.png
run 1 "a folder to start from" $generate --init-image photos
says "a folder to start from: message" "photos: is a folder, expected a file" err
inpaint="generate --model $golden/tiny-inpaint --prompt cat --steps 2 --out x.png"
run 0 "inspect a model for inpainting" inspect "$golden/tiny-inpaint"
says "a model for inpainting: inspect says so" "made for: inpainting, with --init-image and --mask" out
refused "a model for inpainting without a picture" "--init-image and --mask are expected" $inpaint
refused "a model for inpainting without a mask" "--init-image and --mask are expected" $inpaint \
  --init-image photos/p-000.png
run 0 "a model for inpainting" $inpaint --init-image photos/p-000.png --mask half.png
run 1 "learning with a model for inpainting" invert --model "$golden/tiny-inpaint" --images photos --placeholder '<z>' \
  --initializer cat --steps 2 --out z.safetensors
says "learning with a model for inpainting: message" "learn words with the model that it was made from" err
holds "learning with a model for inpainting: nothing is left" [ ! -e z.safetensors ] && [ ! -e z-run ]
run 1 "a mask that is no picture" $masked --mask out
says "a mask that is no picture: message" "out: " err
run 0 "bf16" $generate --steps 2 --dtype bf16
run 0 "two encoders" generate --model "$golden/tiny-sdxl" --prompt a --out x.png --steps 2
run 0 "progress for programs" $generate --steps 2 --sampler ddim --progress json
says "one object a line" '{"phase":"sample","step":1,"steps":2' err
run 0 "a bar" $generate --steps 2 --progress bar
says "the bar has a rate" "step" err
holds "no spare files" [ -z "$(find . -name '*tmp*')" ]

# --- evaluate
evaluate="evaluate --threads 1 --clip $golden/tiny-clip"
run 0 "evaluate" $evaluate --pictures photos photos/p-001.png --references photos/p-001.png --prompt 'a <x> cat' \
  --placeholder '<x>'
holds "evaluate: a line for every picture" [ "$(cut -f 1 out | tr '\n' ' ')" = \
  "picture photos/p-000.png photos/p-001.png photos/p-002.png photos/p-001.png mean " ]
holds "evaluate: two columns" [ "$(head -n 1 out | cut -f 2-)" = "$(printf 'image\ttext')" ]
holds "evaluate: a picture is like itself" [ "$(awk '$2 == "1.0000"' out | cut -f 1 | sort -u)" = photos/p-001.png ]
holds "evaluate: the mean" awk 'NR > 1 && NR < 6 { i += $2 / 4; t += $3 / 4 }
  NR == 6 { exit !($2 - i < 1e-4 && i - $2 < 1e-4 && $3 - t < 1e-4 && t - $3 < 1e-4) }' out
holds "evaluate: nothing on stderr" silent err
cut -f 1,3 out | sed 2,4d >without
run 0 "evaluate by one prompt" $evaluate --pictures photos/p-001.png --prompt 'a cat'
holds "evaluate by one prompt: the column of texts alone, a blank more or less" \
  [ "$(sed -n 2p out)" = "$(sed -n 2p without)" ]
cp out one
run 0 "evaluate, a prompt for each" $evaluate --pictures photos photos/p-001.png --prompt 'a dog' --prompt 'a cat'
holds "evaluate, a prompt for each: the last one" [ "$(sed -n 5p out)" = "$(sed -n 2p one)" ]
mkdir odd-name && cp photos/p-001.png "odd-name/$(printf 'a\tb\nc.png')"
run 0 "evaluate, a name of two lines" $evaluate --pictures odd-name --prompt 'a cat'
holds "evaluate, a name of two lines: one line of two fields" [ "$(sed -n 2p out | cut -f 1)" = 'odd-name/a\x09b\x0ac.png' ]
run 0 "evaluate by references" $evaluate --pictures photos --references photos
holds "evaluate by references: the column of images alone" [ "$(head -n 1 out)" = "$(printf 'picture\timage')" ]
run 0 "evaluate, a mistyped word" $evaluate --pictures photos --prompt 'a <x>' --placeholder '<y>'
says "evaluate, a mistyped word: message" 'warning: no prompt has the word "<y>"' err
run 0 "evaluate, progress for programs" $evaluate --pictures photos --prompt a --progress json
says "evaluate, progress for programs: one object a line" '{"phase":"evaluate","step":1,"steps":3' err
mkdir embedding && cp "$golden/../fuzz/corpus/embedding/text.png" embedding && echo x >embedding/x.txt
run 0 "evaluate a picture that holds an embedding" $evaluate --pictures embedding --prompt a
holds "evaluate a picture that holds an embedding: it is one of the folder" [ "$(sed -n 2p out | cut -f 1)" = embedding/text.png ]
run 1 "evaluate an empty folder" $evaluate --pictures empty --prompt a
says "evaluate an empty folder: message" "empty: holds no PNG or JPEG picture" err
run 1 "evaluate what is not there" $evaluate --pictures gone.png --prompt a
says "evaluate what is not there: message" "gone.png" err
run 1 "evaluate what is no picture" $evaluate --pictures "$golden/tiny-clip/config.json" --prompt a
run 1 "no CLIP model" evaluate --clip "$model" --pictures photos --prompt a
says "no CLIP model: message" "expected the folder of a CLIPModel" err
rm one without

# --- invert
run 0 "invert" $invert --initializer 'a cat' --steps 6 --batch 2
holds "invert: stdout is empty" silent out
holds "the implied folder goes when it is empty" [ ! -e x-run ]
cp x.safetensors whole.safetensors
run 0 "the names of diffusers' options" invert --pretrained_model_name_or_path "$model" --train_data_dir photos \
  --placeholder_token '<x>' --initializer_token 'a cat' --max_train_steps 6 --train_batch_size 2 --out y.safetensors
holds "the same run gives the same bytes" cmp x.safetensors y.safetensors
run 0 "the values of diffusers' options" $invert --initializer 'a cat' --steps 6 --batch 2 --mixed_precision no \
  --lr_scheduler constant_with_warmup --out y.safetensors
holds "no mixed precision and no warm-up: the same bytes" cmp x.safetensors y.safetensors
run 0 "one step" $invert --steps 1 --out y.safetensors
says "one step: it says so" "<x>, 1 step in " err
run 1 "half precision is no wrong usage" $invert --mixed_precision fp16 --steps 1 --out y.safetensors
says "half precision is no wrong usage: message" "dtype f16 needs CUDA" err
run 0 "constant is with a warm-up" $invert --initializer 'a cat' --steps 6 --batch 2 --lr_scheduler constant \
  --lr_warmup_steps 3 --out y.safetensors
run 0 "constant_with_warmup" $invert --initializer 'a cat' --steps 6 --batch 2 --lr_scheduler constant_with_warmup \
  --lr_warmup_steps 3 --out w.safetensors
holds "they are the same" cmp y.safetensors w.safetensors
holds "and not as without" [ "$(cmp x.safetensors y.safetensors | wc -l)" = 1 ]
run 0 "inspect an embedding" inspect x.safetensors
says "inspect: the word" "<x>: 1 vector of 16 values" out
says "inspect: the metadata" "  producer: libtextinv " out
says "inspect: the steps" "  step: 6" out
holds "inspect: stderr is empty" silent err
run 0 "generate with the word" $generate --embedding x.safetensors --prompt 'a photo of <x>' --steps 2
holds "every word is in a prompt: nothing is said of them" [ "$(wc -l <err)" = 1 ]
run 0 "a mistyped word" $generate --embedding x.safetensors --prompt 'a photo of <y>' --steps 2
says "a mistyped word: message" 'no prompt has the word "<x>" of x.safetensors' err
says "a mistyped word: where it stands" 'no --embedding has the word "<y>" of a prompt' err
run 0 "words without --embedding" $generate --prompt 'a <z> and <z>, <>, a < b > c' --negative '<z>' --steps 2
holds "words without --embedding: each is told once" [ "$(grep -c 'no --embedding has the word "<z>"' err)" = 1 ]
holds "words without --embedding: nothing else is" [ "$(grep -c 'no --embedding' err)" = 1 ]
run 0 "a word of another case, in parentheses, of the negative prompt" $generate --embedding x.safetensors \
  '<w>=x.safetensors' '<v>=x.safetensors' '<W>y=x.safetensors' --prompt '(b<X>:1.2)' --negative 'a <V> and <w>y' --steps 2
says "the word that is in none" 'no prompt has the word "<w>" of x.safetensors' err
holds "the others are" [ "$(grep -c 'no prompt' err)" = 1 ]
holds "all in it are words" [ "$(grep -c 'no --embedding' err)" = 0 ]
run 0 "several files after one --embedding" generate --model "$model" --embedding x.safetensors '<w>=whole.safetensors' \
  --prompt '<x> and <w>' --steps 2 --out y.png
run 1 "one of them missing" generate --model "$model" --embedding x.safetensors gone --prompt a --steps 2 --out y.png
says "one of them missing: message" "gone" err
run 0 "two words in one run" $invert --placeholder '<y>' --images photos --initializer cat --initializer dog --vectors 2 \
  --vectors 1 --steps 3 --batch 2
says "two words: the files are named" "wrote x-000.safetensors: <x>" err
holds "two words: no file holds both" cmp x.safetensors whole.safetensors
run 0 "inspect the first of two words" inspect x-000.safetensors
says "two words: the first" "<x>: 2 vectors" out
run 0 "inspect the second of two words" inspect x-001.safetensors
says "two words: the second" "<y>: 1 vector" out
says "two words: a file of one" "layout: diffusers" out
says "two words: the second alone" "words: 1" out
says "two words: the steps" "  step: 3" out
run 1 "a word that a file cannot hold" invert --model "$model" --images photos --placeholder clip_l --out k.safetensors
says "a word that a file cannot hold: message" "stands for something else in embedding files" err
run 0 "two encoders" invert --model "$golden/tiny-sdxl" --images photos --placeholder '<z>' --steps 2 --batch 2 \
  --out z.safetensors
run 0 "inspect two encoders" inspect z.safetensors
says "two encoders: both widths" "encoder 1" out
run 0 "two words for two encoders" invert --model "$golden/tiny-sdxl" --images photos --placeholder '<z>' --images photos \
  --placeholder '<y>' --steps 2 --batch 2 --out zy.safetensors
run 0 "the second word has its own file" inspect zy-001.safetensors
says "the second word has its own file: the word" "<y>: 1 vector" out
mkdir work
run 0 "previews and checkpoints" $invert --steps 4 --batch 2 --preview 'a photo of <x>' --preview-every 2 \
  --preview-images 2 --preview-steps 2 --checkpoint-every 2 --output-dir work
holds "previews are there" [ -s work/preview-000002.png ]
holds "previews are those that are asked for" [ "$(ls work | grep -c '^preview')" = 2 ]
mkdir five
run 0 "previews without a number" $invert --steps 10 --batch 1 --preview 'a photo of <x>' --preview-images 1 \
  --preview-steps 1 --output-dir five
holds "previews without a number: five" [ "$(ls five | tr '\n' ' ')" = "preview-000002.png preview-000004.png \
preview-000006.png preview-000008.png preview-000010.png " ]
holds "checkpoints are there" [ "$(ls work | grep -c '^checkpoint')" -gt 0 ]
checkpoint=work/checkpoint-00000002.safetensors
run 0 "inspect a checkpoint" inspect $checkpoint
says "inspect a checkpoint: step" "step: " out
run 0 "generate with a checkpoint" $generate --embedding $checkpoint --prompt 'a photo of <x>' --steps 2
run 0 "convert a checkpoint" convert $checkpoint from.safetensors
run 0 "inspect what came of it" inspect from.safetensors
says "convert a checkpoint: one word" "words: 1" out
says "convert a checkpoint: the word" "  <x>: 1 vector of 16 values" out
says "convert a checkpoint: its step" "  step: 2" out
mkdir saved
run 0 "diffusers' --save_steps" $invert --steps 3 --batch 2 --save_steps 1 --checkpoint-keep 0 --output-dir saved
holds "diffusers' --save_steps: a checkpoint of the first step" [ -e saved/checkpoint-00000001.safetensors ]
holds "diffusers' --save_steps: and of the second" [ -e saved/checkpoint-00000002.safetensors ]

# --- interrupted, resumed, the same bytes
mkdir whole parts twice
long="invert --threads 1 --model $model --images photos --placeholder <x> --initializer cat --batch 2"
# begin ARGUMENTS...: a run that does not end by itself, in the background, its process in child; returns after its
# fifth step
begin() {
  rm -f err
  "$program" $long --steps 100000 "$@" --progress json 2>err &
  child=$!
  until grep -qs '"train","step":5,' err || ! kill -0 $child 2>/dev/null; do
    sleep 0.05
  done
}

begin --output-dir parts --resume latest --out b.safetensors
says "nothing to resume: it says so" "starting anew" err
kill -TERM $child
wait $child
holds "interrupted: exit 130" [ $? = 130 ]
says "interrupted: how to go on" "--resume latest" err
holds "interrupted: the work is saved" [ "$(ls parts | grep -c '^checkpoint')" = 1 ]
holds "interrupted: no result yet" [ ! -e b.safetensors ]
step=$(ls parts | sed 's/^checkpoint-0*//; s/\..*//')
run 0 "the same run without interruption, to fifty steps later" $long --steps $((step + 50)) --output-dir whole \
  --out a.safetensors
run 0 "resume" $long --steps $((step + 50)) --output-dir parts --resume latest --out b.safetensors
says "resume says from where" "going on from step $step " err
holds "resumed: the same bytes as without interruption" cmp a.safetensors b.safetensors

# a job in the background of a script ignores SIGINT
begin --steps 1000 --output-dir twice --out c.safetensors
kill -INT $child
wait $child
holds "SIGINT is ignored where the shell says so" [ $? = 0 ]

# before anything can be saved, signals end a run at once
mkdir many
"$program" sheet --size 1024 --out big.png photos/p-000.png 2>err
for i in $(seq 400); do ln -s ../big.png "many/$i.png"; done
"$program" $long --images many --placeholder '<y>' --out m.safetensors 2>err &
child=$!
until [ -e m-run ] || ! kill -0 $child 2>/dev/null; do
  sleep 0.05
done
sleep 0.2
kill -TERM $child
wait $child
holds "pictures are read: exit 130" [ $? = 130 ]
holds "pictures are read: it stops at once" silent err
holds "pictures are read: no folder is left" [ ! -e m-run ]
"$program" sheet --out m.png many/* many/* 2>err &
child=$!
sleep 1
kill -TERM $child
wait $child
holds "a sheet: it stops at once" [ $? = 143 ]
holds "a sheet: without a message" silent err

# a terminal that is gone, and a reader of the messages that is gone, stop a run in the same way
mkdir hung piped
if grep -q '^SigIgn:.*[02468ace]$' /proc/self/status; then
  begin --output-dir hung --out d.safetensors
  kill -HUP $child
  wait $child
  holds "hung up: exit 130" [ $? = 130 ]
  holds "hung up: the work is saved" [ "$(ls hung | grep -c '^checkpoint')" = 1 ]
  # stopped, so that both signals are there before it acts on one
  begin --output-dir twice --out c.safetensors
  kill -STOP $child
  kill -HUP $child
  kill -TERM $child
  kill -CONT $child
  wait $child
  holds "interrupted twice: exit 130" [ $? = 130 ]
  holds "interrupted twice: nothing is saved" [ -z "$(ls -A twice)" ]
else
  echo "skipped - hung up: the tests run under nohup"
fi
{
  "$program" $long --steps 100000 --output-dir piped --out d.safetensors --progress json 2>&1
  echo $? >code
} | grep -m 1 -q '"train","step":5,'
holds "no reader: exit 130" [ "$(cat code)" = 130 ]
holds "no reader: the work is saved" [ "$(ls piped | grep -c '^checkpoint')" = 1 ]

# remove_gone_after TEXT: the folder gone, when standard input has said TEXT; the rest of it becomes err
remove_gone_after() {
  while read -r line; do
    case $line in
    *"$1"*) break ;;
    esac
  done
  rmdir gone
  cat >err
}

# a folder that is gone when the run ends, as a disk that became full; 500 steps say more than a pipe holds, so that it
# cannot end before
mkdir gone work-gone kept
export TMPDIR="$PWD/kept"
{
  "$program" $long --steps 500 --output-dir work-gone --out gone/e.safetensors --progress json 2>&1
  echo $? >code
} | remove_gone_after '"train","step":5,'
holds "no place for the result: exit 1" [ "$(cat code)" = 1 ]
says "no place for the result: where it is" "kept in $PWD/kept/textinv-" err
holds "no place for the result: it is kept" "$program" inspect kept/textinv-*/e.safetensors
unset TMPDIR

# no place for the checkpoint of an interrupted run: what is learnt goes to the result's place
mkdir lost elsewhere
begin --output-dir lost --out f.safetensors
rmdir lost
kill -TERM $child
wait $child
holds "no place for the checkpoint: exit 1" [ $? = 1 ]
says "no place for the checkpoint: message" "lost/checkpoint-" err
says "no place for the checkpoint: where the vectors are" "f.safetensors holds the last finite vectors" err
holds "no place for the checkpoint: they are there" "$program" inspect f.safetensors
cp f.safetensors g.safetensors
export TMPDIR="$PWD/elsewhere"
mkdir lost
begin --output-dir lost --out f.safetensors
rmdir lost
kill -TERM $child
wait $child
holds "no place, and a result of before: exit 1" [ $? = 1 ]
holds "no place, and a result of before: it stays" cmp f.safetensors g.safetensors
holds "no place, and a result of before: the new one is kept" "$program" inspect elsewhere/textinv-*/f.safetensors
rm -r elsewhere/*
mkdir lost
cp f.safetensors t-001.safetensors
begin --output-dir lost --placeholder '<y>' --images photos --out t.safetensors
rmdir lost
kill -TERM $child
wait $child
holds "no place, and the second word of before: exit 1" [ $? = 1 ]
holds "no place, and the second word of before: it stays" cmp t-001.safetensors g.safetensors
holds "no place, and the second word of before: no first beside it" [ ! -e t-000.safetensors ]
holds "no place, and the second word of before: both are kept" "$program" inspect elsewhere/textinv-*/t-001.safetensors
rm -r elsewhere/*
mkdir lost
cp f.safetensors h-000.safetensors
begin --output-dir lost --out h.safetensors
rmdir lost
kill -TERM $child
wait $child
says "no place, and a file of several words: none is in the way" "h.safetensors holds the last finite vectors" err
holds "no place, and a file of several words: nothing is elsewhere" [ -z "$(ls -A elsewhere)" ]
unset TMPDIR

# --- pictures that are drawn when a run ends early
# drawing ARGUMENTS...: a hundred pictures in the background, its process in child; returns after the second group of four
drawing() {
  rm -f err
  "$program" generate --threads 1 --model "$model" --prompt a --images 100 --steps 100 --sampler ddim "$@" \
    --progress json 2>err &
  child=$!
  until grep -qs '"sample","step":205,"steps":2500,' err || ! kill -0 $child 2>/dev/null; do
    sleep 0.05
  done
}

mkdir drawn
drawing --out drawn/x.png
kill -TERM $child
wait $child
holds "drawing interrupted: exit 130" [ $? = 130 ]
says "drawing interrupted: how much is saved" " of 100 pictures are drawn and saved" err
holds "drawing interrupted: the sheet is there" "$program" inspect drawn/x.png
mkdir kept-sheet
export TMPDIR="$PWD/kept-sheet"
cp drawn/x.png before.png
drawing --out drawn/x.png
kill -TERM $child
wait $child
holds "interrupted, and a sheet of before: exit 130" [ $? = 130 ]
holds "interrupted, and a sheet of before: it stays" cmp drawn/x.png before.png
says "interrupted, and a sheet of before: where the new one is" "kept in $PWD/kept-sheet/textinv-" err
holds "interrupted, and a sheet of before: the new one is kept" "$program" inspect kept-sheet/textinv-*/x.png
for TMPDIR in '' missing; do
  export TMPDIR
  drawing --out drawn/x.png
  kill -TERM $child
  wait $child
  says "TMPDIR is \"$TMPDIR\": where the sheet is" "kept in /tmp/textinv-" err
  folder=$(sed -n 's/.* kept in //p' err)
  holds "TMPDIR is \"$TMPDIR\": it is kept" "$program" inspect "$folder/x.png"
  [ -z "$folder" ] || { rm -f "$folder/x.png" && rmdir "$folder"; }
done
export TMPDIR="$PWD/kept-sheet"
drawing --out drawn/s.png --separate
holds "separate pictures: written while others are drawn" [ -s drawn/s-007.png ]
kill -TERM $child
wait $child
holds "separate pictures interrupted: exit 130" [ $? = 130 ]
holds "separate pictures interrupted: none too many" [ ! -e drawn/s-099.png ]
rm -r kept-sheet/*
mkdir gone
drawing --out gone/g.png --separate
rm -r gone
wait $child
holds "no place for pictures: exit 1" [ $? = 1 ]
says "no place for pictures: where they are" "kept in $PWD/kept-sheet/textinv-" err
holds "no place for pictures: a group of four is kept" [ "$(ls kept-sheet/textinv-*/g-*.png | wc -l)" = 4 ]
mkdir gone
rm -r kept-sheet/*
# three groups of 400 steps say more than a pipe holds
{
  "$program" generate --threads 1 --model "$model" --prompt a --images 9 --steps 400 --sampler ddim --out gone/g.png \
    --progress json 2>&1
  echo $? >code
} | remove_gone_after '"step":205,'
holds "no place for a sheet: exit 1" [ "$(cat code)" = 1 ]
says "no place for a sheet: where it is" "kept in $PWD/kept-sheet/textinv-" err
holds "no place for a sheet: it is kept" "$program" inspect kept-sheet/textinv-*/g.png
unset TMPDIR
echo 'int textinv_images_new(void **out) { *out = 0; return -2; }' >no_sheet.c
if ${CC:-cc} -shared -fPIC -o no_sheet.so no_sheet.c 2>err; then
  export LD_PRELOAD="$PWD/no_sheet.so" ASAN_OPTIONS="${ASAN_OPTIONS:-}:verify_asan_link_order=0"
  run 1 "no memory for a sheet" $generate --steps 2 --images 5 --out drawn/apart.png
  unset LD_PRELOAD
  holds "no memory for a sheet: the pictures are there" [ "$(ls drawn/apart* | wc -l)" = 5 ]
else
  echo "skipped - no memory for a sheet: there is no compiler"
fi
run 0 "more pictures than a group" $generate --steps 2 --images 5 --separate --seed 3 --out drawn/five.png
run 0 "the last of them alone" $generate --steps 2 --seed 7 --out drawn/one.png
holds "it is the same" cmp drawn/five-004.png drawn/one.png
run 0 "a sheet of several groups" $generate --steps 2 --images 9 --prompt b --out drawn/many.png
run 0 "a warning of every group" $generate --steps 2 --images 9 --out drawn/many.png --prompt "$(printf 'cat %.0s' $(seq 100))"
holds "is said once" [ "$(grep -c '^warning: ' err)" = 1 ]
run 0 "two warnings of every group" generate --model "$model" --steps 2 --images 9 --out drawn/many.png \
  --prompt "$(printf 'cat %.0s' $(seq 100))" --negative "$(printf 'cat %.0s' $(seq 120))"
holds "are said once each" [ "$(grep -c '^warning: ' err)" = 2 ]
run 0 "one warning of two prompts" $generate --steps 2 --out drawn/two.png --prompt "$(printf 'cat %.0s' $(seq 100))" \
  --prompt "$(printf 'dog %.0s' $(seq 100))"
holds "is said of each" [ "$(grep -c '^warning: ' err)" = 2 ]

# --- convert, tokenize, sheet
run 0 "convert to a1111" convert whole.safetensors x.pt --format a1111
run 0 "convert back" convert x.pt back.safetensors --format diffusers
run 0 "inspect what came back" inspect back.safetensors
says "the word came back" "<x>: 1 vector of 16 values" out
run 0 "inspect an a1111 file" inspect x.pt
says "inspect: the layout" "  layout: a1111" out
says "inspect: the name in the file" "  name: <x>" out
says "inspect: the steps are kept" "  step: 6" out
run 0 "convert into .pt without --format" convert whole.safetensors short.pt
holds "convert into .pt without --format: a1111" cmp short.pt x.pt
run 0 "convert into .bin without --format" convert whole.safetensors learned_embeds.bin
run 0 "inspect a .bin" inspect learned_embeds.bin
says "inspect a .bin: the layout" "  layout: a1111" out
run 0 "convert into .safetensors without --format" convert x.pt short.safetensors
run 0 "inspect it" inspect short.safetensors
says "convert into .safetensors without --format: diffusers" "  layout: diffusers" out
run 0 "inspect several" inspect short.safetensors x.pt
says "inspect several: the first" "embedding: short.safetensors" out
says "inspect several: the last" "embedding: x.pt" out
run 1 "inspect several, one of them missing" inspect missing.safetensors x.pt
says "inspect several, one of them missing: the other" "embedding: x.pt" out
run 0 "two encoders without --format" convert z.safetensors short-z.safetensors
run 0 "two encoders without --format: a file" inspect short-z.safetensors
says "two encoders without --format: sdxl" "  layout: sdxl" out
run 1 "two encoders into diffusers" convert z.safetensors short-z.safetensors --format diffusers
says "two encoders into diffusers: what would do" "TEXTINV_FORMAT_SDXL holds it" err
run 0 "an ending that says nothing" convert whole.safetensors short --format a1111
run 0 "convert under another name" convert '<other>=whole.safetensors' other.safetensors --format diffusers
run 0 "inspect the other name" inspect other.safetensors
says "the other name" "<other>: 1 vector" out
mkdir concept
run 1 "a folder without an embedding" $generate --embedding concept
says "a folder without an embedding: message" "learned_embeds.safetensors" err
cp whole.safetensors concept/learned_embeds.safetensors
run 0 "generate with a folder" $generate --embedding concept --prompt 'a photo of <x>' --steps 2
run 0 "inspect a folder" inspect concept
says "inspect a folder: the word" "<x>: 1 vector" out
run 0 "an ordinary word" convert cat=whole.safetensors cat.safetensors
run 1 "an ordinary word that a file brings" $generate --embedding cat.safetensors --steps 2
says "an ordinary word that a file brings: message" "\"cat\" is in the vocabulary already" err
says "an ordinary word that a file brings: what would do" "WORD=FILE" err
run 0 "an ordinary word that is asked for" $generate --embedding cat=cat.safetensors --steps 2
says "an ordinary word that is asked for: warning" "warning: cat.safetensors: word \"cat\" is in the vocabulary" err
run 0 "inspect an embedding in a picture" inspect "$golden/../fuzz/corpus/embedding/text.png"
says "inspect an embedding in a picture: the word" "toy: 2 vectors of 6 values" out
run 1 "a bare tensor" convert "$golden/../fuzz/corpus/embedding/tensor.pt" bare.safetensors
says "a bare tensor: message" "WORD=FILE" err
run 0 "a bare tensor with a word" convert "<x>=$golden/../fuzz/corpus/embedding/tensor.pt" bare.safetensors
run 0 "inspect a bare tensor" inspect "$golden/../fuzz/corpus/embedding/tensor.pt"
says "inspect a bare tensor: no word" "  ?: " out
nameless=$(printf 'a\377b').safetensors
cp "$golden/../fuzz/corpus/embedding/kohya.safetensors" "$nameless"
run 0 "inspect a file whose name is no word" inspect "$nameless"
says "inspect a file whose name is no word: no word" "  ?: " out
printf '\200\002\212\012l\374\234F' >old.pt
run 1 "an old torch file" inspect old.pt
says "an old torch file: message" "older than torch 1.6" err
run 1 "weights of a model" inspect "$model/unet/diffusion_pytorch_model.safetensors"
says "weights of a model: message" "is no model, CLIP model, embedding, checkpoint or picture" err
run 1 "several words into a1111" convert z.safetensors z.pt --format a1111
run 0 "tokenize" tokenize --model "$model" 'a photo of a cat'
holds "tokenize: one line an id" [ "$(wc -l <out)" = 7 ]
says "tokenize: the text" "photo</w>" out
holds "tokenize: nothing is said of a text that fits" silent err
run 0 "tokenize a long text" tokenize --model "$model" "$(printf 'cat %.0s' $(seq 100))"
says "tokenize a long text: what fits" "102 tokens, 77 fit into a prompt: the last 25 would be cut" err
run 0 "tokenize a learnt word" tokenize --model "$model" --embedding whole.safetensors 'a <x>'
says "tokenize a learnt word: its vector" "<x> vector 0 of 1" out
cp -RL "$golden/tiny-ldm" odd-tokens
printf '{"added_tokens_decoder":{"338":{"content":"\\u001b[31m\\nx"}}}' >odd-tokens/tokenizer/tokenizer_config.json
sed -i '339d' odd-tokens/tokenizer/vocab.txt
run 0 "tokenize: a token of control characters" tokenize --model odd-tokens "$(printf 'a \033[31m\nx')"
says "tokenize: a token of control characters stays on its line" '338	\x1b[31m\x0ax' out
run 0 "sheet" sheet --out sheet.png --title 'All' --row first photos/p-000.png 'a label=photos/p-001.png' --row second \
  photos/p-002.png
run 0 "a sheet with another title" sheet --out title.png --title 'ALL' --row first photos/p-000.png 'a label=photos/p-001.png' \
  --row second photos/p-002.png
holds "the title is drawn" [ "$(cmp sheet.png title.png | wc -l)" = 1 ]
run 0 "a sheet with another label" sheet --out label.png --title 'All' --row first photos/p-000.png 'a LABEL=photos/p-001.png' \
  --row second photos/p-002.png
holds "labels are drawn" [ "$(cmp sheet.png label.png | wc -l)" = 1 ]
run 0 "inspect a picture" inspect photos/p-000.png
says "inspect a picture: its size" "size: 16 x 16 pixels" out
run 0 "inspect a CLIP model" inspect "$golden/tiny-clip"
says "inspect a CLIP model: its sizes" "pictures: 32 x 32 pixels" out
run 0 "inspect a model" inspect "$model"
says "inspect a model: its networks" "text encoders: 1" out
holds "inspect a model: its fingerprint" grep -qE '^fingerprint: [0-9a-f]{16}$' out
holds "inspect a model: its size" grep -qE '^parameters: [1-9][0-9]+$' out
# --- devices: a program and a library of their own, beside which there is a plug-in or not
here=$program
mkdir apart
cp -L "$program" "$library" apart
program=$work/apart/textinv
run 0 "devices without a plug-in" devices
says "devices without a plug-in: the processor" "--backend cpu: " out
says "devices without a plug-in: why" "--backend cuda: not usable: the CUDA plug-in cannot be loaded: $work/apart/" out
holds "devices without a plug-in: two lines" [ "$(wc -l <out)" = 2 ]
holds "devices without a plug-in: stderr is empty" silent err
echo 'const void *textinv_cuda_plugin(void) { static const unsigned plugin[256] = { 1 }; return plugin; }' >old.c
if ${CC:-cc} -shared -fPIC -o apart/libtextinv-cuda.so old.c 2>err; then
  run 0 "devices with the plug-in of another release" devices
  says "devices with the plug-in of another release: why" "version 1 of the plug-in, " out
else
  echo "skipped - devices with the plug-in of another release: there is no compiler"
fi
rm -f apart/libtextinv-cuda.so
if [ -n "$emulated" ]; then
  ln -s "$emulated" apart/libtextinv-cuda.so
  run 0 "devices" devices
  says "devices: the first" "--backend cuda --device 0: emulated, compute capability 9.0, 4 multiprocessors, 8.0 GiB" out
  export TEXTINV_EMULATED_DEVICES=2 TEXTINV_EMULATED_CAPABILITY=75
  run 0 "devices that are old" devices
  says "devices that are old: the second" "--device 1: emulated, compute capability 7.5, 4 multiprocessors, 8.0 GiB; not \
usable: its compute capability is 7.5; 8.0 or newer is needed" out
  holds "devices that are old: three lines" [ "$(wc -l <out)" = 3 ]
  unset TEXTINV_EMULATED_DEVICES TEXTINV_EMULATED_CAPABILITY
  export TEXTINV_EMULATED_DRIVER=0
  run 0 "devices without a driver" devices
  says "devices without a driver: why" "--backend cuda: not usable: no CUDA driver is installed" out
  unset TEXTINV_EMULATED_DRIVER
else
  echo "skipped - devices: there is no build/cuda-emulated/libtextinv-cuda.so"
fi
program=$here
run 1 "no folder to convert into" convert whole.safetensors missing/x.pt --format a1111
says "no folder to convert into: message" "OUT missing/x.pt: the folder missing" err

# full COMMAND ARGUMENTS...: files may not grow, as on a full disk: a failure with a message, not the end of the program,
# and nothing is left behind
full() {
  touch before
  (
    ulimit -f 0
    "$program" "$@" 2>&1
    echo "exit $?."
  ) | cat >err
  says "a full disk, $1: exit 1" "exit 1." err
  says "a full disk, $1: message" "File too large" err
  holds "a full disk, $1: no file is left behind" nothing_left
}

mkdir limited
export TMPDIR="$PWD/limited"
full convert whole.safetensors limited.pt --format a1111
full sheet --out limited.png photos/p-000.png
full generate --threads 1 --model "$model" --prompt a --out limited.png --steps 2
full invert --threads 1 --model "$model" --images photos --placeholder '<x>' --out limited.safetensors --steps 2 --batch 2
holds "a full disk: what was learnt is not kept elsewhere" [ -z "$(ls -A limited)" ]
holds "a full disk: no folder is left behind" [ ! -e limited-run ]
unset TMPDIR
if [ -e /dev/full ]; then
  "$program" --version >/dev/full 2>err
  holds "stdout that cannot be written is a failure" [ $? = 1 ]
fi
exit $failed
