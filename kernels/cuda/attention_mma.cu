/*
 * Attention on tensor cores, forward: a block keeps 64 M queries of a head and walks over the keys
 * in tiles of 64, with the running maximum and sum of each row (Dao, FlashAttention-2, 2023).
 *
 * A warp owns 16 M rows: with M = 2 it reads keys and values from shared memory half as often.
 * Queries and scores stay in registers; scores become the first operand of the second product. The
 * next keys are under way during softmax and p v, the values during q k^T.
 *
 * Where blocks are too few for the device, a block has two groups of warps, each of which takes
 * every other tile of keys; the second one's sums are added to the first one's at the end.
 */
#include "attention_mma.cuh"
#include "attention_softmax.cuh"

enum { KEYS = 64 };

/* as many as the registers allow for heads of D, and blocks that shall share a multiprocessor */
template <int D> struct row_groups {
  static const int count = D <= 80 ? 2 : 1, blocks = D <= 32 ? 3 : 2;
};

/* values of shared memory: queries, then keys and values of each group */
template <int D, int GROUPS> struct fwd_tiles {
  static const int rows = ATTENTION_ROWS * row_groups<D>::count;
  static const int of_group = KEYS * pitch<D>::values;
  static const int all = rows * pitch<D>::values + GROUPS * 2 * of_group;
};

// ------------------------------------------------------------------ kernels

/* adds what the second group of 128 threads holds of each row to what the first holds */
template <int D>
static __device__ __forceinline__ void join_groups(float *shared, float (&acc)[D / 2],
                                                   float (&top)[2], float (&sum)[2], float scale)
{
  float *at = shared + threadIdx.x % ATTENTION_THREADS;

  __syncthreads(); /* no tile is read any more */
  if (threadIdx.x >= ATTENTION_THREADS) {
#pragma unroll
    for (int i = 0; i < D / 2; i++)
      at[i * ATTENTION_THREADS] = acc[i];
#pragma unroll
    for (int half = 0; half < 2; half++) {
      at[(D / 2 + half) * ATTENTION_THREADS] = top[half];
      at[(D / 2 + 2 + half) * ATTENTION_THREADS] = sum[half];
    }
  }
  __syncthreads();
  if (threadIdx.x >= ATTENTION_THREADS)
    return;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const float other = at[(D / 2 + half) * ATTENTION_THREADS], m = fmaxf(top[half], other);
    const float mine = exp2_fast((top[half] - m) * scale), theirs = exp2_fast((other - m) * scale);

    sum[half] = sum[half] * mine + at[(D / 2 + 2 + half) * ATTENTION_THREADS] * theirs;
    top[half] = m;
#pragma unroll
    for (int j = half * 2; j < D / 2; j += 4) {
      acc[j] = acc[j] * mine + at[j * ATTENTION_THREADS] * theirs;
      acc[j + 1] = acc[j + 1] * mine + at[(j + 1) * ATTENTION_THREADS] * theirs;
    }
  }
}

template <typename T, int D, int GROUPS>
static __global__ void __launch_bounds__(GROUPS *ATTENTION_THREADS,
                                         GROUPS > 1 ? 1 : row_groups<D>::blocks)
  attention_fwd_kernel(attention_buffers io, ti_attention_shape s)
{
  constexpr int M = row_groups<D>::count, ROWS = ATTENTION_ROWS * M;
  const int group = threadIdx.x / ATTENTION_THREADS;
  const int warp = threadIdx.x % ATTENTION_THREADS / 32;
  T *q_tile = (T *)shared_memory();
  T *k_tile = q_tile + ROWS * pitch<D>::values + group * 2 * fwd_tiles<D, GROUPS>::of_group;
  T *v_tile = k_tile + fwd_tiles<D, GROUPS>::of_group;
  const int n = blockIdx.y / s.heads, head = blockIdx.y % s.heads;
  const int first = blockIdx.x * ROWS;
  const int row0 = first + warp * 16 * M + threadIdx.x % 32 / 4; /* and row0 + 8 i */
  const T *q = (const T *)io.q + (size_t)n * s.tq * s.q_stride + head * s.d;
  const T *k = (const T *)io.k + (size_t)n * s.tk * s.k_stride + head * s.d;
  const T *v = (const T *)io.v + (size_t)n * s.tk * s.v_stride + head * s.d;
  const int keys = s.causal ? min(s.tk, first + ROWS) : s.tk;
  const int unmasked = s.causal ? min(keys, first + 1) : keys; /* by every row */
  const int tiles = (keys + KEYS - 1) / KEYS;
  const float scale = s.scale * TI_LOG2_E;
  float acc[M][D / 2] = {}, top[M][2], sum[M][2] = {};
  uint32_t fq[M][D / 16][4];

  if (group == 0)
    load_tile<T, D, ROWS>(q_tile, q, first, s.tq, s.q_stride, s.d);
  copy_commit();
  load_tile<T, D, KEYS>(k_tile, k, group * KEYS, s.tk, s.k_stride, s.d);
  copy_commit();
  copy_wait<1>();
  __syncthreads();
#pragma unroll
  for (int m = 0; m < M; m++) {
    load_rows<T, D>(fq[m], q_tile, (warp * M + m) * 16);
    top[m][0] = top[m][1] = -INFINITY;
  }
  /* both groups take the same number of turns, for their barriers are the block's */
  for (int turn = 0; turn < tiles; turn += GROUPS) {
    const int tile = turn + group;
    float p[M][KEYS / 2] = {};

    copy_wait<0>();
    __syncthreads(); /* keys are there; the values before are no longer read */
    load_tile<T, D, KEYS>(v_tile, v, tile * KEYS, s.tk, s.v_stride, s.d);
    copy_commit();
    multiply_rows<T, D, KEYS, M>(p, fq, k_tile);
    __syncthreads(); /* keys are no longer read */
    if (tile + GROUPS < tiles)
      load_tile<T, D, KEYS>(k_tile, k, (tile + GROUPS) * KEYS, s.tk, s.k_stride, s.d);
    copy_commit();
    if (tile < tiles) {
#pragma unroll
      for (int m = 0; m < M; m++) {
        if ((tile + 1) * KEYS > unmasked) {
          const int row = row0 + m * 16;
          const int visible[2] = { s.causal ? min(keys, row + 1) : keys,
                                   s.causal ? min(keys, row + 9) : keys };

          mask_columns<KEYS>(p[m], tile * KEYS, visible);
        }
        softmax_step<KEYS, D>(p[m], acc[m], top[m], sum[m], scale);
      }
    }
    copy_wait<1>();
    __syncthreads(); /* values are there */
    if (tile < tiles)
      multiply_columns<T, D, KEYS, M>(acc, p, v_tile);
  }
  copy_wait<0>();

  if constexpr (GROUPS > 1) {
#pragma unroll
    for (int m = 0; m < M; m++)
      join_groups<D>((float *)shared_memory(), acc[m], top[m], sum[m], scale);
    if (group > 0)
      return;
  }
#pragma unroll
  for (int m = 0; m < M; m++)
    softmax_end<T, D>(io, s, acc[m], sum[m], top[m], first + (warp * M + m) * 16);
}

// ------------------------------------------------------------------ launchers

template <typename T, int D, int GROUPS>
static textinv_status fwd(ti_exec *e, const attention_buffers *b, const ti_attention_shape *s)
{
  const dim3 grid((unsigned)ti_ceil_div((size_t)s->tq, fwd_tiles<D, GROUPS>::rows),
                  (unsigned)(s->n * s->heads));

  return launch(e, "attention_fwd", attention_fwd_kernel<T, D, GROUPS>, grid,
                GROUPS * ATTENTION_THREADS, fwd_tiles<D, GROUPS>::all * sizeof(T), *b, *s);
}

/*
 * Wide heads whose blocks do not fill the device and have several tiles of keys: two groups, whose
 * tiles take more shared memory than devices of compute capability 8.6 and 8.9 have.
 */
static int is_split(const ti_exec *e, const ti_attention_shape *s)
{
  const size_t blocks = ti_ceil_div((size_t)s->tq, ATTENTION_ROWS) * s->n * s->heads;

  return ti_cuda_hopper(e) && !s->causal && s->d > 128 && s->tk > 2 * KEYS &&
         blocks <= (size_t)ti_cuda_multiprocessors(e);
}

textinv_status ti_cuda_attention_mma(ti_exec *e, ti_dtype dtype, const attention_buffers *b,
                                     const ti_attention_shape *s)
{
  if (is_split(e, s)) {
    TI_WITH_DTYPE_16(dtype, return (fwd<T, 160, 2>(e, b, s)));
  }
  TI_WITH_DTYPE_16(dtype, TI_WITH_HEAD(s->d, return (fwd<T, D, 1>(e, b, s))));
}
