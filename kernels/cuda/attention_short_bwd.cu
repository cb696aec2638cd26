/*
 * Attention of few keys on Hopper, backward: one kernel for dq, dk and dv. A block keeps a tile of
 * keys and values of a head in shared memory and walks over queries in steps, or over a part of
 * them whose dk and dv are added afterwards, in order. Two warpgroups own 64 queries of a step
 * each: they leave p and ds in shared memory, and then one makes dv of all, the other dk,
 * transposed, so that few keys do not have to fill the 64 rows of a product: channels do.
 *
 * A prompt's keys are one tile: dq is complete, and delta, the sum of do o, is that of p do v as
 * well. With more tiles it is made of do and o, and the dq of tiles are added afterwards.
 */
#include "attention_hopper.cuh"

/* heads of D columns; WHOLE: all keys are in one tile */
template <int D, bool WHOLE> struct short_bwd {
  static const bool whole = WHOLE;
  static const int d = D, keys = WHOLE ? TI_SHORT_KEYS : TI_SHORT_TILE, queries = 128;
  static const int threads = 2 * TI_WARPGROUP, stages = D <= 80 ? 2 : 1;
  static const int columns = D <= 80 ? D : D / 2; /* of dq at once */
  static const int bands = (D + 63) / 64;         /* of channels, the rows of dk and dv */
  static const int tile = queries * D, scores = queries * keys, key_tile = keys * D; /* values */
  /*
   * Queries and do of a step, p, ds, the next queries and do, keys, values. The last band reads on
   * behind a tile's last channel: what stands there is complete, and those rows are dropped.
   */
  static const int next_stage = 2 * tile + 2 * scores, key_at = stages * 2 * tile + 2 * scores;
  static const int bytes = (key_at + 2 * key_tile) * 2;
};

// ------------------------------------------------------------------ kernels

#ifdef TI_HOPPER

/* queries and do from row first on */
template <typename T, typename C>
static __device__ __forceinline__ void load_queries(T *stage, const attention_buffers &io,
                                                    const ti_attention_shape &s, int first)
{
  const int n = blockIdx.y / s.heads, head = blockIdx.y % s.heads, width = s.heads * s.d;

  load_planes<T, C::queries, C::d, C::threads>(
      stage, (const T *)io.q + (size_t)n * s.tq * s.q_stride + head * s.d, first, s.tq, s.q_stride,
      s.d);
  load_planes<T, C::queries, C::d, C::threads>(
      stage + C::tile, (const T *)io.d_o + (size_t)n * s.tq * width + head * s.d, first, s.tq,
      width, s.d);
  copy_commit();
}

/* log2 of the softmax's divisor of a row; 0 where there is none */
static __device__ __forceinline__ float row_lse(const attention_buffers &io,
                                                const ti_attention_shape &s, int row)
{
  return row < s.tq ? io.lse[(size_t)blockIdx.y * s.tq + row] * TI_LOG2_E : 0.0f;
}

/* this lane's chunks of o of rows row and row + 8: every fourth of a head's, from lane / 8 on */
template <typename C>
static __device__ __forceinline__ void load_o(uint4 (&o)[2][C::d / 32],
                                              const attention_buffers &io,
                                              const ti_attention_shape &s, int row)
{
  const int n = blockIdx.y / s.heads, head = blockIdx.y % s.heads;

#pragma unroll
  for (int half = 0; half < 2; half++) {
    const size_t at = ((size_t)n * s.tq + row + half * 8) * s.heads + head;

#pragma unroll
    for (int j = 0; j < C::d / 32; j++) {
      const int c = (j * 4 + threadIdx.x % 32 / 8) * 8;

      o[half][j] = row + half * 8 < s.tq && c < s.d
                       ? *(const uint4 *)((const uint16_t *)io.o + at * s.d + c)
                       : make_uint4(0, 0, 0, 0);
    }
  }
}

/*
 * delta, the sum of do o, of rows lane / 4 and that + 8 of a warp, from load_o() of rows lane % 8;
 * row: the latter in the tile of do. Eight lanes read 128 bytes of a plane.
 */
template <typename T, typename C>
static __device__ __forceinline__ void make_delta(float (&delta)[2],
                                                  const uint4 (&o)[2][C::d / 32], const T *do_tile,
                                                  int row)
{
#pragma unroll
  for (int half = 0; half < 2; half++) {
    float sum = 0.0f;

#pragma unroll
    for (int j = 0; j < C::d / 32; j++) {
      const int plane = j * 4 + threadIdx.x % 32 / 8;
      float a[8], b[8];

      load_vector(a, do_tile + (plane * C::queries + row + half * 8) * 8);
      load_vector(b, (const T *)&o[half][j]);
      /* begins with a product: a 0 would be in the register that dq begins with */
#pragma unroll
      for (int i = 0; i < 8; i++)
        sum = i + j ? fmaf(a[i], b[i], sum) : a[0] * b[0];
    }
    sum += shuffle_xor(sum, 8); /* four lanes share a row */
    sum += shuffle_xor(sum, 16);
    delta[half] = shuffle(sum, threadIdx.x % 32 / 4);
  }
}

/* scores to p, rounded too */
template <typename T, int KEYS>
static __device__ __forceinline__ void make_p(float (&x)[KEYS / 2], uint32_t (&p)[KEYS / 16][4],
                                              const float (&lse)[2], float scale)
{
#pragma unroll
  for (int i = 0; i < KEYS / 2; i++)
    x[i] = exp2_fast(fmaf(x[i], scale, -lse[i / 2 % 2]));
  round_operand<T, KEYS>(p, x);
}

/* p and do v to ds, rounded; delta is there unless WHOLE */
template <typename T, int KEYS, bool WHOLE>
static __device__ __forceinline__ void make_ds(float (&x)[KEYS / 2], const float (&dp)[KEYS / 2],
                                               uint32_t (&ds)[KEYS / 16][4], float (&delta)[2])
{
  if (WHOLE) {
#pragma unroll
    for (int i = 0; i < KEYS / 2; i++)
      delta[i / 2 % 2] = fmaf(x[i], dp[i], delta[i / 2 % 2]);
#pragma unroll
    for (int half = 0; half < 2; half++) { /* four lanes share a row */
      delta[half] += shuffle_xor(delta[half], 1);
      delta[half] += shuffle_xor(delta[half], 2);
    }
  }
#pragma unroll
  for (int i = 0; i < KEYS / 2; i++)
    x[i] *= dp[i] - delta[i / 2 % 2];
  round_operand<T, KEYS>(ds, x);
}

/* an operand in registers to its 16 rows, row and row + 8, of a tile of ROWS rows */
template <typename T, int ROWS, int N>
static __device__ __forceinline__ void store_planes(T *tile, const uint32_t (&f)[N / 16][4],
                                                    int row)
{
#pragma unroll
  for (int i = 0; i < N / 4; i++)
    *(uint32_t *)(tile + (i / 2 * ROWS + row + i % 2 * 8) * 8 + threadIdx.x % 4 * 2) =
        f[i / 4][i % 4];
}

/* start acc[channels, KEYS] += a[QUERIES, channels]^T b[QUERIES, KEYS] of two tiles */
template <typename T, typename C>
static __device__ __forceinline__ void start_sums(float (&acc)[C::bands][C::keys / 2], const T *a,
                                                  const T *b)
{
  const uint64_t channels = columns_operand<T, C::queries>(a);
  const uint64_t keys = columns_operand<T, C::queries>(b);

#pragma unroll
  for (int k = 0; k < C::queries / 16; k++) {
#pragma unroll
    for (int band = 0; band < C::bands; band++)
      wgmma<C::keys, 1, 1>(acc[band], matrix_on(channels, band * 8 * C::queries * 16 + k * 256),
                           matrix_on(keys, k * 256), 1, T());
  }
}

/* 16 rows of dq, or of a tile's part of it, columns from c on */
template <typename T, typename C>
static __device__ __forceinline__ void store_dq(const attention_buffers &io,
                                                const ti_attention_shape &s,
                                                const float (&dq)[C::columns / 2], int first, int c)
{
  const int n = blockIdx.y / s.heads, head = blockIdx.y % s.heads, lane = threadIdx.x % 32;

  if (!io.dq)
    return;
  if constexpr (C::whole) {
    store_rows<T, C::columns>((T *)io.dq + (size_t)n * s.tq * s.q_stride + head * s.d + c, dq,
                              first, s.tq, s.q_stride, s.d - c, s.scale, s.scale);
  } else {
#pragma unroll
    for (int i = 0; i < C::columns / 2; i += 2) {
      const int row = first + lane / 4 + i / 2 % 2 * 8, column = c + i / 4 * 8 + lane % 4 * 2;
      float *to = io.dq_partial + (((size_t)blockIdx.x * s.n + n) * s.tq + row) * s.heads * s.d;

      if (row < s.tq && column < s.d)
        *(float2 *)(to + head * s.d + column) = make_float2(dq[i] * s.scale, dq[i + 1] * s.scale);
    }
  }
}

/* dv of the first warpgroup, dk of the second, or their part of the queries */
template <typename T, typename C>
static __device__ __forceinline__ void store_sums(const attention_buffers &io,
                                                  const ti_attention_shape &s,
                                                  const float (&acc)[C::bands][C::keys / 2])
{
  const int n = blockIdx.y / s.heads, head = blockIdx.y % s.heads, lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32, is_k = warp / 4, stride = is_k ? s.k_stride : s.v_stride;
  const float factor = is_k ? s.scale : 1.0f;
  const size_t part = (size_t)s.n * s.heads * s.tk * s.d;
  float *partial = io.partial + (blockIdx.z + (is_k ? 0 : io.splits)) * part +
                   (size_t)blockIdx.y * s.tk * s.d;
  T *to = (T *)(is_k ? io.dk : io.dv) + (size_t)n * s.tk * stride + head * s.d;

  if (!io.dk)
    return;
#pragma unroll
  for (int i = 0; i < C::bands * C::keys / 2; i++) {
    const int band = i / (C::keys / 2), j = i % (C::keys / 2);
    const int c = band * 64 + warp % 4 * 16 + lane / 4 + j / 2 % 2 * 8;
    const int key = blockIdx.x * C::keys + j / 4 * 8 + lane % 4 * 2 + j % 2;

    if (key >= s.tk || c >= s.d)
      continue;
    if (io.splits == 1)
      from_float(to + (size_t)key * stride + c, acc[band][j] * factor);
    else
      partial[(size_t)key * s.d + c] = acc[band][j] * factor;
  }
}

#endif

/* blocks: tiles of keys, heads, parts of the queries */
template <typename T, typename C>
static __global__ void __launch_bounds__(C::threads, 1)
    attention_short_bwd_kernel(attention_buffers io, ti_attention_shape s)
{
#ifdef TI_HOPPER
  constexpr int D = C::d, KEYS = C::keys, QUERIES = C::queries, N = C::columns;
  T *stages = (T *)shared_memory(), *p_tile = stages + 2 * C::tile, *ds_tile = p_tile + C::scores;
  T *k_tile = stages + C::key_at, *v_tile = k_tile + C::key_tile;
  const int n = blockIdx.y / s.heads, head = blockIdx.y % s.heads, warp = threadIdx.x / 32;
  const int in_step = warp * 16 + threadIdx.x % 32 / 4; /* and in_step + 8 */
  const int o_in_step = warp * 16 + threadIdx.x % 8;
  const int first_key = blockIdx.x * KEYS;
  const T *k = (const T *)io.k + (size_t)n * s.tk * s.k_stride + head * s.d;
  const T *v = (const T *)io.v + (size_t)n * s.tk * s.v_stride + head * s.d;
  const int steps = (s.tq + QUERIES - 1) / QUERIES, per = (steps + io.splits - 1) / io.splits;
  const int begin = blockIdx.z * per, end = min(steps, begin + per);
  const float scale = s.scale * TI_LOG2_E;
  float acc[C::bands][KEYS / 2] = {};
  float next_lse[2] = {};

  load_planes<T, KEYS, D, C::threads>(k_tile, k, first_key, s.tk, s.k_stride, s.d);
  load_planes<T, KEYS, D, C::threads>(v_tile, v, first_key, s.tk, s.v_stride, s.d);
  copy_commit();
  if (begin < end) {
    load_queries<T, C>(stages, io, s, begin * QUERIES);
    next_lse[0] = row_lse(io, s, begin * QUERIES + in_step);
    next_lse[1] = row_lse(io, s, begin * QUERIES + in_step + 8);
  }
  for (int step = begin; step < end; step++) {
    const T *q_tile = stages + (step - begin) % C::stages * C::next_stage,
            *do_tile = q_tile + C::tile;
    const int row0 = step * QUERIES + in_step;
    const float lse[2] = { next_lse[0], next_lse[1] };
    float x[KEYS / 2], dp[KEYS / 2], delta[2] = {};
    uint32_t p[KEYS / 16][4], ds[KEYS / 16][4];
    uint4 o[2][D / 32];

    if constexpr (!C::whole)
      load_o<C>(o, io, s, step * QUERIES + o_in_step);
    copy_wait<0>();
    async_fence();
    __syncthreads(); /* the step is there; the one before, p and ds are no longer read */
    if (step + 1 < end) {
      if (C::stages > 1)
        load_queries<T, C>(stages + (step + 1 - begin) % C::stages * C::next_stage, io, s,
                           (step + 1) * QUERIES);
      next_lse[0] = row_lse(io, s, row0 + QUERIES);
      next_lse[1] = row_lse(io, s, row0 + QUERIES + 8);
    }
    wgmma_fence();
    start_rows<T, QUERIES, D, KEYS>(x, rows_operand<T, QUERIES>(q_tile, warp / 4 * 64),
                                    rows_operand<T, KEYS>(k_tile));
    wgmma_commit();
    start_rows<T, QUERIES, D, KEYS>(dp, rows_operand<T, QUERIES>(do_tile, warp / 4 * 64),
                                    rows_operand<T, KEYS>(v_tile));
    wgmma_commit();
    if constexpr (!C::whole)
      make_delta<T, C>(delta, o, do_tile, o_in_step);
    wgmma_wait<1>();
    wgmma_hold(x);
    if (s.causal || first_key + KEYS > s.tk) {
      const int visible[2] = { s.causal ? min(s.tk, row0 + 1) : s.tk,
                               s.causal ? min(s.tk, row0 + 9) : s.tk };

      mask_columns<KEYS>(x, first_key, visible);
    }
    /* a query beyond the last has zeros in q, do and sums: p = 1 and ds = 0 add nothing */
    make_p<T, KEYS>(x, p, lse, scale);
    store_planes<T, QUERIES, KEYS>(p_tile, p, in_step);
    wgmma_wait<0>();
    wgmma_hold(dp);
    make_ds<T, KEYS, C::whole>(x, dp, ds, delta);
    store_planes<T, QUERIES, KEYS>(ds_tile, ds, in_step);
    async_fence();
    __syncthreads(); /* p and ds of both warpgroups are there */
#pragma unroll
    for (int c = 0; c < D; c += N) {
      float dq[N / 2] = {};

      wgmma_hold(ds);
      wgmma_hold(dq);
#pragma unroll
      for (int band = 0; band < C::bands; band++)
        wgmma_hold(acc[band]);
      wgmma_fence();
      start_columns<T, KEYS, N>(dq, ds, columns_operand<T, KEYS>(k_tile + c * KEYS));
      wgmma_commit();
      if (c + N == D) { /* dk and dv are under way while dq is stored */
        start_sums<T, C>(acc, warp / 4 ? q_tile : do_tile, warp / 4 ? ds_tile : p_tile);
        wgmma_commit();
        wgmma_wait<1>();
      } else {
        wgmma_wait<0>();
      }
      wgmma_hold(ds);
      wgmma_hold(dq);
      store_dq<T, C>(io, s, dq, step * QUERIES + warp * 16, c);
    }
    wgmma_wait<0>();
#pragma unroll
    for (int band = 0; band < C::bands; band++)
      wgmma_hold(acc[band]);
    if (C::stages == 1 && step + 1 < end) {
      __syncthreads(); /* the step is no longer read */
      load_queries<T, C>(stages, io, s, (step + 1) * QUERIES);
    }
  }
  copy_wait<0>();
  store_sums<T, C>(io, s, acc);
#endif
}

/* the parts of dq, of tiles; blocks: rows of all heads */
template <typename T>
static __global__ void attention_sum_dq_kernel(attention_buffers io, ti_attention_shape s,
                                               int tiles)
{
  const int width = s.heads * s.d;
  const size_t row = blockIdx.x, part = (size_t)s.n * s.tq * width;

  for (int c = threadIdx.x * 4; c < width; c += blockDim.x * 4) {
    float sum[4] = {};

#pragma unroll 4
    for (int tile = 0; tile < tiles; tile++) {
      const float4 f = *(const float4 *)(io.dq_partial + tile * part + row * width + c);

      sum[0] += f.x, sum[1] += f.y, sum[2] += f.z, sum[3] += f.w;
    }
    const uint2 u = { pack(sum[0], sum[1], T()), pack(sum[2], sum[3], T()) };

    *(uint2 *)((T *)io.dq + row * s.q_stride + c) = u;
  }
}

// ------------------------------------------------------------------ launchers

static int tiles_of(const ti_attention_shape *s)
{
  return s->tk <= TI_SHORT_KEYS ? 1 : (int)ti_ceil_div((size_t)s->tk, TI_SHORT_TILE);
}

static size_t dkv_partial_bytes(const ti_attention_shape *s)
{
  const size_t splits = (size_t)ti_cuda_attention_short_splits(s);
  const size_t floats = splits > 1 ? 2 * splits * s->n * s->heads * s->tk * s->d : 0;

  return ti_ceil_div(floats * sizeof(float), 256) * 256;
}

int ti_cuda_attention_short_splits(const ti_attention_shape *s)
{
  const size_t blocks = (size_t)tiles_of(s) * s->n * s->heads;
  const size_t steps = ti_ceil_div((size_t)s->tq, short_bwd<48, true>::queries);
  size_t splits = TI_ENOUGH_BLOCKS / blocks;

  if (splits > steps)
    splits = steps;
  return splits < 1 ? 1 : (int)splits;
}

size_t ti_cuda_attention_short_bwd_scratch(const ti_attention_shape *s)
{
  const size_t tiles = (size_t)tiles_of(s);

  return dkv_partial_bytes(s) +
         (tiles > 1 ? tiles * s->n * s->tq * s->heads * s->d * sizeof(float) : 0);
}

template <typename T, typename C>
static textinv_status short_backward(ti_exec *e, const attention_buffers *b,
                                     const ti_attention_shape *s)
{
  const int tiles = tiles_of(s);
  const dim3 grid((unsigned)tiles, (unsigned)(s->n * s->heads), (unsigned)b->splits);
  attention_buffers io = *b;
  textinv_status status;

  io.dq_partial = (float *)((char *)b->partial + dkv_partial_bytes(s));
  status = launch(e, "attention_bwd", attention_short_bwd_kernel<T, C>, grid, C::threads, C::bytes,
                  io, *s);
  if (status < 0 || C::whole || !b->dq)
    return status;
  return launch(e, "attention_sum", attention_sum_dq_kernel<T>, (unsigned)(s->n * s->tq), 128, 0,
                io, *s, tiles);
}

textinv_status ti_cuda_attention_short_bwd(ti_exec *e, ti_dtype dtype, const attention_buffers *b,
                                           const ti_attention_shape *s)
{
  if (tiles_of(s) > 1) { /* wide heads alone */
    TI_WITH_DTYPE_16(dtype, return (short_backward<T, short_bwd<160, false> >(e, b, s)));
  }
  TI_WITH_DTYPE_16(dtype, TI_WITH_SHORT_HEAD(
                              s->d, return (short_backward<T, short_bwd<D, true> >(e, b, s))));
}
