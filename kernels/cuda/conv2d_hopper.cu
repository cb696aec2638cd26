/*
 * Convolutions of 3 x 3, stride 1, on Hopper: 16 bits, channels in and out multiples of 64. Forward
 * the image may be upsampled before.
 *
 * The tile of y is of patches of 8 x 8 pixels, the 64 rows of a wgmma. Its source is 10 x 10
 * pixels. Of those, 10 rows of 8 pixels lie in shared memory for one column of taps (kx): the rows
 * that the taps ky of it read begin 0, 8 and 16 rows into them, where an operand may begin. So 64
 * channels of 80 pixels serve three steps, and 3 x 80 rows are brought where a gather for each tap
 * takes 9 x 64.
 *
 * Weights lie on the device as they will lie in shared memory (TI_CUDA_TILED): one lane starts bulk
 * copies of whole tiles. The other three warps of its warpgroup gather the source, which zeros
 * surround. Source and weights have rings of slots of their own: a slot is full when the copies
 * have arrived (of the source: every thread has waited for its own and fenced them), and empty when
 * every multiplying warp is done with it.
 *
 * k runs over 64 channels at a time, then kx, then ky. A unit of it is what a slot of source
 * serves.
 */
#include "gemm_hopper.cuh"

enum {
  TAPS = 3, /* of a column */
  UNIT = TAPS * HOPPER_BK,
  PATCH = 8,
  PATCH_ROWS = PATCH * PATCH,
  SOURCE_ROWS = (PATCH + 2) * PATCH,
  SOURCE_BYTES = SOURCE_ROWS * 128,
  GATHERERS = 96, /* threads; eight copy a row */
  GATHERED = GATHERERS / 8,
  SOURCE_SLOTS = 3
};

template <int BM, int BN> struct conv_tile {
  static const int patches = BM / PATCH_ROWS, rows = patches * SOURCE_ROWS;
  static const int rounds = (rows + GATHERED - 1) / GATHERED;
  static const int offsets = TAPS * rounds * GATHERED;
  static const int a_slot = rows * 128, b_slot = BN * 128;
  static const int rest = BUFFERS_BYTES + offsets * 4 + 256;
  static const int fit = (SHARED_MOST - rest - SOURCE_SLOTS * a_slot) / b_slot;
  static const int b_slots = fit < 8 ? fit : 8;
  static const int b_at = SOURCE_SLOTS * a_slot, buffers_at = b_at + b_slots * b_slot;
  static const int offsets_at = buffers_at + BUFFERS_BYTES;
  static const int barriers_at = (offsets_at + offsets * 4 + 7) / 8 * 8;
  static const int bytes = barriers_at + 2 * (SOURCE_SLOTS + b_slots) * 8 + 1024;
};

// ------------------------------------------------------------------ kernels

#ifdef TI_HOPPER

struct conv_shared {
  unsigned char *a, *b, *buffers;
  int *offsets; /* [kx][rows of a slot]: first value of a row of the source, -1 = zeros */
  uint64_t *a_full, *a_empty, *b_full, *b_empty;
};

/* a slot of a ring, and the parity of its turn; a producer waits for the other parity */
template <int SLOTS> struct ring_place {
  int slot, turn;

  __device__ __forceinline__ void next()
  {
    if (++slot == SLOTS) {
      slot = 0;
      turn ^= 1;
    }
  }
};

/* tiles of y across and down, times splits of k */
template <int BM, int BN> struct conv_grid {
  int columns, lines, patches; /* of an image; of all */
  int across, down, tiles;

  __device__ __forceinline__ explicit conv_grid(const gemm_problem &p)
      : columns((p.out_w + PATCH - 1) / PATCH), lines((p.out_h + PATCH - 1) / PATCH),
        patches(p.m / (p.out_h * p.out_w) * columns * lines), across((p.n + BN - 1) / BN),
        down((patches + BM / PATCH_ROWS - 1) / (BM / PATCH_ROWS)), tiles(across * down * p.splits)
  {
  }
};

/* where a patch begins in its image; n < 0 behind the last one */
struct conv_patch {
  int n, y, x;
};

template <int BM, int BN>
static __device__ __forceinline__ conv_patch patch_of(const conv_grid<BM, BN> &g, int i)
{
  const int line = i / g.columns;

  return { i < g.patches ? line / g.lines : -1, line % g.lines * PATCH, i % g.columns * PATCH };
}

/* units of a split of k, and the first */
static __device__ __forceinline__ int first_unit(const gemm_problem &p, int split)
{
  return split * (p.split_k / UNIT);
}

static __device__ __forceinline__ int units_of(const gemm_problem &p, int split)
{
  return min(first_unit(p, split + 1), p.k / UNIT) - first_unit(p, split);
}

/* backward the source's pixel moves against the tap */
template <bool BWD>
static __device__ __forceinline__ int tap_of(int ky, int kx)
{
  return BWD ? (TAPS - 1 - ky) * TAPS + TAPS - 1 - kx : ky * TAPS + kx;
}

/* one lane: the weights of every step */
template <typename T, int BM, int BN, bool BWD>
static __device__ __forceinline__ void bring_weights(const conv_shared &s, const gemm_buffers &io,
                                                     const gemm_problem &p)
{
  typedef conv_tile<BM, BN> tile;
  const conv_grid<BM, BN> grid(p);
  ring_place<tile::b_slots> at = {};

  for (int i = blockIdx.x; i < grid.tiles; i += gridDim.x) {
    const hopper_work w = work_of(i, grid.across, grid.down);
    const int units = units_of(p, w.split), first = first_unit(p, w.split), n0 = w.n * BN;
    const int columns = min(BN, p.n - n0);

    for (int step = 0; step < units * TAPS; step++, at.next()) {
      const int unit = first + step / TAPS, c = unit / TAPS * HOPPER_BK;
      const int tap = tap_of<BWD>(step % TAPS, unit % TAPS);
      const T *from = (const T *)io.b + (size_t)tap * p.n * p.channels;
      unsigned char *to = s.b + at.slot * tile::b_slot;

      barrier_wait(&s.b_empty[at.slot], at.turn ^ 1);
      barrier_expect(&s.b_full[at.slot], columns * 128);
      if (BWD) { /* 32 columns of 64 of k */
        for (int j = 0; j < columns; j += 32)
          copy_bulk(to + j * 128, from + (size_t)(n0 + j) * p.channels + c * 32, 4096,
                    &s.b_full[at.slot]);
      } else { /* all columns of 32 of k */
        for (int j = 0; j < 2; j++)
          copy_bulk(to + j * BN * 64, from + (size_t)(c + j * 32) * p.n + n0 * 32, columns * 64,
                    &s.b_full[at.slot]);
      }
    }
  }
}

/* where the rows of a slot lie in the source, for each kx */
template <int BM, int BN, bool BWD>
static __device__ __forceinline__ void find_rows(int *offsets, const gemm_problem &p,
                                                 const conv_grid<BM, BN> &grid, int first,
                                                 int thread)
{
  typedef conv_tile<BM, BN> tile;
  constexpr int ROWS = tile::rounds * GATHERED;

  for (int row = thread; row < ROWS; row += GATHERERS) {
    const conv_patch patch = patch_of(grid, first + row / SOURCE_ROWS);
    const int y = patch.y + row % SOURCE_ROWS / PATCH + (BWD ? p.pad_top - (TAPS - 1) : -p.pad_top);
    const int x = patch.x + row % PATCH + (BWD ? p.pad_left - (TAPS - 1) : -p.pad_left);
    const bool valid = row < tile::rows && patch.n >= 0 && y >= 0 && y < p.h * p.up;

    for (int kx = 0; kx < TAPS; kx++)
      offsets[kx * ROWS + row] =
          valid && x + kx >= 0 && x + kx < p.w * p.up
              ? ((patch.n * p.h + y / p.up) * p.w + (x + kx) / p.up) * p.channels
              : -1;
  }
}

/* three warps: the source of every unit */
template <typename T, int BM, int BN, bool BWD>
static __device__ __forceinline__ void bring_source(const conv_shared &s, const gemm_buffers &io,
                                                    const gemm_problem &p)
{
  typedef conv_tile<BM, BN> tile;
  constexpr int BATCH = tile::rounds % 9 ? 7 : 9; /* offsets that are read at once */
  static_assert(tile::rounds % BATCH == 0, "batches fill the rounds");
  const int thread = threadIdx.x % TI_WARPGROUP - 32, row = thread / 8, chunk = thread % 8;
  const T *from = (const T *)io.a + chunk * 8;
  /* two rounds are 24 rows, atoms of 8 */
  const int even = swizzled<SWIZZLE_128>(row, chunk);
  const int odd = swizzled<SWIZZLE_128>(row + GATHERED, chunk) - GATHERED * 128;
  const conv_grid<BM, BN> grid(p);
  ring_place<SOURCE_SLOTS> at = {};

  for (int i = blockIdx.x; i < grid.tiles; i += gridDim.x) {
    const hopper_work w = work_of(i, grid.across, grid.down);
    const int units = units_of(p, w.split), first = first_unit(p, w.split);

    barrier_threads(PRODUCER_BARRIER, GATHERERS); /* no one reads those of the tile before */
    find_rows<BM, BN, BWD>(s.offsets, p, grid, w.m * tile::patches, thread);
    barrier_threads(PRODUCER_BARRIER, GATHERERS);
    for (int unit = first; unit < first + units; unit++, at.next()) {
      const int *offsets = s.offsets + unit % TAPS * tile::rounds * GATHERED + row;
      const int c = unit / TAPS * HOPPER_BK;
      unsigned char *to = s.a + at.slot * tile::a_slot;

      barrier_wait(&s.a_empty[at.slot], at.turn ^ 1);
#pragma unroll
      for (int batch = 0; batch < tile::rounds; batch += BATCH) {
        int o[BATCH];

#pragma unroll
        for (int j = 0; j < BATCH; j++)
          o[j] = offsets[(batch + j) * GATHERED];
#pragma unroll
        for (int j = 0; j < BATCH; j++) {
          const int round = batch + j;

          if ((round + 1) * GATHERED <= tile::rows || row + round * GATHERED < tile::rows)
            copy_async(to + (round % 2 ? odd : even) + round * GATHERED * 128,
                       from + (o[j] < 0 ? 0 : o[j] + c), o[j] >= 0);
        }
      }
      copy_commit();
      copy_wait<0>();
      async_fence();
      barrier_arrive(&s.a_full[at.slot]);
    }
  }
}

template <typename T, int BM, int BN, bool BWD>
static __device__ __forceinline__ void consume(const conv_shared &s, const gemm_buffers &io,
                                               const gemm_problem &p)
{
  typedef conv_tile<BM, BN> tile;
  constexpr int BLOCKS = BM / 128; /* patches of a warpgroup */
  const int group = threadIdx.x / TI_WARPGROUP, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const conv_grid<BM, BN> grid(p);
  const uint64_t a = matrix_at(s.a + group * BLOCKS * SOURCE_BYTES, SWIZZLE_128, 1024);
  const uint64_t b = BWD ? matrix_at(s.b, SWIZZLE_64, 512, 4096) : matrix_at(s.b, SWIZZLE_64, 512);
  float acc[BLOCKS][BN / 2], bias[BN / 32];
  ring_place<SOURCE_SLOTS> a_at = {};
  ring_place<tile::b_slots> b_at = {};

  /* where row r of a warp's 16 rows of a patch lies in y, or -1 */
  auto row_at = [&](const conv_patch &patch, int r) {
    const int y = patch.y + warp % 4 * 2 + r / PATCH, x = patch.x + r % PATCH;

    return patch.n >= 0 && y < p.out_h && x < p.out_w ? (patch.n * p.out_h + y) * p.out_w + x : -1;
  };

  for (int t = blockIdx.x; t < grid.tiles; t += gridDim.x) {
    const hopper_work w = work_of(t, grid.across, grid.down);
    const int units = units_of(p, w.split), n0 = w.n * BN;
    const int patch = w.m * tile::patches + group * BLOCKS;
    int a_last = 0, b_last = 0; /* slots of the step before */

    load_bias<BN>(bias, io.bias, p, n0);
    /* zeros, though the first product could drop what is there: that would keep it in registers */
#pragma unroll
    for (int i = 0; i < BLOCKS * BN / 2; i++)
      acc[i / (BN / 2)][i % (BN / 2)] = 0.0f;
    if (io.residual && p.splits == 1) {
#pragma unroll
      for (int i = 0; i < BLOCKS; i++)
        prefetch_rows<T, BN>((const T *)io.residual, p,
                             row_at(patch_of(grid, patch + i), lane / 2), n0);
    }
    for (int unit = 0; unit < units; unit++) {
      barrier_wait(&s.a_full[a_at.slot], a_at.turn);
#pragma unroll
      for (int ky = 0; ky < TAPS; ky++) {
        const int a_on = a_at.slot * tile::a_slot + ky * PATCH * 128;
        const int b_on = b_at.slot * tile::b_slot;

        barrier_wait(&s.b_full[b_at.slot], b_at.turn);
        wgmma_fence();
#pragma unroll
        for (int kk = 0; kk < HOPPER_BK / 16; kk++) {
          const int part = BWD ? kk * 1024 : kk / 2 * BN * 64 + kk % 2 * 32;

#pragma unroll
          for (int i = 0; i < BLOCKS; i++)
            wgmma<BN, 0, BWD>(acc[i], matrix_on(a, a_on + i * SOURCE_BYTES + kk * 32),
                              matrix_on(b, b_on + part), 1, T());
        }
        wgmma_commit();
        wgmma_wait<1>();
        if (lane == 0 && unit + ky > 0) {
          barrier_arrive(&s.b_empty[b_last]);
          if (ky == 0)
            barrier_arrive(&s.a_empty[a_last]);
        }
        b_last = b_at.slot;
        b_at.next();
      }
      a_last = a_at.slot;
      a_at.next();
    }
    wgmma_wait<0>();
    if (lane == 0) {
      barrier_arrive(&s.b_empty[b_last]);
      barrier_arrive(&s.a_empty[a_last]);
    }
#pragma unroll
    for (int i = 0; i < BLOCKS; i++) {
      const conv_patch at = patch_of(grid, patch + i);
      const int m[2] = { row_at(at, lane / 4), row_at(at, lane / 4 + 8) };

      write_sums<T, BN>(s.buffers + warp * BUFFER_BYTES, acc[i], bias, io, p, w.split, m, n0);
    }
  }
}

#endif

template <typename T, int BM, int BN, bool BWD>
static __global__ void __launch_bounds__(HOPPER_THREADS, 1)
conv2d_hopper_kernel(gemm_buffers io, gemm_problem p)
{
#ifdef TI_HOPPER
  typedef conv_tile<BM, BN> tile;
  unsigned char *shared = shared_memory();
  conv_shared s;

  s.a = shared + (-shared_address(shared) & 1023);
  s.b = s.a + tile::b_at;
  s.buffers = s.a + tile::buffers_at;
  s.offsets = (int *)(s.a + tile::offsets_at);
  s.a_full = (uint64_t *)(s.a + tile::barriers_at);
  s.a_empty = s.a_full + SOURCE_SLOTS;
  s.b_full = s.a_empty + SOURCE_SLOTS;
  s.b_empty = s.b_full + tile::b_slots;
  if (threadIdx.x == 0) {
    for (int i = 0; i < SOURCE_SLOTS; i++) {
      barrier_init(&s.a_full[i], GATHERERS);
      barrier_init(&s.a_empty[i], HOPPER_CONSUMERS / 32);
    }
    for (int i = 0; i < tile::b_slots; i++) {
      barrier_init(&s.b_full[i], 1);
      barrier_init(&s.b_empty[i], HOPPER_CONSUMERS / 32);
    }
    barrier_init_fence();
  }
  __syncthreads();
  if (threadIdx.x >= HOPPER_CONSUMERS) {
    registers_less<hopper_registers<BWD>::producer>();
    if (threadIdx.x >= HOPPER_CONSUMERS + 32)
      bring_source<T, BM, BN, BWD>(s, io, p);
    else if (threadIdx.x == HOPPER_CONSUMERS)
      bring_weights<T, BM, BN, BWD>(s, io, p);
  } else {
    registers_more<hopper_registers<BWD>::consumer>();
    consume<T, BM, BN, BWD>(s, io, p);
  }
#endif
}

// ------------------------------------------------------------------ launchers

static size_t count_patches(const gemm_problem *p)
{
  return (size_t)p->m / ((size_t)p->out_h * p->out_w) * ti_ceil_div((size_t)p->out_h, PATCH) *
         ti_ceil_div((size_t)p->out_w, PATCH);
}

/*
 * Else the product gathers every tap. Backward through an upsampling the rows of a patch lie two
 * rows apart; and patches that are a quarter empty take longer.
 */
static bool fits_patches(const gemm_problem *p)
{
  return p->k == TAPS * TAPS * p->channels &&
         count_patches(p) * PATCH_ROWS * 4 <= (size_t)p->m * 5;
}

static int plan_of(gemm_problem *p, int multiprocessors)
{
  size_t bytes[HOPPER_TILES], blocks[HOPPER_TILES];

  for (int i = 0; i < HOPPER_TILES; i++) {
    const size_t patches = (size_t)hopper_tiles[i].m / PATCH_ROWS;

    bytes[i] = patches * SOURCE_BYTES + (size_t)hopper_tiles[i].n * 128 * TAPS;
    blocks[i] = ti_ceil_div(count_patches(p), patches) *
                ti_ceil_div((size_t)p->n, (size_t)hopper_tiles[i].n);
  }
  return hopper_plan(p, multiprocessors, UNIT, bytes, blocks);
}

template <typename T, int BM, int BN, bool BWD>
static textinv_status launch_tile(ti_exec *e, const char *name, const gemm_buffers &io,
                                  const gemm_problem &p)
{
  const size_t count = ti_ceil_div(count_patches(&p), BM / PATCH_ROWS) *
                       ti_ceil_div((size_t)p.n, BN) * p.splits;

  return launch(e, name, conv2d_hopper_kernel<T, BM, BN, BWD>, dim3(hopper_blocks(e, count)),
                HOPPER_THREADS, (size_t)conv_tile<BM, BN>::bytes, io, p);
}

template <typename T, bool BWD>
static textinv_status run(ti_exec *e, const char *name, const gemm_buffers &io,
                          const gemm_problem &p, int tile)
{
  textinv_status status;

  TI_WITH_HOPPER_TILE(tile, status = launch_tile<T, BM, BN, BWD>(e, name, io, p));
  return status < 0 || p.splits == 1 ? status : gemm_sum<T>(e, io, p);
}

int ti_conv2d_hopper_takes(const ti_exec *e, ti_dtype dtype, const ti_conv2d_shape *s)
{
  const size_t most = INT32_MAX, x = (size_t)s->n * s->h * s->w, y = (size_t)s->n * s->oh * s->ow;

  return dtype != TI_F32 && ti_cuda_hopper(e) && s->kh == TAPS && s->kw == TAPS && s->stride == 1 &&
         s->cin % HOPPER_BK == 0 && s->cout % HOPPER_BK == 0 && x * s->cin <= most &&
         y * s->cout <= most;
}

size_t ti_conv2d_hopper_scratch(const ti_exec *e, const gemm_problem *p)
{
  gemm_problem split = *p;

  if (!fits_patches(p))
    return ti_gemm_hopper_scratch(e, p);
  plan_of(&split, ti_cuda_multiprocessors(e));
  return hopper_scratch(&split);
}

textinv_status ti_conv2d_hopper(ti_exec *e, const char *name, ti_dtype dtype, gemm_buffers io,
                                gemm_problem p, int backward)
{
  p.tiled = 1;
  if (!fits_patches(&p))
    return ti_gemm_hopper(e, name, dtype, io, p, backward);

  const int tile = plan_of(&p, ti_cuda_multiprocessors(e));

  if (hopper_scratch(&p) > e->scratch_bytes) {
    p.splits = 1;
    p.split_k = p.k;
  }
  io.partial = (float *)e->scratch;
  TI_WITH_DTYPE_16(dtype, return backward ? run<T, true>(e, name, io, p, tile)
                                          : run<T, false>(e, name, io, p, tile));
}
