/*
 * What the matrix products of Hopper share: gemm_hopper.cu, and conv2d_hopper.cu for convolutions
 * of 3 x 3. A block makes BM x BN tiles of y, one after the other; two of its warpgroups multiply
 * and write, the third brings what they multiply.
 */
#ifndef TI_CUDA_GEMM_HOPPER_CUH
#define TI_CUDA_GEMM_HOPPER_CUH

#include "gemm.cuh"
#include "hopper.cuh"

enum {
  HOPPER_BK = 64,
  HOPPER_THREADS = 3 * TI_WARPGROUP,
  HOPPER_CONSUMERS = 2 * TI_WARPGROUP,
  PRODUCER_BARRIER = 1, /* a named one */
  /* what a warp writes through: 16 rows of 32 values, 32 values of bias */
  BUFFER_BIAS_AT = 16 * 64,
  BUFFER_BYTES = BUFFER_BIAS_AT + 32 * 4,
  BUFFERS_BYTES = HOPPER_CONSUMERS / 32 * BUFFER_BYTES,
  SHARED_MOST = 227 * 1024 - 1024, /* operands are aligned to 1024 */
  HOPPER_MAX_SPLITS = 16,
  HOPPER_TILES = 4
};

/* registers of a thread: together those of three threads under __launch_bounds__ */
template <bool BWD> struct hopper_registers {
  static const int producer = BWD ? 72 : 88, consumer = BWD ? 216 : 208;
};

// ------------------------------------------------------------------ kernels

#ifdef TI_HOPPER

/* a tile of y and its split of k, counted; tiles of n follow each other, then those of m */
struct hopper_work {
  int m, n, split;
};

static __device__ __forceinline__ hopper_work work_of(int tile, int across, int down)
{
  return { tile / across % down, tile % across, tile / across / down };
}

/* let the residual of 16 rows of a warp come from memory while it multiplies; m: row lane / 2, or
 * -1 */
template <typename T, int BN>
static __device__ __forceinline__ void prefetch_rows(const T *residual, const gemm_problem &p,
                                                     int m, int n0)
{
  const int n = n0 + threadIdx.x % 2 * 16;

  if (m >= 0) {
    const T *at = residual + (size_t)m * p.n + n;

#pragma unroll
    for (int i = 0; i < BN / 32; i++) {
      if (n + i * 32 < p.n)
        prefetch(at + i * 32);
    }
  }
}

/* the bias of columns lane of each 32 */
template <int BN>
static __device__ __forceinline__ void load_bias(float (&bias)[BN / 32], const float *from,
                                                 const gemm_problem &p, int n0)
{
  const int n = n0 + threadIdx.x % 32;

#pragma unroll
  for (int i = 0; i < BN / 32; i++)
    bias[i] = from && n + i * 32 < p.n ? from[n + i * 32] : 0.0f;
}

/*
 * 16 rows of y that a warp holds, through its buffer, 32 columns at a time: 16 bytes a lane are
 * read and written. m: where rows lane / 4 and that + 8 lie in y, or -1. bias: of column lane of
 * each 32.
 */
template <typename T, int BN>
static __device__ __forceinline__ void write_rows(unsigned char *buffer, const float (&acc)[BN / 2],
                                                  const float (&bias)[BN / 32],
                                                  const gemm_buffers &io, const gemm_problem &p,
                                                  const int (&m)[2], int n0)
{
  constexpr int TURNS = BN / 32;
  const int lane = threadIdx.x % 32, row = lane / 4, chunk = lane % 4;
  const size_t first[2] = { (size_t)m[0] * p.n + n0 + chunk * 8,
                            (size_t)m[1] * p.n + n0 + chunk * 8 };
  float *bias_at = (float *)(buffer + BUFFER_BIAS_AT);

  /* rows row and row + 8; chunks are exchanged so that no banks conflict */
  auto place = [&](int half, int c) {
    const int r = row + half * 8;

    return buffer + r * 64 + (c ^ (r >> 1 & 3)) * 16;
  };
  auto inside = [&](int turn, int half) {
    return m[half] >= 0 && n0 + turn * 32 + chunk * 8 < p.n;
  };
#pragma unroll
  for (int turn = 0; turn < TURNS; turn++) {
    if (io.residual) {
      uint4 r[2];

#pragma unroll
      for (int half = 0; half < 2; half++)
        r[half] = inside(turn, half)
                      ? *(const uint4 *)((const T *)io.residual + first[half] + turn * 32)
                      : make_uint4(0, 0, 0, 0);
#pragma unroll
      for (int half = 0; half < 2; half++)
        *(uint4 *)place(half, chunk) = r[half];
    }
    bias_at[lane] = bias[turn];
    __syncwarp();
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const float2 add = *(const float2 *)(bias_at + j * 8 + chunk * 2);

#pragma unroll
      for (int half = 0; half < 2; half++) {
        const float *f = &acc[(turn * 4 + j) * 4 + half * 2];
        uint32_t *to = (uint32_t *)(place(half, j) + chunk * 4);
        float low = f[0] + add.x, high = f[1] + add.y;

        if (io.residual) {
          const uint32_t two = *to;

          low += to_float(((const T *)&two)[0]);
          high += to_float(((const T *)&two)[1]);
        }
        *to = pack(low, high, T());
      }
    }
    __syncwarp();
#pragma unroll
    for (int half = 0; half < 2; half++) {
      if (inside(turn, half))
        *(uint4 *)((T *)io.y + first[half] + turn * 32) = *(const uint4 *)place(half, chunk);
    }
  }
}

/* the same as partial sums */
template <int BN>
static __device__ __forceinline__ void write_partial(float *partial, const float (&acc)[BN / 2],
                                                     const gemm_problem &p, const int (&m)[2],
                                                     int n0)
{
  const int n = n0 + threadIdx.x % 4 * 2;

#pragma unroll
  for (int half = 0; half < 2; half++) {
    float *to = partial + (size_t)m[half] * p.n + n;

#pragma unroll
    for (int j = 0; j < BN / 8; j++) {
      if (m[half] >= 0 && n + j * 8 < p.n)
        *(float2 *)(to + j * 8) = make_float2(acc[j * 4 + half * 2], acc[j * 4 + half * 2 + 1]);
    }
  }
}

/* one or the other; buffer: of this warp */
template <typename T, int BN>
static __device__ __forceinline__ void write_sums(unsigned char *buffer, float (&acc)[BN / 2],
                                                  const float (&bias)[BN / 32],
                                                  const gemm_buffers &io, const gemm_problem &p,
                                                  int split, const int (&m)[2], int n0)
{
  wgmma_hold(acc);
  if (p.splits > 1)
    write_partial<BN>(io.partial + (size_t)split * p.m * p.n, acc, p, m, n0);
  else
    write_rows<T, BN>(buffer, acc, bias, io, p, m, n0);
}

#endif

// ------------------------------------------------------------------ launchers

/* tiles, the widest first */
static const struct {
  int m, n;
} hopper_tiles[HOPPER_TILES] = { { 256, 160 }, { 256, 128 }, { 128, 160 }, { 128, 128 } };

/* run a statement with BM and BN bound to a tile */
#define TI_WITH_HOPPER_TILE(tile, ...)                                   \
  switch (tile) {                                                        \
  case 0:  { constexpr int BM = 256, BN = 160; __VA_ARGS__; break; }     \
  case 1:  { constexpr int BM = 256, BN = 128; __VA_ARGS__; break; }     \
  case 2:  { constexpr int BM = 128, BN = 160; __VA_ARGS__; break; }     \
  default: { constexpr int BM = 128, BN = 128; __VA_ARGS__; break; }     \
  }

/*
 * The tile and the split of k with the least estimated time, in cycles of a multiprocessor: 2048
 * pairs of values are multiplied a cycle, and 32 bytes of operands come; at stride 2 forward, up to
 * 64 where not all multiprocessors work. k is split at multiples of unit; bytes of operands are
 * those of a unit, blocks those of one split. p->parity: k is that of a tap, of which a tile has 4,
 * 2, 2 or 1.
 */
static inline int hopper_plan(gemm_problem *p, int multiprocessors, int unit,
                              const size_t (&bytes)[HOPPER_TILES],
                              const size_t (&blocks)[HOPPER_TILES])
{
  const size_t units = (size_t)p->k / unit;
  const int is_down = p->stride > 1 && p->out_h < p->h; /* stride 2 forward */
  double least = INFINITY;
  size_t split = units;
  int tile = 0;

  for (int i = 0; i < HOPPER_TILES; i++) {
    const double multiply = hopper_tiles[i].m * hopper_tiles[i].n * (unit / 2048.0);
    /* what a tile takes beyond its steps grows with its size */
    const double rest = 2000.0 + hopper_tiles[i].m * hopper_tiles[i].n / 32.0;

    for (size_t splits = 1; splits <= HOPPER_MAX_SPLITS && splits <= units; splits++) {
      const size_t length = ti_ceil_div(units, splits), used = ti_ceil_div(units, length);
      const double work = (double)(blocks[i] * used) / multiprocessors;
      const double rate = !is_down || work > 1.0 ? 32.0 : work < 0.5 ? 64.0 : 32.0 / work;
      const double copy = (double)bytes[i] / rate, step = multiply > copy ? multiply : copy;
      const double waves = (double)ti_ceil_div(blocks[i] * used, (size_t)multiprocessors);
      const double sum = 3000.0 + (double)used * p->m * p->n * 0.5 / multiprocessors;
      /* the busiest multiprocessor has about its even share, but a tile of 4 taps at least */
      const double even = work * (9.0 / 4.0) + 0.5;
      const double lengths = !p->parity ? waves : even > 4.0 ? even : 4.0;
      const double time = lengths * (double)length * step + waves * rest + (used > 1 ? sum : 0.0);

      if (time < least) {
        least = time;
        split = length;
        tile = i;
      }
    }
  }
  p->split_k = (int)split * unit;
  p->splits = (int)ti_ceil_div(units, split);
  return tile;
}

/* of the partial sums of a plan */
static inline size_t hopper_scratch(const gemm_problem *p)
{
  return p->splits > 1 ? (size_t)p->splits * p->m * p->n * sizeof(float) : 0;
}

static inline unsigned hopper_blocks(const ti_exec *e, size_t tiles)
{
  const size_t most = (size_t)ti_cuda_multiprocessors(e);

  return (unsigned)(tiles < most ? tiles : most);
}

#endif /* TI_CUDA_GEMM_HOPPER_CUH */
