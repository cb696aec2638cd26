/* What every call does with arguments that are missing, and with structs of other versions. */
#include "testing_tiny.h"

#include <math.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static textinv_embeddings *words;
static textinv_images *picture;
static textinv_optimizer *optimizer;

static int open_all(void **state)
{
  if (open_tiny(state) < 0)
    return -1;
  must(textinv_embeddings_new(&words, session));
  must(textinv_embeddings_add(session, words, model, "<toy>", 1, "toy", 0));
  must(textinv_images_new(&picture, session, NULL, 1, TINY_SIZE, TINY_SIZE));
  must(textinv_optimizer_new(&optimizer, session, words, NULL));
  return 0;
}

static int close_all(void **state)
{
  textinv_optimizer_free(optimizer);
  textinv_images_free(picture);
  textinv_embeddings_free(words);
  return close_tiny(state);
}

/* refused, the argument named; the message is the session's or, without one, the thread's */
static void missing(const char *name, const textinv_session *s, textinv_status met)
{
  char expected[64];

  snprintf(expected, sizeof(expected), "%s is NULL", name);
  if (met != TEXTINV_E_INVALID || strcmp(textinv_session_error(s), expected))
    fail_msg("%s: \"%s\"; expected \"%s\"", textinv_status_name(met), textinv_session_error(s),
             expected);
}

static void no_argument_may_be_missing(void **state)
{
  const textinv_tokenizer *t = textinv_model_tokenizer(model, 0);
  const textinv_session *none = NULL;
  textinv_session *const s = session;
  textinv_generate_params g;
  textinv_loss_params l;
  textinv_predict_params p;
  textinv_invert_params v;
  textinv_concept c;
  textinv_embeddings *e;
  textinv_optimizer *o;
  textinv_tokenizer *k;
  textinv_images *i;
  textinv_model *m;
  textinv_kind kind;
  textinv_model_info info;
  float x[TINY_TOKENS * TINY_WIDTH] = { 0 };
  uint32_t ids[1];
  size_t n;

  (void)state;
  must(textinv_generate_params_init(&g, sizeof(g)));
  must(textinv_loss_params_init(&l, sizeof(l)));
  must(textinv_predict_params_init(&p, sizeof(p)));
  must(textinv_invert_params_init(&v, sizeof(v)));
  must(textinv_concept_init(&c, sizeof(c)));
  g.prompt = "a";

  missing("out", none, textinv_session_new(NULL, NULL));
  missing("out", s, textinv_model_open(NULL, s, tiny_model()));
  missing("session", none, textinv_model_open(&m, NULL, tiny_model()));
  assert_null(m);
  missing("out", s, textinv_file_kind(NULL, s, "x"));
  missing("session", none, textinv_file_kind(&kind, NULL, "x"));
  missing("path", s, textinv_file_kind(&kind, s, NULL));
  missing("model", none, textinv_model_get_info(NULL, &info));
  missing("info", none, textinv_model_get_info(model, NULL));

  missing("out", s, textinv_tokenizer_open(NULL, s, "x"));
  missing("session", none, textinv_tokenizer_open(&k, NULL, "x"));
  missing("path", s, textinv_tokenizer_open(&k, s, NULL));
  assert_null(k);
  missing("session", none, textinv_tokenizer_encode(NULL, ids, 1, &n, t, NULL, "a"));
  missing("ids", s, textinv_tokenizer_encode(s, NULL, 1, &n, t, NULL, "a"));
  missing("count", s, textinv_tokenizer_encode(s, ids, 1, NULL, t, NULL, "a"));
  missing("tokenizer", s, textinv_tokenizer_encode(s, ids, 1, &n, NULL, NULL, "a"));
  missing("text", s, textinv_tokenizer_encode(s, ids, 1, &n, t, NULL, NULL));

  missing("out", s, textinv_embeddings_new(NULL, s));
  missing("session", none, textinv_embeddings_new(&e, NULL));
  assert_null(e);
  missing("session", none, textinv_embeddings_add(NULL, words, model, "w", 1, NULL, 0));
  missing("embeddings", s, textinv_embeddings_add(s, NULL, model, "w", 1, NULL, 0));
  missing("model", s, textinv_embeddings_add(s, words, NULL, "w", 1, NULL, 0));
  missing("a word", s, textinv_embeddings_add(s, words, model, NULL, 1, NULL, 0));
  missing("session", none, textinv_embeddings_set(NULL, words, "w", 0, 1, 1, x));
  missing("embeddings", s, textinv_embeddings_set(s, NULL, "w", 0, 1, 1, x));
  missing("a word", s, textinv_embeddings_set(s, words, NULL, 0, 1, 1, x));
  missing("rows", s, textinv_embeddings_set(s, words, "w", 0, 1, 1, NULL));
  missing("session", none, textinv_embeddings_copy(NULL, words, words, NULL, NULL));
  missing("embeddings", s, textinv_embeddings_copy(s, NULL, words, NULL, NULL));
  missing("from", s, textinv_embeddings_copy(s, words, NULL, NULL, NULL));
  missing("session", none, textinv_embeddings_remove(NULL, words, "w"));
  missing("embeddings", s, textinv_embeddings_remove(s, NULL, "w"));
  missing("word", s, textinv_embeddings_remove(s, words, NULL));
  missing("session", none, textinv_embeddings_load(NULL, words, NULL, "x", NULL));
  missing("embeddings", s, textinv_embeddings_load(s, NULL, NULL, "x", NULL));
  missing("path", s, textinv_embeddings_load(s, words, NULL, NULL, NULL));
  missing("session", none, textinv_embeddings_save(NULL, words, "x", 0, NULL));
  missing("embeddings", s, textinv_embeddings_save(s, NULL, "x", 0, NULL));
  missing("path", s, textinv_embeddings_save(s, words, NULL, 0, NULL));
  missing("session", none, textinv_embeddings_load_memory(NULL, words, NULL, "", 0, "x", NULL));
  missing("embeddings", s, textinv_embeddings_load_memory(s, NULL, NULL, "", 0, "x", NULL));
  missing("bytes", s, textinv_embeddings_load_memory(s, words, NULL, NULL, 0, "x", NULL));
  missing("name", s, textinv_embeddings_load_memory(s, words, NULL, "", 0, NULL, NULL));
  missing("session", none, textinv_embeddings_save_memory(NULL, x, 4, &n, words, 0, NULL));
  missing("bytes", s, textinv_embeddings_save_memory(s, NULL, 4, &n, words, 0, NULL));
  missing("size", s, textinv_embeddings_save_memory(s, x, 4, NULL, words, 0, NULL));
  missing("embeddings", s, textinv_embeddings_save_memory(s, x, 4, &n, NULL, 0, NULL));

  missing("out", s, textinv_image_read(NULL, s, "x"));
  missing("session", none, textinv_image_read(&i, NULL, "x"));
  missing("path", s, textinv_image_read(&i, s, NULL));
  assert_null(i);
  missing("out", s, textinv_image_read_memory(NULL, s, "", 0, "x"));
  missing("session", none, textinv_image_read_memory(&i, NULL, "", 0, "x"));
  missing("bytes", s, textinv_image_read_memory(&i, s, NULL, 0, "x"));
  missing("name", s, textinv_image_read_memory(&i, s, "", 0, NULL));
  assert_null(i);
  missing("out", s, textinv_images_new(NULL, s, NULL, 1, 1, 1));
  missing("session", none, textinv_images_new(&i, NULL, NULL, 1, 1, 1));
  missing("session", none, textinv_images_resize(NULL, picture, 1, 1));
  missing("images", s, textinv_images_resize(s, NULL, 1, 1));
  missing("session", none, textinv_images_save(NULL, picture, 0, "x", NULL));
  missing("images", s, textinv_images_save(s, NULL, 0, "x", NULL));
  missing("path", s, textinv_images_save(s, picture, 0, NULL, NULL));
  missing("session", none, textinv_images_save_memory(NULL, x, 4, &n, picture, 0, NULL));
  missing("bytes", s, textinv_images_save_memory(s, NULL, 4, &n, picture, 0, NULL));
  missing("size", s, textinv_images_save_memory(s, x, 4, NULL, picture, 0, NULL));
  missing("images", s, textinv_images_save_memory(s, x, 4, &n, NULL, 0, NULL));

  missing("session", none, textinv_invert(NULL, model, words, &v, NULL));
  missing("model", s, textinv_invert(s, NULL, words, &v, NULL));
  missing("embeddings", s, textinv_invert(s, model, NULL, &v, NULL));
  v.concepts = &c;
  v.num_concepts = 1;
  missing("concepts[0].placeholder", s, textinv_invert(s, model, words, &v, NULL));
  missing("session", none, textinv_loss(NULL, x, NULL, 0, model, words, &l));
  missing("loss", s, textinv_loss(s, NULL, NULL, 0, model, words, &l));
  missing("model", s, textinv_loss(s, x, NULL, 0, NULL, words, &l));
  missing("embeddings", s, textinv_loss(s, x, NULL, 0, model, NULL, &l));
  missing("latents", s, textinv_loss(s, x, NULL, 0, model, words, &l));

  missing("out", s, textinv_optimizer_new(NULL, s, words, NULL));
  missing("session", none, textinv_optimizer_new(&o, NULL, words, NULL));
  missing("embeddings", s, textinv_optimizer_new(&o, s, NULL, NULL));
  assert_null(o);
  missing("optimizer", none, textinv_optimizer_set_learning_rate(NULL, 1.0f));
  missing("session", none, textinv_optimizer_step(NULL, optimizer, words, x, TINY_WIDTH));
  missing("optimizer", s, textinv_optimizer_step(s, NULL, words, x, TINY_WIDTH));
  missing("embeddings", s, textinv_optimizer_step(s, optimizer, NULL, x, TINY_WIDTH));
  missing("gradient", s, textinv_optimizer_step(s, optimizer, words, NULL, TINY_WIDTH));
  missing("session", none, textinv_optimizer_save(NULL, optimizer, words, "x"));
  missing("optimizer", s, textinv_optimizer_save(s, NULL, words, "x"));
  missing("embeddings", s, textinv_optimizer_save(s, optimizer, NULL, "x"));
  missing("path", s, textinv_optimizer_save(s, optimizer, words, NULL));
  missing("out", s, textinv_optimizer_load(NULL, s, words, "x"));
  missing("session", none, textinv_optimizer_load(&o, NULL, words, "x"));
  missing("embeddings", s, textinv_optimizer_load(&o, s, NULL, "x"));
  missing("path", s, textinv_optimizer_load(&o, s, words, NULL));

  missing("out", s, textinv_generate(NULL, s, model, NULL, &g));
  missing("session", none, textinv_generate(&i, NULL, model, NULL, &g));
  missing("model", s, textinv_generate(&i, s, NULL, NULL, &g));
  g.prompt = NULL;
  missing("prompt", s, textinv_generate(&i, s, model, NULL, &g));
  n = TINY_TOKENS * TINY_WIDTH;
  missing("session", none, textinv_encode_prompt(NULL, x, n, NULL, 0, NULL, model, NULL, "a", 0));
  missing("context", s, textinv_encode_prompt(s, NULL, n, NULL, 0, NULL, model, NULL, "a", 0));
  missing("model", s, textinv_encode_prompt(s, x, n, NULL, 0, NULL, NULL, NULL, "a", 0));
  missing("prompt", s, textinv_encode_prompt(s, x, n, NULL, 0, NULL, model, NULL, NULL, 0));
  missing("session", none, textinv_encode_image(NULL, x, NULL, 256, model, picture, 0));
  missing("mean", s, textinv_encode_image(s, NULL, NULL, 256, model, picture, 0));
  missing("model", s, textinv_encode_image(s, x, NULL, 256, NULL, picture, 0));
  missing("images", s, textinv_encode_image(s, x, NULL, 256, model, NULL, 0));
  missing("session", none, textinv_predict_noise(NULL, x, 256, model, &p));
  missing("out", s, textinv_predict_noise(s, NULL, 256, model, &p));
  missing("model", s, textinv_predict_noise(s, x, 256, NULL, &p));
  missing("session", none, textinv_decode_latents(NULL, &i, NULL, 0, model, x, 1, 8, 8));
  missing("model", s, textinv_decode_latents(s, &i, NULL, 0, NULL, x, 1, 8, 8));
  missing("latents", s, textinv_decode_latents(s, &i, NULL, 0, model, NULL, 1, 8, 8));
  assert_null(i);
}

/* calls that have no status answer nothing */
static void nothing_of_nothing(void **state)
{
  const char *key = "";

  (void)state;
  textinv_session_free(NULL);
  textinv_model_free(NULL);
  textinv_tokenizer_free(NULL);
  textinv_embeddings_free(NULL);
  textinv_optimizer_free(NULL);
  textinv_images_free(NULL);
  textinv_session_cancel(NULL);
  textinv_session_clear_cancel(NULL);
  assert_int_equal(textinv_session_peak_bytes(NULL), 0);
  assert_null(textinv_model_alphas_cumprod(NULL));
  assert_null(textinv_model_tokenizer(NULL, 0));
  assert_null(textinv_model_tokenizer(model, 1));
  assert_int_equal(textinv_tokenizer_size(NULL), 0);
  assert_null(textinv_tokenizer_token(NULL, 0));
  assert_int_equal(textinv_embeddings_count(NULL), 0);
  assert_null(textinv_embeddings_word(NULL, 0));
  assert_null(textinv_embeddings_word(words, 1));
  assert_int_equal(textinv_embeddings_vectors(NULL, "<toy>"), 0);
  assert_int_equal(textinv_embeddings_vectors(words, NULL), 0);
  assert_int_equal(textinv_embeddings_dim(NULL, "<toy>", 0), 0);
  assert_int_equal(textinv_embeddings_dim(words, "<toy>", 2), 0);
  assert_null(textinv_embeddings_rows(NULL, "<toy>", 0));
  assert_null(textinv_embeddings_rows(words, "<toy>", 2));
  assert_null(textinv_embeddings_metadata(NULL, 0, &key));
  assert_null(key);
  assert_int_equal(textinv_embeddings_num_values(NULL), 0);
  assert_int_equal(textinv_images_count(NULL), 0);
  assert_int_equal(textinv_images_width(NULL), 0);
  assert_int_equal(textinv_images_height(NULL), 0);
  assert_null(textinv_images_pixels(NULL, 0));
  assert_null(textinv_images_pixels(picture, 1));
  assert_int_equal(textinv_images_seed(NULL, 0), 0);
  assert_string_equal(textinv_images_parameters(NULL, 0), "");
  assert_int_equal(textinv_optimizer_steps(NULL), 0);
}

/* ------------------------------------------------------------------ structs of other versions */

static textinv_status call_session(const void *p)
{
  textinv_session *s;
  const textinv_status status = textinv_session_new(&s, p);

  textinv_session_free(s);
  return status;
}

static textinv_status call_invert(const void *p)
{
  return textinv_invert(session, model, words, p, NULL);
}

static textinv_status call_concept(const void *p)
{
  textinv_invert_params v;

  must(textinv_invert_params_init(&v, sizeof(v)));
  v.concepts = p;
  v.num_concepts = 1;
  return textinv_invert(session, model, words, &v, NULL);
}

static textinv_status call_loss(const void *p)
{
  float loss;

  return textinv_loss(session, &loss, NULL, 0, model, words, p);
}

static textinv_status call_optimizer(const void *p)
{
  textinv_optimizer *o;
  const textinv_status status = textinv_optimizer_new(&o, session, words, p);

  textinv_optimizer_free(o);
  return status;
}

static textinv_status call_generate(const void *p)
{
  textinv_images *i;

  return textinv_generate(&i, session, model, NULL, p);
}

static textinv_status call_predict(const void *p)
{
  float x[256];

  return textinv_predict_noise(session, x, 256, model, p);
}

static void structs_of_other_versions(void **state)
{
  static const struct {
    const char *name;
    size_t first, size; /* in release 0.1, and now */
    textinv_status (*call)(const void *);
  } cases[] = {
    { "session_params", 64, sizeof(textinv_session_params), call_session },
    { "concept", 80, sizeof(textinv_concept), call_concept },
    { "invert_params", 176, sizeof(textinv_invert_params), call_invert },
    { "loss_params", 56, sizeof(textinv_loss_params), call_loss },
    { "optimizer_params", 32, sizeof(textinv_optimizer_params), call_optimizer },
    { "generate_params", 96, sizeof(textinv_generate_params), call_generate },
    { "predict_params", 64, sizeof(textinv_predict_params), call_predict },
  };

  (void)state;
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    const textinv_session *s = cases[i].call == call_session ? NULL : session;
    const size_t longer = cases[i].size + 8;
    char expected[128];
    union {
      size_t struct_size;
      uint8_t bytes[512];
    } p = { .struct_size = longer };

    assert_in_range(longer, 16, sizeof(p));
    /* all zero: the session's defaults, and too little for the others; but of a known version */
    if (cases[i].call(&p) != (s ? TEXTINV_E_INVALID : TEXTINV_OK) ||
        strstr(textinv_session_error(s), "initialised"))
      fail_msg("%s: \"%s\"", cases[i].name, textinv_session_error(s));

    p.bytes[longer - 1] = 1;
    snprintf(expected, sizeof(expected), "%s uses an option newer than this library",
             cases[i].name);
    assert_int_equal(cases[i].call(&p), TEXTINV_E_VERSION);
    assert_string_equal(textinv_session_error(s), expected);

    /* too short, and what a struct that was never set may hold */
    const size_t sizes[] = { cases[i].first - 1, 0, 4097, SIZE_MAX };

    for (size_t k = 0; k < sizeof(sizes) / sizeof(*sizes); k++) {
      p.struct_size = sizes[k];
      snprintf(expected, sizeof(expected), "%s was not initialised: use textinv_%s_init()",
               cases[i].name, cases[i].name);
      assert_int_equal(cases[i].call(&p), TEXTINV_E_INVALID);
      assert_string_equal(textinv_session_error(s), expected);
    }
  }
}

static void reserved_members_are_zero(void **state)
{
  textinv_optimizer_params o;

  (void)state;
  must(textinv_optimizer_params_init(&o, sizeof(o)));
  o.reserved = 1;
  refused(call_optimizer(&o), TEXTINV_E_VERSION, "optimizer_params uses an option newer");
}

/* ------------------------------------------------------------------ runs */

static textinv_invert_params run_params(const textinv_concept *c)
{
  textinv_invert_params v;

  must(textinv_invert_params_init(&v, sizeof(v)));
  v.concepts = c;
  v.num_concepts = 1;
  v.steps = 6;
  v.batch = 1;
  return v;
}

static textinv_concept run_concept(void)
{
  static const textinv_images *pictures[1];
  textinv_concept c;

  must(textinv_concept_init(&c, sizeof(c)));
  pictures[0] = picture;
  c.placeholder = "<toy>";
  c.pictures = pictures;
  c.num_pictures = 1;
  return c;
}

/* a caller's struct of a later release: what is known is filled, the rest of it zeroed, no more
 * touched */
static void what_is_written_has_the_callers_size(void **state)
{
  const textinv_concept c = run_concept();
  const textinv_invert_params v = run_params(&c);
  struct {
    textinv_model_info known;
    uint64_t added, behind;
  } info;
  struct {
    textinv_invert_report known;
    uint64_t added, behind;
  } report;

  (void)state;
  memset(&info, 0xaa, sizeof(info));
  memset(&report, 0xaa, sizeof(report));
  must(textinv_model_info_init(&info.known, sizeof(info.known) + 8));
  must(textinv_invert_report_init(&report.known, sizeof(report.known) + 8));
  info.added = report.added = 1;
  must(textinv_model_get_info(model, &info.known));
  must(textinv_invert(session, model, words, &v, &report.known));
  assert_int_equal(info.known.size, TINY_SIZE);
  assert_int_equal(report.known.steps, 6);
  assert_true(!info.added && !report.added);
  assert_true(info.behind == 0xaaaaaaaaaaaaaaaau && report.behind == 0xaaaaaaaaaaaaaaaau);
}

static int32_t no_work(void *user, const textinv_progress *progress)
{
  (void)user;
  fail_msg("phase \"%s\" was begun", progress->phase);
  return 0;
}

/* a struct to be filled that nobody made ready: refused before any work, and left as it is */
static void what_cannot_be_written_is_refused_first(void **state)
{
  const textinv_concept c = run_concept();
  textinv_invert_params v = run_params(&c);
  const size_t sizes[] = { 0, sizeof(textinv_invert_report) - 1, 4097, (size_t)-1 / 3 * 2 };
  float rows[TINY_WIDTH];

  (void)state;
  v.progress = no_work;
  memcpy(rows, textinv_embeddings_rows(words, "<toy>", 0), sizeof(rows));
  for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
    textinv_invert_report report = { .struct_size = sizes[i] }, before = report;
    textinv_model_info info = { .struct_size = sizes[i] }, info_before = info;

    refused(textinv_invert(session, model, words, &v, &report), TEXTINV_E_INVALID,
            "invert_report was not initialised: use textinv_invert_report_init()");
    assert_memory_equal(&report, &before, sizeof(report));
    assert_int_equal(textinv_model_get_info(model, &info), TEXTINV_E_INVALID);
    assert_string_equal(textinv_session_error(NULL),
                        "model_info was not initialised: use textinv_model_info_init()");
    assert_memory_equal(&info, &info_before, sizeof(info));
  }
  assert_memory_equal(rows, textinv_embeddings_rows(words, "<toy>", 0), sizeof(rows));
}

static void the_learning_rate_can_be_set(void **state)
{
  static const float bad[] = { -1.0f, 1001.0f, NAN, INFINITY };
  textinv_optimizer_params p;
  textinv_embeddings *e;
  textinv_optimizer *o;
  char path[512];
  float rows[TINY_WIDTH] = { 0 }, gradient[TINY_WIDTH];

  (void)state;
  must(textinv_embeddings_new(&e, session));
  must(textinv_embeddings_set(session, e, "w", 0, 1, TINY_WIDTH, rows));
  must(textinv_optimizer_new(&o, session, e, NULL));
  must(textinv_optimizer_set_learning_rate(o, 0.25f));
  for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
    assert_int_equal(textinv_optimizer_set_learning_rate(o, bad[i]), TEXTINV_E_INVALID);
    assert_non_null(strstr(textinv_session_error(NULL), "learning_rate is "));
  }
  for (int i = 0; i < TINY_WIDTH; i++)
    gradient[i] = 1.0f;
  must(textinv_optimizer_step(session, o, e, gradient, TINY_WIDTH));
  memcpy(rows, textinv_embeddings_rows(e, "w", 0), sizeof(rows));
  assert_true(fabsf(rows[0] + 0.25f) < 1e-6f);

  /* a warm-up begins at 0, where the moments learn and the rows stay; a checkpoint may hold it */
  must(textinv_optimizer_set_learning_rate(o, 0.0f));
  must(textinv_optimizer_step(session, o, e, gradient, TINY_WIDTH));
  assert_memory_equal(rows, textinv_embeddings_rows(e, "w", 0), sizeof(rows));
  snprintf(path, sizeof(path), "%s", test_path("zero.safetensors"));
  must(textinv_optimizer_save(session, o, e, path));
  textinv_optimizer_free(o);
  must(textinv_optimizer_load(&o, session, e, path));
  assert_int_equal(textinv_optimizer_steps(o), 2);
  textinv_optimizer_free(o);
  must(textinv_optimizer_params_init(&p, sizeof(p)));
  p.learning_rate = 0.0f;
  refused(textinv_optimizer_new(&o, session, e, &p), TEXTINV_E_INVALID,
          "learning_rate is 0; above 0 to 1000");
  textinv_embeddings_free(e);
}

static int32_t not_this_one(void *user, uint32_t step, textinv_images *images)
{
  (void)images;
  ++*(int *)user;
  return step == 4 ? -7 : 0;
}

static void a_preview_may_stop_the_run(void **state)
{
  const textinv_concept c = run_concept();
  textinv_invert_params v = run_params(&c);
  textinv_invert_report report;
  int previews = 0;

  (void)state;
  must(textinv_invert_report_init(&report, sizeof(report)));
  v.preview_prompt = "a <toy>";
  v.preview_every = 2;
  v.preview_steps = 1;
  v.preview = not_this_one;
  v.preview_user = &previews;
  refused(textinv_invert(session, model, words, &v, &report), TEXTINV_E_CANCELLED,
          "stopped at step 4 of 6");
  assert_int_equal(report.steps, 4);
  assert_int_equal(previews, 2);
}

static char folder[512];

static int32_t take_folder_away(void *user, const textinv_progress *progress)
{
  (void)user;
  if (!strcmp(progress->phase, "train") && progress->step == 1)
    assert_int_equal(rmdir(folder), 0);
  if (!strcmp(progress->phase, "train") && progress->step == 3)
    assert_int_equal(mkdir(folder, 0755), 0);
  return 0;
}

static void a_run_goes_on_without_a_checkpoint(void **state)
{
  const textinv_concept c = run_concept();
  textinv_invert_params v = run_params(&c);
  textinv_session *const quiet = listen();
  char path[600];

  (void)state;
  snprintf(folder, sizeof(folder), "%s", test_path("away"));
  assert_int_equal(mkdir(folder, 0755), 0);
  v.output_dir = folder;
  v.checkpoint_every = 2;
  v.progress = take_folder_away;
  assert_int_equal(textinv_invert(session, model, words, &v, NULL), TEXTINV_OK);
  assert_string_equal(textinv_session_error(session), "");
  assert_true(!strncmp(heard.last, "no checkpoint at step 2: ", 25) && strstr(heard.last, folder));
  snprintf(path, sizeof(path), "%s/checkpoint-00000002.safetensors", folder);
  assert_int_not_equal(access(path, F_OK), 0);
  snprintf(path, sizeof(path), "%s/checkpoint-00000004.safetensors", folder);
  assert_int_equal(access(path, F_OK), 0);
  hush(quiet);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(no_argument_may_be_missing),
    cmocka_unit_test(nothing_of_nothing),
    cmocka_unit_test(structs_of_other_versions),
    cmocka_unit_test(reserved_members_are_zero),
    cmocka_unit_test(what_is_written_has_the_callers_size),
    cmocka_unit_test(what_cannot_be_written_is_refused_first),
    cmocka_unit_test(the_learning_rate_can_be_set),
    cmocka_unit_test(a_preview_may_stop_the_run),
    cmocka_unit_test(a_run_goes_on_without_a_checkpoint),
  };

  return cmocka_run_group_tests_name("arguments", tests, open_all, close_all);
}
