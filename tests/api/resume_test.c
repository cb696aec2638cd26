/* Runs in parts: they end as whole ones, the checkpoints of others stay, and what was learnt
 * outlives a failure. */
#include "testing_invert.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "alloc.h"
#include "api.h"

static int listing_fails;

/* stands before that of the C library */
struct dirent *readdir(DIR *dir)
{
  static struct dirent *(*next)(DIR *);

  if (!next)
    *(void **)&next = dlsym(RTLD_NEXT, "readdir");
  errno = listing_fails ? EIO : 0;
  return listing_fails ? NULL : next(dir);
}

static int files_in(const char *folder)
{
  DIR *dir = opendir(folder);
  int count = 0;

  assert_non_null(dir);
  for (struct dirent *entry; (entry = readdir(dir));)
    count += *entry->d_name != '.';
  closedir(dir);
  return count;
}

static int32_t stop_at_7(void *user, const textinv_progress *progress)
{
  (void)user;
  return !strcmp(progress->phase, "train") && progress->step == 7;
}

/* by the steps of this call: one was taken, four are left */
static int32_t expect_the_rest(void *user, const textinv_progress *progress)
{
  (void)user;
  if (!strcmp(progress->phase, "train") && progress->step == 8)
    assert_float_equal(progress->eta / progress->seconds, 4.0, 1e-6);
  return 0;
}

static void resumed_runs_end_with_the_same_bytes(void **state)
{
  const textinv_concept c = concept("<toy>");
  textinv_invert_params p = params(&c, 1);
  float whole[TINY_WIDTH], resumed[TINY_WIDTH];
  textinv_embeddings *e;
  textinv_invert_report report;
  const char *folder = fresh_folder("resume");

  (void)state;
  must(textinv_invert_report_init(&report, sizeof(report)));
  p.accumulate = 2;
  p.crop_scale = 0.8f;
  run(whole, &p);

  p.output_dir = folder;
  p.resume = "latest"; /* nothing there yet: starts anew */
  p.checkpoint_every = 3;
  p.progress = stop_at_7;
  e = new_words();
  assert_int_equal(textinv_invert(session, model, e, &p, &report), TEXTINV_E_CANCELLED);
  assert_int_equal(report.steps, 7);
  textinv_embeddings_free(e);
  assert_int_equal(files_in(folder), 2); /* checkpoint_keep */

  p.progress = expect_the_rest;
  e = new_words();
  must(textinv_invert(session, model, e, &p, &report));
  p.progress = NULL;
  assert_int_equal(report.first_step, 7);
  assert_int_equal(report.steps, 12);
  memcpy(resumed, textinv_embeddings_rows(e, "<toy>", 0), sizeof(resumed));
  textinv_embeddings_free(e);
  assert_memory_equal(whole, resumed, sizeof(whole));

  /* a damaged newest checkpoint: the one before it is used */
  char path[700];
  FILE *f;

  snprintf(path, sizeof(path), "%s/checkpoint-00000012.safetensors", folder);
  f = fopen(path, "w");
  assert_non_null(f);
  fputs("half a file", f);
  fclose(f);
  e = new_words();
  must(textinv_invert(session, model, e, &p, &report));
  assert_int_equal(report.first_step, 9);
  assert_memory_equal(whole, textinv_embeddings_rows(e, "<toy>", 0), sizeof(whole));
  textinv_embeddings_free(e);

  /* another run's checkpoint is refused, and the difference named */
  p.seed = 6;
  e = new_words();
  refused(textinv_invert(session, model, e, &p, NULL), TEXTINV_E_CONFLICT,
          "made with seed=5; this run has seed=6");
  p.seed = 5;
  p.steps = 8; /* the newest one is of step 12 */
  refused(textinv_invert(session, model, e, &p, NULL), TEXTINV_E_CONFLICT,
          "is of step 12; this run ends at step 8");
  p.steps = 12;
  p.beta1 = 0.5f;
  refused(textinv_invert(session, model, e, &p, NULL), TEXTINV_E_CONFLICT, "made with beta1 0.9");
  assert_int_equal(textinv_embeddings_count(e), 0);
  textinv_embeddings_free(e);
}

/* a run that is at its end has its moments on disk: more steps go on where it ended */
static void a_finished_run_goes_on(void **state)
{
  const textinv_concept c = concept("<toy>");
  textinv_invert_params p = params(&c, 1);
  float whole[TINY_WIDTH];
  textinv_embeddings *e;
  textinv_invert_report report;
  const char *folder = fresh_folder("finished");

  (void)state;
  must(textinv_invert_report_init(&report, sizeof(report)));
  p.steps = 20;
  run(whole, &p);

  p.output_dir = folder;
  p.resume = "latest";
  p.steps = 3;
  e = new_words();
  must(textinv_invert(session, model, e, &p, NULL));
  textinv_embeddings_free(e);
  assert_int_equal(files_in(folder), 0); /* none was asked for */

  static const uint32_t ends[] = { 12, 20, 20 }, begins[] = { 0, 12, 20 };

  p.checkpoint_every = 5;
  for (int i = 0; i < 3; i++) {
    p.steps = ends[i];
    e = new_words();
    must(textinv_invert(session, model, e, &p, &report));
    assert_int_equal(report.first_step, begins[i]);
    assert_int_equal(report.steps, ends[i]);
    if (ends[i] == 20)
      assert_memory_equal(whole, textinv_embeddings_rows(e, "<toy>", 0), sizeof(whole));
    textinv_embeddings_free(e);
    assert_int_equal(files_in(folder), 2); /* checkpoint_keep */
  }
}

/* but not where the rate depends on how many there are */
static void steps_belong_to_a_falling_rate(void **state)
{
  const textinv_concept c = concept("<toy>");
  textinv_invert_params p = params(&c, 1);
  textinv_embeddings *e = new_words();

  (void)state;
  p.steps = 2;
  p.lr_schedule = TEXTINV_LR_COSINE;
  p.output_dir = fresh_folder("falling");
  p.checkpoint_every = 1;
  p.resume = "latest";
  must(textinv_invert(session, model, e, &p, NULL));
  p.steps = 3;
  refused(textinv_invert(session, model, e, &p, NULL), TEXTINV_E_CONFLICT,
          "made with steps=2; this run has steps=3");
  p.lr_schedule = TEXTINV_LR_LINEAR;
  refused(textinv_invert(session, model, e, &p, NULL), TEXTINV_E_CONFLICT,
          "made with schedule=cosine; this run has schedule=linear");
  textinv_embeddings_free(e);
}

static int32_t cancel_at_the_end(void *user, const textinv_progress *progress)
{
  (void)user;
  if (!strcmp(progress->phase, "train") && progress->step == progress->steps)
    textinv_session_cancel(session);
  return 0;
}

/* behind the last step, too: the caller hears that it was heeded, and the next call is not */
static void a_cancel_is_heeded_at_its_step(void **state)
{
  const textinv_concept c = concept("<toy>");
  textinv_invert_params p = params(&c, 1);
  textinv_embeddings *e = new_words();
  textinv_invert_report report;

  (void)state;
  must(textinv_invert_report_init(&report, sizeof(report)));
  p.steps = 2;
  p.progress = cancel_at_the_end;
  refused(textinv_invert(session, model, e, &p, &report), TEXTINV_E_CANCELLED,
          "cancelled at step 2 of 2");
  assert_int_equal(report.steps, 2);
  (void)fixed_loss(e);
  textinv_embeddings_free(e);
}

/* the last of three words has another shape: the rows of those before it stay */
static void a_refused_resume_changes_nothing(void **state)
{
  textinv_concept c[3] = { concept("<toy>"), concept("<two>"), concept("<three>") };
  textinv_invert_params p = params(c, 3);
  textinv_embeddings *e = new_words();
  float rows[2 * TINY_WIDTH];

  (void)state;
  p.steps = 2;
  p.output_dir = fresh_folder("shapes");
  p.checkpoint_every = 2;
  c[1].num_vectors = 2;
  must(textinv_invert(session, model, e, &p, NULL));
  textinv_embeddings_free(e);

  e = new_words();
  for (int i = 0; i < 2 * TINY_WIDTH; i++)
    rows[i] = 0.5f;
  must(textinv_embeddings_set(session, e, "<toy>", 0, 1, TINY_WIDTH, rows));
  must(textinv_embeddings_set(session, e, "<two>", 0, 1, TINY_WIDTH, rows));
  must(textinv_embeddings_set(session, e, "<three>", 0, 2, TINY_WIDTH, rows));
  p.resume = "latest";
  refused(textinv_invert(session, model, e, &p, NULL), TEXTINV_E_CONFLICT,
          "word \"<two>\" has another shape");
  assert_memory_equal(textinv_embeddings_rows(e, "<toy>", 0), rows, TINY_WIDTH * sizeof(float));
  textinv_embeddings_free(e);
}

static int32_t not_yet(void *user, const textinv_progress *progress)
{
  (void)user;
  fail_msg("phase %s has begun", progress->phase);
  return 0;
}

/* before its pictures are read, which takes long with a large model */
static void a_file_that_is_no_checkpoint_is_refused_at_once(void **state)
{
  const textinv_concept c = concept("<toy>");
  textinv_invert_params p = params(&c, 1);
  textinv_embeddings *e = new_words();
  char picture[600];

  (void)state;
  snprintf(picture, sizeof(picture), "%s/0.png", pictures);
  p.progress = not_yet;
  p.resume = test_path("missing.safetensors");
  refused(textinv_invert(session, model, e, &p, NULL), TEXTINV_E_NOT_FOUND, "missing.safetensors");
  p.resume = picture;
  refused(textinv_invert(session, model, e, &p, NULL), TEXTINV_E_LIMIT, "is no safetensors file");
  assert_int_equal(textinv_embeddings_count(e), 0);
  textinv_embeddings_free(e);
}

/* a checkpoint as an earlier release wrote it: without what its settings have from key on */
static void age(const char *path, const char *key)
{
  textinv_embeddings *e = new_words();
  float *m, *v;
  ti_adamw adamw;
  ti_checkpoint_info info;

  must(ti_checkpoint_read(&session->error, path, e, &m, &v, &adamw, &info));
  assert_non_null(strstr(info.settings, key));
  *strstr(info.settings, key) = '\0';
  must(ti_checkpoint_write(&session->error, path, e, m, v, &adamw, &info));
  ti_free(m);
  ti_free(v);
  textinv_embeddings_free(e);
}

/* the same pictures in the same order, but one is of another word */
static void pictures_belong_to_their_words(void **state)
{
  textinv_images *held[3];
  textinv_concept c[2] = { concept("<toy>"), concept("<red>") };
  textinv_invert_params p = params(c, 2);
  textinv_embeddings *e;
  char path[700];

  (void)state;
  for (int i = 0; i < 3; i++) {
    snprintf(path, sizeof(path), "%s/%d.png", pictures, i);
    must(textinv_image_read(&held[i], session, path));
  }
  for (size_t i = 0; i < 2; i++) {
    c[i].images_path = NULL;
    c[i].pictures = (const textinv_images *const *)held + 2 * i;
    c[i].num_pictures = 2 - i;
  }
  p.steps = 2;
  p.output_dir = fresh_folder("owners");
  p.checkpoint_every = 2;
  e = new_words();
  must(textinv_invert(session, model, e, &p, NULL));
  textinv_embeddings_free(e);

  c[0].num_pictures = 1;
  c[1].pictures--;
  c[1].num_pictures = 2;
  p.resume = "latest";
  e = new_words();
  refused(textinv_invert(session, model, e, &p, NULL), TEXTINV_E_CONFLICT,
          "made with pictures of words=");
  snprintf(path, sizeof(path), "%s/checkpoint-00000002.safetensors", p.output_dir);
  age(path, "; pictures of words=");
  must(textinv_invert(session, model, e, &p, NULL));
  textinv_images_pixels(held[1], 0)[3 * (10 * 24 + 12)] ^= 0xff; /* another picture */
  refused(textinv_invert(session, model, e, &p, NULL), TEXTINV_E_CONFLICT,
          "made with pictures and prompts=");
  textinv_embeddings_free(e);
  for (int i = 0; i < 3; i++)
    textinv_images_free(held[i]);
}

/* a resume that would give another result than the run it goes on from */
static void words_begin_as_they_did(void **state)
{
  textinv_concept c = concept("<toy>");
  textinv_invert_params p = params(&c, 1);
  textinv_embeddings *e = new_words(), *other = new_words();
  textinv_invert_report report;
  const float rows[TINY_WIDTH] = { 0.5f };
  char path[700];

  (void)state;
  must(textinv_invert_report_init(&report, sizeof(report)));
  p.steps = 2;
  p.output_dir = fresh_folder("begin");
  p.checkpoint_every = 2;
  p.resume = "latest";
  must(textinv_invert(session, model, e, &p, NULL));

  c.initializer = "red";
  refused(textinv_invert(session, model, other, &p, NULL), TEXTINV_E_CONFLICT,
          "begun with other vectors of the words");
  must(textinv_embeddings_set(session, other, "<toy>", 0, 1, TINY_WIDTH, rows));
  refused(textinv_invert(session, model, other, &p, NULL), TEXTINV_E_CONFLICT,
          "begun with other vectors of the words");
  assert_memory_equal(textinv_embeddings_rows(other, "<toy>", 0), rows, sizeof(rows));

  p.steps = 4; /* the words that the run left; its checkpoint says how it began, too */
  must(textinv_invert(session, model, e, &p, &report));
  assert_int_equal(report.first_step, 2);
  textinv_embeddings_free(e);
  c.initializer = "toy";
  e = new_words();
  must(textinv_invert(session, model, e, &p, &report));
  assert_int_equal(report.first_step, 4);
  textinv_embeddings_free(e);

  snprintf(path, sizeof(path), "%s/checkpoint-00000004.safetensors", p.output_dir);
  age(path, "; start=");
  must(textinv_invert(session, model, other, &p, &report));
  assert_int_equal(report.first_step, 4);
  textinv_embeddings_free(other);
}

/* a host's own loop says nothing of a run */
static void an_optimizers_checkpoint_is_no_runs(void **state)
{
  const textinv_concept c = concept("<toy>");
  textinv_invert_params p = params(&c, 1);
  textinv_embeddings *e = new_words();
  textinv_optimizer *o;
  char path[600];

  (void)state;
  snprintf(path, sizeof(path), "%s", test_path("own.safetensors"));
  must(textinv_embeddings_add(session, e, model, "<toy>", 1, "toy", 0));
  must(textinv_optimizer_new(&o, session, e, NULL));
  must(textinv_optimizer_save(session, o, e, path));
  p.resume = path;
  refused(textinv_invert(session, model, e, &p, NULL), TEXTINV_E_CONFLICT,
          "was made with nothing; this run has model=");
  textinv_optimizer_free(o);
  textinv_embeddings_free(e);
}

static int is_there(const char *folder, const char *name)
{
  char path[700];

  snprintf(path, sizeof(path), "%s/%s", folder, name);
  return !access(path, F_OK);
}

static void a_new_run_does_not_end_in_an_older_one(void **state)
{
  const textinv_concept c = concept("<toy>");
  textinv_invert_params p = params(&c, 1);
  textinv_embeddings *e;
  textinv_invert_report report;
  const char *folder = fresh_folder("anew");

  (void)state;
  must(textinv_invert_report_init(&report, sizeof(report)));
  p.output_dir = folder;
  p.checkpoint_every = 4;
  p.checkpoint_keep = 0;
  e = new_words();
  must(textinv_invert(session, model, e, &p, NULL)); /* leaves those of steps 4, 8 and 12 */
  textinv_embeddings_free(e);
  assert_int_equal(files_in(folder), 3);

  p.checkpoint_every = 0;
  p.seed = 6;
  for (int i = 1; i <= 2; i++) {
    p.progress = stop_at_7;
    p.resume = NULL;
    e = new_words();
    assert_int_equal(textinv_invert(session, model, e, &p, NULL), TEXTINV_E_CANCELLED);
    textinv_embeddings_free(e);
    assert_int_equal(files_in(folder), 3 + i);
    assert_true(is_there(folder, "checkpoint-00000007.safetensors"));
    assert_true(is_there(folder, "checkpoint-00000004.safetensors.1"));
    assert_true(is_there(folder, "checkpoint-00000008.safetensors.1"));
    assert_true(is_there(folder, "checkpoint-00000012.safetensors.1"));

    p.progress = NULL;
    p.resume = "latest";
    e = new_words();
    must(textinv_invert(session, model, e, &p, &report));
    assert_int_equal(report.first_step, 7);
    textinv_embeddings_free(e);
  }
  assert_true(is_there(folder, "checkpoint-00000007.safetensors.1"));

  /* gone on from an earlier checkpoint than the newest: the new one stays, too */
  char path[700];

  snprintf(path, sizeof(path), "%s/checkpoint-00000004.safetensors.1", folder);
  p.seed = 5;
  p.resume = path;
  p.checkpoint_every = 2;
  p.checkpoint_keep = 1;
  e = new_words();
  must(textinv_invert(session, model, e, &p, &report));
  assert_int_equal(report.first_step, 4);
  textinv_embeddings_free(e);
  assert_true(is_there(folder, "checkpoint-00000012.safetensors"));
  assert_true(is_there(folder, "checkpoint-00000007.safetensors.2"));
}

/* more than a folder's list has room for at first */
static void many_checkpoints_are_listed_and_removed(void **state)
{
  textinv_session *const quiet = listen();
  const textinv_concept c = concept("<toy>");
  textinv_invert_params p = params(&c, 1);
  textinv_embeddings *e;
  textinv_invert_report report;
  const char *folder = fresh_folder("many");

  (void)state;
  must(textinv_invert_report_init(&report, sizeof(report)));
  p.steps = 50;
  p.batch = 1;
  p.output_dir = folder;
  p.checkpoint_every = 1;
  p.checkpoint_keep = 0;
  e = new_words();
  must(textinv_invert(session, model, e, &p, NULL));
  textinv_embeddings_free(e);
  assert_int_equal(files_in(folder), 50);

  p.steps = 51;
  p.resume = "latest";
  p.checkpoint_keep = 1;
  e = new_words();
  must(textinv_invert(session, model, e, &p, &report));
  textinv_embeddings_free(e);
  assert_int_equal(report.first_step, 50);
  assert_non_null(strstr(heard.told, "going on from step 50 of "));
  assert_int_equal(files_in(folder), 1);

  p.resume = NULL;
  p.steps = 2;
  e = new_words();
  must(textinv_invert(session, model, e, &p, NULL));
  textinv_embeddings_free(e);
  assert_non_null(strstr(heard.told, "checkpoints of another run: 1 renamed, such as to "));
  assert_non_null(strstr(heard.told, "/checkpoint-00000051.safetensors.1"));
  assert_int_equal(heard.count, 0);
  hush(quiet);
}

static int32_t remove_folder(void *user, const textinv_progress *progress)
{
  if (!strcmp(progress->phase, "encode") && progress->step == progress->steps)
    assert_int_equal(rmdir(user), 0);
  return 0;
}

static int32_t fail_listing(void *user, const textinv_progress *progress)
{
  (void)user;
  listing_fails |= !strcmp(progress->phase, "encode") && progress->step == progress->steps;
  return 0;
}

static void a_folder_that_cannot_be_listed_is_told(void **state)
{
  const textinv_concept c = concept("<toy>");
  textinv_invert_params p = params(&c, 1);
  textinv_embeddings *e = new_words();
  char folder[512];

  (void)state;
  snprintf(folder, sizeof(folder), "%s", fresh_folder("vanished"));
  p.output_dir = folder;
  p.resume = "latest";
  p.progress = remove_folder;
  p.progress_user = folder;
  refused(textinv_invert(session, model, e, &p, NULL), TEXTINV_E_NOT_FOUND, "cannot be listed");
  p.output_dir = fresh_folder("unread");
  p.progress = fail_listing;
  refused(textinv_invert(session, model, e, &p, NULL), TEXTINV_E_IO, "unread: cannot be listed");
  listing_fails = 0;
  assert_int_equal(textinv_embeddings_count(e), 0);
  textinv_embeddings_free(e);
}

/* gone on from a file elsewhere: the older ones that the folder holds are not this run's */
static void the_checkpoints_of_others_stay(void **state)
{
  const textinv_concept c = concept("<toy>");
  textinv_invert_params p = params(&c, 1);
  textinv_embeddings *e;
  textinv_invert_report report;
  char ours[512], theirs[512], path[700];

  (void)state;
  must(textinv_invert_report_init(&report, sizeof(report)));
  snprintf(ours, sizeof(ours), "%s", fresh_folder("ours"));
  snprintf(theirs, sizeof(theirs), "%s", fresh_folder("theirs"));
  p.output_dir = ours;
  p.checkpoint_every = 8;
  e = new_words();
  must(textinv_invert(session, model, e, &p, NULL));
  textinv_embeddings_free(e);

  p.output_dir = theirs;
  p.checkpoint_every = 4;
  p.checkpoint_keep = 0;
  p.seed = 6;
  e = new_words();
  must(textinv_invert(session, model, e, &p, NULL)); /* leaves those of steps 4, 8 and 12 */
  textinv_embeddings_free(e);

  snprintf(path, sizeof(path), "%s/checkpoint-00000008.safetensors", ours);
  p.seed = 5;
  p.resume = path;
  p.checkpoint_every = 1;
  p.checkpoint_keep = 1;
  e = new_words();
  must(textinv_invert(session, model, e, &p, &report));
  assert_int_equal(report.first_step, 8);
  textinv_embeddings_free(e);
  assert_int_equal(files_in(theirs), 4);
  assert_true(is_there(theirs, "checkpoint-00000004.safetensors"));
  assert_true(is_there(theirs, "checkpoint-00000008.safetensors"));
  assert_true(is_there(theirs, "checkpoint-00000012.safetensors"));
  assert_true(is_there(theirs, "checkpoint-00000012.safetensors.1"));
}

static void what_was_set_aside_is_named(void **state)
{
  textinv_session *const quiet = listen();
  const textinv_concept c = concept("<toy>");
  textinv_invert_params p = params(&c, 1);
  textinv_embeddings *e;
  char path[700];
  FILE *f;

  (void)state;
  p.steps = 1;
  p.output_dir = fresh_folder("aside");
  p.resume = "latest";
  static const char *const names[] = { "00000100.safetensors.old", "00000100.safetensors.",
                                       "00000100.safetensors.2", "00000100.safetensors.1" };

  for (int i = 0; i < 4; i++) {
    e = new_words();
    must(textinv_invert(session, model, e, &p, NULL));
    textinv_embeddings_free(e);
    assert_true(i < 3 ? !heard.count
                      : strstr(heard.last, "00000100.safetensors.2: starting anew") != NULL);
    snprintf(path, sizeof(path), "%s/checkpoint-%s", p.output_dir, names[i]);
    f = fopen(path, "w");
    assert_non_null(f);
    fclose(f);
  }
  assert_non_null(strstr(heard.last, p.output_dir));
  hush(quiet);
}

/* not by a promise of another one */
static void a_damaged_checkpoint_is_told(void **state)
{
  textinv_session *const quiet = listen();
  const textinv_concept c = concept("<toy>");
  textinv_invert_params p = params(&c, 1);
  textinv_embeddings *e = new_words();
  char path[700];
  FILE *f;

  (void)state;
  p.steps = 1;
  p.output_dir = fresh_folder("damaged");
  p.resume = "latest";
  snprintf(path, sizeof(path), "%s/checkpoint-00000100.safetensors", p.output_dir);
  f = fopen(path, "w");
  assert_non_null(f);
  fclose(f);
  must(textinv_invert(session, model, e, &p, NULL));
  assert_non_null(strstr(heard.last, "; it is passed over"));
  textinv_embeddings_free(e);
  hush(quiet);
}

static int32_t cancel_without_folder(void *user, const textinv_progress *progress)
{
  if (!strcmp(progress->phase, "train") && progress->step == 7) {
    assert_int_equal(rmdir(user), 0);
    textinv_session_cancel(session);
  }
  return 0;
}

static int32_t no_memory_at_7(void *user, const textinv_progress *progress)
{
  (void)user;
  if (!strcmp(progress->phase, "train") && progress->step == 7) {
    ti_session_drop_plans(session);
    session->budget = 1;
  }
  return 0;
}

static int32_t no_memory_to_train(void *user, const textinv_progress *progress)
{
  (void)user;
  if (!strcmp(progress->phase, "encode") && progress->step == progress->steps) {
    ti_session_drop_plans(session);
    session->budget = 1;
  }
  return 0;
}

/* a word that did not take a step is not in the way of another initializer */
static void what_was_not_learnt_is_taken_out(void **state)
{
  textinv_concept c = concept("<toy>");
  textinv_invert_params p = params(&c, 1);
  textinv_embeddings *e = new_words();

  (void)state;
  p.progress = no_memory_to_train;
  refused(textinv_invert(session, model, e, &p, NULL), TEXTINV_E_NOMEM, "memory budget");
  session->budget = 0;
  assert_int_equal(textinv_embeddings_count(e), 0);
  textinv_embeddings_free(e);
}

static void what_was_learnt_outlives_a_failure(void **state)
{
  const textinv_concept c = concept("<toy>");
  textinv_invert_params p = params(&c, 1);
  textinv_embeddings *e = new_words();
  textinv_invert_report report;
  char folder[512];
  float after_7[TINY_WIDTH];

  (void)state;
  must(textinv_invert_report_init(&report, sizeof(report)));
  p.steps = 7;
  run(after_7, &p);
  p.steps = 12;

  /* the checkpoint of a cancelled run cannot be written */
  snprintf(folder, sizeof(folder), "%s", fresh_folder("removed"));
  p.output_dir = folder;
  p.progress = cancel_without_folder;
  p.progress_user = folder;
  refused(textinv_invert(session, model, e, &p, &report), TEXTINV_E_IO, "removed");
  assert_int_equal(report.steps, 7);
  assert_memory_equal(after_7, textinv_embeddings_rows(e, "<toy>", 0), sizeof(after_7));
  (void)fixed_loss(e); /* the next call is not cancelled */
  textinv_embeddings_free(e);

  /* a run that ends for another reason leaves its checkpoint */
  snprintf(folder, sizeof(folder), "%s", fresh_folder("no-memory"));
  p.progress = no_memory_at_7;
  e = new_words();
  refused(textinv_invert(session, model, e, &p, &report), TEXTINV_E_NOMEM, "memory budget");
  session->budget = 0;
  assert_int_equal(report.steps, 7);
  assert_memory_equal(after_7, textinv_embeddings_rows(e, "<toy>", 0), sizeof(after_7));
  textinv_embeddings_free(e);
  assert_true(is_there(folder, "checkpoint-00000007.safetensors"));
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(resumed_runs_end_with_the_same_bytes),
    cmocka_unit_test(a_finished_run_goes_on),
    cmocka_unit_test(steps_belong_to_a_falling_rate),
    cmocka_unit_test(a_cancel_is_heeded_at_its_step),
    cmocka_unit_test(a_refused_resume_changes_nothing),
    cmocka_unit_test(a_file_that_is_no_checkpoint_is_refused_at_once),
    cmocka_unit_test(pictures_belong_to_their_words),
    cmocka_unit_test(words_begin_as_they_did),
    cmocka_unit_test(an_optimizers_checkpoint_is_no_runs),
    cmocka_unit_test(a_new_run_does_not_end_in_an_older_one),
    cmocka_unit_test(many_checkpoints_are_listed_and_removed),
    cmocka_unit_test(a_folder_that_cannot_be_listed_is_told),
    cmocka_unit_test(the_checkpoints_of_others_stay),
    cmocka_unit_test(what_was_set_aside_is_named),
    cmocka_unit_test(a_damaged_checkpoint_is_told),
    cmocka_unit_test(what_was_not_learnt_is_taken_out),
    cmocka_unit_test(what_was_learnt_outlives_a_failure),
  };

  return cmocka_run_group_tests_name("resume", tests, open_invert, close_tiny);
}
