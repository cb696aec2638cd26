/* CLIP's image encoder (Radford et al. 2021; Dosovitskiy et al. 2021): patches, class token, learnt
 * positions, pre-norm. */
#include "clip_vision.h"

#include <string.h>

textinv_status ti_clip_vision_read(ti_clip_vision_config *out, ti_error *error, const ti_json *json)
{
  textinv_status status;
  int channels;

  memset(out, 0, sizeof(*out));
  if ((status = ti_json_int(json, error, "hidden_size", 768, 8, 16384, &out->width)) < 0 ||
      (status = ti_json_int(json, error, "num_hidden_layers", 12, 1, 128, &out->layers)) < 0 ||
      (status = ti_json_int(json, error, "num_channels", 3, 1, 64, &channels)) < 0 ||
      (status = ti_json_int(json, error, "image_size", 224, 1, 2048, &out->side)) < 0 ||
      (status = ti_json_int(json, error, "patch_size", 32, 1, 256, &out->patch)) < 0 ||
      (status = ti_clip_layer_read(&out->layer, error, json, out->width, 3072, 12)) < 0)
    return status;
  if (channels != 3)
    return ti_fail(error, TEXTINV_E_UNSUPPORTED, "%s: num_channels %d; pictures have 3", json->path,
                   channels);
  if (out->patch > out->side)
    return ti_fail(error, TEXTINV_E_SHAPE, "%s: patch_size %d is more than image_size %d",
                   json->path, out->patch, out->side);
  return TEXTINV_OK;
}

int ti_clip_vision_patches(const ti_clip_vision_config *c)
{
  return c->side / c->patch * (c->side / c->patch);
}

textinv_status ti_clip_vision_flatten(ti_weights *weights, ti_error *error,
                                      const ti_clip_vision_config *c)
{
  static const char *const names[2] = { TI_CLIP_VISION_PREFIX "embeddings.patch_embedding.weight",
                                        TI_CLIP_VISION_PREFIX "embeddings.class_embedding" };
  const int dims[4] = { c->width, 3, c->patch, c->patch };
  const int ranks[2] = { 4, 1 }, rows[2] = { c->width, 1 };

  for (int i = 0; i < 2; i++) {
    ti_weight *w = ti_weights_find(weights, names[i]);

    if (!w)
      continue; /* missed when the network is recorded */
    if (w->rank != ranks[i] || memcmp(w->dims, dims, (size_t)w->rank * sizeof(*dims)))
      return ti_fail(error, TEXTINV_E_SHAPE,
                     "%s: %s has another shape than hidden_size %d and patch_size %d ask for",
                     ti_tensor_set_path(weights->set, ti_tensor_set_find(weights->set, w->name)),
                     w->name, c->width, c->patch);
    w->rank = 2;
    w->dims[0] = rows[i];
    w->dims[1] = (int)(w->count / (size_t)rows[i]);
  }
  return TEXTINV_OK;
}

/* the class token and the patches, each plus its position */
static ti_val embed(const ti_net *net, const ti_clip_vision_config *c, ti_val patches, ti_val ids)
{
  const int tokens = 1 + ti_clip_vision_patches(c);
  const ti_val rows = ti_net_linear(net, "embeddings.patch_embedding", patches, 0, TI_NONE);
  ti_weight *class = ti_net_weight(net, "embeddings", "class_embedding");
  ti_weight *positions = ti_net_weight(net, "embeddings.position_embedding", "weight");

  if (positions && positions->dims[0] != tokens) {
    ti_tape_fail(net->t,
                 ti_fail(net->t->error, TEXTINV_E_SHAPE, "%s has %d positions; the config says %d",
                         positions->name, positions->dims[0], tokens));
    return TI_NONE;
  }
  return ti_embedding(net->t, ids, ti_cast(net->t, rows, TI_TYPE_F32), class, positions);
}

ti_val ti_clip_vision(const ti_net *net, const ti_clip_vision_config *c, ti_val patches, ti_val ids)
{
  ti_val x = embed(net, c, patches, ids);

  x = ti_net_layernorm(net, "pre_layrnorm", x, c->layer.eps); /* so it is spelt */
  for (int i = 0; i < c->layers; i++)
    x = ti_clip_layer(net, &c->layer, i, x);
  x = ti_net_layernorm(net, "post_layernorm", ti_crop(net->t, x, 1, 1), c->layer.eps);
  return ti_net_expect(net, "visual_projection",
                       ti_net_linear(net, "visual_projection", x, 0, TI_NONE), c->projection);
}
