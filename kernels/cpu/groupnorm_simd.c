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
  size_t group; /* of all samples, the first */
  int c0, channels, per;
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

static void set_parameters(channels *ch, const ti_args *a, const block *k)
{
  memcpy(ch->weight, a->weight + k->c0, k->channels * sizeof(float));
  memcpy(ch->bias, a->bias + k->c0, k->channels * sizeof(float));
  for (int c = 0; a->shift && c < k->channels; c++)
    ch->shift[c] = ti_load(a->dtype, a->shift, k->vector + c);
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

static int blocks_of(const ti_groupnorm_shape *s)
{
  const int at_once = groups_at_once(s);

  return (s->groups + at_once - 1) / at_once;
}

static block block_of(const ti_groupnorm_shape *s, size_t i)
{
  const int at_once = groups_at_once(s), per = s->c / s->groups;
  const size_t n = i / blocks_of(s);
  const int g = (int)(i % blocks_of(s)) * at_once;
  const int count = s->groups - g < at_once ? s->groups - g : at_once;

  return (block){ .from = n * s->hw * s->c + (size_t)g * per,
                  .hw = s->hw,
                  .stride = s->c,
                  .vector = n * s->c + (size_t)g * per,
                  .group = n * s->groups + g,
                  .c0 = g * per,
                  .channels = count * per,
                  .per = per };
}

static TI_SIMD void fwd_block(const void *user, size_t i)
{
  const ti_args *a = user;
  const ti_groupnorm_shape *s = a->s;
  const block k = block_of(s, i);
  const int groups = k.channels / k.per;
  const double count = (double)k.hw * k.per;
  float *mean = a->mean + k.group, *rstd = a->rstd + k.group;
  channels ch = { .a = { 0 } };

  set_parameters(&ch, a, &k);
  TI_DISPATCH(a->dtype, moments_worker, &ch, a->x, &k, 0);
  for (int c = 0; c < k.channels; c++)
    ch.sum[c] += (double)k.hw * ch.shift[c];
  for (int g = 0; g < groups; g++) {
    mean[g] = (float)(group_sum(ch.sum, &k, g) / count);
    set_channels(&ch, &k, g, 0.0f, mean[g]);
  }
  /* a second pass: E[x^2] - mean^2 cancels when |mean| is large */
  memset(ch.sum, 0, sizeof(ch.sum));
  TI_DISPATCH(a->dtype, moments_worker, &ch, a->x, &k, 1);
  for (int g = 0; g < groups; g++) {
    rstd[g] = (float)(1.0 / sqrt(group_sum(ch.sum, &k, g) / count + s->eps));
    set_channels(&ch, &k, g, rstd[g], mean[g]);
  }
  if (s->silu)
    TI_DISPATCH(a->dtype, apply_worker, a->out, &ch, a->x, &k, 1);
  else
    TI_DISPATCH(a->dtype, apply_worker, a->out, &ch, a->x, &k, 0);
}

static TI_SIMD void bwd_block(const void *user, size_t i)
{
  const ti_args *a = user;
  const ti_groupnorm_shape *s = a->s;
  const block k = block_of(s, i);
  const int groups = k.channels / k.per;
  const double count = (double)k.hw * k.per;
  _Alignas(64) float g_avg[MAX_CHANNELS] = { 0 }, gx_avg[MAX_CHANNELS] = { 0 };
  channels ch = { .a = { 0 } };

  set_parameters(&ch, a, &k);
  for (int g = 0; g < groups; g++)
    set_channels(&ch, &k, g, a->rstd[k.group + g], a->mean[k.group + g]);
  if (s->silu)
    TI_DISPATCH(a->dtype, gradient_sums_worker, &ch, a->dy, a->x, &k, 1);
  else
    TI_DISPATCH(a->dtype, gradient_sums_worker, &ch, a->dy, a->x, &k, 0);
  for (int c = 0; c < k.channels; c++) {
    g_avg[c] = (float)(group_sum(ch.sum, &k, c / k.per) / count);
    gx_avg[c] = (float)(group_sum(ch.sum2, &k, c / k.per) / count);
  }
  if (s->silu)
    TI_DISPATCH(a->dtype, gradient_worker, a->out, &ch, g_avg, gx_avg, a->dy, a->x, a->other, &k,
                1);
  else
    TI_DISPATCH(a->dtype, gradient_worker, a->out, &ch, g_avg, gx_avg, a->dy, a->x, a->other, &k,
                0);
}

textinv_status TI_FN(groupnorm_fwd)(ti_exec *e, ti_dtype dtype, void *y, float *mean, float *rstd,
                                    const void *x, const void *shift, const float *weight,
                                    const float *bias, const ti_groupnorm_shape *s)
{
  ti_args a = { dtype, y, x, s, weight, bias, mean, rstd, .shift = shift };

  if (s->c / s->groups > MAX_CHANNELS)
    return ti_cpu_groupnorm_fwd(e, dtype, y, mean, rstd, x, shift, weight, bias, s);
  ti_for(e, (size_t)s->n * s->hw * s->c, (size_t)s->n * blocks_of(s), fwd_block, &a);
  return TEXTINV_OK;
}

textinv_status TI_FN(groupnorm_bwd)(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                    const void *x, const void *shift, const float *mean,
                                    const float *rstd, const float *weight, const float *bias,
                                    const void *other, const ti_groupnorm_shape *s)
{
  ti_args a = { dtype, dx, x, s, weight, bias, (float *)mean, (float *)rstd, shift, dy, other };

  if (s->c / s->groups > MAX_CHANNELS)
    return ti_cpu_groupnorm_bwd(e, dtype, dx, dy, x, shift, mean, rstd, weight, bias, other, s);
  ti_for(e, (size_t)s->n * s->hw * s->c, (size_t)s->n * blocks_of(s), bwd_block, &a);
  return TEXTINV_OK;
}

#endif /* TI_HAVE_SIMD */
