/*
 * Sessions on a CUDA device, against the same on the CPU: noise prediction, inversion, pictures, and
 * what is refused. The device is the emulated one (TEXTINV_TEST_PLUGIN names another plug-in).
 */
#include "testing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "textinv/textinv.h"
#include "tiny_model.h"

enum { VALUES = 4 * 8 * 8, BATCH = 2 };

static textinv_session *cpu, *device, *device16;
static textinv_model *model;
static const char *pictures;

static const char *plugin_path(void)
{
  const char *path = getenv("TEXTINV_TEST_PLUGIN");

  return path ? path : "./build/cuda-emulated/libtextinv-cuda.so";
}

static void must(textinv_session *session, textinv_status status)
{
  if (status < 0)
    fail_msg("%s: %s", textinv_status_name(status), textinv_session_error(session));
}

static textinv_session *open_session(textinv_backend backend, textinv_dtype dtype)
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

static int open_all(void **state)
{
  (void)state;
  cpu = open_session(TEXTINV_BACKEND_CPU, TEXTINV_F32);
  must(cpu, textinv_model_open(&model, cpu, tiny_model()));
  pictures = tiny_pictures("pictures", 3, 20, 20);
  return 0;
}

static int close_all(void **state)
{
  (void)state;
  textinv_session_free(cpu);
  textinv_model_free(model);
  return 0;
}

/* around each test that uses them: what they hold is missing to others */
static int open_devices(void **state)
{
  (void)state;
  device = open_session(TEXTINV_BACKEND_CUDA, TEXTINV_F32);
  device16 = open_session(TEXTINV_BACKEND_CUDA, TEXTINV_BF16);
  return 0;
}

static int close_devices(void **state)
{
  (void)state;
  textinv_session_free(device16);
  textinv_session_free(device);
  return 0;
}

static double error_of(const float *a, const float *b, size_t count)
{
  return test_relative_error(TI_F32, a, b, count);
}

/* ------------------------------------------------------------------ */

static void predict(textinv_session *s, float *out)
{
  static float latents[BATCH * VALUES], context[BATCH * TINY_TOKENS * TINY_WIDTH];
  textinv_predict_params p;

  test_seed(3);
  for (int i = 0; i < BATCH * VALUES; i++)
    latents[i] = test_normal();
  for (int i = 0; i < BATCH * TINY_TOKENS * TINY_WIDTH; i++)
    context[i] = test_normal();
  must(s, textinv_predict_params_init(&p, sizeof(p)));
  p.batch = BATCH;
  p.latents = latents;
  p.context = context;
  p.timestep = 321.0f;
  must(s, textinv_predict_noise(s, out, BATCH * VALUES, model, &p));
}

static void networks_agree(void **state)
{
  textinv_session *cpu16 = open_session(TEXTINV_BACKEND_CPU, TEXTINV_BF16);
  float truth[BATCH * VALUES], out[BATCH * VALUES], plain[BATCH * VALUES];

  (void)state;
  predict(cpu, truth);
  predict(device, out);
  assert_true(error_of(out, truth, BATCH * VALUES) < 1e-5);
  predict(cpu16, plain);
  predict(device16, out);
  assert_true(error_of(out, truth, BATCH * VALUES) < 2.0 * error_of(plain, truth, BATCH * VALUES));
  textinv_session_free(cpu16);
}

static void invert(textinv_session *s, float *rows, uint32_t steps)
{
  textinv_concept c;
  textinv_invert_params p;
  textinv_embeddings *e;

  must(s, textinv_concept_init(&c, sizeof(c)));
  c.placeholder = "<toy>";
  c.initializer = "toy";
  c.images_path = pictures;
  must(s, textinv_invert_params_init(&p, sizeof(p)));
  p.concepts = &c;
  p.num_concepts = 1;
  p.steps = steps;
  p.batch = 2;
  p.seed = 5;
  must(s, textinv_embeddings_new(&e, s));
  must(s, textinv_invert(s, model, e, &p, NULL));
  memcpy(rows, textinv_embeddings_rows(e, "<toy>", 0), TINY_WIDTH * sizeof(*rows));
  textinv_embeddings_free(e);
}

static void inversions_agree(void **state)
{
  float on_cpu[TINY_WIDTH], on_device[TINY_WIDTH], again[TINY_WIDTH];

  (void)state;
  invert(cpu, on_cpu, 4);
  invert(device, on_device, 4);
  assert_true(error_of(on_device, on_cpu, TINY_WIDTH) < 1e-3);
  invert(device, again, 4);
  assert_memory_equal(on_device, again, sizeof(again));
  invert(device16, on_device, 2);
  for (int i = 0; i < TINY_WIDTH; i++)
    assert_true(isfinite(on_device[i]));
}

static int again_lines;

static void count_lines(void *user, textinv_log_level level, const char *line)
{
  (void)user;
  (void)level;
  again_lines += strstr(line, "computed again") != NULL;
}

static void gradient_of(textinv_session *s, float *gradient)
{
  static float latents[BATCH * VALUES], noise[BATCH * VALUES];
  const char *prompts[BATCH] = { "a photo of <toy>", "my <toy>" };
  uint32_t timesteps[BATCH] = { 100, 700 };
  textinv_embeddings *e;
  textinv_loss_params p;
  float loss;

  test_seed(4);
  for (int i = 0; i < BATCH * VALUES; i++) {
    latents[i] = test_normal();
    noise[i] = test_normal();
  }
  must(s, textinv_embeddings_new(&e, s));
  must(s, textinv_embeddings_add(s, e, model, "<toy>", 1, "toy", 0));
  must(s, textinv_loss_params_init(&p, sizeof(p)));
  p.batch = BATCH;
  p.latents = latents;
  p.noise = noise;
  p.timesteps = timesteps;
  p.prompts = prompts;
  must(s, textinv_loss(s, &loss, gradient, TINY_WIDTH, model, e, &p));
  textinv_embeddings_free(e);
}

/* on a device that is too small for all activations, some are computed again, to the same bits */
static void short_memory_computes_again(void **state)
{
  float whole[TINY_WIDTH], gradient[TINY_WIDTH];
  textinv_model_info info = { .struct_size = sizeof(info) };
  textinv_session *s = open_session(TEXTINV_BACKEND_CUDA, TEXTINV_F32);
  double bytes;

  (void)state;
  if (getenv("TEXTINV_TEST_PLUGIN")) {
    textinv_session_free(s);
    skip(); /* the memory of a real device is what it is */
  }
  must(s, textinv_model_get_info(model, &info));
  gradient_of(s, whole);
  bytes = (double)textinv_session_peak_bytes(s) + (double)info.parameters * 4.0;
  textinv_session_free(s);
  /* not all weights are needed, so how much is left is found out */
  for (int i = 0; i < 20 && !again_lines; i++, bytes *= 0.93) {
    textinv_session_params p;
    char text[32];

    snprintf(text, sizeof(text), "%.0f", bytes);
    setenv("TEXTINV_EMULATED_BYTES", text, 1);
    must(NULL, textinv_session_params_init(&p, sizeof(p)));
    p.backend = TEXTINV_BACKEND_CUDA;
    p.backend_path = plugin_path();
    p.log = count_lines;
    must(NULL, textinv_session_new(&s, &p));
    gradient_of(s, gradient);
    textinv_session_free(s);
  }
  unsetenv("TEXTINV_EMULATED_BYTES");
  assert_true(again_lines > 0);
  assert_memory_equal(gradient, whole, sizeof(whole));
}

/* far too small: the message has needed and free bytes, and the session goes on */
static void no_memory_is_told(void **state)
{
  float out[BATCH * VALUES], latents[BATCH * VALUES] = { 0 };
  float context[BATCH * TINY_TOKENS * TINY_WIDTH] = { 0 };
  textinv_session *s = open_session(TEXTINV_BACKEND_CUDA, TEXTINV_F32);
  textinv_predict_params p;

  (void)state;
  if (getenv("TEXTINV_TEST_PLUGIN"))
    skip();
  must(s, textinv_predict_params_init(&p, sizeof(p)));
  p.batch = BATCH;
  p.latents = latents;
  p.context = context;
  setenv("TEXTINV_EMULATED_BYTES", "100000", 1);
  assert_int_equal(textinv_predict_noise(s, out, BATCH * VALUES, model, &p), TEXTINV_E_NOMEM);
  assert_non_null(strstr(textinv_session_error(s), "free"));
  unsetenv("TEXTINV_EMULATED_BYTES");
  must(s, textinv_predict_noise(s, out, BATCH * VALUES, model, &p));
  textinv_session_free(s);
}

static void pictures_agree(void **state)
{
  textinv_generate_params p;
  textinv_images *a, *b;

  (void)state;
  must(cpu, textinv_generate_params_init(&p, sizeof(p)));
  p.prompt = "a photo of toy";
  p.steps = 2;
  p.seed = 7;
  must(cpu, textinv_generate(&a, cpu, model, NULL, &p));
  must(device, textinv_generate(&b, device, model, NULL, &p));
  const uint8_t *x = textinv_images_pixels(a, 0), *y = textinv_images_pixels(b, 0);

  for (int i = 0; i < TINY_SIZE * TINY_SIZE * 3; i++)
    assert_true(abs(x[i] - y[i]) <= 1);
  textinv_images_free(a);
  textinv_images_free(b);
}

static void refuses(const char *path, int32_t ordinal, textinv_status status, const char *word)
{
  textinv_session_params p;
  textinv_session *s = (textinv_session *)&p;

  must(NULL, textinv_session_params_init(&p, sizeof(p)));
  p.backend = TEXTINV_BACKEND_CUDA;
  p.device = ordinal;
  p.backend_path = path;
  assert_int_equal(textinv_session_new(&s, &p), status);
  assert_null(s);
  assert_non_null(strstr(textinv_session_error(NULL), word));
}

static void what_is_no_plugin_is_refused(void **state)
{
  (void)state;
  refuses("/nowhere/libtextinv-cuda.so", 0, TEXTINV_E_BACKEND, "/nowhere");
  refuses("libtextinv-cuda.so", 0, TEXTINV_E_INVALID, "'/'");
  refuses("/lib/x86_64-linux-gnu/libm.so.6", 0, TEXTINV_E_BACKEND, "libm");
  refuses(plugin_path(), 99, TEXTINV_E_BACKEND, "99");
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(networks_agree, open_devices, close_devices),
    cmocka_unit_test_setup_teardown(inversions_agree, open_devices, close_devices),
    cmocka_unit_test(short_memory_computes_again),
    cmocka_unit_test(no_memory_is_told),
    cmocka_unit_test_setup_teardown(pictures_agree, open_devices, close_devices),
    cmocka_unit_test(what_is_no_plugin_is_refused),
  };

  return cmocka_run_group_tests_name("cuda_session", tests, open_all, close_all);
}
