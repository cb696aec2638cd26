/*
 * What kernels need of compute capability 9.0: matrix products of a warpgroup (wgmma), barriers in
 * shared memory, registers handed from one warp to another.
 *
 * The instructions exist for sm_90a alone. TI_HOPPER is defined where they do; a kernel's body
 * stands inside #ifdef TI_HOPPER, and its launcher asks ti_cuda_hopper() before it starts it. The
 * emulated device has a counterpart of each: tests/cuda/emulate/hopper.h.
 *
 * A warpgroup is four warps in a row, the first of them a multiple of four. d[64, N] lies in its
 * threads as in mma.m16n8k16: d[4 j + 2 h + i] is row 16 (warp % 4) + 8 h + lane / 4, column
 * 8 j + 2 (lane % 4) + i. A of registers is a[16, 16] of each warp, as in matrix_multiply().
 */
#ifndef TI_CUDA_HOPPER_CUH
#define TI_CUDA_HOPPER_CUH

#include "device.cuh"

enum { TI_WARPGROUP = 128 };

/* rows of shared memory that an operand lies in: 128, 64 or 32 bytes, 16-byte chunks exchanged */
enum matrix_swizzle { SWIZZLE_NONE = 0, SWIZZLE_128 = 1, SWIZZLE_64 = 2, SWIZZLE_32 = 3 };

/*
 * Byte offset of 16-byte chunk c of row r in an atom of 8 rows: rows follow each other, and an atom
 * begins at a multiple of its size (8 rows).
 */
template <int SWIZZLE>
static __host__ __device__ __forceinline__ int swizzled(int r, int c)
{
  return SWIZZLE == SWIZZLE_128  ? r * 128 + ((c ^ r) & 7) * 16
         : SWIZZLE == SWIZZLE_64 ? r * 64 + ((c ^ r >> 1) & 3) * 16
                                 : r * 32 + ((c ^ r >> 2) & 1) * 16;
}

#ifdef TI_EMULATE

#define TI_HOPPER 1
#include "hopper.h"

#elif defined(__CUDA_ARCH_FEAT_SM90_ALL)

#define TI_HOPPER 1

// ------------------------------------------------------------------ matrix products

/* the registers of d: what the instruction calls them, and what C does */
#define TI_S4 "%0, %1, %2, %3"
#define TI_S8 TI_S4 ", %4, %5, %6, %7"
#define TI_S16 TI_S8 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define TI_S20 TI_S16 ", %16, %17, %18, %19"
#define TI_S24 TI_S20 ", %20, %21, %22, %23"
#define TI_S32 TI_S24 ", %24, %25, %26, %27, %28, %29, %30, %31"
#define TI_S40 TI_S32 ", %32, %33, %34, %35, %36, %37, %38, %39"
#define TI_S48 TI_S40 ", %40, %41, %42, %43, %44, %45, %46, %47"
#define TI_S56 TI_S48 ", %48, %49, %50, %51, %52, %53, %54, %55"
#define TI_S64 TI_S56 ", %56, %57, %58, %59, %60, %61, %62, %63"
#define TI_S72 TI_S64 ", %64, %65, %66, %67, %68, %69, %70, %71"
#define TI_S80 TI_S72 ", %72, %73, %74, %75, %76, %77, %78, %79"
#define TI_S88 TI_S80 ", %80, %81, %82, %83, %84, %85, %86, %87"
#define TI_S96 TI_S88 ", %88, %89, %90, %91, %92, %93, %94, %95"
#define TI_S104 TI_S96 ", %96, %97, %98, %99, %100, %101, %102, %103"
#define TI_S112 TI_S104 ", %104, %105, %106, %107, %108, %109, %110, %111"
#define TI_S120 TI_S112 ", %112, %113, %114, %115, %116, %117, %118, %119"
#define TI_S128 TI_S120 ", %120, %121, %122, %123, %124, %125, %126, %127"
#define TI_R4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define TI_R8(i) TI_R4(i), TI_R4(i + 4)
#define TI_R16(i) TI_R8(i), TI_R8(i + 8)
#define TI_R32(i) TI_R16(i), TI_R16(i + 16)
#define TI_R64(i) TI_R32(i), TI_R32(i + 32)
#define TI_D4 TI_R4(0)
#define TI_D8 TI_R8(0)
#define TI_D16 TI_R16(0)
#define TI_D20 TI_R16(0), TI_R4(16)
#define TI_D24 TI_R16(0), TI_R8(16)
#define TI_D32 TI_R32(0)
#define TI_D40 TI_R32(0), TI_R8(32)
#define TI_D48 TI_R32(0), TI_R16(32)
#define TI_D64 TI_R64(0)
#define TI_D80 TI_R64(0), TI_R16(64)
#define TI_D96 TI_R64(0), TI_R32(64)
#define TI_D128 TI_R64(0), TI_R64(64)

/* N, its registers of d, and the numbers of the operands behind those */
#define TI_WGMMA_SHAPES(F)                  \
  F(8, 4, 4, 5, 6, 7, 8, 9, 10)             \
  F(16, 8, 8, 9, 10, 11, 12, 13, 14)        \
  F(32, 16, 16, 17, 18, 19, 20, 21, 22)     \
  F(40, 20, 20, 21, 22, 23, 24, 25, 26)     \
  F(48, 24, 24, 25, 26, 27, 28, 29, 30)     \
  F(64, 32, 32, 33, 34, 35, 36, 37, 38)     \
  F(80, 40, 40, 41, 42, 43, 44, 45, 46)     \
  F(96, 48, 48, 49, 50, 51, 52, 53, 54)     \
  F(128, 64, 64, 65, 66, 67, 68, 69, 70)    \
  F(160, 80, 80, 81, 82, 83, 84, 85, 86)    \
  F(192, 96, 96, 97, 98, 99, 100, 101, 102) \
  F(256, 128, 128, 129, 130, 131, 132, 133, 134)

#define TI_WGMMA_SS(n, type, regs, a, b, p, ta, tb)                                             \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" #p ", 0;\n"                                 \
               "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." type "." type " {" TI_S##regs  \
               "}, %" #a ", %" #b ", p, 1, 1, %" #ta ", %" #tb ";\n}\n"                         \
               : TI_D##regs                                                                     \
               : "l"(a_matrix), "l"(b_matrix), "r"(accumulate), "n"(TRANSPOSED_A),              \
                 "n"(TRANSPOSED_B));
#define TI_WGMMA_RS(n, type, regs, a0, a1, a2, a3, b, p, tb)                                    \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" #p ", 0;\n"                                 \
               "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." type "." type " {" TI_S##regs  \
               "}, {%" #a0 ", %" #a1 ", %" #a2 ", %" #a3 "}, %" #b ", p, 1, 1, %" #tb ";\n}\n"  \
               : TI_D##regs                                                                     \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b_matrix), "r"(accumulate),    \
                 "n"(TRANSPOSED_B));

template <typename T> struct is_half {
  static const bool value = false;
};
template <> struct is_half<ti_half> {
  static const bool value = true;
};

/*
 * Start d[64, N] (+)= a[64, 16] b[16, N], both in shared memory, described by matrix_at(). What d
 * held is dropped when accumulate is 0. TRANSPOSED_A: m runs along memory, not k; B: n, not k.
 */
template <int N, int TRANSPOSED_A, int TRANSPOSED_B, typename T>
static __device__ __forceinline__ void wgmma(float (&d)[N / 2], uint64_t a_matrix,
                                             uint64_t b_matrix, int accumulate, T)
{
#define TI_ONE(n, regs, o0, o1, o2, o3, o4, o5, o6)             \
  if constexpr (N == n) {                                       \
    if constexpr (is_half<T>::value) {                          \
      TI_WGMMA_SS(n, "f16", regs, o0, o1, o2, o3, o4)           \
    } else {                                                    \
      TI_WGMMA_SS(n, "bf16", regs, o0, o1, o2, o3, o4)          \
    }                                                           \
  }
  TI_WGMMA_SHAPES(TI_ONE)
#undef TI_ONE
}

/* the same with a in registers, which stay as they are until wgmma_wait() */
template <int N, int TRANSPOSED_B, typename T>
static __device__ __forceinline__ void wgmma(float (&d)[N / 2], const uint32_t (&a)[4],
                                             uint64_t b_matrix, int accumulate, T)
{
#define TI_ONE(n, regs, o0, o1, o2, o3, o4, o5, o6)             \
  if constexpr (N == n) {                                       \
    if constexpr (is_half<T>::value) {                          \
      TI_WGMMA_RS(n, "f16", regs, o0, o1, o2, o3, o4, o5, o6)   \
    } else {                                                    \
      TI_WGMMA_RS(n, "bf16", regs, o0, o1, o2, o3, o4, o5, o6)  \
    }                                                           \
  }
  TI_WGMMA_SHAPES(TI_ONE)
#undef TI_ONE
}

/* before the first product, and where registers of d or a were written since the last wait */
static __device__ __forceinline__ void wgmma_fence()
{
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

static __device__ __forceinline__ void wgmma_commit()
{
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

/* all but the newest COUNT committed groups are done: d may be read, buffers may be filled again */
template <int COUNT> static __device__ __forceinline__ void wgmma_wait()
{
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(COUNT) : "memory");
}

/* keeps the compiler from moving a use of d over a wait or a fence: behind wait, before fence */
template <int COUNT> static __device__ __forceinline__ void wgmma_hold(float (&d)[COUNT])
{
#pragma unroll
  for (int i = 0; i < COUNT; i++)
    asm volatile("" : "+f"(d[i])::"memory");
}

/* the same for operands in registers, around the products that read them */
template <int COUNT> static __device__ __forceinline__ void wgmma_hold(uint32_t (&a)[COUNT][4])
{
#pragma unroll
  for (int i = 0; i < COUNT * 4; i++)
    asm volatile("" : "+r"(a[i / 4][i % 4])::"memory");
}

// ------------------------------------------------------------------ barriers

static __device__ __forceinline__ void barrier_init(uint64_t *barrier, int arrivals)
{
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)),
               "r"(arrivals)
               : "memory");
}

/* makes barrier_init() known to copies; a block-wide barrier makes it known to threads */
static __device__ __forceinline__ void barrier_init_fence()
{
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

static __device__ __forceinline__ void barrier_arrive(uint64_t *barrier)
{
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier))
               : "memory");
}

/* until the phase of that parity is complete: 0 for the first, 1 for the second, 0 for the third */
static __device__ __forceinline__ void barrier_wait(uint64_t *barrier, int parity)
{
  asm volatile("{\n.reg .pred p;\nagain:\n"
               "mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n"
               "@p bra done;\nbra again;\ndone:\n}\n" ::"r"(shared_address(barrier)),
               "r"(parity)
               : "memory");
}

/* __syncthreads() of threads (a multiple of 32) of the block; id: 1 .. 15 */
static __device__ __forceinline__ void barrier_threads(int id, int threads)
{
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

/* what this thread wrote to shared memory, copies waited for included, is there for wgmma */
static __device__ __forceinline__ void async_fence()
{
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

/* arrive, and let the phase wait for so many bytes of copy_bulk(), which this thread starts */
static __device__ __forceinline__ void barrier_expect(uint64_t *barrier, int bytes)
{
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(
                   shared_address(barrier)),
               "r"(bytes)
               : "memory");
}

/* start copying bytes, a multiple of 16, between places aligned to 16; there for wgmma and all */
static __device__ __forceinline__ void copy_bulk(void *shared, const void *global, int bytes,
                                                 uint64_t *barrier)
{
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes "
               "[%0], [%1], %2, [%3];" ::"r"(shared_address(shared)),
               "l"(__cvta_generic_to_global(global)), "r"(bytes), "r"(shared_address(barrier))
               : "memory");
}

/* registers of a thread of this warpgroup, a multiple of 8; all its warps say so */
template <int COUNT> static __device__ __forceinline__ void registers_less()
{
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(COUNT));
}

template <int COUNT> static __device__ __forceinline__ void registers_more()
{
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(COUNT));
}

#endif

#ifdef TI_HOPPER

/*
 * Describes an operand for wgmma. at: its first 16-byte chunk, in shared memory. Distances are in
 * bytes. An atom is 8 rows of the swizzle's width.
 *
 * k along memory: rows are m or n, and groups = distance of atoms along them; a product takes 32
 * bytes of a row, and the next 16 of k begin 32 bytes on. atoms is not used.
 * m or n along memory: rows are k; groups = distance of atoms along k, atoms = along m or n.
 * SWIZZLE_NONE, either way: an atom is 8 rows of 16 bytes behind each other; groups = distance of
 * atoms along m or n, atoms = along k.
 */
static __device__ __forceinline__ uint64_t matrix_at(const void *at, matrix_swizzle swizzle,
                                                     int groups, int atoms = 16)
{
  return (uint64_t)((shared_address(at) & 0x3ffff) >> 4) | (uint64_t)(atoms >> 4) << 16 |
         (uint64_t)(groups >> 4) << 32 | (uint64_t)swizzle << 62;
}

/* the same operand, bytes further on */
static __device__ __forceinline__ uint64_t matrix_on(uint64_t matrix, int bytes)
{
  return matrix + (uint64_t)(bytes >> 4);
}

#endif

#endif /* TI_CUDA_HOPPER_CUH */
