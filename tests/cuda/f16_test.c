/* What f16 cannot hold, on a CUDA device: gradients are scaled, SDXL's VAE is run in f32, and what
 * overflows is told. */
#include "session_testing.h"

#include <math.h>
#include <string.h>

enum { TINY_CONV_OUT = 4 * 8 * 3 * 3 };

/* ------------------------------------------------------------------ gradients */

/* a model whose last layer, and so its gradients, are larger by 2^exponent */
static textinv_model *open_scaled(int exponent)
{
  static float scaled[TINY_CONV_OUT]; /* of one model at a time */
  textinv_model *m;
  ti_weight *w;

  must(cpu, textinv_model_open(&m, cpu, tiny_model()));
  w = ti_weights_find(&m->unet_weights, "conv_out.weight");
  assert_non_null(w);
  assert_int_equal(w->count, TINY_CONV_OUT);
  for (int i = 0; i < TINY_CONV_OUT; i++)
    scaled[i] = ldexpf(ti_load(w->dtype, w->data, (size_t)i), exponent);
  w->data = scaled;
  w->dtype = TI_F32;
  w->mapped = 0;
  return m;
}

/* what training gives: of a call of the host's own loop, and of two steps */
typedef struct trained {
  float loss, gradient[TINY_WIDTH], norms[2], losses[2], rows[TINY_WIDTH];
} trained;

static int32_t note_norm(void *user, const textinv_progress *progress)
{
  trained *t = user;

  if (!strcmp(progress->phase, "train")) {
    t->norms[progress->step - 1] = progress->gradient_norm;
    t->losses[progress->step - 1] = progress->loss;
  }
  return 0;
}

static void train(textinv_session *s, const textinv_model *m, trained *out)
{
  static const uint32_t timesteps[4] = { 20, 300, 600, 900 };
  static const char *const prompts[4] = { "a photo of <toy>", "<toy>", "toy <toy>", "<toy> toy" };
  float latents[4 * VALUES], noise[4 * VALUES];
  textinv_invert_params p = params(2);
  textinv_loss_params l;
  textinv_embeddings *e;

  test_seed(11);
  for (int i = 0; i < 4 * VALUES; i++) {
    latents[i] = test_normal();
    noise[i] = test_normal();
  }
  must(s, textinv_embeddings_new(&e, s));
  must(s, textinv_embeddings_add(s, e, m, "<toy>", 1, "toy", 0));
  must(s, textinv_loss_params_init(&l, sizeof(l)));
  l.batch = 4;
  l.latents = latents;
  l.noise = noise;
  l.timesteps = timesteps;
  l.prompts = prompts;
  must(s, textinv_loss(s, &out->loss, out->gradient, TINY_WIDTH, m, e, &l));
  p.accumulate = 2;
  p.progress = note_norm;
  p.progress_user = out;
  must(s, textinv_invert(s, m, e, &p, NULL));
  memcpy(out->rows, textinv_embeddings_rows(e, "<toy>", 0), sizeof(out->rows));
  textinv_embeddings_free(e);
}

static int is_near(float a, float b, float bound)
{
  return fabsf(a - b) <= bound * fabsf(b);
}

/*
 * Gradients of the mean over a batch that f16 itself has not are what they are in f32: those that a
 * call gives, and those of steps, from graphs and from single launches
 */
static void small_gradients_last_in_f16(void **state)
{
  textinv_session *half = open_session(TEXTINV_BACKEND_CUDA, TEXTINV_F16);
  textinv_model *faint = open_scaled(-10);
  trained truth, out[2];

  (void)state;
  train(cpu, faint, &truth);
  for (int i = 0; i < 2; i++) {
    half->device->no_graphs = i;
    train(half, faint, &out[i]);
    assert_true(is_near(out[i].loss, truth.loss, 1e-3f));
    assert_true(error_of(out[i].gradient, truth.gradient, TINY_WIDTH) < 0.02);
    /* the second step goes on from rows of which AdamW moved some by the sign of nearly nothing */
    assert_true(is_near(out[i].norms[0], truth.norms[0], 0.02f));
    assert_true(is_near(out[i].norms[1], truth.norms[1], 0.1f));
    for (int k = 0; k < 2; k++)
      assert_true(is_near(out[i].losses[k], truth.losses[k], 1e-3f));
  }
  assert_memory_equal(&out[0], &out[1], sizeof(trained));
  textinv_model_free(faint);
  textinv_session_free(half);
}

/* the loss is finite, its gradient is not: the steps are skipped, and the call tells what to do */
static void large_gradients_are_told_in_f16(void **state)
{
  textinv_session *half = open_session(TEXTINV_BACKEND_CUDA, TEXTINV_F16);
  textinv_model *loud = open_scaled(12);
  textinv_invert_params p = params(9);
  textinv_invert_report report = { .struct_size = sizeof(report) };
  textinv_embeddings *e;
  float before[TINY_WIDTH];

  (void)state;
  must(half, textinv_embeddings_new(&e, half));
  must(half, textinv_embeddings_add(half, e, loud, "<toy>", 1, "toy", 0));
  memcpy(before, textinv_embeddings_rows(e, "<toy>", 0), sizeof(before));
  assert_int_equal(textinv_invert(half, loud, e, &p, &report), TEXTINV_E_NONFINITE);
  assert_non_null(strstr(textinv_session_error(half), "for 8 steps"));
  assert_non_null(strstr(textinv_session_error(half), "learning rate, or use bf16 or f32"));
  assert_int_equal(report.skipped, 8);
  assert_true(isfinite(report.loss));
  assert_memory_equal(before, textinv_embeddings_rows(e, "<toy>", 0), sizeof(before));
  p.steps = 1;
  must(device16, textinv_invert(device16, loud, e, &p, &report));
  assert_int_equal(report.skipped, 0);
  textinv_embeddings_free(e);
  textinv_model_free(loud);
  textinv_session_free(half);
}

/* ------------------------------------------------------------------ autoencoders */

/* a model whose autoencoder has a channel of about 1e5, which f16 has not, in both directions */
static textinv_model *open_large(const char *path)
{
  static const float large[16] = { 1e5f };
  static const char *const names[] = { "encoder.conv_in.bias", "decoder.conv_in.bias" };
  textinv_model *m;

  must(cpu, textinv_model_open(&m, cpu, path));
  for (int i = 0; i < 2; i++) {
    ti_weight *w = ti_weights_find(&m->vae_weights, names[i]);

    assert_non_null(w);
    assert_true(w->count <= 16);
    w->data = large;
    w->dtype = TI_F32;
    w->mapped = 0;
  }
  return m;
}

enum { SIDE = 4, LATENTS = 4 * SIDE * SIDE, VAE_PIXELS = 3 * 2 * SIDE * 2 * SIDE };

static textinv_status decode(textinv_session *s, const textinv_model *m, float *out)
{
  float latents[LATENTS];

  test_seed(8);
  for (int i = 0; i < LATENTS; i++)
    latents[i] = test_normal();
  return textinv_decode_latents(s, NULL, out, VAE_PIXELS, m, latents, 1, SIDE, SIDE);
}

static textinv_status encode(textinv_session *s, const textinv_model *m, float *out)
{
  uint8_t pixels[VAE_PIXELS];
  textinv_images *image;
  textinv_status status;

  test_seed(9);
  for (int i = 0; i < VAE_PIXELS; i++)
    pixels[i] = (uint8_t)test_below(256);
  must(s, textinv_images_new(&image, s, pixels, 1, 2 * SIDE, 2 * SIDE));
  status = textinv_encode_image(s, out, out + LATENTS, LATENTS, m, image, 0);
  textinv_images_free(image);
  return status;
}

/* SDXL's is run in f32 in place of f16, unless its config says that it need not be */
static void autoencoders_are_upcast(void **state)
{
  textinv_session *half = open_session(TEXTINV_BACKEND_CUDA, TEXTINV_F16);
  textinv_model *xl = open_large("tests/golden/tiny-sdxl");
  const uint64_t vae = xl->vae_weights.parameters;
  float truth[VAE_PIXELS], out[VAE_PIXELS];

  (void)state;
  assert_true(model->vae.force_upcast); /* its config has no such key */
  must(cpu, decode(cpu, xl, truth));
  must(half, decode(half, xl, out));
  assert_true(error_of(out, truth, VAE_PIXELS) < 1e-5);
  must(cpu, encode(cpu, xl, truth));
  must(half, encode(half, xl, out));
  assert_true(error_of(out, truth, 2 * LATENTS) < 1e-5);
  half->budget = (uint64_t)1 << 30;
  assert_true(ti_activation_budget(half, xl) ==
              half->budget - 2 * ti_model_parameters(xl) - 2 * vae);
  textinv_model_free(xl);

  xl = open_large("tests/golden/tiny-sdxl");
  xl->vae.force_upcast = 0;
  assert_int_equal(decode(half, xl, out), TEXTINV_E_NONFINITE);
  textinv_model_free(xl);
  textinv_session_free(half);
}

static void told(const textinv_session *s, textinv_status status, const char *text)
{
  if (status != TEXTINV_E_NONFINITE || !strstr(textinv_session_error(s), text))
    fail_msg("%s: %s", textinv_status_name(status), textinv_session_error(s));
}

/* no black pictures, and no latents of nothing: what became infinite is told */
static void autoencoders_that_overflow_are_told(void **state)
{
  textinv_session *half = open_session(TEXTINV_BACKEND_CUDA, TEXTINV_F16);
  textinv_model *large = open_large(tiny_model());
  textinv_invert_params p = params(1);
  textinv_generate_params g;
  textinv_embeddings *e;
  textinv_images *images;
  float out[VAE_PIXELS];

  (void)state;
  told(half, decode(half, large, out),
       "picture 0: the VAE's decoder gave nan: check its input and weights, or use bf16 or f32");
  told(half, encode(half, large, out), "picture 0: the VAE's encoder gave nan");
  must(device16, decode(device16, large, out));
  must(device16, encode(device16, large, out));
  must(half, textinv_generate_params_init(&g, sizeof(g)));
  g.prompt = "a photo of toy";
  g.steps = 1;
  g.images = 2;
  told(half, textinv_generate(&images, half, large, NULL, &g), "picture 0: the VAE's decoder");
  assert_null(images);
  must(half, textinv_embeddings_new(&e, half));
  told(half, textinv_invert(half, large, e, &p, NULL),
       "pictures/0.png: the VAE's encoder gave nan");
  textinv_embeddings_free(e);
  textinv_model_free(large);
  textinv_session_free(half);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(small_gradients_last_in_f16),
    cmocka_unit_test_setup_teardown(large_gradients_are_told_in_f16, open_devices, close_devices),
    cmocka_unit_test(autoencoders_are_upcast),
    cmocka_unit_test_setup_teardown(autoencoders_that_overflow_are_told, open_devices,
                                    close_devices),
  };

  return cmocka_run_group_tests_name("cuda_f16", tests, open_all, close_all);
}
