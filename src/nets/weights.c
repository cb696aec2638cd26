/* The weights of one network, and the calls that fetch them by name. */
#include "weights.h"

#include <limits.h>
#include <string.h>

#include "alloc.h"
#include "format.h"

static int is_float(const ti_tensor *tensor)
{
  return tensor->dtype <= TI_FILE_BF16;
}

static textinv_status check_tensor(const ti_tensor_set *set, ti_error *error,
                                   const ti_tensor *tensor)
{
  const char *path = ti_tensor_set_path(set, tensor);

  if (!is_float(tensor))
    return ti_fail(error, TEXTINV_E_UNSUPPORTED, "%s: %s is %s; weights are F32, F16 or BF16", path,
                   tensor->name, tensor->dtype_name);
  if (tensor->rank < 1 || tensor->rank > 4)
    return ti_fail(error, TEXTINV_E_SHAPE, "%s: %s has %d dimensions, 1 to 4 are expected", path,
                   tensor->name, tensor->rank);
  for (int i = 0; i < tensor->rank; i++) {
    if (tensor->dims[i] < 1 || tensor->dims[i] > INT_MAX / 16)
      return ti_fail(error, TEXTINV_E_SHAPE, "%s: dimension %d of %s is %llu", path, i,
                     tensor->name, (unsigned long long)tensor->dims[i]);
  }
  return TEXTINV_OK;
}

/* buffers that some versions saved beside the weights, and what the training of CLIP and of BERT
 * alone needed */
static int is_unused(const char *name)
{
  const size_t len = strlen(name);
  static const char ids[] = "position_ids";

  return !strcmp(name, "logit_scale") || !strncmp(name, "to_logits.", 10) ||
         (len >= sizeof(ids) - 1 && !strcmp(name + len - (sizeof(ids) - 1), ids));
}

textinv_status ti_weights_open(ti_weights *out, ti_error *error, const ti_model_dir *dir,
                               const char *component, const char *prefix)
{
  textinv_status status;

  memset(out, 0, sizeof(*out));
  if ((status = ti_model_dir_weights(dir, error, component, &out->set)) < 0)
    return status;
  const size_t total = ti_tensor_set_count(out->set);

  out->items = ti_calloc(total, sizeof(*out->items));
  if (!out->items) {
    status = ti_fail_nomem(error, total * sizeof(*out->items), component);
    goto fail;
  }
  out->prefix = "";
  for (size_t i = 0; i < total; i++) {
    const ti_tensor *tensor = ti_tensor_set_tensor(out->set, i);
    ti_weight *w = &out->items[out->count];

    if (is_unused(tensor->name))
      continue;
    if ((status = check_tensor(out->set, error, tensor)) < 0)
      goto fail;
    w->name = tensor->name;
    w->data = tensor->data;
    w->count = (size_t)tensor->count;
    w->rank = tensor->rank;
    for (int k = 0; k < tensor->rank; k++)
      w->dims[k] = (int)tensor->dims[k];
    w->dtype = (ti_dtype)tensor->dtype;
    w->mapped = tensor->mapped;
    out->count++;
    out->parameters += tensor->count;
    out->bytes += tensor->count * ti_dtype_size(w->dtype);
    if (prefix && !strncmp(tensor->name, prefix, strlen(prefix)))
      out->prefix = prefix;
  }
  return TEXTINV_OK;
fail:
  ti_weights_close(out);
  return status;
}

void ti_weights_close(ti_weights *w)
{
  for (size_t i = 0; i < w->count; i++)
    ti_weight_drop(&w->items[i]);
  ti_free(w->items);
  ti_tensor_set_free(w->set);
  memset(w, 0, sizeof(*w));
}

ti_weight *ti_weights_find(const ti_weights *w, const char *name)
{
  size_t low = 0, high = w->count;

  while (low < high) {
    const size_t mid = low + (high - low) / 2;
    const int order = strcmp(name, w->items[mid].name);

    if (!order)
      return &w->items[mid];
    if (order < 0)
      high = mid;
    else
      low = mid + 1;
  }
  return NULL;
}

ti_weight *ti_net_optional(const ti_net *net, const char *prefix, const char *suffix)
{
  char name[TI_NAME_SIZE];
  const char *dot = *prefix && *suffix ? "." : "";
  ti_weight *w;

  ti_format(name, sizeof(name), "%s%s%s%s", net->w->prefix, prefix, dot, suffix);
  w = ti_weights_find(net->w, name);
  if (!w && *net->w->prefix) { /* the projection lies outside the prefix */
    ti_format(name, sizeof(name), "%s%s%s", prefix, dot, suffix);
    w = ti_weights_find(net->w, name);
  }
  return w;
}

/* the file that stands for the network in messages */
static const char *first_path(const ti_net *net)
{
  return net->w->count ? ti_tensor_set_path(net->w->set, ti_tensor_set_tensor(net->w->set, 0))
                       : "weights";
}

ti_weight *ti_net_weight(const ti_net *net, const char *prefix, const char *suffix)
{
  ti_weight *w = ti_net_optional(net, prefix, suffix);

  if (!w && net->t->status >= 0)
    ti_tape_fail(net->t,
                 ti_fail(net->t->error, TEXTINV_E_FORMAT, "%s: tensor %s%s%s%s is missing",
                         first_path(net), net->w->prefix, prefix, *prefix ? "." : "", suffix));
  return w;
}

ti_val ti_net_linear(const ti_net *net, const char *prefix, ti_val x, int has_bias, ti_val residual)
{
  ti_weight *w = ti_net_weight(net, prefix, "weight");
  ti_weight *b = has_bias ? ti_net_weight(net, prefix, "bias") : NULL;

  return ti_linear(net->t, x, w, b, residual);
}

/* the layers of prefix.names[0..count), whose outputs lie side by side */
static ti_val joined(const ti_net *net, const char *prefix, const char *const *names, int count,
                     ti_val x, int has_bias)
{
  ti_weight *parts[2][TI_MAX_PARTS], *w[2] = { NULL, NULL };
  char name[TI_NAME_SIZE];

  for (int k = 0; k <= has_bias && net->t->status >= 0; k++) {
    textinv_status status = TEXTINV_OK;

    for (int i = 0; i < count; i++) {
      ti_format(name, sizeof(name), "%s.%s", prefix, names[i]);
      parts[k][i] = ti_net_weight(net, name, k ? "bias" : "weight");
    }
    if (net->t->status >= 0)
      status = ti_weight_join(net->t->error, &w[k], parts[k], count);
    if (status < 0)
      ti_tape_fail(net->t, status);
  }
  return ti_linear(net->t, x, w[0], w[1], TI_NONE);
}

static ti_val layer(const ti_net *net, const char *prefix, const char *name, ti_val x, int has_bias)
{
  char full[TI_NAME_SIZE];

  ti_format(full, sizeof(full), "%s.%s", prefix, name);
  return ti_net_linear(net, full, x, has_bias, TI_NONE);
}

ti_val ti_net_attention(const ti_net *net, const char *prefix, const char *const names[3], ti_val x,
                        ti_val context, int has_bias, int heads, int causal)
{
  ti_tape *t = net->t;
  const int self = x == context;
  const ti_val q = self && t->joins ? TI_NONE : layer(net, prefix, names[0], x, has_bias);
  ti_val k, v;

  if (t->joins) {
    k = joined(net, prefix, names + !self, 2 + self, context, has_bias);
    return ti_attention_joined(t, ti_as_many(t, q, k), k, heads, causal);
  }
  k = layer(net, prefix, names[1], context, has_bias);
  v = layer(net, prefix, names[2], context, has_bias);
  return ti_attention(t, ti_as_many(t, q, k), k, v, heads, causal);
}

/* the weight of a convolution: what it makes has the size that its network counts on */
static ti_weight *kernel(const ti_net *net, const char *prefix)
{
  ti_weight *w = ti_net_weight(net, prefix, "weight");

  if (w && (w->rank != 4 || w->dims[2] != 3 || w->dims[3] != 3))
    ti_tape_fail(net->t, ti_fail(net->t->error, TEXTINV_E_SHAPE,
                                 "%s: %s is no kernel of 3 x 3 (%d x %d)", first_path(net), w->name,
                                 w->rank > 2 ? w->dims[2] : 1, w->rank > 3 ? w->dims[3] : 1));
  return w;
}

ti_val ti_net_conv(const ti_net *net, const char *prefix, ti_val x, ti_val residual)
{
  return ti_conv2d_same(net->t, x, kernel(net, prefix), ti_net_weight(net, prefix, "bias"),
                        residual);
}

ti_val ti_net_conv_padded(const ti_net *net, const char *prefix, ti_val x, int stride,
                          const int pads[4], int up)
{
  return ti_conv2d(net->t, x, kernel(net, prefix), ti_net_weight(net, prefix, "bias"), stride, pads,
                   up, TI_NONE);
}

ti_val ti_net_groupnorm(const ti_net *net, const char *prefix, ti_val x, ti_val shift, int groups,
                        double eps, int silu)
{
  ti_weight *w = ti_net_weight(net, prefix, "weight"), *b = ti_net_weight(net, prefix, "bias");

  return ti_groupnorm(net->t, x, shift, w, b, groups, eps, silu);
}

ti_val ti_net_layernorm(const ti_net *net, const char *prefix, ti_val x, double eps)
{
  ti_weight *w = ti_net_weight(net, prefix, "weight"), *b = ti_net_weight(net, prefix, "bias");

  return ti_layernorm(net->t, x, w, b, eps);
}

ti_val ti_net_expect(const ti_net *net, const char *prefix, ti_val x, int channels)
{
  if (x == TI_NONE || net->t->status < 0)
    return x;
  const int met = ti_tape_value(net->t, x)->c;

  if (met != channels) {
    ti_tape_fail(net->t, ti_fail(net->t->error, TEXTINV_E_SHAPE,
                                 "%s: %s has %d channels; the config says %d", first_path(net),
                                 prefix, met, channels));
    return TI_NONE;
  }
  return x;
}
