/*
 * Group normalisation with vectors; the formulas are in groupnorm.c.
 *
 * A worker takes a few whole groups of one sample, so many that their channels fill vectors: the
 * passes run down the rows with the channels side by side, and the block stays in the second cache.
 * Sums are kept by channel, 32 rows in float and those sums in double, so that the bits do not
 * depend on threads.
 */
#include "simd_kernels.h"

#include <math.h>
#include <string.h>

#include "simd.h"

#ifdef TI_HAVE_SIMD

enum { MAX_CHANNELS = 512, ROWS = 32 };

/* rows of x, from channel c0, of one sample and one worker's groups; vector: of shift, the same */
typedef struct block {
  size_t from, hw, stride, vector;
  int channels, per;
} block;

/* per channel: y = xhat weight + bias with xhat = (x - b) a, where b = mean - shift */
typedef struct channels {
  _Alignas(64) float a[MAX_CHANNELS], b[MAX_CHANNELS];
  _Alignas(64) float weight[MAX_CHANNELS], bias[MAX_CHANNELS], shift[MAX_CHANNELS];
  _Alignas(64) double sum[MAX_CHANNELS], sum2[MAX_CHANNELS];
} channels;

TI_SIMD_INLINE ti_mask mask_at(const block *k, int c)
{
  return ti_first(k->channels - c);
}

/* the same channels some rows on: the processor does not foresee pieces of rows */
TI_SIMD_INLINE void prefetch(ti_dtype dtype, const void *x, size_t at, const block *k)
{
  __builtin_prefetch((const char *)x + (at + ROWS * k->stride) * ti_dtype_size(dtype));
}

/* sum += x, or += (x - b)^2 with square */
TI_SIMD_INLINE void moments_worker(ti_dtype dtype, channels *ch, const void *x, const block *k,
                                   int square)
{
  for (size_t r = 0; r < k->hw;) {
    const size_t first = r, end = k->hw - r < ROWS ? k->hw : r + ROWS;

    for (int c = 0; c < k->channels; c += TI_LANES) {
      const ti_mask m = mask_at(k, c);
      const ti_vec b = ti_get(ch->b + c);
      ti_vec sum = ti_set(0.0f);

      for (r = first; r < end; r++) {
        const size_t at = k->from + r * k->stride + c;
        const ti_vec v = ti_load_mask(dtype, x, at, m);
        const ti_vec d = ti_keep(m, v - b);

        prefetch(dtype, x, at, k);
        sum = square ? ti_fma(d, d, sum) : sum + v;
      }
      ti_add_doubles(ch->sum + c, sum);
    }
  }
}

TI_SIMD_INLINE ti_vec normalised(const channels *ch, int c, ti_vec x)
{
  return (x - ti_get(ch->b + c)) * ti_get(ch->a + c);
}

TI_SIMD_INLINE ti_vec affine(const channels *ch, int c, ti_vec xhat)
{
  return ti_fma(xhat, ti_get(ch->weight + c), ti_get(ch->bias + c));
}

TI_SIMD_INLINE void apply_worker(ti_dtype dtype, void *y, const channels *ch, const void *x,
                                 const block *k, int silu)
{
  for (size_t r = 0; r < k->hw; r++) {
    for (int c = 0; c < k->channels; c += TI_LANES) {
      const ti_mask m = mask_at(k, c);
      const size_t at = k->from + r * k->stride + c;
      ti_vec z = affine(ch, c, normalised(ch, c, ti_load_mask(dtype, x, at, m)));

      prefetch(dtype, x, at, k);
      if (silu)
        z = z * ti_sigmoid(z);
      ti_store_mask(dtype, y, at, m, z);
    }
  }
}

/* gradient of xhat */
TI_SIMD_INLINE ti_vec inner_gradient(const channels *ch, int c, ti_vec dy, ti_vec xhat, int silu)
{
  const ti_vec g = dy * ti_get(ch->weight + c);
  const ti_vec one = ti_set(1.0f);

  if (!silu)
    return g;

  const ti_vec z = affine(ch, c, xhat), s = ti_sigmoid(z);

  return g * (s * ti_fma(z, one - s, one));
}

/* sum += g, sum2 += g xhat */
TI_SIMD_INLINE void gradient_sums_worker(ti_dtype dtype, channels *ch, const void *dy,
                                         const void *x, const block *k, int silu)
{
  for (size_t r = 0; r < k->hw;) {
    const size_t first = r, end = k->hw - r < ROWS ? k->hw : r + ROWS;

    for (int c = 0; c < k->channels; c += TI_LANES) {
      const ti_mask m = mask_at(k, c);
      ti_vec g_sum = ti_set(0.0f), gx_sum = ti_set(0.0f);

      for (r = first; r < end; r++) {
        const size_t at = k->from + r * k->stride + c;
        const ti_vec xhat = normalised(ch, c, ti_load_mask(dtype, x, at, m));
        const ti_vec g = inner_gradient(ch, c, ti_load_mask(dtype, dy, at, m), xhat, silu);

        prefetch(dtype, x, at, k);
        prefetch(dtype, dy, at, k);
        g_sum += g;
        gx_sum = ti_fma(g, xhat, gx_sum);
      }
      ti_add_doubles(ch->sum + c, g_sum);
      ti_add_doubles(ch->sum2 + c, gx_sum);
    }
  }
}

/* dx = a (g - g_avg - xhat gx_avg) + other; the averages are repeated for each channel */
TI_SIMD_INLINE void gradient_worker(ti_dtype dtype, void *dx, const channels *ch,
                                    const float *g_avg, const float *gx_avg, const void *dy,
                                    const void *x, const void *other, const block *k, int silu)
{
  for (size_t r = 0; r < k->hw; r++) {
    for (int c = 0; c < k->channels; c += TI_LANES) {
      const ti_mask m = mask_at(k, c);
      const size_t at = k->from + r * k->stride + c;
      const ti_vec more = other ? ti_load_mask(dtype, other, at, m) : ti_set(0.0f);
      const ti_vec xhat = normalised(ch, c, ti_load_mask(dtype, x, at, m));
      const ti_vec g = inner_gradient(ch, c, ti_load_mask(dtype, dy, at, m), xhat, silu);
      const ti_vec d = g - ti_get(g_avg + c) - xhat * ti_get(gx_avg + c);

      prefetch(dtype, x, at, k);
      prefetch(dtype, dy, at, k);
      if (other)
        prefetch(dtype, other, at, k);
      ti_store_mask(dtype, dx, at, m, ti_fma(d, ti_get(ch->a + c), more));
    }
  }
}

static double group_sum(const double *by_channel, const block *k, int group)
{
  double sum = 0.0;

  for (int i = 0; i < k->per; i++)
    sum += by_channel[group * k->per + i];
  return sum;
}

static void set_channels(channels *ch, const block *k, int group, float a, float b)
{
  for (int c = group * k->per; c < (group + 1) * k->per; c++) {
    ch->a[c] = a;
    ch->b[c] = b - ch->shift[c];
  }
}

static void set_parameters(ti_dtype dtype, channels *ch, const float *weight, const float *bias,
                           const void *shift, const block *k)
{
  memcpy(ch->weight, weight, k->channels * sizeof(float));
  memcpy(ch->bias, bias, k->channels * sizeof(float));
  for (int c = 0; shift && c < k->channels; c++)
    ch->shift[c] = ti_load(dtype, shift, k->vector + c);
}

static TI_SIMD void fwd_block(ti_dtype dtype, void *y, float *mean, float *rstd, const void *x,
                              const void *shift, const float *weight, const float *bias,
                              const block *k, const ti_groupnorm_shape *s)
{
  const int groups = k->channels / k->per;
  const double count = (double)k->hw * k->per;
  channels ch = { .a = { 0 } };

  set_parameters(dtype, &ch, weight, bias, shift, k);
  TI_DISPATCH(dtype, moments_worker, &ch, x, k, 0);
  for (int c = 0; c < k->channels; c++)
    ch.sum[c] += (double)k->hw * ch.shift[c];
  for (int g = 0; g < groups; g++) {
    mean[g] = (float)(group_sum(ch.sum, k, g) / count);
    set_channels(&ch, k, g, 0.0f, mean[g]);
  }
  /* a second pass: E[x^2] - mean^2 cancels when |mean| is large */
  memset(ch.sum, 0, sizeof(ch.sum));
  TI_DISPATCH(dtype, moments_worker, &ch, x, k, 1);
  for (int g = 0; g < groups; g++) {
    rstd[g] = (float)(1.0 / sqrt(group_sum(ch.sum, k, g) / count + s->eps));
    set_channels(&ch, k, g, rstd[g], mean[g]);
  }
  if (s->silu)
    TI_DISPATCH(dtype, apply_worker, y, &ch, x, k, 1);
  else
    TI_DISPATCH(dtype, apply_worker, y, &ch, x, k, 0);
}

static TI_SIMD void bwd_block(ti_dtype dtype, void *dx, const void *dy, const void *x,
                              const void *shift, const float *mean, const float *rstd,
                              const float *weight, const float *bias, const void *other,
                              const block *k, int silu)
{
  const int groups = k->channels / k->per;
  const double count = (double)k->hw * k->per;
  _Alignas(64) float g_avg[MAX_CHANNELS] = { 0 }, gx_avg[MAX_CHANNELS] = { 0 };
  channels ch = { .a = { 0 } };

  set_parameters(dtype, &ch, weight, bias, shift, k);
  for (int g = 0; g < groups; g++)
    set_channels(&ch, k, g, rstd[g], mean[g]);
  if (silu)
    TI_DISPATCH(dtype, gradient_sums_worker, &ch, dy, x, k, 1);
  else
    TI_DISPATCH(dtype, gradient_sums_worker, &ch, dy, x, k, 0);
  for (int c = 0; c < k->channels; c++) {
    g_avg[c] = (float)(group_sum(ch.sum, k, c / k->per) / count);
    gx_avg[c] = (float)(group_sum(ch.sum2, k, c / k->per) / count);
  }
  if (silu)
    TI_DISPATCH(dtype, gradient_worker, dx, &ch, g_avg, gx_avg, dy, x, other, k, 1);
  else
    TI_DISPATCH(dtype, gradient_worker, dx, &ch, g_avg, gx_avg, dy, x, other, k, 0);
}

/* groups of one worker: whole vectors where that is possible, and at least a cache line pair */
static int groups_at_once(const ti_groupnorm_shape *s)
{
  const int per = s->c / s->groups;
  int count = 1;

  while ((count * per < 64 || count * per % TI_LANES) && 2 * count * per <= MAX_CHANNELS &&
         2 * count <= s->groups)
    count *= 2;
  return count;
}

static block block_of(const ti_groupnorm_shape *s, int at_once, int blocks, int i, int *first)
{
  const int per = s->c / s->groups, g = i % blocks * at_once;
  const int count = s->groups - g < at_once ? s->groups - g : at_once;

  *first = i / blocks * s->groups + g;
  return (block){ .from = (size_t)(i / blocks) * s->hw * s->c + (size_t)g * per,
                  .hw = s->hw,
                  .stride = s->c,
                  .vector = (size_t)(i / blocks) * s->c + (size_t)g * per,
                  .channels = count * per,
                  .per = per };
}

typedef struct job {
  ti_dtype dtype;
  void *out;
  float *mean, *rstd; /* written by fwd */
  const void *dy, *x, *shift, *other;
  const float *weight, *bias;
  int at_once;
  const ti_groupnorm_shape *s;
} job;

static int blocks_of(const job *j)
{
  return (j->s->groups + j->at_once - 1) / j->at_once;
}

static void fwd_blocks(void *user, int thread, size_t from, size_t to)
{
  const job *j = user;

  (void)thread;
  for (size_t i = from; i < to; i++) {
    int first;
    const block k = block_of(j->s, j->at_once, blocks_of(j), (int)i, &first);
    const size_t c0 = (size_t)(first % j->s->groups) * k.per;

    fwd_block(j->dtype, j->out, j->mean + first, j->rstd + first, j->x, j->shift, j->weight + c0,
              j->bias + c0, &k, j->s);
  }
}

static void bwd_blocks(void *user, int thread, size_t from, size_t to)
{
  const job *j = user;

  (void)thread;
  for (size_t i = from; i < to; i++) {
    int first;
    const block k = block_of(j->s, j->at_once, blocks_of(j), (int)i, &first);
    const size_t c0 = (size_t)(first % j->s->groups) * k.per;

    bwd_block(j->dtype, j->out, j->dy, j->x, j->shift, j->mean + first, j->rstd + first,
              j->weight + c0, j->bias + c0, j->other, &k, j->s->silu);
  }
}

textinv_status TI_FN(groupnorm_fwd)(ti_exec *e, ti_dtype dtype, void *y, float *mean, float *rstd,
                                    const void *x, const void *shift, const float *weight,
                                    const float *bias, const ti_groupnorm_shape *s)
{
  job j = { .dtype = dtype,
            .out = y,
            .mean = mean,
            .rstd = rstd,
            .x = x,
            .shift = shift,
            .weight = weight,
            .bias = bias,
            .at_once = groups_at_once(s),
            .s = s };

  if (s->c / s->groups > MAX_CHANNELS)
    return ti_cpu_groupnorm_fwd(e, dtype, y, mean, rstd, x, shift, weight, bias, s);
  ti_for(e, (size_t)s->n * s->hw * s->c, (size_t)s->n * blocks_of(&j), fwd_blocks, &j);
  return TEXTINV_OK;
}

textinv_status TI_FN(groupnorm_bwd)(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                    const void *x, const void *shift, const float *mean,
                                    const float *rstd, const float *weight, const float *bias,
                                    const void *other, const ti_groupnorm_shape *s)
{
  job j = { .dtype = dtype,
            .out = dx,
            .mean = (float *)mean,
            .rstd = (float *)rstd,
            .dy = dy,
            .x = x,
            .shift = shift,
            .other = other,
            .weight = weight,
            .bias = bias,
            .at_once = groups_at_once(s),
            .s = s };

  if (s->c / s->groups > MAX_CHANNELS)
    return ti_cpu_groupnorm_bwd(e, dtype, dx, dy, x, shift, mean, rstd, weight, bias, other, s);
  ti_for(e, (size_t)s->n * s->hw * s->c, (size_t)s->n * blocks_of(&j), bwd_blocks, &j);
  return TEXTINV_OK;
}

#endif /* TI_HAVE_SIMD */
