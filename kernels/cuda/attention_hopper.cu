/*
 * Attention on Hopper, forward, for heads of 64 at most, as in attention_mma.cu: a warpgroup owns 64
 * queries of one head, a block has two of them, which share the tiles of keys and values.
 *
 * A warpgroup's products and its softmax follow each other; the other warpgroups of the
 * multiprocessor (four in all) keep both units busy meanwhile. The next keys
 * and values are under way during a tile.
 */
#include "attention_hopper.cuh"

/* warpgroups of a block, keys of a tile, blocks that share a multiprocessor */
struct hopper_fwd {
  static const int groups = 2, keys = 128, blocks = 2;
  static const int threads = groups * TI_WARPGROUP, rows = groups * 64;
};

// ------------------------------------------------------------------ kernels

template <typename T, int D, int N>
static __global__ void __launch_bounds__(hopper_fwd::threads, hopper_fwd::blocks)
    attention_hopper_fwd_kernel(attention_buffers io, ti_attention_shape s)
{
#ifdef TI_HOPPER
  constexpr int KEYS = hopper_fwd::keys, ROWS = hopper_fwd::rows;
  constexpr int THREADS = hopper_fwd::threads, STAGE = KEYS * (D + N);
  T *q_tile = (T *)shared_memory(), *stages = q_tile + ROWS * D;
  const int n = blockIdx.y / s.heads, head = blockIdx.y % s.heads;
  const int first = blockIdx.x * ROWS, warp = threadIdx.x / 32;
  const int row0 = first + warp * 16 + threadIdx.x % 32 / 4; /* and row0 + 8 */
  const T *q = (const T *)io.q + (size_t)n * s.tq * s.q_stride + head * s.d;
  const T *k = (const T *)io.k + (size_t)n * s.tk * s.k_stride + head * s.d;
  const T *v = (const T *)io.v + (size_t)n * s.tk * s.v_stride + head * s.d;
  const int keys = s.causal ? min(s.tk, first + ROWS) : s.tk;
  const int unmasked = s.causal ? min(keys, first + warp / 4 * 64 + 1) : keys; /* by every row */
  const int tiles = (keys + KEYS - 1) / KEYS;
  const float scale = s.scale * TI_LOG2_E;
  const uint64_t q_operand = rows_operand<T, ROWS>(q_tile, warp / 4 * 64);
  float acc[N / 2] = {}, top[2] = { -INFINITY, -INFINITY }, sum[2] = {};

  clear_planes<T, ROWS, N, D, THREADS>(q_tile);
  clear_planes<T, KEYS, N, D, THREADS>(stages);
  clear_planes<T, KEYS, N, D, THREADS>(stages + STAGE);
  load_planes<T, ROWS, N, THREADS>(q_tile, q, first, s.tq, s.q_stride, s.d);
  load_planes<T, KEYS, N, THREADS>(stages, k, 0, s.tk, s.k_stride, s.d);
  load_planes<T, KEYS, N, THREADS>(stages + KEYS * D, v, 0, s.tk, s.v_stride, s.d);
  copy_commit();
  for (int tile = 0; tile < tiles; tile++) {
    const T *k_tile = stages + tile % 2 * STAGE, *v_tile = k_tile + KEYS * D;
    float x[KEYS / 2];
    uint32_t p[KEYS / 16][4];

    copy_wait<0>();
    async_fence();
    __syncthreads(); /* the tile is there; the one before is no longer read */
    if (tile + 1 < tiles) {
      T *next = stages + (tile + 1) % 2 * STAGE;

      load_planes<T, KEYS, N, THREADS>(next, k, (tile + 1) * KEYS, s.tk, s.k_stride, s.d);
      load_planes<T, KEYS, N, THREADS>(next + KEYS * D, v, (tile + 1) * KEYS, s.tk, s.v_stride,
                                       s.d);
      copy_commit();
    }
    wgmma_fence();
    start_rows<T, ROWS, D, KEYS>(x, q_operand, rows_operand<T, KEYS>(k_tile));
    wgmma_commit();
    wgmma_wait<0>();
    wgmma_hold(x);
    if ((tile + 1) * KEYS > unmasked) {
      const int visible[2] = { s.causal ? min(keys, row0 + 1) : keys,
                               s.causal ? min(keys, row0 + 9) : keys };

      mask_columns<KEYS>(x, tile * KEYS, visible);
    }
    softmax_step<KEYS, N>(x, acc, top, sum, scale);
    round_operand<T, KEYS>(p, x);
    wgmma_hold(p);
    wgmma_hold(acc);
    wgmma_fence();
    start_columns<T, KEYS, N>(acc, p, columns_operand<T, KEYS>(v_tile));
    wgmma_commit();
    wgmma_wait<0>();
    wgmma_hold(p);
    wgmma_hold(acc);
  }

  softmax_end(sum, top, io.lse_out ? io.lse_out + (size_t)blockIdx.y * s.tq : NULL, row0, s.tq,
              s.scale);
  store_rows<T, N>((T *)io.out + (size_t)n * s.tq * s.heads * s.d + head * s.d, acc,
                   first + warp * 16, s.tq, s.heads * s.d, s.d, 1.0f / sum[0], 1.0f / sum[1]);
#endif
}

// ------------------------------------------------------------------ launchers

template <typename T, int D, int N>
static textinv_status fwd(ti_exec *e, const attention_buffers *b, const ti_attention_shape *s)
{
  typedef hopper_fwd of;
  const dim3 grid((unsigned)ti_ceil_div((size_t)s->tq, of::rows), (unsigned)(s->n * s->heads));
  const size_t shared = (of::rows * D + 2 * of::keys * (D + N)) * sizeof(T);

  return launch(e, "attention_fwd", attention_hopper_fwd_kernel<T, D, N>, grid, of::threads, shared,
                *b, *s);
}

textinv_status ti_cuda_attention_hopper(ti_exec *e, ti_dtype dtype, const attention_buffers *b,
                                        const ti_attention_shape *s)
{
  TI_WITH_DTYPE_16(dtype, TI_WITH_HOPPER_HEAD(s->d, return fwd<T, D, N>(e, b, s)));
}
