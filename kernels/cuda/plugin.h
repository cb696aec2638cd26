/*
 * What libtextinv-cuda.so offers to libtextinv.so: one exported function, textinv_cuda_plugin().
 *
 * Plain C without CUDA headers. The two libraries are built together and loaded side by side;
 * version and the two sizes tell when they are not.
 *
 * A context works on one device, in its primary context or in that of the caller's stream, and on
 * one stream. Every function makes that context current for its own duration and restores the
 * thread's afterwards. The legacy default stream is never used, the device is never reset, and
 * nothing waits for all of it but host_allocate(), host_free() and the driver as it loads kernels.
 *
 * Errors: TEXTINV_E_NOMEM leaves the context usable. After TEXTINV_E_BACKEND, lost() tells whether
 * the device was lost, that is, the process's CUDA context is poisoned: then every later call
 * fails.
 */
#ifndef TI_CUDA_PLUGIN_H
#define TI_CUDA_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#include "kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TI_CUDA_PLUGIN_VERSION 12u
#define TI_CUDA_PLUGIN_FILE "libtextinv-cuda.so"
#define TI_CUDA_PLUGIN_SYMBOL "textinv_cuda_plugin"

enum { TI_CUDA_MIN_MAJOR = 8 }; /* compute capability that the kernels need */

typedef struct ti_cuda ti_cuda;             /* a context */
typedef struct ti_cuda_graph ti_cuda_graph; /* a captured sequence of launches */

/* services of libtextinv.so */
typedef struct ti_cuda_host {
  textinv_status (*weight_pack)(ti_error *error, const void **out, ti_weight *w, const char *key,
                                size_t bytes, ti_pack_fn fill, void *user);
  void (*weight_values)(void *out, ti_dtype dtype, const ti_weight *w);
} ti_cuda_host;

typedef struct ti_cuda_device {
  char name[64];
  int major, minor; /* compute capability */
  int multiprocessors;
  int pools; /* it has memory pools, which are needed */
  size_t total_bytes;
} ti_cuda_device;

/* ------ a training step; what is named here lies on the device */

/* what changes from step to step: written before the first pass, read by the kernels of all */
typedef struct ti_cuda_step {
  uint64_t seed;
  uint32_t step;
  int32_t prediction;    /* 0 epsilon, 1 v, 2 sample */
  uint32_t pass, passes; /* pass: 0; counted by the kernels */
  uint32_t from;         /* the state that is read, 0 or 1; the other is written */
  float share;           /* of a pass in loss and gradient: 1 / passes of all processes */
  /* AdamW, from ti_adamw and the number of the step */
  float beta1, beta2, epsilon;
  float size;  /* learning rate / (1 - beta1^step) */
  float root;  /* sqrt(1 - beta2^step) */
  float decay; /* 1 - learning rate * weight decay */
} ti_cuda_step;

typedef struct ti_cuda_sample {
  uint32_t sample;  /* number of the draw, in all processes */
  uint32_t picture; /* of the table of latents */
  uint32_t prompt;  /* of the table of prompts */
  float timestep;
  float signal;     /* sqrt(alphas_cumprod) of the timestep */
  float sigma;      /* sqrt(1 - alphas_cumprod) */
} ti_cuda_sample;

typedef struct ti_cuda_result {
  float loss, gradient_norm;
  int32_t applied; /* 0: something was not finite, and the written state equals the one read */
} ti_cuda_result;

enum { TI_CUDA_ENCODERS = 2 };

/* one captured pass: its data set, its rows, and the values of the plan between its two halves */
typedef struct ti_cuda_training {
  int n, hw, c; /* samples of a pass, of the latents */
  int tokens, encoders;
  int shared; /* the gradient is a part: AdamW waits for step_apply */
  ti_cuda_step *step;
  const ti_cuda_sample *samples; /* [passes, n] */
  ti_cuda_result *result;        /* of a step, after its last pass */

  /* the data set */
  const float *latents;   /* [pictures][2][c, hw]: mean and deviation */
  const int32_t *prompts; /* [prompts, encoders, tokens] */
  const int32_t *ends;    /* [prompts]: position of the end token */
  float sizes[6];         /* SDXL, the same for all samples */

  /* the rows of all words; those that are learnt lie in the states */
  const float *table[TI_CUDA_ENCODERS];   /* [num_table] */
  const int32_t *learnt[TI_CUDA_ENCODERS]; /* [num_table]: place in a state, -1 = not learnt */
  size_t num_table[TI_CUDA_ENCODERS];
  float *states;   /* [2][3][count]: rows, m, v */
  float *gradient; /* [count] */
  float *loss_sum;
  size_t count;

  /* values of the plan; NULL where it has none */
  int32_t *ids[TI_CUDA_ENCODERS], *eos;
  float *noisy, *target, *timesteps, *size_ids, *rows[TI_CUDA_ENCODERS];
  const float *drows[TI_CUDA_ENCODERS], *loss;
  float unscale; /* of drows, which the plan makes larger in f16; a power of two */
} ti_cuda_training;

/*
 * noisy [n, hw, c] in dtype and target [n, hw, c] of the samples of pass step->pass:
 * x = mean + deviation * normal(TI_DRAW_LATENT), noise = normal(TI_DRAW_NOISE),
 * noisy = signal x + sigma noise. The draws are those of src/diffusion/random.h, element i of
 * [c, hw].
 */
typedef struct ti_cuda_noise_shape {
  int n, hw, c;
} ti_cuda_noise_shape;

enum { TI_CUDA_MARKS = 2 };

typedef struct ti_cuda_plugin {
  uint32_t version;                 /* TI_CUDA_PLUGIN_VERSION */
  uint32_t exec_size, kernels_size; /* sizeof(ti_exec), sizeof(ti_kernels) */

  /* devices, without creating a context; *out is 0 on failure, when there is none or no driver */
  textinv_status (*device_count)(ti_error *error, int *out);
  textinv_status (*device_info)(ti_error *error, ti_cuda_device *out, int device);

  /*
   * A context on device, working on stream (a cudaStream_t; its own context is taken), or on an own
   * non-blocking stream when it is NULL. host is copied.
   */
  textinv_status (*open)(ti_error *error, ti_cuda **out, const ti_cuda_host *host, int device,
                         void *stream);
  void (*close)(ti_cuda *c); /* waits for its stream; NULL is allowed */
  void (*init_kernels)(ti_kernels *k); /* fills every entry */
  void *(*stream)(const ti_cuda *c);   /* of launches: another one between graph_begin and _end */
  int (*lost)(const ti_cuda *c);

  /* around calls of kernels: ti_exec.device = c, ti_exec.stream = stream(c) */
  textinv_status (*enter)(ti_cuda *c, ti_error *error);
  void (*leave)(ti_cuda *c);

  /* device memory, aligned to 256; *out is NULL on failure, which tells needed and free bytes */
  textinv_status (*allocate)(ti_cuda *c, ti_error *error, void **out, size_t bytes);
  void (*free)(ti_cuda *c, void *p);
  textinv_status (*free_bytes)(ti_cuda *c, ti_error *error, size_t *available, size_t *total);
  void (*trim)(
    ti_cuda *c); /* drop the device's copies of weights: no prepared record may be alive */
  size_t (*weight_bytes)(const ti_cuda *c);

  /* in order with the stream; upload has taken src when it returns, download waits for its bytes */
  textinv_status (*upload)(ti_cuda *c, ti_error *error, void *dst, const void *src, size_t bytes);
  textinv_status (*download)(ti_cuda *c, ti_error *error, void *dst, const void *src, size_t bytes);
  textinv_status (*synchronize)(ti_cuda *c, ti_error *error); /* this stream alone */

  /*
   * Without waiting: host memory is of host_allocate, and stays as it is until what was marked
   * behind the call is over. There are TI_CUDA_MARKS marks.
   */
  textinv_status (*host_allocate)(ti_cuda *c, ti_error *error, void **out, size_t bytes);
  void (*host_free)(ti_cuda *c, void *p); /* waits for the stream; NULL is allowed */
  textinv_status (*send)(ti_cuda *c, ti_error *error, void *dst, const void *src, size_t bytes);
  textinv_status (*fetch)(ti_cuda *c, ti_error *error, void *dst, const void *src, size_t bytes);
  textinv_status (*mark)(ti_cuda *c, ti_error *error, int mark);
  textinv_status (*wait)(ti_cuda *c, ti_error *error, int mark);

  /*
   * Launches on stream() between begin and end are recorded instead of run; nothing but kernels may
   * be called there. end gives the graph, or NULL and the error.
   */
  textinv_status (*graph_begin)(ti_cuda *c, ti_error *error);
  textinv_status (*graph_end)(ti_cuda *c, ti_error *error, ti_cuda_graph **out);
  textinv_status (*graph_launch)(ti_cuda *c, ti_error *error, ti_cuda_graph *graph);
  void (*graph_free)(ti_cuda *c, ti_cuda_graph *graph);

  /*
   * Kernels of a training pass: inputs of the plan and noise before it; after it the gradient is
   * added up, and after the last pass AdamW writes the other state. With shared AdamW is left to
   * step_apply, when gradient and loss_sum are those of all processes.
   */
  textinv_status (*step_inputs)(ti_exec *e, const ti_cuda_training *t);
  textinv_status (*step_update)(ti_exec *e, const ti_cuda_training *t);
  textinv_status (*step_apply)(ti_exec *e, const ti_cuda_training *t);
  /* part of step_inputs */
  textinv_status (*noise)(ti_exec *e, ti_dtype dtype, void *noisy, float *target,
                          const float *latents, const ti_cuda_step *step,
                          const ti_cuda_sample *samples, const ti_cuda_noise_shape *s);

  /* let linear layers use cuBLASLt (the default where it is installed); 1 when they now do */
  int (*use_cublas)(ti_cuda *c, int on);
  /* let convolutions use cuDNN, where it has a kernel (not the default); 1 when they now do */
  int (*use_cudnn)(ti_cuda *c, int on);
  /* let kernels for compute capability 9.0 be used (the default on such a device); 1 when they now
   * are */
  int (*use_hopper)(ti_cuda *c, int on);
} ti_cuda_plugin;

typedef const ti_cuda_plugin *(*ti_cuda_plugin_fn)(void);

#ifdef __cplusplus
}
#endif

#endif /* TI_CUDA_PLUGIN_H */
