/*
 * Convolutions of 3 x 3, stride 1, on Hopper: 16 bits, channels in and out multiples of 64. The
 * image may be upsampled before.
 *
 * The tile of y is of patches of 8 x 8 pixels, the 64 rows of a wgmma. Its source is 10 x 10
 * pixels. Of those, 10 rows of 8 pixels lie in shared memory for one column of taps (kx): the rows
 * that the taps ky of it read begin 0, 8 and 16 rows into them, where an operand may begin. So 64
 * channels of 80 pixels serve three steps, and 3 x 80 rows are brought where a gather for each tap
 * takes 9 x 64.
 *
 * Through an upsampling several taps read the same pixel. Their weights are added beforehand
 * (TI_CUDA_MERGED), to 4 x 4: forward the pixels of each parity, one of four classes, are read
 * through 2 x 2 of those; backward they are a convolution at stride 2, four columns of which hold
 * rows of either parity. Either way a slot of 9 rows of 8 pixels serves two taps, and 4 or 16 taps
 * are multiplied instead of 9 or 36.
 *
 * Weights lie on the device as they will lie in shared memory (TI_CUDA_TILED): one lane starts bulk
 * copies of whole tiles. The other three warps of its warpgroup gather the source, which zeros
 * surround. Source and weights have rings of slots of their own: a slot is full when the copies
 * have arrived (of the source: every thread has waited for its own and fenced them), and empty when
 * every multiplying warp is done with it.
 *
 * k runs over 64 channels at a time, then columns, then their taps. A unit of it is what a slot of
 * source serves.
 */
#include "gemm_hopper.cuh"

enum {
  PATCH = 8,
  PATCH_ROWS = PATCH * PATCH,
  GATHERERS = 96, /* threads; eight copy a row */
  GATHERED = GATHERERS / 8,
  SOURCE_SLOTS = 3
};

struct conv_pixel {
  int y, x;
};

/*
 * What is convolved, C below. Classes of pixels of y have weights of their own: a class is a grid
 * of pixels. Its taps are columns of so many; source_of() is what tap 0 of a column reads for a
 * pixel of the grid, and tap t what it reads for that of t lines below.
 */
template <bool BWD> struct conv_plain {
  static const bool bwd = BWD;
  static const int classes = 1, columns = 3, taps = 3;

  static __device__ __forceinline__ conv_pixel source_of(const gemm_problem &p, int, int column,
                                                         int y, int x)
  {
    if (BWD) /* it moves against the tap */
      return { y + p.pad_top - 2, x + p.pad_left - 2 + column };
    return { y - p.pad_top, x - p.pad_left + column };
  }
  static __device__ __forceinline__ int tap_of(int, int column, int t)
  {
    return BWD ? (2 - t) * 3 + 2 - column : t * 3 + column;
  }
};

/* TI_CUDA_MERGED; classes: parity of y's line, then of its column */
struct conv_up_fwd {
  static const bool bwd = false;
  static const int classes = 4, columns = 2, taps = 2;

  static __device__ __forceinline__ conv_pixel source_of(const gemm_problem &, int of, int column,
                                                         int y, int x)
  {
    return { y + of / 2 - 1, x + of % 2 - 1 + column };
  }
  static __device__ __forceinline__ int tap_of(int of, int column, int t)
  {
    return (3 - of / 2 - 2 * t) * 4 + 3 - of % 2 - 2 * column;
  }
};

/* the same; columns: those of the taps, for every other line from 0, then from 1 */
struct conv_up_bwd {
  static const bool bwd = true;
  static const int classes = 1, columns = 8, taps = 2;

  static __device__ __forceinline__ conv_pixel source_of(const gemm_problem &, int, int column,
                                                         int y, int x)
  {
    return { 2 * y - 1 + column / 4, 2 * x - 1 + column % 4 };
  }
  static __device__ __forceinline__ int tap_of(int, int column, int t)
  {
    return (column / 4 + 2 * t) * 4 + column % 4;
  }
};

/* k of a unit; rows of source of a patch */
template <typename C> struct conv_unit {
  static const int k = C::taps * HOPPER_BK, rows = (PATCH + C::taps - 1) * PATCH;
};

/* the most offsets that are read at once, of as many rounds */
static constexpr int batch_of(int rounds)
{
  int most = 9;

  while (rounds % most)
    most--;
  return most;
}

template <typename C, int BM, int BN> struct conv_tile {
  static const int patches = BM / PATCH_ROWS, rows = patches * conv_unit<C>::rows;
  static const int rounds = (rows + GATHERED - 1) / GATHERED, batch = batch_of(rounds);
  static const int offsets = C::columns * rounds * GATHERED;
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
  int *offsets; /* [columns][rows of a slot]: first value of a row of the source, -1 = zeros */
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

/* where a patch begins in its grid; n < 0 behind the last one */
struct conv_patch {
  int n, y, x;
};

/* tiles of y across and down, of all classes, times splits of k */
template <typename C, int BM, int BN> struct conv_grid {
  int h, w;                    /* pixels of a class in an image */
  int columns, lines, patches; /* of an image; of all */
  int across, of_class, down, tiles;

  __device__ __forceinline__ explicit conv_grid(const gemm_problem &p)
      : h(C::classes > 1 ? p.h : p.out_h), w(C::classes > 1 ? p.w : p.out_w),
        columns((w + PATCH - 1) / PATCH), lines((h + PATCH - 1) / PATCH),
        patches(p.m / (p.out_h * p.out_w) * columns * lines), across((p.n + BN - 1) / BN),
        of_class((patches + BM / PATCH_ROWS - 1) / (BM / PATCH_ROWS)), down(C::classes * of_class),
        tiles(across * down * p.splits)
  {
  }

  /* patch i of a tile of line m */
  __device__ __forceinline__ conv_patch patch_of(int m, int i) const
  {
    const int at = m % of_class * (BM / PATCH_ROWS) + i, line = at / columns;

    return { at < patches ? line / lines : -1, line % lines * PATCH, at % columns * PATCH };
  }
};

/* units of a split of k, and the first */
template <typename C>
static __device__ __forceinline__ int first_unit(const gemm_problem &p, int split)
{
  return split * (p.split_k / conv_unit<C>::k);
}

template <typename C>
static __device__ __forceinline__ int units_of(const gemm_problem &p, int split)
{
  return min(first_unit<C>(p, split + 1), p.k / conv_unit<C>::k) - first_unit<C>(p, split);
}

/* one lane: the weights of every step */
template <typename T, typename C, int BM, int BN>
static __device__ __forceinline__ void bring_weights(const conv_shared &s, const gemm_buffers &io,
                                                     const gemm_problem &p)
{
  typedef conv_tile<C, BM, BN> tile;
  const conv_grid<C, BM, BN> grid(p);
  ring_place<tile::b_slots> at = {};

  for (int i = blockIdx.x; i < grid.tiles; i += gridDim.x) {
    const hopper_work w = work_of(i, grid.across, grid.down);
    const int units = units_of<C>(p, w.split), first = first_unit<C>(p, w.split), n0 = w.n * BN;
    const int columns = min(BN, p.n - n0);

    for (int unit = first; unit < first + units; unit++) {
      const int column = unit % C::columns, c = unit / C::columns * HOPPER_BK;

      for (int t = 0; t < C::taps; t++, at.next()) {
        const int tap = C::tap_of(w.m / grid.of_class, column, t);
        const T *from = (const T *)io.b + (size_t)tap * p.n * p.channels;
        unsigned char *to = s.b + at.slot * tile::b_slot;

        barrier_wait(&s.b_empty[at.slot], at.turn ^ 1);
        barrier_expect(&s.b_full[at.slot], columns * 128);
        if (C::bwd) { /* 32 columns of 64 of k */
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
}

/* where the rows of a slot lie in the source, for each column */
template <typename C, int BM, int BN>
static __device__ __forceinline__ void find_rows(int *offsets, const gemm_problem &p,
                                                 const conv_grid<C, BM, BN> &grid, int m,
                                                 int thread)
{
  typedef conv_tile<C, BM, BN> tile;
  constexpr int ROWS = tile::rounds * GATHERED, OF_PATCH = conv_unit<C>::rows;

  for (int row = thread; row < ROWS; row += GATHERERS) {
    const conv_patch patch = grid.patch_of(m, row / OF_PATCH);
    const bool valid = row < tile::rows && patch.n >= 0;

    for (int column = 0; column < C::columns; column++) {
      const conv_pixel from = C::source_of(p, m / grid.of_class, column,
                                           patch.y + row % OF_PATCH / PATCH, patch.x + row % PATCH);

      offsets[column * ROWS + row] = valid && from.y >= 0 && from.y < p.h && from.x >= 0 &&
                                         from.x < p.w
                                       ? ((patch.n * p.h + from.y) * p.w + from.x) * p.channels
                                       : -1;
    }
  }
}

/* three warps: the source of every unit */
template <typename T, typename C, int BM, int BN>
static __device__ __forceinline__ void bring_source(const conv_shared &s, const gemm_buffers &io,
                                                    const gemm_problem &p)
{
  typedef conv_tile<C, BM, BN> tile;
  const int thread = threadIdx.x % TI_WARPGROUP - 32, row = thread / 8, chunk = thread % 8;
  const T *from = (const T *)io.a + chunk * 8;
  /* two rounds are 24 rows, atoms of 8 */
  const int even = swizzled<SWIZZLE_128>(row, chunk);
  const int odd = swizzled<SWIZZLE_128>(row + GATHERED, chunk) - GATHERED * 128;
  const conv_grid<C, BM, BN> grid(p);
  ring_place<SOURCE_SLOTS> at = {};

  for (int i = blockIdx.x; i < grid.tiles; i += gridDim.x) {
    const hopper_work w = work_of(i, grid.across, grid.down);
    const int units = units_of<C>(p, w.split), first = first_unit<C>(p, w.split);

    barrier_threads(PRODUCER_BARRIER, GATHERERS); /* no one reads those of the tile before */
    find_rows(s.offsets, p, grid, w.m, thread);
    barrier_threads(PRODUCER_BARRIER, GATHERERS);
    for (int unit = first; unit < first + units; unit++, at.next()) {
      const int *offsets = s.offsets + unit % C::columns * tile::rounds * GATHERED + row;
      const int c = unit / C::columns * HOPPER_BK;
      unsigned char *to = s.a + at.slot * tile::a_slot;

      barrier_wait(&s.a_empty[at.slot], at.turn ^ 1);
#pragma unroll
      for (int batch = 0; batch < tile::rounds; batch += tile::batch) {
        int o[tile::batch];

#pragma unroll
        for (int j = 0; j < tile::batch; j++)
          o[j] = offsets[(batch + j) * GATHERED];
#pragma unroll
        for (int j = 0; j < tile::batch; j++) {
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

template <typename T, typename C, int BM, int BN>
static __device__ __forceinline__ void consume(const conv_shared &s, const gemm_buffers &io,
                                               const gemm_problem &p)
{
  typedef conv_tile<C, BM, BN> tile;
  constexpr int BLOCKS = BM / 128; /* patches of a warpgroup */
  constexpr int SOURCE_BYTES = conv_unit<C>::rows * 128;
  const int group = threadIdx.x / TI_WARPGROUP, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const conv_grid<C, BM, BN> grid(p);
  const uint64_t a = matrix_at(s.a + group * BLOCKS * SOURCE_BYTES, SWIZZLE_128, 1024);
  const uint64_t b = C::bwd ? matrix_at(s.b, SWIZZLE_64, 512, 4096)
                            : matrix_at(s.b, SWIZZLE_64, 512);
  float acc[BLOCKS][BN / 2], bias[BN / 32];
  ring_place<SOURCE_SLOTS> a_at = {};
  ring_place<tile::b_slots> b_at = {};

  /* where row r of a warp's 16 rows of patch i of this warpgroup lies in y, or -1 */
  auto row_at = [&](int m, int i, int r) {
    const conv_patch patch = grid.patch_of(m, group * BLOCKS + i);
    const int y = patch.y + warp % 4 * 2 + r / PATCH, x = patch.x + r % PATCH;
    const int of = C::classes > 1 ? m / grid.of_class : 0, step = C::classes > 1 ? 2 : 1;

    return patch.n >= 0 && y < grid.h && x < grid.w
             ? (patch.n * p.out_h + y * step + of / 2) * p.out_w + x * step + of % 2
             : -1;
  };

  for (int t = blockIdx.x; t < grid.tiles; t += gridDim.x) {
    const hopper_work w = work_of(t, grid.across, grid.down);
    const int units = units_of<C>(p, w.split), n0 = w.n * BN;
    int a_last = 0, b_last = 0; /* slots of the step before */

    load_bias<BN>(bias, io.bias, p, n0);
    /* zeros, though the first product could drop what is there: that would keep it in registers */
#pragma unroll
    for (int i = 0; i < BLOCKS * BN / 2; i++)
      acc[i / (BN / 2)][i % (BN / 2)] = 0.0f;
    if (io.residual && p.splits == 1) {
#pragma unroll
      for (int i = 0; i < BLOCKS; i++)
        prefetch_rows<T, BN>((const T *)io.residual, p, row_at(w.m, i, lane / 2), n0);
    }
    for (int unit = 0; unit < units; unit++) {
      barrier_wait(&s.a_full[a_at.slot], a_at.turn);
#pragma unroll
      for (int t = 0; t < C::taps; t++) {
        const int a_on = a_at.slot * tile::a_slot + t * PATCH * 128;
        const int b_on = b_at.slot * tile::b_slot;

        barrier_wait(&s.b_full[b_at.slot], b_at.turn);
        wgmma_fence();
#pragma unroll
        for (int kk = 0; kk < HOPPER_BK / 16; kk++) {
          const int part = C::bwd ? kk * 1024 : kk / 2 * BN * 64 + kk % 2 * 32;

#pragma unroll
          for (int i = 0; i < BLOCKS; i++)
            wgmma<BN, 0, C::bwd>(acc[i], matrix_on(a, a_on + i * SOURCE_BYTES + kk * 32),
                                 matrix_on(b, b_on + part), 1, T());
        }
        wgmma_commit();
        wgmma_wait<1>();
        if (lane == 0 && unit + t > 0) {
          barrier_arrive(&s.b_empty[b_last]);
          if (t == 0)
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
      const int m[2] = { row_at(w.m, i, lane / 4), row_at(w.m, i, lane / 4 + 8) };

      write_sums<T, BN>(s.buffers + warp * BUFFER_BYTES, acc[i], bias, io, p, w.split, m, n0);
    }
  }
}

#endif

template <typename T, typename C, int BM, int BN>
static __global__ void __launch_bounds__(HOPPER_THREADS, 1)
  conv2d_hopper_kernel(gemm_buffers io, gemm_problem p)
{
#ifdef TI_HOPPER
  typedef conv_tile<C, BM, BN> tile;
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
    registers_less<hopper_registers<C::bwd>::producer>();
    if (threadIdx.x >= HOPPER_CONSUMERS + 32)
      bring_source<T, C, BM, BN>(s, io, p);
    else if (threadIdx.x == HOPPER_CONSUMERS)
      bring_weights<T, C, BM, BN>(s, io, p);
  } else {
    registers_more<hopper_registers<C::bwd>::consumer>();
    consume<T, C, BM, BN>(s, io, p);
  }
#endif
}

// ------------------------------------------------------------------ launchers

/* as in conv_grid */
template <typename C> static size_t count_patches(const gemm_problem *p)
{
  const size_t h = C::classes > 1 ? p->h : p->out_h, w = C::classes > 1 ? p->w : p->out_w;

  return (size_t)p->m / ((size_t)p->out_h * p->out_w) * ti_ceil_div(h, PATCH) *
         ti_ceil_div(w, PATCH);
}

/* else the product gathers every tap, as patches that are a quarter empty take longer */
static bool fits_patches(const gemm_problem *p)
{
  return p->up > 1 || count_patches<conv_plain<false>>(p) * PATCH_ROWS * 4 <= (size_t)p->m * 5;
}

/* the tile; sets k, of a class, and its splits */
template <typename C> static int plan_of(gemm_problem *p, int multiprocessors)
{
  size_t bytes[HOPPER_TILES], blocks[HOPPER_TILES];

  p->k = C::columns * C::taps * p->channels;
  for (int i = 0; i < HOPPER_TILES; i++) {
    const size_t patches = (size_t)hopper_tiles[i].m / PATCH_ROWS;

    bytes[i] = (patches * conv_unit<C>::rows + (size_t)hopper_tiles[i].n * C::taps) * 128;
    blocks[i] = C::classes * ti_ceil_div(count_patches<C>(p), patches) *
                ti_ceil_div((size_t)p->n, (size_t)hopper_tiles[i].n);
  }
  return hopper_plan(p, multiprocessors, conv_unit<C>::k, bytes, blocks);
}

template <typename T, typename C, int BM, int BN>
static textinv_status launch_tile(ti_exec *e, const char *name, const gemm_buffers &io,
                                  const gemm_problem &p)
{
  const size_t count = C::classes * ti_ceil_div(count_patches<C>(&p), BM / PATCH_ROWS) *
                       ti_ceil_div((size_t)p.n, BN) * p.splits;

  return launch(e, name, conv2d_hopper_kernel<T, C, BM, BN>, dim3(hopper_blocks(e, count)),
                HOPPER_THREADS, (size_t)conv_tile<C, BM, BN>::bytes, io, p);
}

template <typename C>
static textinv_status run(ti_exec *e, const char *name, ti_dtype dtype, gemm_buffers io,
                          gemm_problem p)
{
  const int tile = plan_of<C>(&p, ti_cuda_multiprocessors(e));
  textinv_status status = TEXTINV_OK;

  if (hopper_scratch(&p) > e->scratch_bytes) {
    p.splits = 1;
    p.split_k = p.k;
  }
  io.partial = (float *)e->scratch;
  TI_WITH_DTYPE_16(dtype, {
    TI_WITH_HOPPER_TILE(tile, status = launch_tile<T, C, BM, BN>(e, name, io, p));
    return status < 0 || p.splits == 1 ? status : gemm_sum<T>(e, io, p);
  });
}

/* run a statement with C bound to what is convolved */
#define TI_WITH_CONV(p, backward, ...)                                                             \
  if ((p).up > 1 && (backward)) {                                                                  \
    typedef conv_up_bwd C;                                                                         \
    __VA_ARGS__;                                                                                   \
  } else if ((p).up > 1) {                                                                         \
    typedef conv_up_fwd C;                                                                         \
    __VA_ARGS__;                                                                                   \
  } else if (backward) {                                                                           \
    typedef conv_plain<true> C;                                                                    \
    __VA_ARGS__;                                                                                   \
  } else {                                                                                         \
    typedef conv_plain<false> C;                                                                   \
    __VA_ARGS__;                                                                                   \
  }

int ti_conv2d_hopper_takes(const ti_exec *e, ti_dtype dtype, const ti_conv2d_shape *s)
{
  const size_t most = INT32_MAX, x = (size_t)s->n * s->h * s->w, y = (size_t)s->n * s->oh * s->ow;
  const int same = s->pad_top == 1 && s->pad_left == 1 && s->pad_bottom == 1 && s->pad_right == 1;

  return dtype != TI_F32 && ti_cuda_hopper(e) && s->kh == 3 && s->kw == 3 && s->stride == 1 &&
         (s->up == 1 || (s->up == 2 && same)) && s->cin % HOPPER_BK == 0 &&
         s->cout % HOPPER_BK == 0 && x * s->cin <= most && y * s->cout <= most;
}

size_t ti_conv2d_hopper_scratch(const ti_exec *e, gemm_problem p, int backward)
{
  if (!fits_patches(&p))
    return ti_gemm_hopper_scratch(e, &p);
  TI_WITH_CONV(p, backward, plan_of<C>(&p, ti_cuda_multiprocessors(e)));
  return hopper_scratch(&p);
}

textinv_status ti_conv2d_hopper(ti_exec *e, const char *name, ti_dtype dtype, gemm_buffers io,
                                gemm_problem p, int backward)
{
  p.tiled = 1;
  if (!fits_patches(&p))
    return ti_gemm_hopper(e, name, dtype, io, p, backward);
  TI_WITH_CONV(p, backward, return run<C>(e, name, dtype, io, p));
}
