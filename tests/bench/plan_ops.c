/*
 * The operations of one training step of a model on a GPU: how many records of each kind, and what
 * they read and write, without the weights. Nothing is computed; a record is one launch or, a
 * concat, two.
 *
 *   plan_ops MODEL [BATCH]      bf16, the model's own size
 */
#include <stdio.h>
#include <stdlib.h>

#include "api.h"

static const char *const names[] = {
  [TI_OP_CONV2D] = "conv2d",
  [TI_OP_CONV2D_BWD] = "conv2d_bwd",
  [TI_OP_LINEAR] = "linear",
  [TI_OP_LINEAR_BWD] = "linear_bwd",
  [TI_OP_GROUPNORM] = "groupnorm",
  [TI_OP_GROUPNORM_BWD] = "groupnorm_bwd",
  [TI_OP_LAYERNORM] = "layernorm",
  [TI_OP_LAYERNORM_BWD] = "layernorm_bwd",
  [TI_OP_ATTENTION] = "attention",
  [TI_OP_ATTENTION_BWD] = "attention_bwd",
  [TI_OP_ACTIVATION] = "activation",
  [TI_OP_ACTIVATION_BWD] = "activation_bwd",
  [TI_OP_GEGLU] = "geglu",
  [TI_OP_GEGLU_BWD] = "geglu_bwd",
  [TI_OP_ADD] = "add",
  [TI_OP_SUM_PIXELS] = "sum_pixels",
  [TI_OP_CONCAT] = "concat",
  [TI_OP_SLICE] = "slice",
  [TI_OP_UPSAMPLE] = "upsample",
  [TI_OP_UPSAMPLE_BWD] = "upsample_bwd",
  [TI_OP_TIMESTEP] = "timestep",
  [TI_OP_EMBEDDING] = "embedding",
  [TI_OP_EMBEDDING_BWD] = "embedding_bwd",
  [TI_OP_GATHER] = "gather",
  [TI_OP_GATHER_BWD] = "gather_bwd",
  [TI_OP_MSE] = "mse",
  [TI_OP_MSE_BWD] = "mse_bwd",
  [TI_OP_CAST] = "cast",
};

enum { NUM_OPS = sizeof(names) / sizeof(names[0]) };

static double bytes_of(const ti_tape *t, const ti_val *v, int count)
{
  double bytes = 0.0;

  for (int i = 0; i < count; i++)
    bytes += v[i] == TI_NONE ? 0.0 : (double)t->values[v[i]].bytes;
  return bytes;
}

static void show(const ti_tape *t)
{
  int counts[NUM_OPS] = { 0 }, sums[NUM_OPS] = { 0 };
  double bytes[NUM_OPS] = { 0 };

  for (int i = 0; i < t->num_records; i++) {
    const ti_record *r = &t->records[i];

    counts[r->op]++;
    bytes[r->op] += bytes_of(t, r->in, TI_MAX_IN) + bytes_of(t, r->out, TI_MAX_OUT);
    /* what a backward operation or a product adds lies there */
    sums[r->op] += r->op <= TI_OP_LAYERNORM_BWD && r->in[1] != TI_NONE;
  }
  printf("%-18s %8s %8s %10s\n", "operation", "records", "adding", "MB");
  for (int i = 0; i < NUM_OPS; i++) {
    if (counts[i])
      printf("%-18s %8d %8d %10.1f\n", names[i], counts[i], sums[i], bytes[i] * 1e-6);
  }
  printf("%d records, arena of %zu bytes\n", t->num_records, t->arena_bytes);
}

int main(int argc, char **argv)
{
  const int batch = argc > 2 ? atoi(argv[2]) : 4;
  textinv_session_params params;
  textinv_session *s = NULL;
  textinv_model *model = NULL;
  ti_net_plan p = { 0 };
  textinv_status status;

  if (argc < 2 || batch < 1) {
    fprintf(stderr, "usage: %s MODEL [BATCH]\n", argv[0]);
    return 2;
  }
  textinv_session_params_init(&params, sizeof(params));
  params.dtype = TEXTINV_BF16;
  if ((status = textinv_session_new(&s, &params)) >= 0 &&
      (status = textinv_model_open(&model, s, argv[1])) >= 0) {
    s->joins = 1; /* as on a GPU */

    const int side = model->unet.sample_size;
    const ti_plan_key key = { .kind = TI_PLAN_TRAIN, .n = batch, .h = side, .w = side,
                              .rows = { 1, model->num_encoders > 1 }, .learn = 1 };

    if ((status = ti_plan_record(&p, s, model, &key, 0)) >= 0)
      show(&p.plan.tape);
    ti_plan_free(&p.plan);
  }
  if (status < 0)
    fprintf(stderr, "plan_ops: %s\n", textinv_session_error(s));
  textinv_model_free(model);
  textinv_session_free(s);
  return status < 0;
}
