/*
 * Attention of long sequences on Hopper: what its passes share.
 *
 * A first kernel packs what the passes walk over, keys and values or queries and do, into what a
 * step needs: [n heads, steps, 2, D / 8, rows, 8], the planes of attention_hopper.cuh. So one
 * instruction of one thread brings a step's tiles, in whole lines, and no warp copies 16 bytes at a
 * time: those copies took as long as all else. Tiles pass through a ring of slots. The warpgroups
 * of a block wait for a full slot and say when they are done with it, but never for each other, so
 * that the softmax of one runs beside the products of others.
 *
 * What a block keeps, its 64 rows a warpgroup, lies in registers as first operands.
 *
 * Heads of 40 are sums over 48 columns, the last eight of which are spare (D == 48). Keys and
 * values have ones there. So the product with values makes the sum of p as well, and -lse / scale
 * and -delta in three parts beside queries and do make the products of the backward pass exact
 * differences: no value is loaded or subtracted for an element.
 */
#ifndef TI_CUDA_ATTENTION_RING_CUH
#define TI_CUDA_ATTENTION_RING_CUH

#include "attention_hopper.cuh"

/*
 * Heads of D columns; warpgroups of a block, rows of a step, blocks of a multiprocessor, slots;
 * whether a step brings lse and delta of its rows too.
 */
template <int D, int GROUPS, int STEP, int BLOCKS, int STAGES, bool SUMS = false>
struct ring_shape {
  static const int d = D, groups = GROUPS, step = STEP, blocks = BLOCKS, stages = STAGES;
  static const int threads = GROUPS * TI_WARPGROUP, rows = GROUPS * 64;
  static const int columns = D == 48 ? 40 : D; /* of a gradient */
  static const int tile = STEP * D;            /* values */
  static const int stage = 2 * tile * 2 + (SUMS ? STEP * 8 : 0);
  static const int bytes = STAGES * (stage + 16);
};

enum packed_spare { SPARE_ONES, SPARE_LSE, SPARE_DELTA };

struct pack_job {
  const void *from;
  void *to;
  int tokens, stride, rows, stage;
  packed_spare spare;
};

struct pack_jobs {
  pack_job of[4];
};

/* bfloat16 has the range of float, which lse / scale may need */
template <typename T, int D> struct folds_sums {
  static const bool value = false;
};
template <> struct folds_sums<ti_bf16, 48> {
  static const bool value = true;
};

// ------------------------------------------------------------------ kernels

#ifdef TI_HOPPER

/* x as the sum of three values of T, in four columns */
template <typename T> static __device__ __forceinline__ uint2 in_parts(float x)
{
  T high, middle;
  uint2 u;

  from_float(&high, x);
  x -= to_float(high);
  from_float(&middle, x);
  u.x = pack(to_float(high), to_float(middle), T());
  u.y = pack(x - to_float(middle), 0.0f, T());
  return u;
}

template <typename T> static __device__ __forceinline__ uint2 three_ones()
{
  uint2 u;

  u.x = pack(1.0f, 1.0f, T());
  u.y = pack(1.0f, 0.0f, T());
  return u;
}

/* rows row and row + 8 of [count, stride] as a first operand, zeros outside */
template <typename T, int D>
static __device__ __forceinline__ void load_operand(uint32_t (&f)[D / 16][4], const T *from,
                                                    int row, int count, int stride, int d)
{
#pragma unroll
  for (int i = 0; i < D / 4; i++) {
    const int r = row + i % 2 * 8, c = i / 4 * 16 + i % 4 / 2 * 8 + threadIdx.x % 4 * 2;

    f[i / 4][i % 4] =
        r < count && c < d ? *(const uint32_t *)(from + (size_t)r * stride + c) : 0u;
  }
}

/* four values in the spare columns of the two rows of an operand of heads of 40 */
template <int K>
static __device__ __forceinline__ void set_spare(uint32_t (&f)[K][4], uint2 row0, uint2 row8)
{
  const int part = threadIdx.x % 4;

  f[K - 1][2] = part == 0 ? row0.x : part == 1 ? row0.y : 0u;
  f[K - 1][3] = part == 0 ? row8.x : part == 1 ? row8.y : 0u;
}

/* start x[64, N] = a[64, D] b[N, D]^T, with a in registers */
template <typename T, int D, int N>
static __device__ __forceinline__ void start_product(float (&x)[N / 2],
                                                     const uint32_t (&a)[D / 16][4], const T *tile)
{
  const uint64_t b = rows_operand<T, N>(tile);

#pragma unroll
  for (int k = 0; k < D / 16; k++)
    wgmma<N, 0>(x, a[k], matrix_on(b, k * N * 32), k > 0, T());
}

/* the slots of a block and where its tiles come from */
template <typename T, typename C> struct tile_ring {
  unsigned char *slots;
  uint64_t *full, *empty;
  const unsigned char *from;
  int tiles;

  __device__ __forceinline__ void begin(const void *packed, int count)
  {
    slots = shared_memory();
    full = (uint64_t *)(slots + C::stages * C::stage);
    empty = full + C::stages;
    tiles = (count + C::step - 1) / C::step;
    from = (const unsigned char *)packed + (size_t)blockIdx.y * tiles * C::stage;
    if (threadIdx.x == 0) {
      for (int i = 0; i < C::stages; i++) {
        barrier_init(&full[i], 1);
        barrier_init(&empty[i], C::threads / 32);
      }
      barrier_init_fence();
    }
    __syncthreads();
    for (int i = 0; i < C::stages - 2; i++)
      fill(i);
  }

  /* unsigned, so that a power of two makes no division */
  static __device__ __forceinline__ unsigned slot_of(int i)
  {
    return (unsigned)i % C::stages;
  }
  static __device__ __forceinline__ int parity_of(int i)
  {
    return (unsigned)i / C::stages & 1;
  }

  __device__ __forceinline__ const T *first(int i) const
  {
    return (const T *)(slots + slot_of(i) * C::stage);
  }
  __device__ __forceinline__ const T *second(int i) const
  {
    return first(i) + C::tile;
  }
  /* of queries 2 (lane % 4) and the next, every eight of them at a distance of four */
  __device__ __forceinline__ const float4 *sums_of(int i) const
  {
    return (const float4 *)(first(i) + 2 * C::tile) + threadIdx.x % 4;
  }

  /* thread 0 starts the copies of tile i, when all are done with what its slot held */
  __device__ __forceinline__ void fill(int i)
  {
    if (threadIdx.x == 0 && i < tiles) {
      const unsigned slot = slot_of(i);

      if (i >= C::stages)
        barrier_wait(&empty[slot], parity_of(i) ^ 1);
      barrier_expect(&full[slot], C::stage);
      copy_bulk(slots + slot * C::stage, from + (size_t)i * C::stage, C::stage, &full[slot]);
    }
    __syncwarp();
  }

  __device__ __forceinline__ void wait_for(int i)
  {
    barrier_wait(&full[slot_of(i)], parity_of(i));
  }

  /* this warp is done with tile i: tile i + stages may follow, and one two before that is due */
  __device__ __forceinline__ void done_with(int i)
  {
    __syncwarp();
    if (i >= 0 && threadIdx.x % 32 == 0)
      barrier_arrive(&empty[slot_of(i)]);
    fill(i + C::stages - 1);
  }
};

#endif

/* blocks: tiles, heads, jobs */
template <typename T, int D>
static __global__ void attention_pack_kernel(attention_buffers io, ti_attention_shape s,
                                             pack_jobs jobs)
{
#ifdef TI_HOPPER
  /* an index would copy all of them to local memory */
  const pack_job job = blockIdx.z < 2 ? (blockIdx.z ? jobs.of[1] : jobs.of[0])
                                      : (blockIdx.z == 2 ? jobs.of[2] : jobs.of[3]);
  const int first = blockIdx.x * job.rows, tiles = (job.tokens + job.rows - 1) / job.rows;
  const int n = blockIdx.y / s.heads, head = blockIdx.y % s.heads;
  const T *from = (const T *)job.from + (size_t)n * job.tokens * job.stride + head * s.d;
  unsigned char *stage =
      (unsigned char *)job.to + ((size_t)blockIdx.y * tiles + blockIdx.x) * job.stage;

  if (first >= job.tokens)
    return;
  /* eight lanes write 128 bytes of a plane, a warp reads 64 bytes of a row */
  for (int i = threadIdx.x; i < job.rows * (D / 8); i += blockDim.x) {
    const int plane = i / 8 % (D / 8), row = i / D * 8 + i % 8, token = first + row;
    uint4 u = make_uint4(0, 0, 0, 0);

    if (token < job.tokens && plane * 8 < s.d) {
      u = *(const uint4 *)(from + (size_t)token * job.stride + plane * 8);
    } else if (token < job.tokens && D == 48) {
      uint2 parts = {};

      if (job.spare == SPARE_ONES) {
        parts = three_ones<T>();
      } else if (folds_sums<T, D>::value) {
        const size_t at = (size_t)blockIdx.y * s.tq + token;

        parts = in_parts<T>(job.spare == SPARE_LSE ? -io.lse[at] / s.scale : -io.delta[at]);
      }
      u.x = parts.x;
      u.y = parts.y;
    }
    ((uint4 *)stage)[plane * job.rows + row] = u;
  }
  if (job.spare == SPARE_LSE && !folds_sums<T, D>::value) {
    float2 *sums = (float2 *)(stage + 2 * job.rows * D * 2);

    for (int row = threadIdx.x; row < job.rows; row += blockDim.x)
      sums[row] = row_sums(io, s, first + row);
  }
#endif
}

// ------------------------------------------------------------------ launchers

template <typename C> static size_t packed_bytes(const ti_attention_shape *s, int tokens)
{
  const size_t steps = ti_ceil_div((size_t)tokens, C::step);

  return ti_ceil_div((size_t)s->n * s->heads * steps * C::stage, 256) * 256;
}

/* two tensors [tokens, stride0 or stride1] of n as tiles */
template <typename C>
static void add_jobs(pack_job *jobs, void *to, int tokens, const void *first, int stride0,
                     packed_spare spare0, const void *second, int stride1, packed_spare spare1)
{
  jobs[0] = { first, to, tokens, stride0, C::step, C::stage, spare0 };
  jobs[1] = { second, (char *)to + C::tile * 2, tokens, stride1, C::step, C::stage, spare1 };
}

template <typename T, int D>
static textinv_status pack_tiles(ti_exec *e, const attention_buffers *b,
                                 const ti_attention_shape *s, const pack_jobs &jobs, int count)
{
  size_t tiles = 1;

  for (int i = 0; i < count; i++) {
    const size_t of_job = ti_ceil_div(jobs.of[i].tokens, jobs.of[i].rows);

    tiles = of_job > tiles ? of_job : tiles;
  }
  return launch(e, "attention_pack", attention_pack_kernel<T, D>,
                dim3((unsigned)tiles, (unsigned)(s->n * s->heads), (unsigned)count), 128, 0, *b, *s,
                jobs);
}

/* run a statement with D bound to the padded size of a head, from 40 to 80 */
#define TI_WITH_RING_HEAD(d, ...)                              \
  if ((d) <= 40) { constexpr int D = 48; __VA_ARGS__; }        \
  else if ((d) <= 64) { constexpr int D = 64; __VA_ARGS__; }   \
  else { constexpr int D = 80; __VA_ARGS__; }

#endif /* TI_CUDA_ATTENTION_RING_CUH */
