/*
 * The engine's tape: a network recorded once as plain records, extended by its backward pass,
 * and laid out in one arena.
 *
 * A value is [n, h, w, c], NHWC, contiguous; a sequence of tokens is [n, 1, tokens, c]. Builders
 * append one record each and return its output. They check shapes; after the first failure the
 * tape is dead: builders return TI_NONE and ti_tape_status() tells why, so that a network reads as
 * a list of calls.
 *
 * Only values that depend on an input marked by ti_want_grad() get a gradient. Weights are frozen.
 */
#ifndef TI_TAPE_H
#define TI_TAPE_H

#include <stddef.h>

#include "kernels.h"

typedef int32_t ti_val;
enum { TI_NONE = -1 };

/* element types of values: the storage types of dtype.h, and ids */
typedef enum {
  TI_TYPE_F32 = TI_F32,
  TI_TYPE_F16 = TI_F16,
  TI_TYPE_BF16 = TI_BF16,
  TI_TYPE_I32
} ti_type;

typedef struct ti_value {
  int n, h, w, c;
  ti_type type;
  size_t bytes;
  ti_val base;    /* the value whose storage this one shares (a reshape), or itself */
  ti_val grad;    /* of base values; TI_NONE = none yet */
  int wants_grad; /* depends on what is learnt */
  int is_input, is_output;
  int is_constant; /* an input that several runs share */
  size_t offset;   /* in the arena, after ti_tape_plan() */
} ti_value;

typedef enum {
  TI_OP_CONV2D,           /* in x, residual        out y */
  TI_OP_CONV2D_BWD,       /* in dy, other dx       out dx */
  TI_OP_LINEAR,           /* in x, residual        out y */
  TI_OP_LINEAR_BWD,       /* in dy, other dx       out dx */
  TI_OP_GROUPNORM,        /* in x, shift           out y, mean, rstd */
  TI_OP_GROUPNORM_BWD,    /* in dy, other dx, x, mean, rstd, shift  out dx */
  TI_OP_LAYERNORM,        /* in x                  out y, mean, rstd */
  TI_OP_LAYERNORM_BWD,    /* in dy, other dx, x, mean, rstd  out dx */
  TI_OP_ATTENTION,        /* in q, k, v            out o, lse */
  TI_OP_ATTENTION_BWD,    /* in do, o, lse, q, k, v  out dq, dk, dv */
  TI_OP_ACTIVATION,       /* in x                  out y */
  TI_OP_ACTIVATION_BWD,   /* in dy, x            out dx */
  TI_OP_GEGLU,            /* in x                  out y */
  TI_OP_GEGLU_BWD,        /* in dy, x              out dx */
  TI_OP_ADD,              /* in a, b               out y */
  TI_OP_SUM_PIXELS,       /* in dy             out d shift */
  TI_OP_CONCAT,           /* in a, b               out y; s.columns copies a */
  TI_OP_SLICE,            /* in x                  out y */
  TI_OP_UPSAMPLE,         /* in x                  out y */
  TI_OP_UPSAMPLE_BWD,     /* in dy                 out dx */
  TI_OP_TIMESTEP,         /* in t                  out y */
  TI_OP_EMBEDDING,        /* in ids, rows          out y */
  TI_OP_EMBEDDING_BWD,    /* in dy, ids            out drows */
  TI_OP_GATHER,           /* in x, index           out y */
  TI_OP_GATHER_BWD,       /* in dy, index          out dx */
  TI_OP_MSE,              /* in pred, target       out loss */
  TI_OP_MSE_BWD,          /* in pred, target       out dpred */
  TI_OP_CAST              /* in x                  out y */
} ti_op;

enum { TI_MAX_IN = 6, TI_MAX_OUT = 3 };

typedef struct ti_record {
  ti_op op;
  ti_val in[TI_MAX_IN], out[TI_MAX_OUT]; /* TI_NONE where there is none */
  ti_weight *weight;                     /* matrix, table or norm weight */
  ti_weight *bias;                       /* bias, positions; may be NULL */
  union {
    ti_conv2d_shape conv2d;
    ti_linear_shape linear;
    ti_groupnorm_shape groupnorm;
    ti_layernorm_shape layernorm;
    struct {
      ti_attention_shape attention;
      int from[3]; /* the first column of q, k, v in the rows of their values */
    };
    ti_activation_shape activation;
    ti_geglu_shape geglu;
    ti_sum_pixels_shape sum_pixels;
    ti_copy_columns_shape columns;
    ti_upsample_shape upsample;
    ti_timestep_shape timestep;
    ti_embedding_shape embedding;
    ti_gather_shape gather;
    ti_mse_shape mse;
    size_t count; /* add, cast */
  } s;
  int block; /* recomputation block, 0 = none */
  /* set by the executor's prepare */
  void *prepared;
  const void *weight_data; /* plain values: of dtype for matrices and tables, else float */
  const void *bias_data;
} ti_record;

typedef struct ti_tape {
  ti_dtype dtype; /* of activations and matrices */
  ti_error *error;
  textinv_status status;
  ti_value *values;
  ti_record *records;
  int num_values, num_records, room_values, room_records;
  int block, num_blocks;
  int joins;          /* networks record products of one input as one, which pays on a GPU */
  float loss_scale;   /* all gradients are this times as large; a power of two, 1 but in f16 */
  size_t arena_bytes; /* after ti_tape_plan() */
  int num_constant;   /* the same: records at the front that read constants alone */
} ti_tape;

/* error outlives the tape */
void ti_tape_init(ti_tape *t, ti_dtype dtype, ti_error *error);
void ti_tape_free(ti_tape *t);
textinv_status ti_tape_status(const ti_tape *t);
/* fail the tape from a network: the message of ti_fail() is already set */
void ti_tape_fail(ti_tape *t, textinv_status status);

/* ------ builders; w and b as torch lays them out, b may be NULL, residual may be TI_NONE */
ti_val ti_input(ti_tape *t, ti_type type, int n, int h, int w, int c);
ti_val ti_want_grad(ti_tape *t, ti_val v);
ti_val ti_constant(ti_tape *t, ti_val v); /* of an input: the same in several runs */
void ti_output(ti_tape *t, ti_val v);     /* keep v until the end of a run */

/* pads are top, left, bottom, right */
ti_val ti_conv2d(ti_tape *t, ti_val x, ti_weight *w, ti_weight *b, int stride, const int pads[4],
                 int up, ti_val residual);
ti_val ti_conv2d_same(ti_tape *t, ti_val x, ti_weight *w, ti_weight *b, ti_val residual);
ti_val ti_linear(ti_tape *t, ti_val x, ti_weight *w, ti_weight *b, ti_val residual);
/* of x + shift; shift [n, 1, 1, c] or TI_NONE */
ti_val ti_groupnorm(ti_tape *t, ti_val x, ti_val shift, ti_weight *w, ti_weight *b, int groups,
                    double eps, int silu);
ti_val ti_layernorm(ti_tape *t, ti_val x, ti_weight *w, ti_weight *b, double eps);
ti_val ti_attention(ti_tape *t, ti_val q, ti_val k, ti_val v, int heads, int causal);
/* the same of values that lie side by side: q and [k | v], or TI_NONE and [q | k | v] */
ti_val ti_attention_joined(ti_tape *t, ti_val q, ti_val joined, int heads, int causal);
ti_val ti_activate(ti_tape *t, ti_val x, ti_activation kind);
ti_val ti_geglu(ti_tape *t, ti_val x);
ti_val ti_add(ti_tape *t, ti_val a, ti_val b);
ti_val ti_concat(ti_tape *t, ti_val a, ti_val b);
ti_val ti_upsample(ti_tape *t, ti_val x);
ti_val ti_crop(ti_tape *t, ti_val x, int h, int w); /* the upper left; has no backward */
ti_val ti_twice(ti_tape *t, ti_val x);              /* [n, ...] to [2 n, ...]: the samples, again */
ti_val ti_as_many(ti_tape *t, ti_val x, ti_val other); /* x, or twice where other is so long */
ti_val ti_timestep(ti_tape *t, ti_val timesteps, int dim, int flip, double shift);
ti_val ti_embedding(ti_tape *t, ti_val ids, ti_val rows, ti_weight *table, ti_weight *positions);
ti_val ti_gather(ti_tape *t, ti_val x, ti_val index);
ti_val ti_mse(ti_tape *t, ti_val pred, ti_val target);
ti_val ti_cast(ti_tape *t, ti_val x, ti_type type);
ti_val ti_reshape(ti_tape *t, ti_val x, int n, int h, int w, int c);

/* records between the two may be computed again in the backward pass instead of being kept */
void ti_block_begin(ti_tape *t);
void ti_block_end(ti_tape *t);

/*
 * Append the backward pass of the loss, which ti_mse gave, and set loss_scale. The inner values of
 * the first recompute of every num_of blocks are computed again: 0 = keep all, recompute = num_of =
 * all.
 */
textinv_status ti_tape_backward(ti_tape *t, int recompute, int num_of);
ti_val ti_tape_grad(const ti_tape *t, ti_val v); /* TI_NONE when it got none; times loss_scale */

/*
 * Drop records whose results nothing uses, move those that read constants alone to the front and
 * keep what they write, then lay all values out; sets arena_bytes and num_constant.
 */
textinv_status ti_tape_plan(ti_tape *t);

/* ------ for the files of this folder */
ti_value *ti_tape_value(const ti_tape *t, ti_val v);
ti_val ti_tape_new_value(ti_tape *t, ti_type type, int n, int h, int w, int c);
ti_record *ti_tape_append(ti_tape *t, ti_op op); /* NULL when the tape is dead */

#endif /* TI_TAPE_H */
