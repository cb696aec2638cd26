/* One run in several processes, which are threads here, each with a session of its own: they learn
 * what one process learns with their batches together, and they begin, stop and fail together.
 * `make check-threads` runs this under ThreadSanitizer. */
#include "testing_invert.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api.h"

enum { RANKS = 4, ROOM = 4096, ROWS = 3 * TINY_WIDTH, STATE_CALL = 1, FIRST_STEP_CALL = 2 };

/* where the processes meet */
typedef struct world {
  pthread_mutex_t lock;
  pthread_cond_t all_here;
  uint32_t ranks, here, rounds;
  int broken; /* one has left: nobody is waited for any more */
  float values[RANKS][ROOM];
} world;

typedef struct process {
  world *world;
  uint32_t place; /* in the world */
  textinv_parallel parallel;
  textinv_invert_params p;
  const float *begin; /* rows of "<toy>" to begin with, or NULL */
  /* what it does, and when: calls of all_reduce and steps */
  int calls, fail_at, nan_at, nan_from, infinite_loss_at;
  uint32_t stop_at, cancel_at, starve_at;
  int cancels_in_preview;
  textinv_session *session;
  /* what became of it */
  textinv_status status;
  textinv_invert_report report;
  char message[512];
  size_t words, reports;
  uint32_t previews;
  float rows[ROWS];
} process;

/* wait for all; not 0 when one has left before it came */
static int meet(world *w)
{
  int alone;

  pthread_mutex_lock(&w->lock);
  const uint32_t round = w->rounds;

  if (++w->here == w->ranks) {
    w->here = 0;
    w->rounds++;
    pthread_cond_broadcast(&w->all_here);
  }
  while (round == w->rounds && !w->broken)
    pthread_cond_wait(&w->all_here, &w->lock);
  alone = round == w->rounds;
  pthread_mutex_unlock(&w->lock);
  return alone;
}

static void leave(world *w)
{
  pthread_mutex_lock(&w->lock);
  w->broken = 1;
  pthread_cond_broadcast(&w->all_here);
  pthread_mutex_unlock(&w->lock);
}

/* in the order of the ranks */
static int32_t add_up(void *user, float *values, size_t count)
{
  process *p = user;
  world *w = p->world;
  const int call = p->calls++;

  if (count > ROOM || (p->fail_at && call == p->fail_at)) {
    leave(w);
    return 7;
  }
  if ((p->nan_at && call == p->nan_at) || (p->nan_from && call >= p->nan_from))
    values[0] = NAN;
  if (p->infinite_loss_at && call == p->infinite_loss_at)
    values[count - p->parallel.ranks - 1] = INFINITY;
  memcpy(w->values[p->place], values, count * sizeof(*values));
  if (meet(w))
    return 8;
  for (size_t i = 0; i < count; i++) {
    values[i] = w->values[0][i];
    for (uint32_t k = 1; k < w->ranks; k++)
      values[i] += w->values[k][i];
  }
  return meet(w) ? 8 : 0;
}

static int32_t watch(void *user, const textinv_progress *progress)
{
  process *p = user;

  if (strcmp(progress->phase, "train"))
    return 0;
  p->reports++;
  if (progress->step == p->cancel_at)
    textinv_session_cancel(p->session);
  if (progress->step == p->starve_at) {
    ti_session_drop_plans(p->session);
    p->session->budget = 1;
  }
  return progress->step == p->stop_at;
}

static int32_t count_preview(void *user, uint32_t step, textinv_images *images)
{
  process *p = user;

  (void)images;
  p->previews += step;
  if (p->cancels_in_preview)
    textinv_session_cancel(p->session);
  return 0;
}

/* of one thread, so that the same sums have the same bits */
static void *work(void *user)
{
  process *p = user;
  textinv_session_params sp;
  textinv_embeddings *e = NULL;

  textinv_session_params_init(&sp, sizeof(sp));
  textinv_invert_report_init(&p->report, sizeof(p->report));
  sp.threads = 1;
  if ((p->status = textinv_session_new(&p->session, &sp)) >= 0 &&
      (p->status = textinv_embeddings_new(&e, p->session)) >= 0 && p->begin)
    p->status = textinv_embeddings_set(p->session, e, "<toy>", 0, 1, TINY_WIDTH, p->begin);
  if (p->status >= 0)
    p->status = textinv_invert(p->session, model, e, &p->p, &p->report);
  snprintf(p->message, sizeof(p->message), "%s", textinv_session_error(p->session));
  p->words = textinv_embeddings_count(e);
  for (size_t i = 0, at = 0; i < p->words; i++) {
    const char *word = textinv_embeddings_word(e, i);
    const size_t count = textinv_embeddings_vectors(e, word) * TINY_WIDTH;

    memcpy(p->rows + at, textinv_embeddings_rows(e, word, 0), count * sizeof(float));
    at += count;
  }
  textinv_embeddings_free(e);
  textinv_session_free(p->session);
  return NULL;
}

/* ranks processes with the options of p */
static void begin(process *all, uint32_t ranks, const textinv_invert_params *p)
{
  memset(all, 0, RANKS * sizeof(*all));
  for (uint32_t i = 0; i < ranks; i++) {
    must(textinv_parallel_init(&all[i].parallel, sizeof(all[i].parallel)));
    all[i].place = all[i].parallel.rank = i;
    all[i].parallel.ranks = ranks;
    all[i].parallel.all_reduce = add_up;
    all[i].parallel.user = &all[i];
    all[i].p = *p;
    all[i].p.parallel = &all[i].parallel;
    all[i].p.progress = watch;
    all[i].p.preview = count_preview;
    all[i].p.progress_user = all[i].p.preview_user = &all[i];
  }
}

static void go(process *all, uint32_t ranks)
{
  static world w;
  pthread_t threads[RANKS];

  memset(&w, 0, sizeof(w));
  w.ranks = ranks;
  assert_int_equal(pthread_mutex_init(&w.lock, NULL), 0);
  assert_int_equal(pthread_cond_init(&w.all_here, NULL), 0);
  for (uint32_t i = 0; i < ranks; i++) {
    all[i].world = &w;
    assert_int_equal(pthread_create(&threads[i], NULL, work, &all[i]), 0);
  }
  for (uint32_t i = 0; i < ranks; i++)
    assert_int_equal(pthread_join(threads[i], NULL), 0);
  pthread_cond_destroy(&w.all_here);
  pthread_mutex_destroy(&w.lock);
}

/* all ended alike, with the same rows */
static void ended(const process *all, uint32_t ranks, textinv_status status, uint32_t steps)
{
  for (uint32_t i = 0; i < ranks; i++) {
    if (all[i].status != status || all[i].report.steps != steps)
      fail_msg("rank %u: %s at step %u: %s; expected %s at step %u", i,
               textinv_status_name(all[i].status), all[i].report.steps, all[i].message,
               textinv_status_name(status), steps);
    assert_int_equal(all[i].report.skipped, all[0].report.skipped);
    assert_memory_equal(all[i].rows, all[0].rows, sizeof(all[i].rows));
    if (status >= 0)
      assert_true(all[i].report.loss == all[0].report.loss &&
                  all[i].report.loss_average == all[0].report.loss_average);
  }
}

static void said(const process *p, const char *part)
{
  if (!strstr(p->message, part))
    fail_msg("\"%s\"; expected \"%s\"", p->message, part);
}

/* a run of one process without others, in a thread like theirs */
static void alone(process *p, const textinv_invert_params *options)
{
  process all[RANKS];

  begin(all, 1, options);
  all[0].p.parallel = NULL;
  go(all, 1);
  *p = all[0];
  ended(p, 1, TEXTINV_OK, options->steps);
}

/* ------------------------------------------------------------------ */

/* two words, three vectors: every kind of draw counts */
static textinv_invert_params whole_options(textinv_concept c[2])
{
  textinv_invert_params p;

  c[0] = concept("<toy>");
  c[1] = concept("<red>");
  c[1].num_vectors = 2;
  p = params(c, 2);
  p.accumulate = 2;
  p.crop_scale = 0.8f;
  p.weight_decay = 0.01f;
  p.lr_schedule = TEXTINV_LR_COSINE;
  p.scale_lr = 1;
  p.learning_rate = 2e-4f;
  return p;
}

static void processes_learn_what_one_learns(void **state)
{
  textinv_concept c[2];
  textinv_invert_params p = whole_options(c);
  process one, fewer, all[RANKS];

  (void)state;
  alone(&fewer, &p);
  for (uint32_t ranks = 1; ranks <= RANKS; ranks++) {
    textinv_invert_params joint = p;
    float rows[ROWS];

    joint.batch = ranks * p.batch;
    alone(&one, &joint);
    begin(all, ranks, &p);
    go(all, ranks);
    ended(all, ranks, TEXTINV_OK, p.steps);
    memcpy(rows, all[0].rows, sizeof(rows));
    if (ranks == 1) {
      assert_memory_equal(rows, one.rows, sizeof(rows));
      continue;
    }
    const double error = test_relative_error(TI_F32, rows, one.rows, ROWS);
    const double others = test_relative_error(TI_F32, fewer.rows, one.rows, ROWS);

    printf("%u processes: relative error %.2g; of other samples %.2g\n", ranks, error, others);
    assert_true(error < 1e-5 && others > 1e-3);
    assert_true(fabsf(all[0].report.loss - one.report.loss) < 1e-5f * one.report.loss);
    for (uint32_t i = 0; i < ranks; i++)
      assert_int_equal(all[i].reports, p.steps);

    begin(all, ranks, &p);
    go(all, ranks);
    assert_memory_equal(rows, all[ranks - 1].rows, sizeof(rows));
  }
}

/* added up in the order of the ranks, what they have is what the passes of one process have */
static void processes_are_as_good_as_passes(void **state)
{
  textinv_concept c[2];
  textinv_invert_params p = whole_options(c);
  process one, all[RANKS];

  (void)state;
  for (uint32_t ranks = 2; ranks <= RANKS; ranks++) {
    p.accumulate = ranks;
    alone(&one, &p);
    p.accumulate = 1;
    begin(all, ranks, &p);
    go(all, ranks);
    ended(all, ranks, TEXTINV_OK, p.steps);
    assert_memory_equal(all[0].rows, one.rows, sizeof(one.rows));
  }
}

/* words that are held with other vectors elsewhere, as a file may have them on one machine */
static void all_begin_with_the_rows_of_the_first(void **state)
{
  static const float first[TINY_WIDTH] = { 0.5f, -1.0f }, other[TINY_WIDTH] = { 9.0f };
  const textinv_concept c = concept("<toy>");
  const textinv_invert_params p = params(&c, 1);
  process same[RANKS], all[RANKS];

  (void)state;
  begin(same, 2, &p);
  same[0].begin = same[1].begin = first;
  go(same, 2);
  begin(all, 2, &p);
  all[0].begin = first;
  all[1].begin = other;
  go(all, 2);
  ended(all, 2, TEXTINV_OK, p.steps);
  assert_memory_equal(all[0].rows, same[0].rows, sizeof(same[0].rows));
}

static void the_first_alone_draws_previews(void **state)
{
  const textinv_concept c = concept("<toy>");
  textinv_invert_params p = params(&c, 1);
  process all[RANKS];

  (void)state;
  p.preview_prompt = "a photo of <toy>";
  p.preview_every = 4;
  p.preview_steps = 1;
  begin(all, 2, &p);
  go(all, 2);
  ended(all, 2, TEXTINV_OK, p.steps);
  assert_int_equal(all[0].previews, 4 + 8 + 12);
  assert_int_equal(all[1].previews, 0);
}

/* ------------------------------------------------------------------ steps that fail */

static void a_step_is_skipped_by_all(void **state)
{
  const textinv_concept c = concept("<toy>");
  const textinv_invert_params p = params(&c, 1);
  process all[RANKS];

  (void)state;
  begin(all, 3, &p);
  all[2].nan_at = FIRST_STEP_CALL + 4;
  all[1].infinite_loss_at = FIRST_STEP_CALL + 6;
  go(all, 3);
  ended(all, 3, TEXTINV_OK, p.steps);
  assert_int_equal(all[0].report.skipped, 2);
  assert_true(isfinite(all[0].report.loss_average) && isfinite(all[0].rows[0]));

  process whole[RANKS];

  begin(whole, 3, &p);
  for (int i = 0; i < 3; i++)
    whole[i].p.steps = 4;
  go(whole, 3);
  begin(all, 3, &p);
  all[1].nan_from = FIRST_STEP_CALL + 4;
  go(all, 3);
  ended(all, 3, TEXTINV_E_NONFINITE, 11);
  assert_memory_equal(all[0].rows, whole[0].rows, sizeof(all[0].rows));
}

/* process who stops the run at a step, in a way that set() chooses, and then it goes on */
static void stops(uint32_t who, void (*set)(process *p, uint32_t step), uint32_t step,
                  textinv_status status)
{
  static uint32_t runs;
  const textinv_concept c = concept("<toy>");
  textinv_invert_params p = params(&c, 1);
  process all[RANKS], whole[RANKS];
  char folder[512], text[700];

  begin(whole, 3, &p);
  go(whole, 3);
  ended(whole, 3, TEXTINV_OK, p.steps);

  snprintf(text, sizeof(text), "stops-%u", runs++);
  snprintf(folder, sizeof(folder), "%s", fresh_folder(text));
  p.resume = "latest";
  for (int again = 0; again < 2; again++) {
    begin(all, 3, &p);
    for (int i = 0; i < 3; i++)
      all[i].p.output_dir = i ? "/nowhere" : folder; /* the first alone needs it */
    if (!again)
      set(&all[who], step);
    go(all, 3);
    if (again)
      break;
    ended(all, 3, status, step);
    snprintf(text, sizeof(text), "rank %u of 3 stopped at step %u of 12: %s", who, step,
             textinv_status_name(status));
    said(&all[1], text);
    assert_int_equal(all[1].words, 1);
    snprintf(text, sizeof(text), "%s/checkpoint-%08u.safetensors", folder, step);
    assert_int_equal(access(text, F_OK), 0);
  }
  ended(all, 3, TEXTINV_OK, p.steps);
  for (int i = 0; i < 3; i++)
    assert_int_equal(all[i].report.first_step, step);
  assert_memory_equal(all[2].rows, whole[0].rows, sizeof(all[2].rows));
}

static void by_its_callback(process *p, uint32_t step)
{
  p->stop_at = step;
}

static void cancelled(process *p, uint32_t step)
{
  p->cancel_at = step;
}

/* it is noticed when the next step computes */
static void cancelled_in_a_preview(process *p, uint32_t step)
{
  p->p.preview_prompt = "a photo of <toy>";
  p->p.preview_every = step;
  p->p.preview_steps = 1;
  p->cancels_in_preview = 1;
}

static void without_memory(process *p, uint32_t step)
{
  p->starve_at = step;
}

static void all_stop_after_the_same_step(void **state)
{
  (void)state;
  stops(2, by_its_callback, 7, TEXTINV_E_CANCELLED);
  stops(2, by_its_callback, 12, TEXTINV_E_CANCELLED); /* the last one */
  stops(0, cancelled, 7, TEXTINV_E_CANCELLED);
  stops(0, cancelled_in_a_preview, 7, TEXTINV_E_CANCELLED);
  stops(2, without_memory, 7, TEXTINV_E_NOMEM);
}

/* the checkpoint of three processes of two samples is one of a process of six */
static void a_run_goes_on_with_another_number(void **state)
{
  const textinv_concept c = concept("<toy>");
  textinv_invert_params p = params(&c, 1);
  process all[RANKS], one;

  (void)state;
  p.output_dir = fresh_folder("number");
  p.checkpoint_every = 6;
  p.steps = 6;
  begin(all, 3, &p);
  go(all, 3);
  ended(all, 3, TEXTINV_OK, 6);
  p.steps = 12;
  p.resume = "latest";
  p.checkpoint_every = 0;
  begin(all, 3, &p);
  go(all, 3);
  ended(all, 3, TEXTINV_OK, 12);
  p.batch = 6;
  alone(&one, &p);
  assert_int_equal(one.report.first_step, 6);
  assert_true(test_relative_error(TI_F32, one.rows, all[0].rows, TINY_WIDTH) < 1e-5);
}

/* as MPI does when a process is lost: the others' sums fail, too */
static void a_sum_that_fails_ends_the_run(void **state)
{
  const textinv_concept c = concept("<toy>");
  textinv_invert_params p = params(&c, 1);
  process all[RANKS], part[RANKS];
  char checkpoint[700];

  (void)state;
  begin(part, 2, &p);
  part[0].p.steps = part[1].p.steps = 3;
  go(part, 2);
  p.output_dir = fresh_folder("sum");
  begin(all, 2, &p);
  all[1].fail_at = FIRST_STEP_CALL + 3;
  go(all, 2);
  ended(all, 2, TEXTINV_E_BACKEND, 3);
  said(&all[1], "all_reduce of rank 1 returned 7 at step 3 of 12");
  said(&all[0], "all_reduce of rank 0 returned 8 at step 3 of 12");
  assert_int_equal(all[1].calls, FIRST_STEP_CALL + 4);
  assert_memory_equal(all[0].rows, part[0].rows, sizeof(all[0].rows));
  snprintf(checkpoint, sizeof(checkpoint), "%s/checkpoint-00000003.safetensors", p.output_dir);
  assert_int_equal(access(checkpoint, F_OK), 0);

  begin(all, 2, &p); /* before the first step */
  all[0].fail_at = STATE_CALL;
  go(all, 2);
  ended(all, 2, TEXTINV_E_BACKEND, 0);
  assert_int_equal(all[0].words + all[1].words, 0);
}

/* ------------------------------------------------------------------ beginnings that fail */

static void what_one_refuses_all_refuse(void **state)
{
  const textinv_concept c = concept("<toy>");
  textinv_concept missing = c;
  const textinv_invert_params p = params(&c, 1);
  process all[RANKS];

  (void)state;
  missing.images_path = "/nowhere";
  begin(all, 2, &p);
  all[1].p.concepts = &missing;
  go(all, 2);
  ended(all, 2, TEXTINV_E_NOT_FOUND, 0);
  said(&all[0], "rank 1 of 2 stopped at step 0 of 12: TEXTINV_E_NOT_FOUND");
  said(&all[1], "/nowhere: cannot be opened");
  assert_int_equal(all[0].words + all[1].words, 0);
  assert_int_equal(all[0].reports, 0);

#define DIFFER(change)                                                                             \
  do {                                                                                             \
    begin(all, 3, &p);                                                                             \
    all[2].p.change;                                                                               \
    go(all, 3);                                                                                    \
    ended(all, 3, TEXTINV_E_CONFLICT, 0);                                                          \
    for (int i = 0; i < 3; i++)                                                                    \
      said(&all[i], "rank 2 has another model, other options, pictures or words than rank 0");     \
  } while (0)
  DIFFER(seed = 6);
  DIFFER(batch = 3);
  DIFFER(steps = 11);
  DIFFER(epsilon = 1e-7f);

  textinv_concept longer = c;

  longer.num_vectors = 2;
  DIFFER(concepts = &longer);
}

static int32_t add_nothing(void *user, float *values, size_t count)
{
  (void)user;
  (void)values;
  (void)count;
  return 0;
}

static int32_t average(void *user, float *values, size_t count)
{
  const process *p = user;
  const int32_t result = add_up(user, values, count);

  for (size_t i = 0; i < count; i++)
    values[i] /= (float)p->parallel.ranks;
  return result;
}

static void sums_that_are_none_are_refused(void **state)
{
  const textinv_concept c = concept("<toy>");
  const textinv_invert_params p = params(&c, 1);
  process all[RANKS];

  (void)state;
  begin(all, 2, &p);
  all[0].parallel.all_reduce = all[1].parallel.all_reduce = add_nothing;
  go(all, 2);
  ended(all, 2, TEXTINV_E_INVALID, 0);
  said(&all[0], "parallel.all_reduce gave 0 for rank 1 of 2 where the sum is 1");
  begin(all, 2, &p);
  all[0].parallel.all_reduce = all[1].parallel.all_reduce = average;
  go(all, 2);
  ended(all, 2, TEXTINV_E_INVALID, 0);
  said(&all[1], "parallel.all_reduce gave 0.5 for rank 0 of 2 where the sum is 1");
  begin(all, 2, &p);
  all[0].parallel.rank = 1;
  go(all, 2);
  ended(all, 2, TEXTINV_E_INVALID, 0);
  said(&all[1], "parallel.all_reduce gave 0 for rank 0 of 2 where the sum is 1");
}

static void nonsense_is_refused(void **state)
{
  const textinv_concept c = concept("<toy>");
  textinv_invert_params p = params(&c, 1);
  textinv_embeddings *e = new_words();
  textinv_parallel good, g;

  (void)state;
  must(textinv_parallel_init(&good, sizeof(good)));
  good.all_reduce = add_nothing;
  p.parallel = &g;
  p.steps = 2;
#define REFUSED(change, status, part)                                                              \
  do {                                                                                             \
    g = good;                                                                                      \
    change;                                                                                        \
    refused(textinv_invert(session, model, e, &p, NULL), status, part);                            \
    assert_int_equal(textinv_embeddings_count(e), 0);                                              \
  } while (0)
  REFUSED(g.rank = 1, TEXTINV_E_INVALID, "parallel.rank is 1 of 1 ranks");
  REFUSED(g.ranks = 0, TEXTINV_E_INVALID, "parallel.rank is 0 of 0 ranks");
  REFUSED(g.ranks = 1025, TEXTINV_E_INVALID, "1 to 1024 ranks");
  REFUSED(g.all_reduce = NULL, TEXTINV_E_INVALID, "parallel.all_reduce is NULL");
  REFUSED(g.struct_size = 0, TEXTINV_E_INVALID, "parallel was not initialised");
  g = good; /* one process of one */
  must(textinv_invert(session, model, e, &p, NULL));
  textinv_embeddings_free(e);
}

static int open_all(void **state)
{
  textinv_session_params p;

  (void)state;
  must(textinv_session_params_init(&p, sizeof(p)));
  p.threads = 1;
  must(textinv_session_new(&session, &p));
  must(textinv_model_open(&model, session, tiny_model()));
  pictures = tiny_pictures("pictures", 3, 24, 20);
  return 0;
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(processes_learn_what_one_learns),
    cmocka_unit_test(processes_are_as_good_as_passes),
    cmocka_unit_test(all_begin_with_the_rows_of_the_first),
    cmocka_unit_test(the_first_alone_draws_previews),
    cmocka_unit_test(a_step_is_skipped_by_all),
    cmocka_unit_test(all_stop_after_the_same_step),
    cmocka_unit_test(a_run_goes_on_with_another_number),
    cmocka_unit_test(a_sum_that_fails_ends_the_run),
    cmocka_unit_test(what_one_refuses_all_refuse),
    cmocka_unit_test(sums_that_are_none_are_refused),
    cmocka_unit_test(nonsense_is_refused),
  };

  return cmocka_run_group_tests_name("parallel", tests, open_all, close_tiny);
}
