/* The weights of one network, by the names that its builder asks for. */
#ifndef TI_WEIGHTS_H
#define TI_WEIGHTS_H

#include "model_dir.h"
#include "tape.h"

typedef struct ti_weights {
  ti_tensor_set *set; /* the mapped files */
  ti_weight *items;   /* in the order of names */
  size_t count;
  const char
    *prefix; /* that every name in the file has and builders leave out: "text_model." or "" */
  uint64_t parameters; /* values in all */
  uint64_t bytes;      /* of them in the files */
} ti_weights;

/*
 * Open DIR/component. Integer tensors (position ids) are left out; f64 is refused. With prefix,
 * names in the file may have it or not.
 */
textinv_status ti_weights_open(ti_weights *out, ti_error *error, const ti_model_dir *dir,
                               const char *component, const char *prefix);
void ti_weights_close(ti_weights *w); /* safe on a zeroed struct */

/* NULL when absent */
ti_weight *ti_weights_find(const ti_weights *w, const char *name);

/* what a builder works with */
typedef struct ti_net {
  ti_tape *t;
  const ti_weights *w;
} ti_net;

enum { TI_NAME_SIZE = 160 };

/* the tensor PREFIX.SUFFIX; fails the tape when it is missing */
ti_weight *ti_net_weight(const ti_net *net, const char *prefix, const char *suffix);
/* the same, NULL when it is missing */
ti_weight *ti_net_optional(const ti_net *net, const char *prefix, const char *suffix);

/* the layer of prefix.weight and, but for has_bias 0, prefix.bias */
ti_val ti_net_linear(const ti_net *net, const char *prefix, ti_val x, int has_bias,
                     ti_val residual);
/*
 * Attention of heads over the layers of prefix.names[0..2] (q, k, v): q of x, k and v of context,
 * which may be x. Where x has half the samples of context, q is taken for both halves.
 */
ti_val ti_net_attention(const ti_net *net, const char *prefix, const char *const names[3], ti_val x,
                        ti_val context, int has_bias, int heads, int causal);
/* of 3 x 3; those of 1 x 1 are ti_net_linear() */
ti_val ti_net_conv(const ti_net *net, const char *prefix, ti_val x, ti_val residual);
ti_val ti_net_conv_padded(const ti_net *net, const char *prefix, ti_val x, int stride,
                          const int pads[4], int up);
/* of x + shift; shift may be TI_NONE */
ti_val ti_net_groupnorm(const ti_net *net, const char *prefix, ti_val x, ti_val shift, int groups,
                        double eps, int silu);
ti_val ti_net_layernorm(const ti_net *net, const char *prefix, ti_val x, double eps);

/* x itself; fails the tape when prefix made it with other channels than the config says */
ti_val ti_net_expect(const ti_net *net, const char *prefix, ti_val x, int channels);

#endif /* TI_WEIGHTS_H */
