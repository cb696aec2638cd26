/*
 * A device for kernels without a GPU: included by kernels/cuda/device.cuh in its place.
 *
 * Blocks run one after the other, the threads of a block are fibers of one host thread. A fiber
 * runs until it waits: at __syncthreads for its block, at a shuffle or a matrix instruction for its
 * warp. The order in which waiting fibers go on can be chosen (emulate_order), so that a missing
 * barrier shows as a wrong result; built with -fsanitize=thread it is reported as a race. Shared
 * memory is poisoned before each block and has its exact size, so that -fsanitize=address sees
 * an access beyond it. Asynchronous copies happen as late as they may, in copy_wait(), or at once
 * (order EMULATE_DOWN): the one shows a missing wait, the other a buffer that is still being read.
 */
#ifndef TI_EMULATE_H
#define TI_EMULATE_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <functional>

#include "dtype.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};

static inline float2 make_float2(float x, float y)
{
  return float2{ x, y };
}

static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w)
{
  return uint4{ x, y, z, w };
}

struct ti_half {
  uint16_t bits;
};
struct ti_bf16 {
  uint16_t bits;
};

static inline float to_float(float x)
{
  return x;
}

static inline float to_float(ti_half x)
{
  return ti_f16_to_f32(x.bits);
}

static inline float to_float(ti_bf16 x)
{
  return ti_bf16_to_f32(x.bits);
}

static inline void from_float(float *y, float x)
{
  *y = x;
}

static inline void from_float(ti_half *y, float x)
{
  y->bits = ti_f32_to_f16(x);
}

static inline void from_float(ti_bf16 *y, float x)
{
  y->bits = ti_f32_to_bf16(x);
}

/* ------ the running thread */
struct emulate_thread {
  dim3 thread, block, threads, blocks;
};
extern emulate_thread *emulate_self;
#define threadIdx (emulate_self->thread)
#define blockIdx (emulate_self->block)
#define blockDim (emulate_self->threads)
#define gridDim (emulate_self->blocks)

unsigned char *shared_memory();
void __syncthreads();
void __syncwarp();
float shuffle(float v, int lane);
float shuffle_xor(float v, int mask);
void copy_async(void *shared, const void *global, bool valid);
void copy_commit();
void emulate_copy_wait(int newest);
void load_matrix(uint32_t r[4], const void *row);
void load_matrix_transposed(uint32_t r[4], const void *row);
void emulate_multiply(float c[4], const uint32_t a[4], const uint32_t b[2], int is_half);

/* reads, so that a place that is none is seen */
static inline void prefetch(const void *p)
{
  (void)*(const volatile char *)p;
}

template <int N> static inline void copy_wait()
{
  emulate_copy_wait(N);
}

static inline void matrix_multiply(float c[4], const uint32_t a[4], const uint32_t b[2], ti_half)
{
  emulate_multiply(c, a, b, 1);
}

static inline void matrix_multiply(float c[4], const uint32_t a[4], const uint32_t b[2], ti_bf16)
{
  emulate_multiply(c, a, b, 0);
}

static inline uint32_t pack(float low, float high, ti_half)
{
  return (uint32_t)ti_f32_to_f16(low) | (uint32_t)ti_f32_to_f16(high) << 16;
}

static inline uint32_t pack(float low, float high, ti_bf16)
{
  return (uint32_t)ti_f32_to_bf16(low) | (uint32_t)ti_f32_to_bf16(high) << 16;
}

static inline float exp2_fast(float x)
{
  return exp2f(x);
}

static inline float reciprocal_fast(float x)
{
  return 1.0f / x;
}

static inline float rsqrtf(float x)
{
  return 1.0f / sqrtf(x);
}

static inline float __fmul_rn(float a, float b)
{
  return a * b;
}

static inline float __fadd_rn(float a, float b)
{
  return a + b;
}

static inline uint32_t __umulhi(uint32_t a, uint32_t b)
{
  return (uint32_t)((uint64_t)a * b >> 32);
}

static inline int min(int a, int b)
{
  return a < b ? a : b;
}

static inline int max(int a, int b)
{
  return a > b ? a : b;
}

/* ------ launches */
enum emulate_orders { EMULATE_UP, EMULATE_DOWN, EMULATE_SHUFFLED };
extern int emulate_order;

/* run body for every thread: at once without a stream, else when the stream gets there */
void emulate_launch(void *stream, dim3 blocks, unsigned threads, size_t shared_bytes,
                    const std::function<void()> &body);

#endif /* TI_EMULATE_H */
