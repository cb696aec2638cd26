/* Sessions on a CUDA device, against the same on the CPU: every network, inversion, pictures, and
 * what happens when memory is short. */
#include "session_testing.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum {
  BATCH = 2,
  CONTEXT = TINY_TOKENS * TINY_WIDTH,
  PIXELS = 3 * TINY_SIZE * TINY_SIZE,
  DIM = 12
};

/* ------------------------------------------------------------------ networks */

/* what the networks of the model make of fixed inputs */
typedef struct outputs {
  float context[CONTEXT], noise[BATCH * VALUES], inpainted[BATCH * VALUES], moments[2 * VALUES], decoded[PIXELS];
  float clip[2][DIM]; /* of a picture and of a text */
} outputs;

static void predict(textinv_session *s, const textinv_model *m, float *out)
{
  static float latents[BATCH * VALUES], context[BATCH * CONTEXT], masked[BATCH * VALUES];
  static float mask[BATCH * VALUES / 4];
  textinv_predict_params p;

  test_seed(3);
  for (int i = 0; i < BATCH * VALUES; i++)
    latents[i] = test_normal();
  for (int i = 0; i < BATCH * CONTEXT; i++)
    context[i] = test_normal();
  must(s, textinv_predict_params_init(&p, sizeof(p)));
  p.batch = BATCH;
  p.latents = latents;
  p.context = context;
  p.timestep = 321.0f;
  if (m != model) { /* made for inpainting */
    for (int i = 0; i < BATCH * VALUES; i++)
      masked[i] = test_normal();
    for (int i = 0; i < BATCH * VALUES / 4; i++)
      mask[i] = (float)test_below(2);
    p.mask = mask;
    p.masked = masked;
  }
  must(s, textinv_predict_noise(s, out, BATCH * VALUES, m, &p));
}

static void run_networks(textinv_session *s, outputs *out)
{
  float latents[VALUES];
  textinv_model *inpainting;
  textinv_images *image;
  textinv_clip *clip;
  char path[600];

  must(s, textinv_encode_prompt(s, out->context, CONTEXT, NULL, 0, NULL, model, NULL,
                                "a photo of toy", 0));
  predict(s, model, out->noise);
  must(s, textinv_model_open(&inpainting, s, tiny_inpainting_model()));
  predict(s, inpainting, out->inpainted);
  textinv_model_free(inpainting);
  snprintf(path, sizeof(path), "%s/0.png", pictures);
  must(s, textinv_image_read(&image, s, path));
  must(s, textinv_images_resize(s, image, TINY_SIZE, TINY_SIZE));
  must(s, textinv_encode_image(s, out->moments, out->moments + VALUES, VALUES, model, image, 0));
  must(s, textinv_clip_open(&clip, s, "tests/golden/tiny-clip"));
  must(s, textinv_clip_encode_image(s, out->clip[0], DIM, clip, image, 0));
  must(s, textinv_clip_encode_text(s, out->clip[1], DIM, NULL, clip, "a photo of a toy"));
  textinv_clip_free(clip);
  textinv_images_free(image);
  test_seed(6);
  for (int i = 0; i < VALUES; i++)
    latents[i] = test_normal();
  must(s, textinv_decode_latents(s, NULL, out->decoded, PIXELS, model, latents, 1, 8, 8));
}

/* each network within factor times the error of plain, or within 1e-5 without it */
static void check_networks(const outputs *out, const outputs *truth, const outputs *plain,
                           double factor)
{
  static const struct {
    size_t from, count;
  } parts[] = { { offsetof(outputs, context) / 4, CONTEXT },
                { offsetof(outputs, noise) / 4, BATCH * VALUES },
                { offsetof(outputs, inpainted) / 4, BATCH * VALUES },
                { offsetof(outputs, moments) / 4, 2 * VALUES },
                { offsetof(outputs, decoded) / 4, PIXELS },
                { offsetof(outputs, clip) / 4, 2 * DIM } };

  for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
    const float *t = (const float *)truth + parts[i].from;
    const double error = error_of((const float *)out + parts[i].from, t, parts[i].count);
    const double bound = plain ? factor *
                                   error_of((const float *)plain + parts[i].from, t, parts[i].count)
                               : 1e-5;

    if (!(error < bound))
      fail_msg("network %zu: error %g, bound %g", i, error, bound);
  }
}

static void networks_agree(void **state)
{
  textinv_session *cpu16 = open_session(TEXTINV_BACKEND_CPU, TEXTINV_BF16);
  textinv_session *half = open_session(TEXTINV_BACKEND_CUDA, TEXTINV_F16);
  static outputs truth, out, plain;

  (void)state;
  run_networks(cpu, &truth);
  run_networks(device, &out);
  check_networks(&out, &truth, NULL, 0.0);
  run_networks(cpu16, &plain);
  run_networks(device16, &out);
  check_networks(&out, &truth, &plain, 2.0);
  run_networks(half, &out); /* three bits more than bf16, which the CPU has not */
  check_networks(&out, &truth, &plain, 0.5);
  textinv_session_free(half);
  textinv_session_free(cpu16);
}

/* without what 9.0 has: 99 KiB of shared memory and the kernels of all devices */
static void networks_agree_on_an_older_device(void **state)
{
  textinv_session *cpu16 = open_session(TEXTINV_BACKEND_CPU, TEXTINV_BF16), *old;
  static outputs truth, out, plain;

  (void)state;
  setenv("TEXTINV_EMULATED_CAPABILITY", "86", 1);
  old = open_session(TEXTINV_BACKEND_CUDA, TEXTINV_BF16);
  run_networks(cpu, &truth);
  run_networks(cpu16, &plain);
  run_networks(old, &out);
  unsetenv("TEXTINV_EMULATED_CAPABILITY");
  check_networks(&out, &truth, &plain, 2.0);
  textinv_session_free(old);
  textinv_session_free(cpu16);
}

/* ------------------------------------------------------------------ inversion */

static textinv_status try_invert(textinv_session *s, float *rows, const textinv_invert_params *p,
                                 textinv_invert_report *report)
{
  textinv_embeddings *e;
  textinv_status status;

  must(s, textinv_embeddings_new(&e, s));
  /* another word, which is not learnt, before the one that is */
  must(s, textinv_embeddings_add(s, e, model, "<other>", 2, "photo", 0));
  status = textinv_invert(s, model, e, p, report);
  if (status >= 0)
    memcpy(rows, textinv_embeddings_rows(e, "<toy>", 0), TINY_WIDTH * sizeof(*rows));
  textinv_embeddings_free(e);
  return status;
}

static void invert(textinv_session *s, float *rows, const textinv_invert_params *p)
{
  must(s, try_invert(s, rows, p, NULL));
}

static void inversions_agree(void **state)
{
  textinv_session *cpu16 = open_session(TEXTINV_BACKEND_CPU, TEXTINV_BF16);
  float truth[TINY_WIDTH], rows[TINY_WIDTH], plain[TINY_WIDTH];
  textinv_invert_params p = params(3);

  (void)state;
  p.weight_decay = 0.01f;
  p.lr_warmup = 2;
  invert(cpu, truth, &p);
  invert(device, rows, &p);
  assert_true(error_of(rows, truth, TINY_WIDTH) < 1e-3);
  invert(cpu16, plain, &p);
  invert(device16, rows, &p);
  /* a component of the gradient that is about zero may change its sign, and AdamW's step with it */
  assert_true(error_of(rows, truth, TINY_WIDTH) <
              1e-3 + p.learning_rate + 2.0 * error_of(plain, truth, TINY_WIDTH));
  textinv_session_free(cpu16);
}

static int32_t stop_at_2(void *user, const textinv_progress *progress)
{
  (void)user;
  return !strcmp(progress->phase, "train") && progress->step == 2;
}

static int32_t count_preview(void *user, uint32_t step, textinv_images *images)
{
  (void)images;
  *(uint32_t *)user += step;
  return 0;
}

/*
 * The same bytes from graphs with a preview between two steps, and from single launches of a run
 * that was stopped, and gone on with
 */
static void steps_do_not_depend_on_how_they_are_run(void **state)
{
  float whole[TINY_WIDTH], resumed[TINY_WIDTH];
  textinv_invert_params p = params(3);
  textinv_invert_report report;
  uint32_t previews = 0;

  (void)state;
  must(NULL, textinv_invert_report_init(&report, sizeof(report)));
  p.accumulate = 2;
  p.preview = count_preview;
  p.preview_user = &previews;
  p.preview_prompt = "a photo of <toy>";
  p.preview_every = 2;
  p.preview_steps = 1;
  invert(device, whole, &p);
  assert_int_equal(previews, 2);

  device->device->no_graphs = 1;
  p.preview_every = 0;
  p.output_dir = test_path("resume");
  assert_int_equal(mkdir(p.output_dir, 0755), 0);
  p.resume = "latest";
  p.progress = stop_at_2;
  assert_int_equal(try_invert(device, resumed, &p, &report), TEXTINV_E_CANCELLED);
  assert_int_equal(report.steps, 2);
  p.progress = NULL;
  must(device, try_invert(device, resumed, &p, &report));
  assert_int_equal(report.first_step, 2);
  assert_memory_equal(whole, resumed, sizeof(whole));
}

static void graphs_need_not_fit(void **state)
{
  float whole[TINY_WIDTH], rows[TINY_WIDTH];
  const textinv_invert_params p = params(2);
  textinv_session *s = open_session(TEXTINV_BACKEND_CUDA, TEXTINV_F32);

  (void)state;
  invert(s, whole, &p);
  textinv_session_free(s);
  s = open_session(TEXTINV_BACKEND_CUDA, TEXTINV_F32);
  setenv("TEXTINV_EMULATED_GRAPHS", "0", 1);
  invert(s, rows, &p);
  unsetenv("TEXTINV_EMULATED_GRAPHS");
  assert_memory_equal(rows, whole, sizeof(whole));
  assert_string_equal(textinv_session_error(s), "");
  assert_true(s->device->no_graphs || !is_emulated());
  textinv_session_free(s);
}

static textinv_status lost_wait(ti_cuda *c, ti_error *error, int mark)
{
  (void)c;
  (void)mark;
  return ti_fail(error, TEXTINV_E_BACKEND, "lost");
}

static textinv_status lost_download(ti_cuda *c, ti_error *error, void *dst, const void *src,
                                    size_t bytes)
{
  (void)dst;
  (void)src;
  (void)bytes;
  return lost_wait(c, error, 0);
}

static int32_t lose_at_3(void *user, const textinv_progress *progress)
{
  if (!strcmp(progress->phase, "train") && progress->step == 3)
    device->device->plugin = user;
  return 0;
}

/* the host has what the preview took: a checkpoint of it, from which the run ends as the whole */
static void what_was_fetched_outlives_the_device(void **state)
{
  const ti_cuda_plugin *const plugin = device->device->plugin;
  ti_cuda_plugin lost = *plugin;
  float whole[TINY_WIDTH], rows[TINY_WIDTH];
  textinv_invert_params p = params(4);
  textinv_invert_report report;
  uint32_t previews = 0;

  (void)state;
  must(NULL, textinv_invert_report_init(&report, sizeof(report)));
  must(device, try_invert(device, whole, &p, &report));
  const float average = report.loss_average;

  lost.wait = lost_wait;
  lost.download = lost_download;
  p.preview = count_preview;
  p.preview_user = &previews;
  p.preview_prompt = "a photo of <toy>";
  p.preview_every = 2;
  p.preview_steps = 1;
  p.output_dir = test_path("lost");
  assert_int_equal(mkdir(p.output_dir, 0755), 0);
  p.resume = "latest";
  p.progress = lose_at_3;
  p.progress_user = &lost;
  assert_int_equal(try_invert(device, rows, &p, &report), TEXTINV_E_BACKEND);
  assert_string_equal(textinv_session_error(device), "lost");
  device->device->plugin = plugin;
  assert_int_equal(report.steps, 2);
  p.progress = NULL;
  must(device, try_invert(device, rows, &p, &report));
  assert_int_equal(report.first_step, 2);
  assert_memory_equal(rows, whole, sizeof(whole));
  assert_true(report.loss_average == average);
}

static void infinite_losses_leave_the_rows(void **state)
{
  const textinv_invert_params p = params(2);
  textinv_invert_report report;
  textinv_embeddings *e;
  float rows[TINY_WIDTH];

  (void)state;
  must(NULL, textinv_invert_report_init(&report, sizeof(report)));
  for (int i = 0; i < TINY_WIDTH; i++)
    rows[i] = 3e38f;
  must(device, textinv_embeddings_new(&e, device));
  must(device, textinv_embeddings_set(device, e, "<toy>", 0, 1, TINY_WIDTH, rows));
  must(device, textinv_invert(device, model, e, &p, &report));
  assert_int_equal(report.skipped, 2);
  assert_memory_equal(rows, textinv_embeddings_rows(e, "<toy>", 0), sizeof(rows));
  textinv_embeddings_free(e);
}

enum { RANKS = 2, ROOM = 1024 };

static pthread_barrier_t all_here;

typedef struct process {
  textinv_session *session;
  textinv_parallel parallel;
  textinv_invert_params p;
  textinv_status status;
  float rows[TINY_WIDTH];
} process;

static int32_t add_up(void *user, float *values, size_t count)
{
  static float parts[RANKS][ROOM];
  const textinv_parallel *p = user;

  if (count > ROOM)
    return 1;
  memcpy(parts[p->rank], values, count * sizeof(*values));
  pthread_barrier_wait(&all_here);
  for (size_t i = 0; i < count; i++) {
    values[i] = 0.0f;
    for (uint32_t k = 0; k < p->ranks; k++)
      values[i] += parts[k][i];
  }
  pthread_barrier_wait(&all_here);
  return 0;
}

static void *learn(void *user)
{
  process *p = user;

  p->status = try_invert(p->session, p->rows, &p->p, NULL);
  return NULL;
}

/* one run on this many of the sessions */
static void learn_together(process *all, uint32_t ranks, textinv_session *const *sessions,
                           const textinv_invert_params *p)
{
  pthread_t threads[RANKS];

  assert_int_equal(pthread_barrier_init(&all_here, NULL, ranks), 0);
  for (uint32_t i = 0; i < ranks; i++) {
    all[i].session = sessions[i];
    must(NULL, textinv_parallel_init(&all[i].parallel, sizeof(all[i].parallel)));
    all[i].parallel.rank = i;
    all[i].parallel.ranks = ranks;
    all[i].parallel.all_reduce = add_up;
    all[i].parallel.user = &all[i].parallel;
    all[i].p = *p;
    all[i].p.parallel = &all[i].parallel;
    assert_int_equal(pthread_create(&threads[i], NULL, learn, &all[i]), 0);
  }
  for (uint32_t i = 0; i < ranks; i++)
    assert_int_equal(pthread_join(threads[i], NULL), 0);
  pthread_barrier_destroy(&all_here);
}

/* the gradient comes to the host and goes back, to the same bits; another process may have another
 * kind of device, which hears of it when that is lost */
static void a_device_learns_with_others(void **state)
{
  textinv_session *const sessions[RANKS] = { device, cpu };
  textinv_invert_params p = params(2);
  float whole[TINY_WIDTH];
  process all[RANKS];

  (void)state;
  p.weight_decay = 0.01f;
  invert(device, whole, &p);
  learn_together(all, 1, sessions, &p);
  must(device, all[0].status);
  assert_memory_equal(all[0].rows, whole, sizeof(whole));

  learn_together(all, 2, sessions, &p);
  must(device, all[0].status);
  must(cpu, all[1].status);
  assert_memory_equal(all[0].rows, all[1].rows, sizeof(all[0].rows));
  p.batch *= 2;
  invert(cpu, whole, &p);
  assert_true(error_of(all[0].rows, whole, TINY_WIDTH) < 1e-3);

  const ti_cuda_plugin *const plugin = device->device->plugin;
  ti_cuda_plugin lost = *plugin;

  lost.wait = lost_wait; /* when the others have taken the step */
  device->device->plugin = &lost;
  learn_together(all, 2, sessions, &p);
  device->device->plugin = plugin;
  assert_int_equal(all[0].status, TEXTINV_E_BACKEND);
  assert_string_equal(textinv_session_error(device), "lost");
  assert_int_equal(all[1].status, TEXTINV_E_BACKEND);
  assert_non_null(strstr(textinv_session_error(cpu), "rank 0 of 2 stopped at step 1 of 2"));
}

/* ------------------------------------------------------------------ memory */

static int again_lines, pass_lines;

static void count_lines(void *user, textinv_log_level level, const char *line)
{
  (void)user;
  (void)level;
  again_lines += strstr(line, "computed again") != NULL;
  pass_lines += strstr(line, "passes of") != NULL;
}

/* memory is what it is before training, and bytes from then on */
static int32_t shrink_memory(void *user, const textinv_progress *progress)
{
  char text[32];

  snprintf(text, sizeof(text), "%.0f", *(double *)user);
  if (progress->step == progress->steps && !strcmp(progress->phase, "encode"))
    setenv("TEXTINV_EMULATED_BYTES", text, 1);
  return 0;
}

/*
 * A device that is too small for all activations of a batch: first some are computed again, to the
 * same bits; then a step takes more passes of fewer samples, to the same rows but for rounding. A
 * real device's memory is what it is, so there the session's budget shrinks.
 */
static void short_memory_takes_longer(void **state)
{
  float whole[TINY_WIDTH], rows[TINY_WIDTH];
  textinv_invert_params p = params(1);
  const double weights = (double)ti_model_parameters(model) * 4.0;
  textinv_session *s;
  double bytes;
  int tries = 0;

  (void)state;
  p.batch = 4;
  again_lines = pass_lines = 0;
  s = open_session(TEXTINV_BACKEND_CUDA, TEXTINV_F32);
  invert(s, whole, &p);
  bytes = (double)textinv_session_peak_bytes(s) + (is_emulated() ? weights : 0.0);
  textinv_session_free(s);
  p.progress = is_emulated() ? shrink_memory : NULL;
  p.progress_user = &bytes;
  /* not all weights are needed, so how much is too little is found out */
  for (; tries < 20 && !pass_lines; bytes *= 0.85, tries++) {
    textinv_session_params sp;

    must(NULL, textinv_session_params_init(&sp, sizeof(sp)));
    sp.backend = TEXTINV_BACKEND_CUDA;
    sp.backend_path = plugin_path();
    sp.log = count_lines;
    sp.memory_budget = is_emulated() ? 0 : (uint64_t)(weights + bytes);
    must(NULL, textinv_session_new(&s, &sp));
    invert(s, rows, &p);
    unsetenv("TEXTINV_EMULATED_BYTES");
    textinv_session_free(s);
    if (!pass_lines)
      assert_memory_equal(rows, whole, sizeof(whole));
    assert_true(error_of(rows, whole, TINY_WIDTH) < 1e-4);
  }
  assert_true(again_lines > 0 && pass_lines > 0);
}

/* far too small: the message has needed and free bytes, and the session goes on; a budget stays */
static void no_memory_is_told(void **state)
{
  float out[BATCH * VALUES];
  float latents[VALUES] = { 0 }, context[CONTEXT] = { 0 };
  textinv_session_params sp;
  textinv_predict_params p;
  textinv_session *s;

  (void)state;
  must(NULL, textinv_session_params_init(&sp, sizeof(sp)));
  sp.backend = TEXTINV_BACKEND_CUDA;
  sp.backend_path = plugin_path();
  sp.memory_budget = is_emulated() ? 0 : 100000;
  must(NULL, textinv_session_new(&s, &sp));
  must(s, textinv_predict_params_init(&p, sizeof(p)));
  p.latents = latents;
  p.context = context;
  p.batch = 1;
  if (is_emulated())
    setenv("TEXTINV_EMULATED_BYTES", "100000", 1);
  assert_int_equal(textinv_predict_noise(s, out, VALUES, model, &p), TEXTINV_E_NOMEM);
  assert_non_null(strstr(textinv_session_error(s), is_emulated() ? "free" : "memory budget"));
  unsetenv("TEXTINV_EMULATED_BYTES");
  if (!is_emulated()) {
    textinv_session_free(s);
    s = open_session(TEXTINV_BACKEND_CUDA, TEXTINV_F32);
  }
  must(s, textinv_predict_noise(s, out, VALUES, model, &p));
  textinv_session_free(s);
}

static int32_t note_steps(void *user, const textinv_progress *progress)
{
  *(uint32_t *)user = progress->steps;
  return 0;
}

/* a device that is too small for four pictures at once draws fewer at once, the same ones */
static void pictures_fit_a_small_device(void **state)
{
  textinv_generate_params p;
  textinv_images *whole, *images;
  textinv_session *s = open_session(TEXTINV_BACKEND_CUDA, TEXTINV_F32);
  double bytes = (double)ti_model_parameters(model) * 4.0;
  uint32_t steps = 0; /* of all pictures; those at once share theirs */

  (void)state;
  must(s, textinv_generate_params_init(&p, sizeof(p)));
  p.prompt = "a photo of toy";
  p.images = 4;
  p.steps = 2;
  p.progress = note_steps;
  p.progress_user = &steps;
  must(s, textinv_generate(&whole, s, model, NULL, &p));
  assert_int_equal(steps, 2);
  bytes += (double)textinv_session_peak_bytes(s);
  ti_session_drop_plans(s);
  assert_null(s->device->arena);
  textinv_session_free(s);
  for (int i = 0; is_emulated() && i < 40 && steps == 2; i++, bytes *= 0.93) {
    char text[32];

    s = open_session(TEXTINV_BACKEND_CUDA, TEXTINV_F32);
    snprintf(text, sizeof(text), "%.0f", bytes);
    setenv("TEXTINV_EMULATED_BYTES", text, 1);
    must(s, textinv_generate(&images, s, model, NULL, &p));
    unsetenv("TEXTINV_EMULATED_BYTES");
    for (uint32_t k = 0; k < p.images; k++) {
      const uint8_t *x = textinv_images_pixels(whole, k), *y = textinv_images_pixels(images, k);

      for (int j = 0; j < PIXELS; j++)
        assert_true(abs(x[j] - y[j]) <= 1);
    }
    textinv_images_free(images);
    textinv_session_free(s);
  }
  assert_true(!is_emulated() || steps > 2);
  textinv_images_free(whole);
}

/* ------------------------------------------------------------------ pictures */

/* the processor's picture, which the device draws, too */
static textinv_images *drawn_by_both(const textinv_generate_params *p)
{
  textinv_images *a, *b;

  must(cpu, textinv_generate(&a, cpu, model, NULL, p));
  must(device, textinv_generate(&b, device, model, NULL, p));
  const uint8_t *x = textinv_images_pixels(a, 0), *y = textinv_images_pixels(b, 0);

  for (int i = 0; i < TINY_SIZE * TINY_SIZE * 3; i++)
    assert_true(abs(x[i] - y[i]) <= 1);
  textinv_images_free(b);
  return a;
}

static void pictures_agree(void **state)
{
  static const uint8_t half[] = { 255, 255, 255, 0, 0, 0 };
  textinv_generate_params p;
  textinv_images *plain, *mask;

  (void)state;
  must(cpu, textinv_generate_params_init(&p, sizeof(p)));
  p.prompt = "a photo of toy";
  p.steps = 2;
  p.guidance_rescale = 0.7f;
  p.seed = 7;
  plain = drawn_by_both(&p);
  must(cpu, textinv_images_new(&mask, cpu, half, 1, 2, 1));
  p.init_image = plain;
  p.mask = mask;
  p.seed = 8;
  textinv_images_free(drawn_by_both(&p));
  textinv_images_free(plain);
  textinv_images_free(mask);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(networks_agree, open_devices, close_devices),
    cmocka_unit_test(networks_agree_on_an_older_device),
    cmocka_unit_test_setup_teardown(inversions_agree, open_devices, close_devices),
    cmocka_unit_test_setup_teardown(steps_do_not_depend_on_how_they_are_run, open_devices,
                                    close_devices),
    cmocka_unit_test(graphs_need_not_fit),
    cmocka_unit_test_setup_teardown(what_was_fetched_outlives_the_device, open_devices,
                                    close_devices),
    cmocka_unit_test_setup_teardown(infinite_losses_leave_the_rows, open_devices, close_devices),
    cmocka_unit_test_setup_teardown(a_device_learns_with_others, open_devices, close_devices),
    cmocka_unit_test(short_memory_takes_longer),
    cmocka_unit_test(no_memory_is_told),
    cmocka_unit_test(pictures_fit_a_small_device),
    cmocka_unit_test_setup_teardown(pictures_agree, open_devices, close_devices),
  };

  return cmocka_run_group_tests_name("cuda_session", tests, open_all, close_all);
}
