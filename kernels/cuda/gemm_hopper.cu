/*
 * The matrix product of gemm.cu on Hopper: 16 bits, channels a multiple of 64, n of 8.
 *
 * A block makes BM x BN tiles of y, one after the other. Its last warpgroup gathers 64 values of k
 * of a and b at a time into a ring of buffers: 64 channels lie within one tap, so each row of a is
 * one offset per tap. The first two warpgroups multiply, each half of the rows, and write the tile
 * while the next one is already being gathered.
 *
 * A buffer is full when every copying thread has waited for its copies, fenced them and arrived;
 * empty when every multiplying warp is done with it.
 *
 * Rows of a are 64 channels, 128 bytes. So are rows of b forward, along k; backward its rows are
 * the 64 values of k, in atoms of 32 values of n.
 *
 * Backward at stride 2 a pixel of y was read through every other tap down and across (p.parity): of
 * 3 x 3 through 4, 2, 2 or 1, by the parity of its place. A tile has rows of one such class, the
 * classes with most taps first. k and split_k are those of one tap.
 */
#include "gemm_hopper.cuh"

template <int BM, int BN> struct hopper_tile {
  static const int a_bytes = BM * 128, stage = a_bytes + BN * 128;
  static const int rest = BUFFERS_BYTES + 2 * BM * 4;
  static const int fit = (SHARED_MOST - rest - 128) / stage, stages = fit < 6 ? fit : 6;
  static const int lag = stages - 2; /* buffers under way when one is waited for */
  static const int buffers_at = stages * stage, offsets_at = buffers_at + BUFFERS_BYTES;
  static const int barriers_at = buffers_at + rest;
  static const int bytes = barriers_at + 2 * stages * 8 + 1024;
};

// ------------------------------------------------------------------ kernels

#ifdef TI_HOPPER

struct hopper_shared {
  unsigned char *ring, *buffers;
  int *offsets; /* [2][BM], of two taps in turn: first value of a row of a, -1 = zeros */
  uint64_t *full, *empty;
};

/* tiles of y across and down, times splits of k: of a class of rows, and all */
template <int BM, int BN> struct hopper_grid {
  int across, down, of_class, tiles;

  __device__ __forceinline__ explicit hopper_grid(const gemm_problem &p)
      : across((p.n + BN - 1) / BN), down(((p.parity ? p.m / 4 : p.m) + BM - 1) / BM),
        of_class(across * down * p.splits), tiles(p.parity ? 4 * of_class : of_class)
  {
  }
};

/* rows of y that read the same taps: every other one of 3 x 3 from ky and kx; or all rows */
struct row_class {
  int rows, taps, ky, kx;
};

template <bool BWD>
static __device__ __forceinline__ row_class class_of(const gemm_problem &p, int i)
{
  if (BWD && p.parity)
    return { p.m / 4, (2 - i / 2) * (2 - i % 2), i / 2, i % 2 };
  return { p.m, 1, 0, 0 };
}

/* row i of a class in y, or -1 */
template <bool BWD>
static __device__ __forceinline__ int row_in(const gemm_problem &p, const row_class &c, int i)
{
  if (i >= c.rows)
    return -1;
  if (BWD && p.parity) {
    const int half = p.out_w / 2, y = i / half * 2 + ((c.ky + p.pad_top) & 1);

    return y * p.out_w + i % half * 2 + ((c.kx + p.pad_left) & 1);
  }
  return i;
}

/* tap i of a class */
template <bool BWD>
static __device__ __forceinline__ int tap_in(const gemm_problem &p, const row_class &c, int i)
{
  if (BWD && p.parity)
    return c.kx ? (c.ky + i * 2) * 3 + 1 : (c.ky + i / 2 * 2) * 3 + i % 2 * 2;
  return i;
}

/* first value of row r of a at a tap of its class, or -1 */
template <bool BWD>
static __device__ __forceinline__ int row_at_tap(const gemm_problem &p, const gemm_row &r, int tap)
{
  size_t at = 0;

  if (BWD && p.parity) {
    const int y = (r.y - tap / 3) / 2, x = (r.x - tap % 3) / 2; /* both are even */
    const bool inside = r.inside && y >= 0 && y < p.h && x >= 0 && x < p.w;

    return inside ? (int)r.from + (y * p.w + x) * p.channels : -1;
  }
  return offset_of<BWD>(&at, p, r, tap, 0) ? (int)at : -1;
}

/* the tile of a block that has made i / gridDim.x; of tiles of uneven work the last block has the
 * first every other time, so that who had more taps gets fewer */
static __device__ __forceinline__ int tile_at(const gemm_problem &p, int i)
{
  const int blocks = gridDim.x, begin = i / blocks * blocks;

  return p.parity && i / blocks % 2 ? begin + blocks - 1 - blockIdx.x : i;
}

/* first value of k of a split, and its steps */
static __device__ __forceinline__ int begin_of(const gemm_problem &p, int taps, int split)
{
  return split * p.split_k * taps;
}

static __device__ __forceinline__ int steps_of(const gemm_problem &p, int taps, int split)
{
  return (min(begin_of(p, taps, split + 1), p.k * taps) - begin_of(p, taps, split)) / HOPPER_BK;
}

/* 64 values of k of rows offsets of a; from: this thread's chunk of the first channel */
template <typename T, int BM>
static __device__ __forceinline__ void copy_a(unsigned char *to, const T *from,
                                              const int (&offsets)[BM / 16])
{
#pragma unroll
  for (int i = 0; i < BM / 16; i++)
    copy_async(to + i * 2048, from + (offsets[i] < 0 ? 0 : offsets[i]), offsets[i] >= 0);
}

/* and of BN values of n of b: of weights as they lie, or of atoms of 8 x 32 (p.tiled) */
template <typename T, int BN, bool BWD>
static __device__ __forceinline__ void copy_b(unsigned char *to, const T *b, const gemm_problem &p,
                                              int n0, int tap, int c)
{
  const int thread = threadIdx.x % TI_WARPGROUP, taps = p.kh * p.kw;

  if (BWD) {
    const int n = n0 + thread % 4 * 8, place = swizzled<SWIZZLE_64>(thread / 4, thread % 4);
    const T *from = b + ((size_t)(c + thread / 4) * taps + tap % taps) * p.n + n;
    ptrdiff_t next = 32, half_on = (ptrdiff_t)32 * taps * p.n - BN;

    if (p.tiled) {
      next = (ptrdiff_t)p.channels * 32;
      from = b + ((size_t)(tap % taps) * p.n + n0) * p.channels + c * 32 + place / 2;
      half_on = 32 * 32 - BN / 32 * next;
    }
    to += place;
#pragma unroll
    for (int half = 0; half < 2; half++) {
#pragma unroll
      for (int j = 0; j < BN / 32; j++, from += next) {
        const bool valid = n + j * 32 < p.n;

        copy_async(to + half * 2048 + j * 4096, valid ? from : b, valid);
      }
      from += half_on;
    }
  } else {
    const int row = thread / 8, chunk = thread % 8;
    const T *from = b + (size_t)(n0 + row) * p.k + tap * p.channels + c + chunk * 8;
    ptrdiff_t next = (ptrdiff_t)16 * p.k;

    if (p.tiled) {
      from = b + ((size_t)tap * p.channels + c + chunk / 4 * 32) * p.n + (n0 + row / 8 * 8) * 32 +
             swizzled<SWIZZLE_64>(row % 8, chunk % 4) / 2;
      next = 16 * 32;
    }
    to += swizzled<SWIZZLE_128>(row, chunk);
#pragma unroll
    for (int i = 0; i < BN / 16; i++, from += next) {
      const bool valid = n0 + row + i * 16 < p.n;

      copy_async(to + i * 2048, valid ? from : b, valid);
    }
  }
}

/* the buffers that were filled lag steps ago are there */
template <int STAGES, int LAG>
static __device__ __forceinline__ void publish(const hopper_shared &s, int count)
{
  copy_commit();
  if (count >= LAG) {
    copy_wait<LAG>();
    async_fence();
    barrier_arrive(&s.full[(count - LAG) % STAGES]);
  }
}

template <typename T, int BM, int BN, bool BWD>
static __device__ __forceinline__ void produce(const hopper_shared &s, const gemm_buffers &io,
                                               const gemm_problem &p)
{
  typedef hopper_tile<BM, BN> tile;
  const int thread = threadIdx.x % TI_WARPGROUP, row = thread / 8, chunk = thread % 8;
  const hopper_grid<BM, BN> grid(p);
  const T *a = (const T *)io.a + chunk * 8, *b = (const T *)io.b;
  int count = 0, turn = 0;

  for (int t = blockIdx.x, i; (i = tile_at(p, t)) < grid.tiles; t += gridDim.x) {
    const hopper_work w = work_of(i % grid.of_class, grid.across, grid.down);
    const row_class rc = class_of<BWD>(p, i / grid.of_class);
    const int begin = begin_of(p, rc.taps, w.split), steps = steps_of(p, rc.taps, w.split);
    int at = begin / p.channels, c = begin % p.channels, tap = 0, offsets[BM / 16];
    gemm_row rows[BM / TI_WARPGROUP];

#pragma unroll
    for (int j = 0; j < BM / TI_WARPGROUP; j++)
      rows[j] = row_of<BWD>(p, row_in<BWD>(p, rc, w.m * BM + thread + j * TI_WARPGROUP));
    for (int step = 0; step < steps; step++, count++) {
      const int slot = count % tile::stages;
      unsigned char *to = s.ring + slot * tile::stage;

      if (c == p.channels) {
        c = 0;
        at++;
      }
      if (c == 0 || step == 0) {
        int *table = s.offsets + turn * BM;

        tap = tap_in<BWD>(p, rc, at);
#pragma unroll
        for (int j = 0; j < BM / TI_WARPGROUP; j++)
          table[thread + j * TI_WARPGROUP] = row_at_tap<BWD>(p, rows[j], tap);
        barrier_threads(PRODUCER_BARRIER, TI_WARPGROUP);
#pragma unroll
        for (int j = 0; j < BM / 16; j++)
          offsets[j] = table[row + j * 16];
        turn ^= 1;
      }
      if (count >= tile::stages)
        barrier_wait(&s.empty[slot], (count / tile::stages - 1) & 1);
      copy_a<T, BM>(to + swizzled<SWIZZLE_128>(row, chunk), a + c, offsets);
      copy_b<T, BN, BWD>(to + tile::a_bytes, b, p, w.n * BN, tap, c);
      publish<tile::stages, tile::lag>(s, count);
      c += HOPPER_BK;
    }
  }
  for (int i = 0; i < tile::lag; i++)
    publish<tile::stages, tile::lag>(s, count + i);
}

template <typename T, int BM, int BN, bool BWD>
static __device__ __forceinline__ void consume(const hopper_shared &s, const gemm_buffers &io,
                                               const gemm_problem &p)
{
  typedef hopper_tile<BM, BN> tile;
  constexpr int BLOCKS = BM / 128; /* of 64 rows, of a warpgroup */
  const int group = threadIdx.x / TI_WARPGROUP, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const hopper_grid<BM, BN> grid(p);
  const uint64_t a = matrix_at(s.ring + group * BLOCKS * 8192, SWIZZLE_128, 1024);
  const uint64_t b = BWD ? matrix_at(s.ring + tile::a_bytes, SWIZZLE_64, 512, 4096)
                         : matrix_at(s.ring + tile::a_bytes, SWIZZLE_128, 1024);
  float acc[BLOCKS][BN / 2], bias[BN / 32];
  int count = 0;

  for (int t = blockIdx.x, i; (i = tile_at(p, t)) < grid.tiles; t += gridDim.x) {
    const hopper_work w = work_of(i % grid.of_class, grid.across, grid.down);
    const row_class rc = class_of<BWD>(p, i / grid.of_class);
    const int steps = steps_of(p, rc.taps, w.split), n0 = w.n * BN;
    const int m0 = w.m * BM + group * BLOCKS * 64 + warp % 4 * 16; /* and 64 rows on */

    load_bias<BN>(bias, io.bias, p, n0);
    /* zeros, though the first product could drop what is there: that would keep it in registers */
#pragma unroll
    for (int i = 0; i < BLOCKS * BN / 2; i++)
      acc[i / (BN / 2)][i % (BN / 2)] = 0.0f;
    if (io.residual && p.splits == 1) {
#pragma unroll
      for (int i = 0; i < BLOCKS; i++)
        prefetch_rows<T, BN>((const T *)io.residual, p, row_in<BWD>(p, rc, m0 + i * 64 + lane / 2),
                             n0);
    }
    for (int step = 0; step < steps; step++, count++) {
      const int slot = count % tile::stages;

      barrier_wait(&s.full[slot], count / tile::stages & 1);
      wgmma_fence();
#pragma unroll
      for (int kk = 0; kk < HOPPER_BK / 16; kk++) {
#pragma unroll
        for (int i = 0; i < BLOCKS; i++)
          wgmma<BN, 0, BWD>(acc[i], matrix_on(a, slot * tile::stage + i * 8192 + kk * 32),
                            matrix_on(b, slot * tile::stage + kk * (BWD ? 1024 : 32)), 1, T());
      }
      wgmma_commit();
      wgmma_wait<1>();
      if (step > 0 && lane == 0)
        barrier_arrive(&s.empty[(count - 1) % tile::stages]);
    }
    wgmma_wait<0>();
    if (lane == 0)
      barrier_arrive(&s.empty[(count - 1) % tile::stages]);
#pragma unroll
    for (int i = 0; i < BLOCKS; i++) {
      const int row = m0 + i * 64 + lane / 4;
      const int m[2] = { row_in<BWD>(p, rc, row), row_in<BWD>(p, rc, row + 8) };

      write_sums<T, BN>(s.buffers + warp * BUFFER_BYTES, acc[i], bias, io, p, w.split, m, n0);
    }
  }
}

#endif

template <typename T, int BM, int BN, bool BWD>
static __global__ void __launch_bounds__(HOPPER_THREADS, 1)
gemm_hopper_kernel(gemm_buffers io, gemm_problem p)
{
#ifdef TI_HOPPER
  typedef hopper_tile<BM, BN> tile;
  unsigned char *shared = shared_memory();
  hopper_shared s;

  s.ring = shared + (-shared_address(shared) & 1023);
  s.buffers = s.ring + tile::buffers_at;
  s.offsets = (int *)(s.ring + tile::offsets_at);
  s.full = (uint64_t *)(s.ring + tile::barriers_at);
  s.empty = s.full + tile::stages;
  if (threadIdx.x == 0) {
    for (int i = 0; i < tile::stages; i++) {
      barrier_init(&s.full[i], TI_WARPGROUP);
      barrier_init(&s.empty[i], HOPPER_CONSUMERS / 32);
    }
  }
  __syncthreads();
  if (threadIdx.x >= HOPPER_CONSUMERS) {
    registers_less<hopper_registers<BWD>::producer>();
    produce<T, BM, BN, BWD>(s, io, p);
  } else {
    registers_more<hopper_registers<BWD>::consumer>();
    consume<T, BM, BN, BWD>(s, io, p);
  }
#endif
}

// ------------------------------------------------------------------ launchers

static int plan_of(gemm_problem *p, int multiprocessors)
{
  const size_t classes = p->parity ? 4 : 1;
  size_t bytes[HOPPER_TILES], blocks[HOPPER_TILES];

  if (p->parity)
    p->k = p->channels;
  for (int i = 0; i < HOPPER_TILES; i++) {
    bytes[i] = (size_t)(hopper_tiles[i].m + hopper_tiles[i].n) * 128;
    blocks[i] = classes * ti_ceil_div((size_t)p->m / classes, (size_t)hopper_tiles[i].m) *
                ti_ceil_div((size_t)p->n, (size_t)hopper_tiles[i].n);
  }
  return hopper_plan(p, multiprocessors, HOPPER_BK, bytes, blocks);
}

template <typename T, int BM, int BN, bool BWD>
static textinv_status launch_tile(ti_exec *e, const char *name, const gemm_buffers &io,
                                  const gemm_problem &p)
{
  const size_t classes = p.parity ? 4 : 1;
  const size_t count = ti_ceil_div((size_t)p.n, BN) * ti_ceil_div((size_t)p.m / classes, BM) *
                       classes * p.splits;

  return launch(e, name, gemm_hopper_kernel<T, BM, BN, BWD>, dim3(hopper_blocks(e, count)),
                HOPPER_THREADS, (size_t)hopper_tile<BM, BN>::bytes, io, p);
}

template <typename T, bool BWD>
static textinv_status run(ti_exec *e, const char *name, const gemm_buffers &io,
                          const gemm_problem &p, int tile)
{
  textinv_status status;

  TI_WITH_HOPPER_TILE(tile, status = launch_tile<T, BM, BN, BWD>(e, name, io, p));
  return status < 0 || p.splits == 1 ? status : gemm_sum<T>(e, io, p);
}

int ti_gemm_hopper_takes(const ti_exec *e, ti_dtype dtype, const gemm_problem *p)
{
  const size_t most = INT32_MAX, samples = (size_t)p->m / ((size_t)p->out_h * p->out_w);

  return dtype != TI_F32 && ti_cuda_hopper(e) && p->channels % HOPPER_BK == 0 && p->n % 8 == 0 &&
         p->m >= 64 && samples * p->h * p->w * p->channels <= most;
}

int ti_gemm_hopper_fits(const gemm_buffers *io)
{
  return ti_aligned(io->a, 16) && ti_aligned(io->b, 16) && ti_aligned(io->y, 16) &&
         ti_aligned(io->residual, 16) && ti_aligned(io->bias, 16);
}

size_t ti_gemm_hopper_scratch(const ti_exec *e, const gemm_problem *p)
{
  gemm_problem split = *p;

  plan_of(&split, ti_cuda_multiprocessors(e));
  return hopper_scratch(&split);
}

textinv_status ti_gemm_hopper(ti_exec *e, const char *name, ti_dtype dtype, gemm_buffers io,
                              gemm_problem p, int backward)
{
  const int tile = plan_of(&p, ti_cuda_multiprocessors(e));

  if (hopper_scratch(&p) > e->scratch_bytes) {
    p.splits = 1;
    p.split_k = p.k;
  }
  io.partial = (float *)e->scratch;
  TI_WITH_DTYPE_16(dtype, return backward ? run<T, true>(e, name, io, p, tile)
                                          : run<T, false>(e, name, io, p, tile));
}
