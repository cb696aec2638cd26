/*
 * What kernels need of the device: types, matrix and copy instructions, shuffles, launches.
 *
 * Kernels use these wrappers alone, so that tests/cuda/emulate can stand in for the device: with
 * TI_EMULATE the same sources compile for the CPU, a thread becomes a fiber, and every wrapper has
 * a counterpart that does what the instruction is documented to do.
 */
#ifndef TI_CUDA_DEVICE_CUH
#define TI_CUDA_DEVICE_CUH

#ifdef TI_EMULATE

#include "emulate.h"

#else

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <stdint.h>

typedef __half ti_half;
typedef __nv_bfloat16 ti_bf16;

static __device__ __forceinline__ float to_float(float x)
{
  return x;
}

static __device__ __forceinline__ float to_float(ti_half x)
{
  return __half2float(x);
}

static __device__ __forceinline__ float to_float(ti_bf16 x)
{
  return __bfloat162float(x);
}

/* to nearest, ties to even */
static __device__ __forceinline__ void from_float(float *y, float x)
{
  *y = x;
}

static __device__ __forceinline__ void from_float(ti_half *y, float x)
{
  *y = __float2half_rn(x);
}

static __device__ __forceinline__ void from_float(ti_bf16 *y, float x)
{
  *y = __float2bfloat16_rn(x);
}

/* dynamic shared memory, aligned to 16 */
static __device__ __forceinline__ unsigned char *shared_memory()
{
  extern __shared__ uint4 ti_shared_memory[];

  return (unsigned char *)ti_shared_memory;
}

static __device__ __forceinline__ float shuffle_xor(float v, int mask)
{
  return __shfl_xor_sync(0xffffffffu, v, mask);
}

/* v of another lane of the warp */
static __device__ __forceinline__ float shuffle(float v, int lane)
{
  return __shfl_sync(0xffffffffu, v, lane);
}

/* 2^x, with a relative error of 2^-22; 0 for -infinity */
static __device__ __forceinline__ float exp2_fast(float x)
{
  float y;

  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/* 1 / x, with a relative error of 2^-23; 0 for infinity */
static __device__ __forceinline__ float reciprocal_fast(float x)
{
  float y;

  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

static __device__ __forceinline__ unsigned shared_address(const void *p)
{
  return (unsigned)__cvta_generic_to_shared(p);
}

/*
 * Start copying 16 bytes to shared memory, or zeros when valid is false (global is not read then).
 * Visible to this thread after copy_wait(), to others after a barrier behind that.
 */
static __device__ __forceinline__ void copy_async(void *shared, const void *global, bool valid)
{
  const int bytes = valid ? 16 : 0;

  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)),
               "l"(__cvta_generic_to_global(global)), "r"(bytes)
               : "memory");
}

static __device__ __forceinline__ void copy_commit()
{
  asm volatile("cp.async.commit_group;" ::: "memory");
}

/* all but the newest N groups of this thread have arrived */
template <int N> static __device__ __forceinline__ void copy_wait()
{
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

/* let the 32 bytes around p come to the L2 cache */
static __device__ __forceinline__ void prefetch(const void *p)
{
  asm volatile("prefetch.global.L2 [%0];" ::"l"(__cvta_generic_to_global(p)));
}

/*
 * Four 8x8 matrices of 16-bit values: lanes 8 i .. 8 i + 7 give the addresses of the rows of matrix
 * i, and r[i] gets columns 2 (lane % 4) and the next of its row lane / 4.
 */
static __device__ __forceinline__ void load_matrix(uint32_t r[4], const void *row)
{
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}

/* the same, each matrix transposed: r[i] gets rows 2 (lane % 4) and the next of column lane / 4 */
static __device__ __forceinline__ void load_matrix_transposed(uint32_t r[4], const void *row)
{
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}

/* two values, low half first */
static __device__ __forceinline__ uint32_t pack(float low, float high, ti_half)
{
  const __half2 p = __floats2half2_rn(low, high);

  return *(const uint32_t *)&p;
}

static __device__ __forceinline__ uint32_t pack(float low, float high, ti_bf16)
{
  const __nv_bfloat162 p = __floats2bfloat162_rn(low, high);

  return *(const uint32_t *)&p;
}

/* c[16, 8] += a[16, 16] b[16, 8] of a warp, in the fragments of mma.m16n8k16 */
static __device__ __forceinline__ void matrix_multiply(float c[4], const uint32_t a[4],
                                                       const uint32_t b[2], ti_half)
{
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, "
               "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

static __device__ __forceinline__ void matrix_multiply(float c[4], const uint32_t a[4],
                                                       const uint32_t b[2], ti_bf16)
{
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
               "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

#endif /* TI_EMULATE */

#endif /* TI_CUDA_DEVICE_CUH */
