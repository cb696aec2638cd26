#!/bin/sh
# The GPU benchmark itself, in miniature on the emulated device: every operation of the kernel table,
# and those of a training step, has a line with times.
cd "$(dirname "$0")/../.." || exit 1
failed=0

# result of the last command; $1 = what was checked, $2 = what to say of a failure
result() {
  if [ $? = 0 ]; then
    echo "ok - $1"
  else
    echo "FAIL - $1: $2"
    failed=$((failed + 1))
  fi
}

table=$(build/cuda/cuda_bench build/cuda-emulated/libtextinv-cuda.so '' 2 tiny 2>&1)
result "it runs" "$(echo "$table" | tail -n 3)"
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
[ -z "$missing" ]
result "every operation has its line" "none for$missing"
! echo "$table" | grep -q -e nan -e inf
result "every number is finite" "$(echo "$table" | grep -e nan -e inf)"
exit $failed
