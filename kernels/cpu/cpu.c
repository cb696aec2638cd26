/* The table of the reference, and the loops of entries. */
#include "cpu.h"

#include <string.h>

#include "alloc.h"

const float *ti_cpu_floats(ti_dtype dtype, const void *x, size_t count, void **heap)
{
  *heap = NULL;
  if (dtype == TI_F32)
    return x;
  *heap = ti_calloc(count, sizeof(float));
  if (*heap)
    ti_convert(TI_F32, *heap, dtype, x, count);
  return *heap;
}

enum { CHUNK = 1 << 13 }; /* values that a thread takes at once */

typedef struct loop {
  ti_row row;
  ti_range range;
  size_t count;
  const void *user;
} loop;

static void run_rows(void *user, int thread, size_t from, size_t to)
{
  const loop *l = user;

  (void)thread;
  for (size_t i = from; i < to; i++)
    l->row(l->user, i);
}

void ti_for(const ti_exec *e, size_t values, size_t count, ti_row row, const void *user)
{
  loop l = { .row = row, .user = user };

  ti_team_for(e->team, ti_threads(e, values), count, run_rows, &l);
}

static void run_chunks(void *user, int thread, size_t from, size_t to)
{
  const loop *l = user;

  (void)thread;
  l->range(l->user, from * CHUNK, to * CHUNK < l->count ? to * CHUNK : l->count);
}

void ti_for_values(const ti_exec *e, size_t count, ti_range range, const void *user)
{
  loop l = { .range = range, .count = count, .user = user };

  ti_team_for(e->team, ti_threads(e, count), (count + CHUNK - 1) / CHUNK, run_chunks, &l);
}

void ti_kernels_init_cpu(ti_kernels *k)
{
  memset(k, 0, sizeof(*k));
  k->conv2d_fwd = ti_cpu_conv2d_fwd;
  k->conv2d_bwd = ti_cpu_conv2d_bwd;
  k->linear_fwd = ti_cpu_linear_fwd;
  k->linear_bwd = ti_cpu_linear_bwd;
  k->groupnorm_fwd = ti_cpu_groupnorm_fwd;
  k->groupnorm_bwd = ti_cpu_groupnorm_bwd;
  k->layernorm_fwd = ti_cpu_layernorm_fwd;
  k->layernorm_bwd = ti_cpu_layernorm_bwd;
  k->attention_fwd = ti_cpu_attention_fwd;
  k->attention_bwd = ti_cpu_attention_bwd;
  k->activation_fwd = ti_cpu_activation_fwd;
  k->activation_bwd = ti_cpu_activation_bwd;
  k->geglu_fwd = ti_cpu_geglu_fwd;
  k->geglu_bwd = ti_cpu_geglu_bwd;
  k->add = ti_cpu_add;
  k->sum_pixels = ti_cpu_sum_pixels;
  k->copy_columns = ti_cpu_copy_columns;
  k->upsample_fwd = ti_cpu_upsample_fwd;
  k->upsample_bwd = ti_cpu_upsample_bwd;
  k->timestep_fwd = ti_cpu_timestep_fwd;
  k->embedding_fwd = ti_cpu_embedding_fwd;
  k->embedding_bwd = ti_cpu_embedding_bwd;
  k->gather_fwd = ti_cpu_gather_fwd;
  k->gather_bwd = ti_cpu_gather_bwd;
  k->mse_fwd = ti_cpu_mse_fwd;
  k->mse_bwd = ti_cpu_mse_bwd;
  k->cast = ti_cpu_cast;
}
