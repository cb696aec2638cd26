/*
 * For tests of sessions on a CUDA device: it and the CPU, a model and pictures, open for a whole
 * group. The device is the emulated one (TEXTINV_TEST_PLUGIN names another plug-in).
 */
#ifndef TI_SESSION_TESTING_H
#define TI_SESSION_TESTING_H

#include "testing.h"

#include <stdlib.h>

#include "api.h"
#include "tiny_model.h"

enum { VALUES = 4 * 8 * 8 }; /* of the latents of a picture */

static textinv_session *cpu, *device, *device16;
static textinv_model *model;
static const char *pictures;

static inline int is_emulated(void)
{
  return !getenv("TEXTINV_TEST_PLUGIN");
}

static inline const char *plugin_path(void)
{
  const char *path = getenv("TEXTINV_TEST_PLUGIN");

  return path ? path : "./build/cuda-emulated/libtextinv-cuda.so";
}

static inline void must(textinv_session *session, textinv_status status)
{
  if (status < 0)
    fail_msg("%s: %s", textinv_status_name(status), textinv_session_error(session));
}

static inline textinv_session *open_session(textinv_backend backend, textinv_dtype dtype)
{
  textinv_session_params p;
  textinv_session *s = NULL;

  must(NULL, textinv_session_params_init(&p, sizeof(p)));
  p.backend = backend;
  p.dtype = dtype;
  p.threads = 1;
  p.backend_path = plugin_path();
  must(NULL, textinv_session_new(&s, &p));
  return s;
}

static inline int open_all(void **state)
{
  (void)state;
  cpu = open_session(TEXTINV_BACKEND_CPU, TEXTINV_F32);
  must(cpu, textinv_model_open(&model, cpu, tiny_model()));
  pictures = tiny_pictures("pictures", 2, 20, 20);
  return 0;
}

static inline int close_all(void **state)
{
  (void)state;
  textinv_session_free(cpu);
  textinv_model_free(model);
  return 0;
}

/* around each test that uses them: what they hold is missing to others */
static inline int open_devices(void **state)
{
  (void)state;
  device = open_session(TEXTINV_BACKEND_CUDA, TEXTINV_F32);
  device16 = open_session(TEXTINV_BACKEND_CUDA, TEXTINV_BF16);
  return 0;
}

static inline int close_devices(void **state)
{
  (void)state;
  textinv_session_free(device16);
  textinv_session_free(device);
  return 0;
}

static inline double error_of(const float *a, const float *b, size_t count)
{
  return test_relative_error(TI_F32, a, b, count);
}

static textinv_concept toy;

static inline textinv_invert_params params(uint32_t steps)
{
  textinv_invert_params p;

  must(NULL, textinv_concept_init(&toy, sizeof(toy)));
  toy.placeholder = "<toy>";
  toy.initializer = "toy";
  toy.images_path = pictures;
  must(NULL, textinv_invert_params_init(&p, sizeof(p)));
  p.concepts = &toy;
  p.num_concepts = 1;
  p.steps = steps;
  p.batch = 2;
  p.seed = 5;
  p.flip = 0.0f;
  return p;
}

#endif /* TI_SESSION_TESTING_H */
