#!/bin/sh
# The GPU benchmark itself, in miniature on the emulated device: every operation of the kernel table,
# and those of a training step, has a line with times.
cd "$(dirname "$0")/../.." || exit 1
table=$(build/cuda/cuda_bench build/cuda-emulated/libtextinv-cuda.so '' 2 tiny 2>&1) && echo 'ok - it runs' || {
  echo "FAIL - it runs: $(echo "$table" | tail -n 3)"
  exit 1
}
missing=
for name in conv2d linear groupnorm layernorm attention activation geglu upsample embedding gather mse; do
  for line in "$name" "${name}_bwd"; do
    echo "$table" | grep -q "^$line .* [0-9.]*$" || missing="$missing $line"
  done
done
for line in add sum_pixels concat split cast timestep noise adamw 'activation quick_gelu' \
  'activation gelu' 'activation silu'; do
  echo "$table" | grep -q "^$line " || missing="$missing $line"
done
[ -z "$missing" ] && echo 'ok - every operation has its line' || echo "FAIL - no line for$missing"
echo "$table" | grep -q -e nan -e inf && echo 'FAIL - every number is finite' || echo 'ok - every number is finite'
