/* What every .cu file here uses. No STL and no exceptions: the plug-in links with cc. */
#ifndef TI_CUDA_COMMON_CUH
#define TI_CUDA_COMMON_CUH

#include "cuda_kernels.h"
#include "device.cuh"

/* run a statement with T bound to the storage type; arithmetic is always float */
#define TI_WITH_DTYPE(dtype, ...)                              \
  switch (dtype) {                                             \
  case TI_F16:  { typedef ti_half T; __VA_ARGS__; break; }     \
  case TI_BF16: { typedef ti_bf16 T; __VA_ARGS__; break; }     \
  default:      { typedef float T; __VA_ARGS__; break; }       \
  }

/* the same for the two types that tensor cores take */
#define TI_WITH_DTYPE_16(dtype, ...)                           \
  if ((dtype) == TI_F16) { typedef ti_half T; __VA_ARGS__; }   \
  else { typedef ti_bf16 T; __VA_ARGS__; }

static inline size_t ti_ceil_div(size_t a, size_t b)
{
  return (a + b - 1) / b;
}

static inline int ti_aligned(const void *p, size_t bytes)
{
  return (uintptr_t)p % bytes == 0;
}

/* dynamic shared memory that a kernel may ask for at most if it is not always the same */
enum { TI_SHARED_VARYING = 80 * 1024 };

/* start kernel on the stream of e; an error is reported and cleared */
template <typename... P, typename... A>
static inline textinv_status launch(ti_exec *e, const char *name, void (*kernel)(P...), dim3 grid,
                                    int threads, size_t shared_bytes, A... arguments)
{
#ifdef TI_EMULATE
  emulate_launch(e->stream, grid, threads, shared_bytes, [=] { kernel(P(arguments)...); });
#else
  cudaError_t error = cudaSuccess;

  /*
   * 48 KiB need no leave, but static shared memory counts too. The limit is that of all threads of
   * the host, so it never sinks.
   */
  if (shared_bytes > 40 * 1024)
    error = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
      (int)(shared_bytes > TI_SHARED_VARYING ? shared_bytes : TI_SHARED_VARYING));
  if (error == cudaSuccess)
    kernel<<<grid, threads, shared_bytes, (cudaStream_t)e->stream>>>(P(arguments)...);
  else
    return ti_cuda_failed(e, (int)error, name);
#endif
  return ti_cuda_check(e, name);
}

/* 16 bytes of T, or one value where rows are not so aligned; takes fewer registers than floats */
template <typename T, int COUNT> struct alignas(COUNT * sizeof(T)) vector {
  T v[COUNT];
};

template <typename T> struct lanes {
  static const int count = 16 / (int)sizeof(T);
};

template <typename T, int COUNT>
static __device__ __forceinline__ void load_vector(float (&f)[COUNT], const T *p)
{
  if constexpr (COUNT * sizeof(T) == 16) {
    const uint4 u = *(const uint4 *)p;
    const T *t = (const T *)&u;

#pragma unroll
    for (int i = 0; i < COUNT; i++)
      f[i] = to_float(t[i]);
  } else {
#pragma unroll
    for (int i = 0; i < COUNT; i++)
      f[i] = to_float(p[i]);
  }
}

template <typename T, int COUNT>
static __device__ __forceinline__ void store_vector(T *p, const float (&f)[COUNT])
{
  if constexpr (COUNT * sizeof(T) == 16) {
    uint4 u;
    T *t = (T *)&u;

#pragma unroll
    for (int i = 0; i < COUNT; i++)
      from_float(&t[i], f[i]);
    *(uint4 *)p = u;
  } else {
#pragma unroll
    for (int i = 0; i < COUNT; i++)
      from_float(&p[i], f[i]);
  }
}

/* floats one by one, or 16 bytes at once where the pointer allows it */
template <int COUNT>
static __device__ __forceinline__ void load_floats(float (&f)[COUNT], const float *p)
{
  if (COUNT % 4 == 0 && (uintptr_t)p % 16 == 0) {
#pragma unroll
    for (int i = 0; i < COUNT / 4; i++) {
      const float4 q = ((const float4 *)p)[i];

      f[4 * i] = q.x, f[4 * i + 1] = q.y, f[4 * i + 2] = q.z, f[4 * i + 3] = q.w;
    }
  } else {
#pragma unroll
    for (int i = 0; i < COUNT; i++)
      f[i] = p[i];
  }
}

static __device__ __forceinline__ float warp_sum(float v)
{
#pragma unroll
  for (int o = 16; o > 0; o /= 2)
    v += shuffle_xor(v, o);
  return v;
}

/* the sum of v over share neighbouring threads, a power of two, in each of them */
static __device__ __forceinline__ float share_sum(float v, int share)
{
  for (int o = share / 2; o > 0; o /= 2)
    v += shuffle_xor(v, o);
  return v;
}

/* the sum of v over the block, in every thread; blockDim.x is a multiple of 32 */
static __device__ inline float block_sum(float v)
{
  __shared__ float part[32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;

  v = warp_sum(v);
  __syncthreads(); /* an earlier call may still be reading part */
  if (lane == 0)
    part[warp] = v;
  __syncthreads();
  return warp_sum(lane < warps ? part[lane] : 0.0f);
}

/* where work item i of a grid-stride loop begins, and how far the next one is */
static __device__ __forceinline__ size_t grid_index()
{
  return (size_t)blockIdx.x * blockDim.x + threadIdx.x;
}

static __device__ __forceinline__ size_t grid_step()
{
  return (size_t)gridDim.x * blockDim.x;
}

enum { TI_FLAT_THREADS = 256 };

/* blocks of a grid-stride loop over count items */
static inline unsigned ti_flat_blocks(size_t count)
{
  const size_t blocks = ti_ceil_div(count, TI_FLAT_THREADS), most = 132 * 16;

  return (unsigned)(blocks < most ? blocks : most);
}

#endif /* TI_CUDA_COMMON_CUH */
