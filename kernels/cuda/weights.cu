/*
 * Frozen weights on the device. A copy is made at first use and shared by all plans of a context.
 *
 * It is found again by a number that is kept with the weight, so that a weight of another model at
 * the same address is never taken for it. Another copy of this file in the process counts for
 * itself: its numbers are kept under another key.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "context.h"
#include "hopper.cuh"

static textinv_status fill_id(ti_error *error, void *out, const ti_weight *w, void *last)
{
  const uint64_t id = __atomic_add_fetch((uint64_t *)last, 1, __ATOMIC_RELAXED);

  (void)error;
  (void)w;
  memcpy(out, &id, sizeof(id));
  return TEXTINV_OK;
}

/* [cout, cin, kh, kw] to [cout, kh, kw, cin] */
static void to_channels_last(void *to, const void *from, size_t size, const ti_weight *w)
{
  const size_t cin = (size_t)w->dims[1], taps = (size_t)w->dims[2] * w->dims[3];

  for (size_t o = 0; o < (size_t)w->dims[0]; o++) {
    for (size_t t = 0; t < taps; t++) {
      for (size_t i = 0; i < cin; i++)
        memcpy((char *)to + ((o * taps + t) * cin + i) * size,
               (const char *)from + ((o * cin + i) * taps + t) * size, size);
    }
  }
}

/* [cout, cin, taps] to TI_CUDA_TILED; cin is a multiple of 32, cout of 8 */
static void to_tiles(uint16_t *to, const uint16_t *from, const ti_weight *w, size_t taps)
{
  const size_t across = (size_t)w->dims[1] / 32, down = (size_t)w->dims[0] / 8;

  for (size_t row = 0; row < down * 8; row++) {
    for (size_t i = 0; i < across * 32; i++) {
      const size_t place = swizzled<SWIZZLE_64>((int)(row % 8), (int)(i % 32 / 8)) / 2 + i % 8;

      for (size_t t = 0; t < taps; t++)
        to[((t * across + i / 32) * down + row / 8) * 256 + place] = *from++;
    }
  }
}

/* three taps, some values apart, to four of TI_CUDA_MERGED */
static void merge(float *to, size_t to_step, const float *from, size_t step)
{
  to[0] = from[2 * step];
  to[to_step] = from[step] + from[2 * step];
  to[2 * to_step] = from[0] + from[step];
  to[3 * to_step] = from[0];
}

/* [cout, cin, 3, 3] to the sums [cout, cin, 4, 4] of TI_CUDA_MERGED, rounded once */
static void merge_taps(char *to, ti_dtype dtype, const float *from, size_t count)
{
  float lines[4][3], sums[4][4];

  for (size_t i = 0; i < count; i++, from += 9, to += 16 * ti_dtype_size(dtype)) {
    for (int x = 0; x < 3; x++)
      merge(&lines[0][x], 3, from + x, 3);
    for (int y = 0; y < 4; y++)
      merge(sums[y], 1, lines[y], 1);
    ti_convert(dtype, to, TI_F32, sums, 16);
  }
}

/* values of w on the device */
static size_t device_count(const ti_weight *w, ti_cuda_layout layout)
{
  return layout == TI_CUDA_MERGED ? w->count / 9 * 16 : w->count;
}

/* they in the order of the file; free() them */
static void *plain_values(const ti_cuda *c, const ti_weight *w, ti_dtype dtype,
                          ti_cuda_layout layout)
{
  void *plain = malloc(device_count(w, layout) * ti_dtype_size(dtype));
  float *apart;

  if (plain && layout != TI_CUDA_MERGED) {
    c->host.weight_values(plain, dtype, w);
    return plain;
  }
  apart = (float *)malloc(w->count * sizeof(float));
  if (plain && apart) {
    c->host.weight_values(apart, TI_F32, w);
    merge_taps((char *)plain, dtype, apart, w->count / 9);
    free(apart);
    return plain;
  }
  free(apart);
  free(plain);
  return NULL;
}

/* they in host memory as they will lie on the device; free() them */
static void *host_values(const ti_cuda *c, const ti_weight *w, ti_dtype dtype, ti_cuda_layout layout)
{
  const size_t size = ti_dtype_size(dtype), count = device_count(w, layout);
  void *plain = plain_values(c, w, dtype, layout), *ordered;

  if (!plain || layout == TI_CUDA_PLAIN || w->rank != 4)
    return plain;
  ordered = malloc(count * size);
  if (ordered && layout == TI_CUDA_CHANNELS_LAST)
    to_channels_last(ordered, plain, size, w);
  else if (ordered)
    to_tiles((uint16_t *)ordered, (const uint16_t *)plain, w,
             count / ((size_t)w->dims[0] * w->dims[1]));
  free(plain);
  return ordered;
}

static textinv_status make(ti_cuda *c, ti_error *error, void **out, const ti_weight *w,
                           ti_dtype dtype, ti_cuda_layout layout)
{
  const size_t bytes = device_count(w, layout) * ti_dtype_size(dtype);
  void *values = NULL;
  cudaError_t code;
  textinv_status status = ti_cuda_allocate(c, error, out, bytes, w->name);

  if (status < 0)
    return status;
  values = host_values(c, w, dtype, layout);
  if (!values) {
    status = ti_fail_nomem(error, bytes, w->name);
    goto out;
  }
  code = cudaMemcpyAsync(*out, values, bytes, cudaMemcpyHostToDevice, c->stream);
  if (code == cudaSuccess)
    code = cudaStreamSynchronize(c->stream);
  if (code != cudaSuccess)
    status = ti_cuda_context_failed(c, error, code, w->name);
out:
  free(values);
  if (status < 0) {
    (void)cudaFreeAsync(*out, c->stream);
    *out = NULL;
  } else {
    c->weight_bytes += bytes;
  }
  return status;
}

extern "C" textinv_status ti_cuda_weight(ti_exec *e, const void **out, ti_weight *w, ti_dtype dtype,
                                         ti_cuda_layout layout)
{
  static uint64_t last;
  ti_cuda *c = (ti_cuda *)e->device;
  const void *packed;
  device_weight *d;
  uint64_t id;
  char key[40];
  textinv_status status;

  snprintf(key, sizeof(key), "cuda id %p", (void *)&last);
  status = c->host.weight_pack(e->error, &packed, w, key, sizeof(id), fill_id, &last);
  *out = NULL;
  if (status < 0)
    return status;
  memcpy(&id, packed, sizeof(id));
  for (d = c->weights[id % TI_CUDA_BUCKETS]; d; d = d->next) {
    if (d->id == id && d->dtype == dtype && d->layout == layout) {
      *out = d->data;
      return TEXTINV_OK;
    }
  }
  d = (device_weight *)calloc(1, sizeof(*d));
  if (!d)
    return ti_fail_nomem(e->error, sizeof(*d), w->name);
  d->id = id;
  d->dtype = dtype;
  d->layout = layout;
  if ((status = make(c, e->error, &d->data, w, dtype, layout)) < 0) {
    free(d);
    return status;
  }
  d->next = c->weights[id % TI_CUDA_BUCKETS];
  c->weights[id % TI_CUDA_BUCKETS] = d;
  *out = d->data;
  return TEXTINV_OK;
}

extern "C" textinv_status ti_cuda_weight_plain(ti_exec *e, const void **out, ti_weight *w,
                                               ti_dtype dtype)
{
  return ti_cuda_weight(e, out, w, dtype, TI_CUDA_PLAIN);
}

void ti_cuda_drop_weights(ti_cuda *c)
{
  for (int i = 0; i < TI_CUDA_BUCKETS; i++) {
    while (c->weights[i]) {
      device_weight *d = c->weights[i];

      c->weights[i] = d->next;
      (void)cudaFreeAsync(d->data, c->stream);
      free(d);
    }
  }
  (void)cudaStreamSynchronize(c->stream);
  c->weight_bytes = 0;
}
