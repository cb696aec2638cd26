/*
 * The matrix product behind convolutions and linear layers, on tensor cores and in float.
 *
 *   y[m, n] = sum over k of a[m, k] b[n, k] + bias[n] + residual[m, n]
 *
 * m runs over the pixels of y, k over (tap, channel) of the pixels that one of them reads: a is
 * never built in memory (implicit GEMM). Forward, b is [n, taps, channels], so k runs along memory.
 * Backward (dx from dy) takes the same weights the other way round, [channels, taps, n]: n runs
 * along memory and fragments are transposed while they are loaded. One packed form serves both.
 *
 * A block makes a BM x BN tile of y from 32 values of k at a time, through STAGES buffers filled by
 * asynchronous copies. Where tiles are too few for the device, k is split between blocks: partial
 * sums go to scratch and a second kernel adds them in a fixed order. gemm_hopper.cu takes what it
 * can on devices of compute capability 9.0.
 */
#include "gemm.cuh"

enum { GEMM_BK = 32, GEMM_STAGES = 4, GEMM_MAX_SPLITS = 16, GEMM_NARROW = 16 /* n at most */ };

// ------------------------------------------------------------------ tensor cores

/* COUNT values from p, or zeros; four of them are aligned to 8 bytes */
template <int COUNT, typename T>
static __device__ __forceinline__ void load_some(T *to, const T *p, bool valid)
{
  if (COUNT == 4 && valid) {
    const uint2 four = *(const uint2 *)p;

    memcpy(to, &four, 8);
    return;
  }
#pragma unroll
  for (int i = 0; i < COUNT; i++) {
    if (valid)
      to[i] = p[i];
    else
      from_float(&to[i], 0.0f);
  }
}

/* 8 values of k of row m of a, into 16 bytes of shared memory, four or one at a time */
template <typename T, bool BWD>
static __device__ __forceinline__ void load_a(void *to, const T *a, const gemm_problem &p,
                                              const gemm_row &r, int k, int end)
{
  const bool fours = p.channels % 4 == 0 && (uintptr_t)a % 8 == 0;
  T t[8];

  if (fours) {
#pragma unroll
    for (int i = 0; i < 8; i += 4) {
      size_t at = 0;
      const int tap = (k + i) / p.channels;
      const bool valid =
          k + i < end && offset_of<BWD>(&at, p, r, tap, k + i - tap * p.channels);

      load_some<4>(t + i, a + at, valid);
    }
  } else {
#pragma unroll
    for (int i = 0; i < 8; i++) {
      size_t at = 0;
      const int tap = (k + i) / p.channels;
      const bool valid =
          k + i < end && offset_of<BWD>(&at, p, r, tap, k + i - tap * p.channels);

      load_some<1>(t + i, a + at, valid);
    }
  }
  memcpy(to, t, 16);
}

/* 8 values of b: of k forward, of n backward */
template <typename T, bool BWD>
static __device__ __forceinline__ void load_b(void *to, const T *b, const gemm_problem &p, int n,
                                              int k, int end)
{
  const int along = BWD ? p.n : p.k, at = BWD ? n : k, most = BWD ? p.n : end;
  const bool valid = k < end && n < p.n, fours = along % 4 == 0 && (uintptr_t)b % 8 == 0;
  const T *from = b + (valid ? weight_at<BWD>(p, n, k) : 0);
  T t[8];

  if (fours) {
#pragma unroll
    for (int i = 0; i < 8; i += 4)
      load_some<4>(t + i, from + i, valid && at + i < most);
  } else {
#pragma unroll
    for (int i = 0; i < 8; i++)
      load_some<1>(t + i, from + i, valid && at + i < most);
  }
  memcpy(to, t, 16);
}

/* a value of k as tap and channel, which goes on by a step at a time without divisions */
struct gemm_cursor {
  int tap, c;
};

static __device__ __forceinline__ gemm_cursor cursor_at(const gemm_problem &p, int k)
{
  return { k / p.channels, k % p.channels };
}

/* whether the tap is another one */
static __device__ __forceinline__ bool advance(gemm_cursor &at, const gemm_problem &p)
{
  const int tap = at.tap;

  for (at.c += GEMM_BK; at.c >= p.channels; at.c -= p.channels)
    at.tap++;
  return at.tap != tap;
}

/* byte offsets in a tile of rows of 32 values (64 bytes), and of rows of n values: no bank
 * conflicts */
static __device__ __forceinline__ int k_tile_at(int row, int chunk)
{
  return row * 64 + (chunk ^ (row >> 1 & 3)) * 16;
}

template <int BN> static __device__ __forceinline__ int n_tile_at(int row, int chunk)
{
  return row * BN * 2 + ((chunk & ~7) | ((chunk ^ row) & 7)) * 16;
}

/* PAIRS pairs of y[m, n ..], 8 values from each other; all that is read is, before anything is
 * written */
template <typename T, int PAIRS>
static __device__ __forceinline__ void write_pairs(const gemm_buffers &io, const gemm_problem &p,
                                                   float (&f)[PAIRS][2], int m, int n)
{
  const size_t at = (size_t)m * p.n + n;

  if (p.splits > 1 || p.n % 2) {
    float *partial = io.partial + (size_t)blockIdx.z * p.m * p.n + at;

#pragma unroll
    for (int j = 0; j < PAIRS; j++) {
#pragma unroll
      for (int c = 0; c < 2; c++) {
        if (n + j * 8 + c >= p.n)
          continue;
        if (p.splits > 1) {
          partial[j * 8 + c] = f[j][c];
          continue;
        }
        if (io.bias)
          f[j][c] += io.bias[n + j * 8 + c];
        if (io.residual)
          f[j][c] += to_float(((const T *)io.residual)[at + j * 8 + c]);
        from_float((T *)io.y + at + j * 8 + c, f[j][c]);
      }
    }
    return;
  }
  if (io.bias) {
#pragma unroll
    for (int j = 0; j < PAIRS; j++) {
      if (n + j * 8 < p.n) {
        f[j][0] += io.bias[n + j * 8];
        f[j][1] += io.bias[n + j * 8 + 1];
      }
    }
  }
  if (io.residual) {
#pragma unroll
    for (int j = 0; j < PAIRS; j++) {
      if (n + j * 8 < p.n) {
        const uint32_t two = *(const uint32_t *)((const T *)io.residual + at + j * 8);

        f[j][0] += to_float(((const T *)&two)[0]);
        f[j][1] += to_float(((const T *)&two)[1]);
      }
    }
  }
#pragma unroll
  for (int j = 0; j < PAIRS; j++) {
    if (n + j * 8 < p.n)
      *(uint32_t *)((T *)io.y + at + j * 8) = pack(f[j][0], f[j][1], T());
  }
}

template <typename T, int BM, int BN, int THREADS, bool BWD, bool VEC>
static __global__ void __launch_bounds__(THREADS, 2) gemm_kernel(gemm_buffers io, gemm_problem p)
{
  constexpr int WARPS_N = THREADS / 64, WM = BM / 2, WN = BN / WARPS_N;
  constexpr int A_BYTES = BM * 64, STAGE = A_BYTES + BN * 64;
  constexpr int A_ROWS = BM * 4 / THREADS, B_CHUNKS = BN * 4 / THREADS;
  unsigned char *shared = shared_memory();
  const T *a = (const T *)io.a, *b = (const T *)io.b;
  const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
  const int warp_m = warp / WARPS_N * WM, warp_n = warp % WARPS_N * WN;
  const int m0 = blockIdx.x * BM, n0 = blockIdx.y * BN;
  const int begin = blockIdx.z * p.split_k, end = min(begin + p.split_k, p.k);
  const int steps = (end - begin + GEMM_BK - 1) / GEMM_BK;
  gemm_row rows[VEC ? 1 : A_ROWS]; /* VEC: made anew for each tap, which leaves registers */
  /* of 16-byte copies: this thread's values of k of a, and of each chunk of b; offsets of its rows
   * of a in eights of values, -1 where the tap reads none */
  gemm_cursor ka = cursor_at(p, begin + thread % 4 * 8), kb[BWD ? B_CHUNKS : 1];
  int offsets[A_ROWS];
  float acc[WM / 16][WN / 8][4] = {};

#pragma unroll
  for (int i = 0; !VEC && i < A_ROWS; i++)
    rows[i] = row_of<BWD>(p, m0 + thread / 4 + i * (THREADS / 4));
#pragma unroll
  for (int i = 0; BWD && i < B_CHUNKS; i++)
    kb[i] = cursor_at(p, begin + (thread + i * THREADS) / (BN / 8));

  auto find_rows = [&] {
#pragma unroll
    for (int i = 0; i < A_ROWS; i++) {
      size_t at = 0;

      const gemm_row row = row_of<BWD>(p, m0 + thread / 4 + i * (THREADS / 4));

      offsets[i] = offset_of<BWD>(&at, p, row, ka.tap, 0) ? (int)(at / 8) : -1;
    }
  };
  /* steps are loaded in order */
  auto load_wide = [&](unsigned char *to, int k) {
    const int taps = p.kh * p.kw, left = end - k; /* of k */

#pragma unroll
    for (int i = 0; i < A_ROWS; i++) {
      const bool valid = thread % 4 * 8 < left && offsets[i] >= 0;

      copy_async(to + k_tile_at(thread / 4 + i * (THREADS / 4), thread % 4),
                 a + (valid ? (size_t)offsets[i] * 8 + ka.c : 0), valid);
    }
#pragma unroll
    for (int i = 0; i < B_CHUNKS; i++) {
      const int j = thread + i * THREADS;

      if (BWD) {
        const int n = n0 + j % (BN / 8) * 8;
        const bool valid = j / (BN / 8) < left && n < p.n;
        const size_t at = ((size_t)kb[i].c * taps + kb[i].tap % taps) * p.n + n;

        copy_async(to + A_BYTES + n_tile_at<BN>(j / (BN / 8), j % (BN / 8)), b + (valid ? at : 0),
                   valid);
        advance(kb[i], p);
      } else {
        const int n = n0 + j / 4;
        const bool valid = thread % 4 * 8 < left && n < p.n;

        copy_async(to + A_BYTES + k_tile_at(j / 4, j % 4),
                   b + (valid ? (size_t)n * p.k + k + thread % 4 * 8 : 0), valid);
      }
    }
    if (advance(ka, p))
      find_rows();
  };
  auto load = [&](int step) {
    unsigned char *to = shared + step % GEMM_STAGES * STAGE;
    const int k = begin + step * GEMM_BK;

    if (VEC) {
      load_wide(to, k);
    } else {
#pragma unroll
      for (int i = 0; i < A_ROWS; i++)
        load_a<T, BWD>(to + k_tile_at(thread / 4 + i * (THREADS / 4), thread % 4), a, p,
                       rows[VEC ? 0 : i], k + thread % 4 * 8, end);
#pragma unroll
      for (int i = 0; i < B_CHUNKS; i++) {
        const int j = thread + i * THREADS;

        if (BWD)
          load_b<T, BWD>(to + A_BYTES + n_tile_at<BN>(j / (BN / 8), j % (BN / 8)), b, p,
                         n0 + j % (BN / 8) * 8, k + j / (BN / 8), end);
        else
          load_b<T, BWD>(to + A_BYTES + k_tile_at(j / 4, j % 4), b, p, n0 + j / 4, k + j % 4 * 8,
                         end);
      }
    }
  };

  if (VEC)
    find_rows();
#pragma unroll
  for (int i = 0; i < GEMM_STAGES - 1; i++) {
    if (i < steps)
      load(i);
    copy_commit();
  }
  for (int step = 0; step < steps; step++) {
    const unsigned char *a_tile = shared + step % GEMM_STAGES * STAGE, *b_tile = a_tile + A_BYTES;

    copy_wait<GEMM_STAGES - 2>();
    __syncthreads(); /* the tile is there, and the buffer that load() fills next is no longer read
                      */
    if (step + GEMM_STAGES - 1 < steps)
      load(step + GEMM_STAGES - 1);
    copy_commit();

#pragma unroll
    for (int kk = 0; kk < 2; kk++) {
      uint32_t fa[WM / 16][4], fb[WN / 16][4];

#pragma unroll
      for (int i = 0; i < WM / 16; i++)
        load_matrix(fa[i], a_tile + k_tile_at(warp_m + i * 16 + lane % 16, kk * 2 + lane / 16));
#pragma unroll
      for (int j = 0; j < WN / 16; j++) {
        if (BWD)
          load_matrix_transposed(fb[j],
                                 b_tile + n_tile_at<BN>(kk * 16 + lane / 8 % 2 * 8 + lane % 8,
                                                        warp_n / 8 + j * 2 + lane / 16));
        else
          load_matrix(fb[j], b_tile + k_tile_at(warp_n + j * 16 + lane / 16 * 8 + lane % 8,
                                                kk * 2 + lane / 8 % 2));
      }
#pragma unroll
      for (int i = 0; i < WM / 16; i++) {
#pragma unroll
        for (int j = 0; j < WN / 8; j++)
          matrix_multiply(acc[i][j], fa[i], &fb[j / 2][j % 2 * 2], T());
      }
    }
  }
  copy_wait<0>();

#pragma unroll
  for (int i = 0; i < WM / 16; i++) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int m = m0 + warp_m + i * 16 + half * 8 + lane / 4, n = n0 + warp_n + lane % 4 * 2;
      float row[WN / 8][2];

#pragma unroll
      for (int j = 0; j < WN / 8; j++) {
        row[j][0] = acc[i][j][half * 2];
        row[j][1] = acc[i][j][half * 2 + 1];
      }
      if (m < p.m)
        write_pairs<T, WN / 8>(io, p, row, m, n);
    }
  }
}

// ------------------------------------------------------------------ float

/* 64 x 64 of y a block, 4 x 4 a thread: the check of the kernels above */
template <bool BWD>
static __global__ void __launch_bounds__(256) gemm_f32_kernel(gemm_buffers io, gemm_problem p)
{
  __shared__ float ta[16][65], tb[16][65];
  const float *a = (const float *)io.a, *b = (const float *)io.b;
  const int thread = threadIdx.x, m0 = blockIdx.x * 64, n0 = blockIdx.y * 64;
  const int tm = thread / 16 * 4, tn = thread % 16 * 4;
  float acc[4][4] = {};

  for (int k0 = 0; k0 < p.k; k0 += 16) {
    for (int i = thread; i < 64 * 16; i += 256) {
      const int k = k0 + i % 16, row = i / 16;
      const int bn = BWD ? i % 64 : row, bk = BWD ? k0 + i / 64 : k;
      size_t at = 0;

      ta[i % 16][row] = k < p.k && offset_of<BWD>(&at, p, row_of<BWD>(p, m0 + row), k / p.channels,
                                                  k % p.channels)
                            ? a[at] : 0.0f;
      tb[bk - k0][bn] = bk < p.k && n0 + bn < p.n ? b[weight_at<BWD>(p, n0 + bn, bk)] : 0.0f;
    }
    __syncthreads();
    for (int k = 0; k < 16; k++) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
#pragma unroll
        for (int j = 0; j < 4; j++)
          acc[i][j] = fmaf(ta[k][tm + i], tb[k][tn + j], acc[i][j]);
      }
    }
    __syncthreads();
  }
  for (int i = 0; i < 4; i++) {
    for (int j = 0; j < 4; j++) {
      const int m = m0 + tm + i, n = n0 + tn + j;
      const size_t at = (size_t)m * p.n + n;

      if (m < p.m && n < p.n)
        ((float *)io.y)[at] = acc[i][j] + (io.bias ? io.bias[n] : 0.0f) +
                              (io.residual ? ((const float *)io.residual)[at] : 0.0f);
    }
  }
}

// ------------------------------------------------------------------ launchers

/* tiles of 128 x 128 fill the device; else 64 x 64, or 64 x 16 of few columns */
static int gemm_is_large(const gemm_problem *p, int multiprocessors)
{
  return p->n > GEMM_NARROW &&
         ti_ceil_div((size_t)p->m, 128) * ti_ceil_div((size_t)p->n, 128) >= (size_t)multiprocessors;
}

/* into how many blocks k is best split; fills splits and split_k */
static void gemm_split(gemm_problem *p, ti_dtype dtype, int multiprocessors)
{
  const size_t tiles = ti_ceil_div((size_t)p->m, 64) * ti_ceil_div((size_t)p->n, 64);
  const size_t steps = ti_ceil_div((size_t)p->k, GEMM_BK);
  /* blocks that a multiprocessor has at once; more where a block has little to multiply */
  const size_t blocks = p->n <= GEMM_NARROW ? 8 : 2;
  size_t splits = 1;

  if (dtype != TI_F32 && !gemm_is_large(p, multiprocessors) &&
      tiles < blocks / 2 * (size_t)multiprocessors) {
    splits = blocks * (size_t)multiprocessors / tiles;
    if (splits > steps / 8) /* a split below 256 values of k does not pay */
      splits = steps / 8;
    if (splits > GEMM_MAX_SPLITS)
      splits = GEMM_MAX_SPLITS;
    if (splits < 1)
      splits = 1;
  }
  p->split_k = (int)(ti_ceil_div(steps, splits) * GEMM_BK);
  p->splits = (int)ti_ceil_div((size_t)p->k, (size_t)p->split_k);
}

static size_t gemm_scratch(const gemm_problem *p)
{
  return p->splits > 1 ? (size_t)p->splits * p->m * p->n * sizeof(float) : 0;
}

template <typename T, bool BWD, bool VEC>
static textinv_status gemm_launch(ti_exec *e, const char *name, const gemm_buffers &io,
                                  const gemm_problem &p, int large)
{
  const int tile = VEC && large ? 128 : 64;
  const dim3 grid((unsigned)ti_ceil_div((size_t)p.m, tile),
                  (unsigned)ti_ceil_div((size_t)p.n, tile), (unsigned)p.splits);
  const size_t shared = (size_t)GEMM_STAGES * 2 * tile * 64;

  if constexpr (VEC && !BWD) {
    if (p.n <= GEMM_NARROW)
      return launch(e, name, gemm_kernel<T, 64, GEMM_NARROW, 64, BWD, VEC>, grid, 64,
                    (size_t)GEMM_STAGES * (64 + GEMM_NARROW) * 64, io, p);
  }
  if constexpr (VEC) {
    if (large)
      return launch(e, name, gemm_kernel<T, 128, 128, 256, BWD, VEC>, grid, 256, shared, io, p);
  }
  return launch(e, name, gemm_kernel<T, 64, 64, 128, BWD, VEC>, grid, 128, shared, io, p);
}

template <typename T, bool BWD>
static textinv_status gemm_run_16(ti_exec *e, const char *name, const gemm_buffers &io,
                                  const gemm_problem &p, int large)
{
  /* 16-byte copies: along k of a, and along k or n of b */
  const int wide = p.channels % 8 == 0 && (!BWD || p.n % 8 == 0) && ti_aligned(io.a, 16) &&
                   ti_aligned(io.b, 16);
  textinv_status status = wide ? gemm_launch<T, BWD, true>(e, name, io, p, large)
                               : gemm_launch<T, BWD, false>(e, name, io, p, large);

  return status < 0 || p.splits == 1 ? status : gemm_sum<T>(e, io, p);
}

template <bool BWD>
static textinv_status gemm_run(ti_exec *e, const char *name, ti_dtype dtype, gemm_buffers io,
                               gemm_problem p)
{
  const int multiprocessors = ti_cuda_multiprocessors(e);

  if (ti_gemm_hopper_takes(e, dtype, &p) && ti_gemm_hopper_fits(&io))
    return ti_gemm_hopper(e, name, dtype, io, p, BWD);
  gemm_split(&p, dtype, multiprocessors);
  if (gemm_scratch(&p) > e->scratch_bytes) {
    p.splits = 1;
    p.split_k = (int)(ti_ceil_div((size_t)p.k, GEMM_BK) * GEMM_BK);
  }
  io.partial = (float *)e->scratch;
  if (dtype == TI_F32)
    return launch(
      e, name, gemm_f32_kernel<BWD>,
      dim3((unsigned)ti_ceil_div((size_t)p.m, 64), (unsigned)ti_ceil_div((size_t)p.n, 64)), 256, 0,
      io, p);
  TI_WITH_DTYPE_16(dtype, return gemm_run_16<T, BWD>(e, name, io, p,
                                                     gemm_is_large(&p, multiprocessors)));
}

size_t ti_cuda_gemm_scratch(const ti_exec *e, ti_dtype dtype, const gemm_problem *p)
{
  gemm_problem split = *p;

  if (ti_gemm_hopper_takes(e, dtype, p))
    return ti_gemm_hopper_scratch(e, p);
  gemm_split(&split, dtype, ti_cuda_multiprocessors(e));
  return gemm_scratch(&split);
}

textinv_status ti_cuda_gemm(ti_exec *e, const char *name, ti_dtype dtype, gemm_buffers io,
                            gemm_problem p, int backward)
{
  return backward ? gemm_run<true>(e, name, dtype, io, p) : gemm_run<false>(e, name, dtype, io, p);
}
