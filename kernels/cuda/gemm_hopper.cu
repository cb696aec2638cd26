/*
 * The matrix product of gemm.cu on Hopper: 16 bits, channels a multiple of 64, n of 8.
 *
 * A block makes BM x BN tiles of y, one after the other. Its last warpgroup gathers 64 values of k of
 * a and b at a time into a ring of buffers: 64 channels lie within one tap, so each row of a is one
 * offset per tap. The first two warpgroups multiply, each half of the rows, and write the tile while
 * the next one is already being gathered.
 *
 * A buffer is full when every copying thread has waited for its copies, fenced them and arrived;
 * empty when every multiplying warp is done with it.
 *
 * Rows of a are 64 channels, 128 bytes. So are rows of b forward, along k; backward its rows are
 * the 64 values of k, in atoms of 32 values of n.
 */
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
  SHARED_MOST = 227 * 1024 - 1024, /* the ring is aligned to 1024 */
  HOPPER_MAX_SPLITS = 16
};

template <int BM, int BN> struct hopper_tile {
  static const int a_bytes = BM * 128, stage = a_bytes + BN * 128;
  static const int rest = BUFFERS_BYTES + 2 * BM * 4;
  static const int fit = (SHARED_MOST - rest - 128) / stage, stages = fit < 6 ? fit : 6;
  static const int lag = stages - 2; /* buffers under way when one is waited for */
  static const int buffers_at = stages * stage, offsets_at = buffers_at + BUFFERS_BYTES;
  static const int barriers_at = buffers_at + rest;
  static const int bytes = barriers_at + 2 * stages * 8 + 1024;
};

/* registers of a thread: together those of three threads under __launch_bounds__ */
template <bool BWD> struct hopper_registers {
  static const int producer = BWD ? 72 : 88, consumer = BWD ? 216 : 208;
};

// ------------------------------------------------------------------ kernels

#ifdef TI_HOPPER

struct hopper_shared {
  unsigned char *ring, *buffers;
  int *offsets; /* [2][BM], of two taps in turn: first value of a row of a, -1 = zeros */
  uint64_t *full, *empty;
};

/* a tile of y and its part of k; tiles of n follow each other, then those of m, then the splits */
struct hopper_work {
  int m0, n0, split, begin, steps;
};

template <int BM, int BN>
static __device__ __forceinline__ int num_tiles(const gemm_problem &p)
{
  return (p.m + BM - 1) / BM * ((p.n + BN - 1) / BN) * p.splits;
}

template <int BM, int BN>
static __device__ __forceinline__ hopper_work work_of(const gemm_problem &p, int tile)
{
  const int across = (p.n + BN - 1) / BN, down = (p.m + BM - 1) / BM;
  hopper_work w;

  w.n0 = tile % across * BN;
  w.m0 = tile / across % down * BM;
  w.split = tile / across / down;
  w.begin = w.split * p.split_k;
  w.steps = (min(w.begin + p.split_k, p.k) - w.begin) / HOPPER_BK;
  return w;
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

/* and of BN values of n of b */
template <typename T, int BN, bool BWD>
static __device__ __forceinline__ void copy_b(unsigned char *to, const T *b, const gemm_problem &p,
                                              int n0, int tap, int c)
{
  const int thread = threadIdx.x % TI_WARPGROUP;

  if (BWD) {
    const int n = n0 + thread % 4 * 8, taps = p.kh * p.kw;
    const T *from = b + ((size_t)(c + thread / 4) * taps + tap % taps) * p.n;

    to += swizzled<SWIZZLE_64>(thread / 4, thread % 4);
#pragma unroll
    for (int half = 0; half < 2; half++) {
#pragma unroll
      for (int j = 0; j < BN / 32; j++) {
        const bool valid = n + j * 32 < p.n;

        copy_async(to + half * 2048 + j * 4096, from + (valid ? n + j * 32 : 0), valid);
      }
      from += (size_t)32 * taps * p.n;
    }
  } else {
    const T *from = b + (size_t)(n0 + thread / 8) * p.k + tap * p.channels + c + thread % 8 * 8;

    to += swizzled<SWIZZLE_128>(thread / 8, thread % 8);
#pragma unroll
    for (int i = 0; i < BN / 16; i++) {
      const bool valid = n0 + thread / 8 + i * 16 < p.n;

      copy_async(to + i * 2048, valid ? from + (size_t)i * 16 * p.k : b, valid);
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
  const int tiles = num_tiles<BM, BN>(p);
  const T *a = (const T *)io.a + chunk * 8, *b = (const T *)io.b;
  int count = 0, turn = 0;

  for (int i = blockIdx.x; i < tiles; i += gridDim.x) {
    const hopper_work w = work_of<BM, BN>(p, i);
    int tap = w.begin / p.channels, c = w.begin % p.channels, offsets[BM / 16];
    gemm_row rows[BM / TI_WARPGROUP];

#pragma unroll
    for (int j = 0; j < BM / TI_WARPGROUP; j++)
      rows[j] = row_of<BWD>(p, w.m0 + thread + j * TI_WARPGROUP);
    for (int step = 0; step < w.steps; step++, count++) {
      const int slot = count % tile::stages;
      unsigned char *to = s.ring + slot * tile::stage;

      if (c == p.channels) {
        c = 0;
        tap++;
      }
      if (c == 0 || step == 0) {
        int *table = s.offsets + turn * BM;

#pragma unroll
        for (int j = 0; j < BM / TI_WARPGROUP; j++) {
          size_t at = 0;
          const bool valid = offset_of<BWD>(&at, p, rows[j], tap, 0);

          table[thread + j * TI_WARPGROUP] = valid ? (int)at : -1;
        }
        barrier_threads(PRODUCER_BARRIER, TI_WARPGROUP);
#pragma unroll
        for (int j = 0; j < BM / 16; j++)
          offsets[j] = table[row + j * 16];
        turn ^= 1;
      }
      if (count >= tile::stages)
        barrier_wait(&s.empty[slot], (count / tile::stages - 1) & 1);
      copy_a<T, BM>(to + swizzled<SWIZZLE_128>(row, chunk), a + c, offsets);
      copy_b<T, BN, BWD>(to + tile::a_bytes, b, p, w.n0, tap, c);
      publish<tile::stages, tile::lag>(s, count);
      c += HOPPER_BK;
    }
  }
  for (int i = 0; i < tile::lag; i++)
    publish<tile::stages, tile::lag>(s, count + i);
}

/* let the residual of 16 rows of a warp come from memory while it multiplies */
template <typename T, int BN>
static __device__ __forceinline__ void prefetch_rows(const T *residual, const gemm_problem &p, int m0,
                                                     int n0)
{
  const int lane = threadIdx.x % 32, m = m0 + lane / 2, n = n0 + lane % 2 * 16;

  if (m < p.m) {
    const T *at = residual + (size_t)m * p.n + n;

#pragma unroll
    for (int i = 0; i < BN / 32; i++) {
      if (n + i * 32 < p.n)
        prefetch(at + i * 32);
    }
  }
}

/*
 * 16 rows of y that a warp holds, through its buffer, 32 columns at a time: 16 bytes a lane are read
 * and written. bias: of column lane of each 32.
 */
template <typename T, int BN>
static __device__ __forceinline__ void write_rows(unsigned char *buffer, const float (&acc)[BN / 2],
                                                  const float (&bias)[BN / 32],
                                                  const gemm_buffers &io, const gemm_problem &p,
                                                  int m0, int n0)
{
  constexpr int TURNS = BN / 32;
  const int lane = threadIdx.x % 32, row = lane / 4, chunk = lane % 4;
  const size_t first = (size_t)(m0 + row) * p.n + n0 + chunk * 8, down = (size_t)8 * p.n;
  float *bias_at = (float *)(buffer + BUFFER_BIAS_AT);

  /* rows row and row + 8; chunks are exchanged so that no banks conflict */
  auto place = [&](int half, int c) {
    const int r = row + half * 8;

    return buffer + r * 64 + (c ^ (r >> 1 & 3)) * 16;
  };
  auto inside = [&](int turn, int half) {
    return m0 + row + half * 8 < p.m && n0 + turn * 32 + chunk * 8 < p.n;
  };
#pragma unroll
  for (int turn = 0; turn < TURNS; turn++) {
    if (io.residual) {
      uint4 r[2];

#pragma unroll
      for (int half = 0; half < 2; half++)
        r[half] = inside(turn, half)
                      ? *(const uint4 *)((const T *)io.residual + first + half * down + turn * 32)
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
        *(uint4 *)((T *)io.y + first + half * down + turn * 32) =
            *(const uint4 *)place(half, chunk);
    }
  }
}

/* the same as partial sums */
template <int BN>
static __device__ __forceinline__ void write_partial(float *partial, const float (&acc)[BN / 2],
                                                     const gemm_problem &p, int m0, int n0)
{
  const int lane = threadIdx.x % 32, m = m0 + lane / 4, n = n0 + lane % 4 * 2;

#pragma unroll
  for (int half = 0; half < 2; half++) {
    float *to = partial + (size_t)(m + half * 8) * p.n + n;

#pragma unroll
    for (int j = 0; j < BN / 8; j++) {
      if (m + half * 8 < p.m && n + j * 8 < p.n)
        *(float2 *)(to + j * 8) = make_float2(acc[j * 4 + half * 2], acc[j * 4 + half * 2 + 1]);
    }
  }
}

template <typename T, int BM, int BN, bool BWD>
static __device__ __forceinline__ void consume(const hopper_shared &s, const gemm_buffers &io,
                                               const gemm_problem &p)
{
  typedef hopper_tile<BM, BN> tile;
  constexpr int BLOCKS = BM / 128; /* of 64 rows, of a warpgroup */
  const int group = threadIdx.x / TI_WARPGROUP, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int tiles = num_tiles<BM, BN>(p);
  const uint64_t a = matrix_at(s.ring + group * BLOCKS * 8192, SWIZZLE_128, 1024);
  const uint64_t b = BWD ? matrix_at(s.ring + tile::a_bytes, SWIZZLE_64, 512, 4096)
                         : matrix_at(s.ring + tile::a_bytes, SWIZZLE_128, 1024);
  float acc[BLOCKS][BN / 2], bias[BN / 32];
  int count = 0;

  for (int t = blockIdx.x; t < tiles; t += gridDim.x) {
    const hopper_work w = work_of<BM, BN>(p, t);

#pragma unroll
    for (int i = 0; i < BN / 32; i++)
      bias[i] = io.bias && w.n0 + i * 32 + lane < p.n ? io.bias[w.n0 + i * 32 + lane] : 0.0f;
    /* zeros, though the first product could drop what is there: that would keep it in registers */
#pragma unroll
    for (int i = 0; i < BLOCKS * BN / 2; i++)
      acc[i / (BN / 2)][i % (BN / 2)] = 0.0f;
    if (io.residual && p.splits == 1) {
#pragma unroll
      for (int i = 0; i < BLOCKS; i++)
        prefetch_rows<T, BN>((const T *)io.residual, p,
                             w.m0 + (group * BLOCKS + i) * 64 + warp % 4 * 16, w.n0);
    }
    for (int step = 0; step < w.steps; step++, count++) {
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
      const int m0 = w.m0 + (group * BLOCKS + i) * 64 + warp % 4 * 16;

      wgmma_hold(acc[i]);
      if (p.splits > 1)
        write_partial<BN>(io.partial + (size_t)w.split * p.m * p.n, acc[i], p, m0, w.n0);
      else
        write_rows<T, BN>(s.buffers + warp * BUFFER_BYTES, acc[i], bias, io, p, m0, w.n0);
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

/* tiles, the widest first */
static const struct {
  int m, n;
} tiles[] = { { 256, 160 }, { 256, 128 }, { 128, 160 }, { 128, 128 } };

/*
 * The tile and the split of k with the least estimated time, in cycles of a multiprocessor: a step
 * multiplies 2048 pairs of values a cycle, and its operands come with 32 bytes a cycle.
 */
static int hopper_plan(gemm_problem *p, int multiprocessors)
{
  const size_t steps = (size_t)p->k / HOPPER_BK;
  double least = INFINITY;
  size_t split = steps;
  int tile = 0;

  for (int i = 0; i < (int)(sizeof(tiles) / sizeof(tiles[0])); i++) {
    const double multiply = tiles[i].m * tiles[i].n / 32.0, copy = (tiles[i].m + tiles[i].n) * 4.0;
    const size_t blocks = ti_ceil_div((size_t)p->m, (size_t)tiles[i].m) *
                          ti_ceil_div((size_t)p->n, (size_t)tiles[i].n);

    for (size_t splits = 1; splits <= HOPPER_MAX_SPLITS && splits <= steps; splits++) {
      const size_t length = ti_ceil_div(steps, splits), used = ti_ceil_div(steps, length);
      const double waves = (double)ti_ceil_div(blocks * used, (size_t)multiprocessors);
      const double sum = 3000.0 + (double)used * p->m * p->n * 0.5 / multiprocessors;
      const double time =
          waves * ((double)length * (multiply > copy ? multiply : copy) + 2000.0 + multiply) +
          (used > 1 ? sum : 0.0);

      if (time < least) {
        least = time;
        split = length;
        tile = i;
      }
    }
  }
  p->split_k = (int)(split * HOPPER_BK);
  p->splits = (int)ti_ceil_div(steps, split);
  return tile;
}

template <typename T, int BM, int BN, bool BWD>
static textinv_status launch_tile(ti_exec *e, const char *name, const gemm_buffers &io,
                                  const gemm_problem &p)
{
  const size_t count = ti_ceil_div((size_t)p.n, BN) * ti_ceil_div((size_t)p.m, BM) * p.splits;
  const size_t most = (size_t)ti_cuda_multiprocessors(e);

  return launch(e, name, gemm_hopper_kernel<T, BM, BN, BWD>,
                dim3((unsigned)(count < most ? count : most)), HOPPER_THREADS,
                (size_t)hopper_tile<BM, BN>::bytes, io, p);
}

template <typename T, bool BWD>
static textinv_status run(ti_exec *e, const char *name, const gemm_buffers &io,
                          const gemm_problem &p, int tile)
{
  textinv_status status;

  switch (tile) {
  case 0: status = launch_tile<T, 256, 160, BWD>(e, name, io, p); break;
  case 1: status = launch_tile<T, 256, 128, BWD>(e, name, io, p); break;
  case 2: status = launch_tile<T, 128, 160, BWD>(e, name, io, p); break;
  default: status = launch_tile<T, 128, 128, BWD>(e, name, io, p); break;
  }
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

static size_t scratch_of(const gemm_problem *p)
{
  return p->splits > 1 ? (size_t)p->splits * p->m * p->n * sizeof(float) : 0;
}

size_t ti_gemm_hopper_scratch(const ti_exec *e, const gemm_problem *p)
{
  gemm_problem split = *p;

  hopper_plan(&split, ti_cuda_multiprocessors(e));
  return scratch_of(&split);
}

textinv_status ti_gemm_hopper(ti_exec *e, const char *name, ti_dtype dtype, gemm_buffers io,
                              gemm_problem p, int backward)
{
  const int tile = hopper_plan(&p, ti_cuda_multiprocessors(e));

  if (scratch_of(&p) > e->scratch_bytes) {
    p.splits = 1;
    p.split_k = p.k;
  }
  io.partial = (float *)e->scratch;
  TI_WITH_DTYPE_16(dtype, return backward ? run<T, true>(e, name, io, p, tile)
                                          : run<T, false>(e, name, io, p, tile));
}
