/*
 * Attention. Formulas: kernels/cpu/attention.c. Here are the entries, and plain kernels for float,
 * for heads above 160 (the autoencoder's) and for unaligned rows: one warp a row, products in
 * registers spread over lanes. The rest goes to tensor cores.
 */
#include "attention.h"
#include "common.cuh"

enum {
  WARPS = 4,
  MAX_HEAD = 512,
  MMA_HEAD = 160,
  MAX_SPLITS = 32,
  SUM_THREADS = 128
};

// ------------------------------------------------------------------ kernels

/* what a warp works on: row of head, and where heads of q, k, v, o begin */
template <typename T> struct warp_row {
  bool inside;
  int row;
  size_t at; /* [n, heads, tokens] */
  const T *q, *k, *v, *o, *d_o;
  size_t q_from, k_from, v_from, o_from;
};

template <typename T>
static __device__ warp_row<T> warp_row_of(const attention_buffers &io, const ti_attention_shape &s,
                                          int tokens)
{
  const size_t i = (size_t)blockIdx.x * WARPS + threadIdx.x / 32;
  const size_t head = i / tokens % s.heads, n = i / tokens / s.heads;
  warp_row<T> w;

  w.inside = i < (size_t)s.n * s.heads * tokens;
  w.row = (int)(i % tokens);
  w.at = i;
  w.q_from = n * s.tq * s.q_stride + head * s.d;
  w.k_from = n * s.tk * s.k_stride + head * s.d;
  w.v_from = n * s.tk * s.v_stride + head * s.d;
  w.o_from = n * s.tq * s.heads * s.d + head * s.d;
  w.q = (const T *)io.q + w.q_from;
  w.k = (const T *)io.k + w.k_from;
  w.v = (const T *)io.v + w.v_from;
  w.o = (const T *)io.o + w.o_from;
  w.d_o = (const T *)io.d_o + w.o_from;
  return w;
}

/* values lane, lane + 32, ... of a row of d, zeros behind */
template <typename T, int PER>
static __device__ __forceinline__ void load_row(float (&f)[PER], const T *row, int d)
{
#pragma unroll
  for (int i = 0; i < PER; i++) {
    const int c = threadIdx.x % 32 + 32 * i;

    f[i] = c < d ? to_float(row[c]) : 0.0f;
  }
}

template <typename T, int PER>
static __device__ __forceinline__ void store_row(T *row, const float (&f)[PER], int d, float factor)
{
#pragma unroll
  for (int i = 0; i < PER; i++) {
    const int c = threadIdx.x % 32 + 32 * i;

    if (c < d)
      from_float(&row[c], f[i] * factor);
  }
}

template <typename T, int PER>
static __device__ __forceinline__ float dot_row(const float (&f)[PER], const T *row, int d)
{
  float sum = 0.0f;

#pragma unroll
  for (int i = 0; i < PER; i++) {
    const int c = threadIdx.x % 32 + 32 * i;

    if (c < d)
      sum = fmaf(f[i], to_float(row[c]), sum);
  }
  return warp_sum(sum);
}

template <typename T, int PER>
static __device__ __forceinline__ void add_row(float (&f)[PER], float factor, const T *row, int d)
{
#pragma unroll
  for (int i = 0; i < PER; i++) {
    const int c = threadIdx.x % 32 + 32 * i;

    if (c < d)
      f[i] = fmaf(factor, to_float(row[c]), f[i]);
  }
}

template <typename T, int PER>
static __global__ void plain_fwd_kernel(attention_buffers io, ti_attention_shape s)
{
  const warp_row<T> w = warp_row_of<T>(io, s, s.tq);
  float q[PER], acc[PER] = {}, top = -INFINITY, sum = 0.0f;

  if (!w.inside)
    return;
  load_row(q, w.q + (size_t)w.row * s.q_stride, s.d);
  for (int j = 0; j < (s.causal ? min(s.tk, w.row + 1) : s.tk); j++) {
    const float x = s.scale * dot_row(q, w.k + (size_t)j * s.k_stride, s.d), m = fmaxf(top, x);
    const float shrink = expf(top - m), p = expf(x - m);

    sum = sum * shrink + p;
    top = m;
#pragma unroll
    for (int i = 0; i < PER; i++)
      acc[i] *= shrink;
    add_row(acc, p, w.v + (size_t)j * s.v_stride, s.d);
  }
  store_row((T *)io.out + w.o_from + (size_t)w.row * s.heads * s.d, acc, s.d, 1.0f / sum);
  if (io.lse_out && threadIdx.x % 32 == 0)
    io.lse_out[w.at] = top + logf(sum);
}

/* delta, and dq unless it is not wanted */
template <typename T, int PER>
static __global__ void plain_dq_kernel(attention_buffers io, ti_attention_shape s)
{
  const warp_row<T> w = warp_row_of<T>(io, s, s.tq);
  float q[PER], d_o[PER], acc[PER] = {};

  if (!w.inside)
    return;
  load_row(q, w.q + (size_t)w.row * s.q_stride, s.d);
  load_row(d_o, w.d_o + (size_t)w.row * s.heads * s.d, s.d);
  const float delta = dot_row(d_o, w.o + (size_t)w.row * s.heads * s.d, s.d);

  if (threadIdx.x % 32 == 0)
    io.delta[w.at] = delta;
  if (!io.dq)
    return;
  for (int j = 0; j < (s.causal ? min(s.tk, w.row + 1) : s.tk); j++) {
    const T *k = w.k + (size_t)j * s.k_stride;
    const float p = expf(s.scale * dot_row(q, k, s.d) - io.lse[w.at]);

    add_row(acc, p * (dot_row(d_o, w.v + (size_t)j * s.v_stride, s.d) - delta), k, s.d);
  }
  store_row((T *)io.dq + w.q_from + (size_t)w.row * s.q_stride, acc, s.d, s.scale);
}

template <typename T, int PER>
static __global__ void plain_dkv_kernel(attention_buffers io, ti_attention_shape s)
{
  const warp_row<T> w = warp_row_of<T>(io, s, s.tk);
  const size_t rows = w.at / s.tk * s.tq; /* of lse and delta of this head */
  float k[PER], v[PER], dk[PER] = {}, dv[PER] = {};

  if (!w.inside)
    return;
  load_row(k, w.k + (size_t)w.row * s.k_stride, s.d);
  load_row(v, w.v + (size_t)w.row * s.v_stride, s.d);
  for (int i = s.causal ? w.row : 0; i < s.tq; i++) {
    const T *q = w.q + (size_t)i * s.q_stride, *d_o = w.d_o + (size_t)i * s.heads * s.d;
    const float p = expf(s.scale * dot_row(k, q, s.d) - io.lse[rows + i]);
    const float ds = p * (dot_row(v, d_o, s.d) - io.delta[rows + i]);

    add_row(dv, p, d_o, s.d);
    add_row(dk, ds, q, s.d);
  }
  store_row((T *)io.dk + w.k_from + (size_t)w.row * s.k_stride, dk, s.d, s.scale);
  store_row((T *)io.dv + w.v_from + (size_t)w.row * s.v_stride, dv, s.d, 1.0f);
}

/* delta = sum of do o, eight lanes a row of a head; 32 bits number rows, 64 would divide slowly */
template <typename T>
static __global__ void attention_delta_kernel(attention_buffers io, ti_attention_shape s)
{
  const unsigned i = blockIdx.x * (blockDim.x / 8) + threadIdx.x / 8;
  const unsigned heads = (unsigned)s.heads, count = (unsigned)s.n * heads * (unsigned)s.tq;
  float sum = 0.0f;

  for (int c = threadIdx.x % 8 * 8; c < s.d && i < count; c += 64) {
    float a[8], b[8];

    load_vector(a, (const T *)io.d_o + (size_t)i * s.d + c);
    load_vector(b, (const T *)io.o + (size_t)i * s.d + c);
#pragma unroll
    for (int j = 0; j < 8; j++)
      sum = fmaf(a[j], b[j], sum);
  }
#pragma unroll
  for (int lanes = 4; lanes > 0; lanes /= 2)
    sum += shuffle_xor(sum, lanes);
  if (i < count && threadIdx.x % 8 == 0) {
    const unsigned token = i / heads, n = token / (unsigned)s.tq;

    io.delta[((size_t)n * heads + i % heads) * s.tq + token % (unsigned)s.tq] = sum;
  }
}

/* the parts of dk and dv; blocks: four values a thread, heads, dk and dv */
template <typename T>
static __global__ void attention_sum_kernel(attention_buffers io, ti_attention_shape s)
{
  const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x) * 4, of_head = s.tk * s.d;
  const int n = blockIdx.y / s.heads, head = blockIdx.y % s.heads, is_v = blockIdx.z;
  const size_t part = (size_t)s.n * s.heads * of_head;
  const float *from = io.partial + is_v * io.splits * part + (size_t)blockIdx.y * of_head + i;
  T *to = (T *)(is_v ? io.dv : io.dk) +
          ((size_t)n * s.tk + i / s.d) * (is_v ? s.v_stride : s.k_stride) + head * s.d + i % s.d;
  float sum[4] = {};

  if (i >= of_head)
    return;
#pragma unroll 4
  for (int k = 0; k < io.splits; k++) {
    const float4 f = *(const float4 *)(from + k * part);

    sum[0] += f.x, sum[1] += f.y, sum[2] += f.z, sum[3] += f.w;
  }
  const uint2 u = { pack(sum[0], sum[1], T()), pack(sum[2], sum[3], T()) };

  *(uint2 *)to = u;
}

// ------------------------------------------------------------------ launchers

static unsigned warp_blocks(const ti_attention_shape *s, int tokens)
{
  return (unsigned)ti_ceil_div((size_t)s->n * s->heads * tokens, WARPS);
}

template <typename T, int PER>
static textinv_status plain_fwd(ti_exec *e, const attention_buffers *b, const ti_attention_shape *s)
{
  return launch(e, "attention_fwd", plain_fwd_kernel<T, PER>, warp_blocks(s, s->tq), 32 * WARPS, 0,
                *b, *s);
}

template <typename T, int PER>
static textinv_status plain_bwd(ti_exec *e, const attention_buffers *b, const ti_attention_shape *s)
{
  const textinv_status status = launch(e, "attention_dq", plain_dq_kernel<T, PER>,
                                       warp_blocks(s, s->tq), 32 * WARPS, 0, *b, *s);

  if (status < 0 || !b->dk)
    return status;
  return launch(e, "attention_dkv", plain_dkv_kernel<T, PER>, warp_blocks(s, s->tk), 32 * WARPS, 0,
                *b, *s);
}

static size_t delta_bytes(const ti_attention_shape *s)
{
  return ti_ceil_div((size_t)s->n * s->heads * s->tq * sizeof(float), 256) * 256;
}

int ti_cuda_attention_is_wide(ti_dtype dtype, const attention_buffers *b,
                              const ti_attention_shape *s)
{
  const void *const p[] = { b->q, b->k, b->v, b->o, b->d_o, b->out, b->dq, b->dk, b->dv };

  for (size_t i = 0; i < sizeof(p) / sizeof(*p); i++) {
    if (!ti_aligned(p[i], 16))
      return 0;
  }
  return dtype != TI_F32 && s->d <= MMA_HEAD && s->d % 8 == 0 && s->q_stride % 8 == 0 &&
         s->k_stride % 8 == 0 && s->v_stride % 8 == 0 && s->n * s->heads <= 65535 && s->scale > 0;
}

int ti_cuda_attention_splits(const ti_attention_shape *s)
{
  const size_t blocks = ti_ceil_div((size_t)s->tk, 64) * s->n * s->heads;
  const size_t steps = ti_ceil_div((size_t)s->tq, 64);
  size_t splits = TI_ENOUGH_BLOCKS / blocks;

  if (splits > steps / 2)
    splits = steps / 2;
  if (splits > MAX_SPLITS)
    splits = MAX_SPLITS;
  return splits < 1 ? 1 : (int)splits;
}

extern "C" size_t ti_cuda_attention_scratch(const ti_exec *e, ti_dtype dtype,
                                            const ti_attention_shape *s, int backward)
{
  const int hopper = ti_cuda_hopper(e);
  const int splits = dtype == TI_F32 ? 1 : ti_cuda_attention_splits(s);
  const size_t partial =
      splits > 1 ? 2 * (size_t)splits * s->n * s->heads * s->tk * s->d * sizeof(float) : 0;
  size_t of_hopper = 0;

  if (hopper && ti_cuda_attention_is_long(dtype, s))
    of_hopper = backward ? ti_cuda_attention_ring_bwd_scratch(s)
                         : ti_cuda_attention_ring_scratch(s);
  else if (hopper && backward && ti_cuda_attention_is_short(dtype, s, 1))
    of_hopper = ti_cuda_attention_short_bwd_scratch(s);
  if (!backward)
    return of_hopper;
  return delta_bytes(s) + (of_hopper > partial ? of_hopper : partial);
}

static textinv_status check(ti_exec *e, ti_dtype dtype, const ti_attention_shape *s, int backward)
{
  const size_t needed = ti_cuda_attention_scratch(e, dtype, s, backward);

  if (s->d > MAX_HEAD)
    return ti_fail(e->error, TEXTINV_E_UNSUPPORTED,
                   "attention heads of %d channels; %d at most are possible", s->d, (int)MAX_HEAD);
  if (e->scratch_bytes < needed)
    return ti_fail(e->error, TEXTINV_E_INVALID,
                   "attention: %zu bytes of scratch where %zu are needed", e->scratch_bytes,
                   needed);
  return TEXTINV_OK;
}

extern "C" textinv_status ti_cuda_attention_fwd(ti_exec *e, ti_dtype dtype, void *o, float *lse,
                                                const void *q, const void *k, const void *v,
                                                const ti_attention_shape *s)
{
  attention_buffers b = {};
  const textinv_status status = check(e, dtype, s, 0);

  if (status < 0)
    return status;
  b.q = q;
  b.k = k;
  b.v = v;
  b.out = o;
  b.lse_out = lse;
  if (ti_cuda_attention_is_wide(dtype, &b, s)) {
    if (ti_cuda_attention_is_long(dtype, s) && ti_cuda_hopper(e))
      return ti_cuda_attention_ring(e, dtype, &b, s);
    if (ti_cuda_attention_is_short(dtype, s, 0) && ti_cuda_hopper(e))
      return ti_cuda_attention_short(e, dtype, &b, s);
    return ti_cuda_attention_mma(e, dtype, &b, s);
  }
  TI_WITH_DTYPE(dtype, return s->d <= 160 ? plain_fwd<T, 5>(e, &b, s) : plain_fwd<T, 16>(e, &b, s));
}

static textinv_status tensor_core_bwd(ti_exec *e, ti_dtype dtype, attention_buffers b,
                                      const ti_attention_shape *s)
{
  const size_t rows = (size_t)s->n * s->heads * s->tq;
  const dim3 sum_grid((unsigned)ti_ceil_div((size_t)s->tk * s->d, 4 * SUM_THREADS),
                      (unsigned)(s->n * s->heads), 2);
  const int is_short = ti_cuda_attention_is_short(dtype, s, 1) && ti_cuda_hopper(e);
  textinv_status status = TEXTINV_OK;

  b.splits = is_short ? ti_cuda_attention_short_splits(s) : ti_cuda_attention_splits(s);
  if (!is_short) {
    TI_WITH_DTYPE_16(dtype, status = launch(e, "attention_delta", attention_delta_kernel<T>,
                                            (unsigned)ti_ceil_div(rows, 16), 128, 0, b, *s));
  }
  if (status >= 0 && ti_cuda_attention_is_long(dtype, s) && ti_cuda_hopper(e))
    return ti_cuda_attention_ring_bwd(e, dtype, &b, s, b.partial);
  if (status >= 0)
    status = is_short ? ti_cuda_attention_short_bwd(e, dtype, &b, s)
                      : ti_cuda_attention_mma_bwd(e, dtype, &b, s);
  if (status < 0 || !b.dk || b.splits == 1)
    return status;
  TI_WITH_DTYPE_16(dtype, return launch(e, "attention_sum", attention_sum_kernel<T>, sum_grid,
                                        SUM_THREADS, 0, b, *s));
}

extern "C" textinv_status ti_cuda_attention_bwd(ti_exec *e, ti_dtype dtype, void *dq, void *dk,
                                                void *dv, const void *do_, const void *o,
                                                const float *lse, const void *q, const void *k,
                                                const void *v, const ti_attention_shape *s)
{
  attention_buffers b = {};
  const textinv_status status = check(e, dtype, s, 1);

  if (status < 0)
    return status;
  b.q = q;
  b.k = k;
  b.v = v;
  b.o = o;
  b.d_o = do_;
  b.lse = lse;
  b.dq = dq;
  b.dk = dk;
  b.dv = dv;
  b.delta = (float *)e->scratch;
  b.partial = (float *)((char *)e->scratch + delta_bytes(s));
  if (ti_cuda_attention_is_wide(dtype, &b, s))
    return tensor_core_bwd(e, dtype, b, s);
  TI_WITH_DTYPE(dtype, return s->d <= 160 ? plain_bwd<T, 5>(e, &b, s) : plain_bwd<T, 16>(e, &b, s));
}
