/*
 * The matrix product of gemm.cu on Hopper: 16 bits, channels a multiple of 64, n of 8.
 *
 * A block makes a BM x BN tile of y. Its last warpgroup gathers 64 values of k of a and b at a time
 * into a ring of buffers: 64 channels lie within one tap, so each row of a is one offset per tap.
 * The first two warpgroups multiply, each half of the rows, and write the tile through shared
 * memory.
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
  /* registers of a thread: together those of three threads under __launch_bounds__ */
  PRODUCER_REGISTERS = 88,
  CONSUMER_REGISTERS = 208,
  /* named barriers */
  PRODUCER_BARRIER = 1,
  CONSUMER_BARRIER = 2,
  GROUP_BARRIER = 3, /* and the next */
  HOPPER_MAX_SPLITS = 16
};

template <int BM, int BN> struct hopper_tile {
  static const int a_bytes = BM * 128, stage = a_bytes + BN * 128;
  static const int stages = 4 * stage + 8192 > 216 * 1024 ? 3 : stage > 36 * 1024 ? 4 : 6;
  static const int lag = stages - 2; /* buffers under way when one is waited for */
  static const int offsets_at = stages * stage, barriers_at = offsets_at + 2 * BM * 4;
  static const int bytes = barriers_at + 2 * stages * 8 + 1024; /* the ring is aligned to 1024 */
  static const int pitch = BN + 8; /* floats, of a row of y on its way: no bank conflicts */
};

// ------------------------------------------------------------------ kernels

#ifdef TI_HOPPER

struct hopper_shared {
  unsigned char *ring;
  int *offsets; /* [2][BM], of two taps in turn: first value of a row of a, -1 = zeros */
  uint64_t *full, *empty;
};

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

template <typename T, int BM, int BN, bool BWD>
static __device__ __forceinline__ void produce(const hopper_shared &s, const gemm_buffers &io,
                                               const gemm_problem &p, int m0, int n0, int begin,
                                               int steps)
{
  typedef hopper_tile<BM, BN> tile;
  const int thread = threadIdx.x % TI_WARPGROUP, row = thread / 8, chunk = thread % 8;
  const T *a = (const T *)io.a + chunk * 8, *b = (const T *)io.b;
  int tap = begin / p.channels, c = begin % p.channels, offsets[BM / 16];
  gemm_row rows[BM / TI_WARPGROUP];

#pragma unroll
  for (int i = 0; i < BM / TI_WARPGROUP; i++)
    rows[i] = row_of<BWD>(p, m0 + thread + i * TI_WARPGROUP);
  for (int step = 0; step < steps + tile::lag; step++) {
    if (step < steps) {
      const int slot = step % tile::stages;
      unsigned char *to = s.ring + slot * tile::stage;

      if (c == p.channels) {
        c = 0;
        tap++;
      }
      if (c == 0 || step == 0) {
        int *table = s.offsets + tap % 2 * BM;

#pragma unroll
        for (int i = 0; i < BM / TI_WARPGROUP; i++) {
          size_t at = 0;
          const bool valid = offset_of<BWD>(&at, p, rows[i], tap, 0);

          table[thread + i * TI_WARPGROUP] = valid ? (int)at : -1;
        }
        barrier_threads(PRODUCER_BARRIER, TI_WARPGROUP);
#pragma unroll
        for (int i = 0; i < BM / 16; i++)
          offsets[i] = table[row + i * 16];
      }
      if (step >= tile::stages)
        barrier_wait(&s.empty[slot], (step / tile::stages - 1) & 1);
      copy_a<T, BM>(to + swizzled<SWIZZLE_128>(row, chunk), a + c, offsets);
      copy_b<T, BN, BWD>(to + tile::a_bytes, b, p, n0, tap, c);
      c += HOPPER_BK;
    }
    copy_commit();
    if (step >= tile::lag) {
      copy_wait<tile::lag>();
      async_fence();
      barrier_arrive(&s.full[(step - tile::lag) % tile::stages]);
    }
  }
}

/* 64 rows of y, which the threads of a warpgroup hold, through shared memory */
template <typename T, int BN>
static __device__ __forceinline__ void write_rows(float *shared, const float (&acc)[BN / 2],
                                                  const gemm_buffers &io, const gemm_problem &p,
                                                  int m0, int n0)
{
  constexpr int PITCH = BN + 8;
  const int thread = threadIdx.x % TI_WARPGROUP, lane = thread % 32;
  const int row = thread / 32 * 16 + lane / 4, barrier = GROUP_BARRIER + threadIdx.x / TI_WARPGROUP;

#pragma unroll
  for (int j = 0; j < BN / 8; j++) {
#pragma unroll
    for (int half = 0; half < 2; half++)
      *(float2 *)(shared + (row + half * 8) * PITCH + j * 8 + lane % 4 * 2) =
          make_float2(acc[j * 4 + half * 2], acc[j * 4 + half * 2 + 1]);
  }
  barrier_threads(barrier, TI_WARPGROUP);
#pragma unroll 4
  for (int i = thread; i < 64 * (BN / 4); i += TI_WARPGROUP) {
    const int m = m0 + i / (BN / 4), n = n0 + i % (BN / 4) * 4;
    const size_t at = (size_t)m * p.n + n;
    const float4 f = *(const float4 *)(shared + i / (BN / 4) * PITCH + i % (BN / 4) * 4);

    if (m >= p.m || n >= p.n)
      continue;
    if (p.splits > 1)
      *(float4 *)(io.partial + (size_t)blockIdx.z * p.m * p.n + at) = f;
    else
      write_four<T>(io, at, n, f);
  }
  barrier_threads(barrier, TI_WARPGROUP);
}

template <typename T, int BM, int BN, bool BWD>
static __device__ __forceinline__ void consume(const hopper_shared &s, const gemm_buffers &io,
                                               const gemm_problem &p, int m0, int n0, int steps)
{
  typedef hopper_tile<BM, BN> tile;
  constexpr int BLOCKS = BM / 128; /* of 64 rows, of a warpgroup */
  const int group = threadIdx.x / TI_WARPGROUP;
  const uint64_t a = matrix_at(s.ring + group * BLOCKS * 8192, SWIZZLE_128, 1024);
  const uint64_t b = BWD ? matrix_at(s.ring + tile::a_bytes, SWIZZLE_64, 512, 4096)
                         : matrix_at(s.ring + tile::a_bytes, SWIZZLE_128, 1024);
  float acc[BLOCKS][BN / 2];

  for (int step = 0; step < steps; step++) {
    const int slot = step % tile::stages;

    barrier_wait(&s.full[slot], step / tile::stages & 1);
    wgmma_fence();
#pragma unroll
    for (int kk = 0; kk < HOPPER_BK / 16; kk++) {
#pragma unroll
      for (int i = 0; i < BLOCKS; i++)
        wgmma<BN, 0, BWD>(acc[i], matrix_on(a, slot * tile::stage + i * 8192 + kk * 32),
                          matrix_on(b, slot * tile::stage + kk * (BWD ? 1024 : 32)), step | kk, T());
    }
    wgmma_commit();
    wgmma_wait<1>();
    if (step > 0 && threadIdx.x % 32 == 0)
      barrier_arrive(&s.empty[(step - 1) % tile::stages]);
  }
  wgmma_wait<0>();
  barrier_threads(CONSUMER_BARRIER, HOPPER_CONSUMERS); /* the ring is no longer read */
#pragma unroll
  for (int i = 0; i < BLOCKS; i++) {
    wgmma_hold(acc[i]);
    write_rows<T, BN>((float *)s.ring + group * 64 * tile::pitch, acc[i], io, p,
                      m0 + (group * BLOCKS + i) * 64, n0);
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
  const int m0 = blockIdx.y * BM, n0 = blockIdx.x * BN;
  const int begin = blockIdx.z * p.split_k;
  const int steps = (min(begin + p.split_k, p.k) - begin) / HOPPER_BK;
  hopper_shared s;

  s.ring = shared + (-shared_address(shared) & 1023);
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
    registers_less<PRODUCER_REGISTERS>();
    produce<T, BM, BN, BWD>(s, io, p, m0, n0, begin, steps);
  } else {
    registers_more<CONSUMER_REGISTERS>();
    consume<T, BM, BN, BWD>(s, io, p, m0, n0, steps);
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
  const dim3 grid((unsigned)ti_ceil_div((size_t)p.n, BN), (unsigned)ti_ceil_div((size_t)p.m, BM),
                  (unsigned)p.splits);

  return launch(e, name, gemm_hopper_kernel<T, BM, BN, BWD>, grid, HOPPER_THREADS,
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
         p->m >= 64 && (size_t)p->m <= (size_t)65535 * 128 &&
         samples * p->h * p->w * p->channels <= most;
}

int ti_gemm_hopper_fits(const gemm_buffers *io)
{
  return ti_aligned(io->a, 16) && ti_aligned(io->b, 16) && ti_aligned(io->y, 8) &&
         ti_aligned(io->residual, 8) && ti_aligned(io->bias, 16);
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
