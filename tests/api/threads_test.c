/* One model and one CLIP model in several threads, each with a session of its own: the bytes are
 * those of a serial run. And a call that another thread cancels. `make check-threads` runs this
 * under ThreadSanitizer. */
#include "testing_api.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#include "tiny_model.h"
#include "weight.h"

enum { THREADS = 4, ROUNDS = 8, PARTS = 4, LATENT = 4 * 8 * 8, CLIP_DIM = 12 };

static textinv_model *model;

typedef struct results {
  float context[TINY_TOKENS * TINY_WIDTH], loss, gradient[2 * TINY_WIDTH];
  uint8_t pixels[TINY_SIZE * TINY_SIZE * 3];
  uint32_t ids[TINY_TOKENS];
  size_t num_ids;
  float seen[CLIP_DIM], read[CLIP_DIM];
} results;

/* a failure of cmocka must not leave its thread: what went wrong is told to the first one */
typedef struct worker {
  pthread_barrier_t *start;
  const textinv_model *model;
  const textinv_clip *clip;
  int first; /* part to begin with, so that threads meet in different networks */
  textinv_status status;
  char message[512];
  results out;
} worker;

static const char text[] = "a photo of <toy>, of a toy";

static textinv_status encode(results *r, textinv_session *s, const textinv_model *m,
                             const textinv_embeddings *e)
{
  return textinv_encode_prompt(s, r->context, TINY_TOKENS * TINY_WIDTH, NULL, 0, NULL, m, e, text,
                               0);
}

static textinv_status loss(results *r, textinv_session *s, const textinv_model *m,
                           const textinv_embeddings *e)
{
  const char *const prompts[] = { text };
  const uint32_t timesteps[] = { 500 };
  float latents[LATENT], noise[LATENT];
  textinv_loss_params p;

  for (int i = 0; i < LATENT; i++) {
    latents[i] = (float)(i * 37 % 101) / 50.0f - 1.0f;
    noise[i] = (float)(i * 53 % 97) / 48.0f - 1.0f;
  }
  textinv_loss_params_init(&p, sizeof(p));
  p.batch = 1;
  p.latents = latents;
  p.noise = noise;
  p.timesteps = timesteps;
  p.prompts = prompts;
  return textinv_loss(s, &r->loss, r->gradient, 2 * TINY_WIDTH, m, e, &p);
}

static textinv_status generate(results *r, textinv_session *s, const textinv_model *m,
                               const textinv_embeddings *e)
{
  textinv_generate_params p;
  textinv_images *images;
  textinv_status status;

  textinv_generate_params_init(&p, sizeof(p));
  p.prompt = text;
  p.steps = 2;
  if ((status = textinv_generate(&images, s, m, e, &p)) >= 0)
    memcpy(r->pixels, textinv_images_pixels(images, 0), sizeof(r->pixels));
  textinv_images_free(images);
  return status;
}

static textinv_status tokenize(results *r, textinv_session *s, const textinv_model *m,
                               const textinv_embeddings *e)
{
  return textinv_tokenizer_encode(s, r->ids, TINY_TOKENS, &r->num_ids,
                                  textinv_model_tokenizer(m, 0), e, text);
}

static textinv_status (*const parts[PARTS])(results *, textinv_session *, const textinv_model *,
                                            const textinv_embeddings *) = { encode, loss, generate,
                                                                            tokenize };

/* with the picture that was drawn, and in the other order in every second thread */
static textinv_status score(results *r, textinv_session *s, const textinv_clip *clip, int turned)
{
  textinv_images *drawn;
  textinv_status status = textinv_images_new(&drawn, s, r->pixels, 1, TINY_SIZE, TINY_SIZE);

  for (int i = 0; i < 2 && status >= 0; i++)
    status = i ^ turned ? textinv_clip_encode_text(s, r->read, CLIP_DIM, NULL, clip, text)
                        : textinv_clip_encode_image(s, r->seen, CLIP_DIM, clip, drawn, 0);
  textinv_images_free(drawn);
  return status;
}

static textinv_status new_session(textinv_session **out)
{
  textinv_session_params p;

  textinv_session_params_init(&p, sizeof(p));
  p.threads = 2;
  return textinv_session_new(out, &p);
}

static void *work(void *user)
{
  worker *w = user;
  textinv_session *s = NULL;
  textinv_model *another = NULL;
  textinv_embeddings *e = NULL;

  pthread_barrier_wait(w->start);
  if ((w->status = new_session(&s)) >= 0 &&
      (w->status = textinv_model_open(&another, s, tiny_model())) >= 0 &&
      (w->status = textinv_embeddings_new(&e, s)) >= 0)
    w->status = textinv_embeddings_add(s, e, w->model, "<toy>", 2, "toy", 3);
  for (int i = 0; i < PARTS && w->status >= 0; i++)
    w->status = parts[(w->first + i) % PARTS](&w->out, s, w->model, e);
  if (w->status >= 0)
    w->status = score(&w->out, s, w->clip, w->first & 1);
  if (w->status < 0)
    snprintf(w->message, sizeof(w->message), "%s", textinv_session_error(s));
  textinv_embeddings_free(e);
  textinv_model_free(another);
  textinv_session_free(s);
  return NULL;
}

/* count workers at once on models that nothing has used yet */
static void run(worker *workers, int count)
{
  pthread_t threads[THREADS];
  pthread_barrier_t start;
  textinv_model *fresh;
  textinv_clip *clip;

  must(textinv_model_open(&fresh, session, tiny_model()));
  must(textinv_clip_open(&clip, session, "tests/golden/tiny-clip"));
  assert_int_equal(pthread_barrier_init(&start, NULL, (unsigned)count), 0);
  memset(workers, 0, (size_t)count * sizeof(*workers));
  for (int i = 0; i < count; i++) {
    workers[i].start = &start;
    workers[i].model = fresh;
    workers[i].clip = clip;
    workers[i].first = i;
    assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
  }
  for (int i = 0; i < count; i++)
    assert_int_equal(pthread_join(threads[i], NULL), 0);
  for (int i = 0; i < count; i++) {
    if (workers[i].status < 0)
      fail_msg("thread %d: %s: %s", i, textinv_status_name(workers[i].status), workers[i].message);
  }
  pthread_barrier_destroy(&start);
  textinv_clip_free(clip);
  textinv_model_free(fresh);
}

static void threads_share_models(void **state)
{
  static worker alone, together[THREADS];

  (void)state;
  run(&alone, 1);
  assert_int_not_equal(alone.out.num_ids, 0);
  for (int round = 0; round < ROUNDS; round++) {
    run(together, THREADS);
    for (int i = 0; i < THREADS; i++)
      assert_memory_equal(&together[i].out, &alone.out, sizeof(results));
  }
}

/* ------------------------------------------------------------------ */

typedef struct packer {
  pthread_barrier_t *start;
  ti_weight *weights;
  ti_weight *joined;
  const void *packed;
  textinv_status status;
} packer;

static atomic_int fills;

/* slow, so that the other threads come meanwhile */
static textinv_status fill(ti_error *error, void *out, const ti_weight *w, void *user)
{
  (void)error;
  (void)user;
  atomic_fetch_add(&fills, 1);
  nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
  ti_weight_values(out, TI_F32, w);
  return TEXTINV_OK;
}

static void *pack(void *user)
{
  packer *p = user;
  ti_weight *const both[] = { &p->weights[0], &p->weights[1] };
  ti_error error;

  pthread_barrier_wait(p->start);
  if ((p->status = ti_weight_join(&error, &p->joined, both, 2)) >= 0)
    p->status = ti_weight_pack(&error, &p->packed, p->joined, "slow", 8 * sizeof(float), fill,
                               NULL);
  return NULL;
}

static void weights_are_joined_and_packed_once(void **state)
{
  const float values[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };

  (void)state;
  for (int round = 0; round < ROUNDS; round++) {
    ti_weight weights[2] = {
      { .name = "q", .rank = 2, .dims = { 2, 2 }, .count = 4, .dtype = TI_F32, .data = values },
      { .name = "k", .rank = 2, .dims = { 2, 2 }, .count = 4, .dtype = TI_F32, .data = values + 4 }
    };
    packer packers[THREADS];
    pthread_t threads[THREADS];
    pthread_barrier_t start;

    atomic_store(&fills, 0);
    assert_int_equal(pthread_barrier_init(&start, NULL, THREADS), 0);
    for (int i = 0; i < THREADS; i++) {
      packers[i] = (packer){ .start = &start, .weights = weights };
      assert_int_equal(pthread_create(&threads[i], NULL, pack, &packers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
      assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (int i = 0; i < THREADS; i++) {
      assert_int_equal(packers[i].status, TEXTINV_OK);
      assert_ptr_equal(packers[i].joined, packers[0].joined);
      assert_ptr_equal(packers[i].packed, packers[0].packed);
    }
    assert_int_equal(atomic_load(&fills), 1);
    assert_memory_equal(packers[0].packed, values, sizeof(values));
    pthread_barrier_destroy(&start);
    ti_weight_drop(&weights[0]);
  }
}

/* ------------------------------------------------------------------ */

typedef struct inversion {
  atomic_int steps;
  textinv_status status;
  textinv_invert_report report;
  textinv_embeddings *words;
  const char *pictures;
} inversion;

static int32_t note_step(void *user, const textinv_progress *progress)
{
  inversion *v = user;

  if (!strcmp(progress->phase, "train"))
    atomic_store(&v->steps, (int)progress->step);
  return 0;
}

static void *invert(void *user)
{
  inversion *v = user;
  textinv_concept c;
  textinv_invert_params p;

  textinv_concept_init(&c, sizeof(c));
  c.placeholder = "<toy>";
  c.initializer = "toy";
  c.images_path = v->pictures;
  textinv_invert_params_init(&p, sizeof(p));
  p.concepts = &c;
  p.num_concepts = 1;
  p.steps = 20000; /* some minutes, were it not cancelled */
  p.batch = 1;
  p.progress = note_step;
  p.progress_user = v;
  v->status = textinv_invert(session, model, v->words, &p, &v->report);
  atomic_store(&v->steps, 20000);
  return NULL;
}

static void another_thread_cancels(void **state)
{
  inversion v = { .pictures = tiny_pictures("cancelled", 2, 16, 16) };
  results r;
  pthread_t thread;

  (void)state;
  must(textinv_invert_report_init(&v.report, sizeof(v.report)));
  must(textinv_embeddings_new(&v.words, session));
  assert_int_equal(pthread_create(&thread, NULL, invert, &v), 0);
  while (atomic_load(&v.steps) < 3)
    sched_yield();
  textinv_session_cancel(session);
  assert_int_equal(pthread_join(thread, NULL), 0);
  refused(v.status, TEXTINV_E_CANCELLED, "cancelled");
  assert_in_range(v.report.steps, 3, 19999);
  must(encode(&r, session, model, v.words)); /* the words are there, and the flag is down */
  textinv_embeddings_free(v.words);
}

static int open_all(void **state)
{
  (void)state;
  if (new_session(&session) < 0)
    return -1;
  must(textinv_model_open(&model, session, tiny_model()));
  return 0;
}

static int close_all(void **state)
{
  (void)state;
  textinv_model_free(model);
  textinv_session_free(session);
  return 0;
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(threads_share_models),
    cmocka_unit_test(weights_are_joined_and_packed_once),
    cmocka_unit_test(another_thread_cancels),
  };

  return cmocka_run_group_tests_name("threads", tests, open_all, close_all);
}
