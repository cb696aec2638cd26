/* textinv generate: draw prompts. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "sheet.h"

static const char name[] = "generate";

typedef struct values {
  cli_common common;
  cli_list prompts, embeddings;
  const char *out, *init_image, *mask;
  int32_t separate;
  float strength; /* 0 = not given */
  textinv_generate_params p;
} values;

static const cli_choice samplers[] = { { "auto", TEXTINV_SAMPLER_DEFAULT },
                                       { "ddim", TEXTINV_SAMPLER_DDIM },
                                       { "pndm", TEXTINV_SAMPLER_PNDM },
                                       { "euler", TEXTINV_SAMPLER_EULER },
                                       { "euler_a", TEXTINV_SAMPLER_EULER_A },
                                       { "dpmpp_2m", TEXTINV_SAMPLER_DPMPP_2M },
                                       { "dpmpp_2m_karras", TEXTINV_SAMPLER_DPMPP_2M_KARRAS },
                                       { "unipc", TEXTINV_SAMPLER_UNIPC },
                                       { NULL, 0 } };
static const cli_choice rngs[] = { { "torch-cpu", TEXTINV_RNG_TORCH_CPU },
                                   { "native", TEXTINV_RNG_NATIVE },
                                   { "torch-cpu-scalar", TEXTINV_RNG_TORCH_CPU_SCALAR },
                                   { NULL, 0 } };

#define AT(member) offsetof(values, member)

static const cli_option options[] = {
  { "prompt", "TEXT", CLI_LIST, AT(prompts), 0, 0, NULL, 0,
    "what to draw; repeated: one row for each" },
  { "embedding", "FILE ...", CLI_LIST, AT(embeddings), 0, 0, NULL, CLI_MORE,
    "learnt words; WORD=FILE renames; may be repeated" },
  { "out", "FILE.png", CLI_TEXT, AT(out), 0, 0, NULL, 0, "picture, or contact sheet of several" },
  { "negative", "TEXT", CLI_TEXT, AT(p.negative_prompt), 0, 0, NULL, 0, "what to keep away from" },
  { "images", "N", CLI_UINT, AT(p.images), 1, 1024, NULL, 0, "pictures of each prompt" },
  { "seed", "N", CLI_UINT64, AT(p.seed), 0, 0, NULL, 0, "picture i has the seed N + i" },
  { "steps", "N", CLI_UINT, AT(p.steps), 1, 1000, NULL, 0, "sampler steps" },
  { "guidance", "X", CLI_FLOAT, AT(p.guidance_scale), 0, 1000, NULL, 0,
    "classifier-free guidance, 1 = none" },
  { "guidance-rescale", "X", CLI_FLOAT, AT(p.guidance_rescale), 0, 1, NULL, 0,
    "how far its contrast is taken back, up to 1" },
  { "sampler", "S", CLI_CHOICE, AT(p.sampler), 0, 0, samplers, CLI_QUIET_DEFAULT, "" },
  { "width", "N", CLI_UINT, AT(p.width), 8, 16384, NULL, CLI_QUIET_DEFAULT,
    "pixels (the model's size, or that of --init-image)" },
  { "height", "N", CLI_UINT, AT(p.height), 8, 16384, NULL, CLI_QUIET_DEFAULT,
    "pixels (the model's size, or that of --init-image)" },
  { "init-image", "FILE", CLI_TEXT, AT(init_image), 0, 0, NULL, 0, "start from this picture" },
  { "strength", "X", CLI_FLOAT, AT(strength), 0, 1, NULL, CLI_ABOVE_MIN | CLI_QUIET_DEFAULT,
    "how far from --init-image (0.8)" },
  { "mask", "FILE", CLI_TEXT, AT(mask), 0, 0, NULL, 0,
    "white where --init-image is redrawn, black elsewhere" },
  { "keep-pixels", NULL, CLI_FLAG, AT(p.keep_pixels), 0, 0, NULL, 0,
    "what is black in --mask stays to the bit" },
  { "separate", NULL, CLI_FLAG, AT(separate), 0, 0, NULL, 0,
    "FILE-000.png, FILE-001.png, ... and no sheet" },
  { "rng", "KIND", CLI_CHOICE, AT(p.rng), 0, 0, rngs, CLI_RARE, "noise" },
  { "batch", "N", CLI_UINT, AT(p.batch), 1, 1024, NULL, CLI_RARE | CLI_QUIET_DEFAULT,
    "pictures at once (as many as fit, up to 4)" },
  { "prompt-weights", NULL, CLI_FLAG, AT(p.prompt_weights), 0, 0, NULL, CLI_RARE,
    "(text), (text:1.3) and [text] weigh" },
  { "clip-skip", "N", CLI_UINT, AT(p.clip_skip), 0, 11, NULL, CLI_RARE,
    "layers of the text encoder left out" },
  { NULL, NULL, CLI_FLAG, 0, 0, 0, NULL, 0, NULL }
};

static void init(void *p)
{
  values *v = p;

  textinv_generate_params_init(&v->p, sizeof(v->p));
}

typedef struct run {
  values *v;
  textinv_session *session;
  textinv_model *model;
  textinv_embeddings *embeddings;
  textinv_images *start, *mask;
  /* pictures are drawn in groups, so that an interrupt loses no more than one of them */
  uint32_t group, groups; /* pictures of a call; calls of a prompt */
  textinv_images **drawn; /* [prompts, groups] */
  size_t count, written;  /* pictures drawn; those of them that are in files of their own */
  int no_sheet;           /* it could not be made, they are all in files of their own */
  progress_state progress;
  uint32_t call, steps; /* of the running prompt; steps of its first call */
  double seconds, past; /* of the running prompt; of its calls before this one */
} run;

static size_t all_pictures(const run *r)
{
  return r->v->prompts.count * r->v->p.images;
}

/* picture n of all: the i-th of the result */
static textinv_images *picture(const run *r, size_t n, uint32_t *i)
{
  const uint32_t of_prompt = (uint32_t)(n % r->v->p.images);

  *i = of_prompt % r->group;
  return r->drawn[n / r->v->p.images * r->groups + of_prompt / r->group];
}

/* ------------------------------------------------------------------ checks */

/* what is read must not be written, whatever the files are called */
static int check_apart(const values *v, const char *in)
{
  const size_t count = v->separate ? v->prompts.count * v->p.images : 0;
  int status = v->separate ? CLI_OK : cli_check_apart(name, v->out, in);

  for (size_t i = 0; i < count && status == CLI_OK; i++) {
    char *out = cli_numbered(v->out, i);

    status = out ? cli_check_apart(name, out, in) : cli_fail(name, "out of memory");
    free(out);
  }
  return status;
}

static int check(const values *v)
{
  int status;

  if ((status = cli_require(name, "prompt", v->prompts.count > 0)) != CLI_OK ||
      (status = cli_require(name, "out", v->out != NULL)) != CLI_OK ||
      (status = cli_check_ending(name, "--out", v->out, CLI_PNG)) != CLI_OK ||
      (status = cli_check_output(name, "--out", v->out)) != CLI_OK)
    return status;
  if (v->mask && !v->init_image)
    return cli_usage(
      name, "--mask %s: --init-image, the picture to keep parts of, is expected, too", v->mask);
  if (v->strength > 0.0f && !v->init_image)
    return cli_usage(name,
                     "--strength %g: --init-image, the picture to start from, is expected, too",
                     (double)v->strength);
  if (v->p.keep_pixels && !v->mask)
    return cli_usage(name, "--keep-pixels: --mask, which says which to keep, is expected, too");
  if (v->prompts.count > 256)
    return cli_usage(name, "%zu --prompt; at most 256 are expected", v->prompts.count);
  if ((v->init_image && (status = check_apart(v, v->init_image)) != CLI_OK) ||
      (v->mask && (status = check_apart(v, v->mask)) != CLI_OK))
    return status;
  for (size_t i = 0; i < v->embeddings.count; i++) {
    status = check_apart(v, cli_embedding_file(v->embeddings.items[i].text));
    if (status != CLI_OK)
      return status;
  }
  if (v->init_image && (status = cli_check_input(name, "--init-image", v->init_image)) != CLI_OK)
    return status;
  if (v->mask)
    return cli_check_input(name, "--mask", v->mask);
  return CLI_OK;
}

/* ------------------------------------------------------------------ the sheet */

typedef struct contact {
  sheet_cell *cells;  /* [pictures] */
  sheet_row *rows;    /* [prompts] */
  char (*labels)[32]; /* [pictures] */
  sheet sheet;
} contact;

static void contact_free(contact *c)
{
  free(c->cells);
  free(c->rows);
  free(c->labels);
}

/* the first pictures. One prompt: with their seeds; several: a row for each, or one picture for
 * each. They need not be drawn yet. 0, or -1 without memory */
static int contact_new(contact *c, const run *r, size_t pictures)
{
  const values *v = r->v;
  const size_t prompts = v->prompts.count, images = v->p.images;
  const int titled = images > 1;
  textinv_model_info info;

  textinv_model_info_init(&info, sizeof(info));
  textinv_model_get_info(r->model, &info);
  c->cells = calloc(pictures, sizeof(*c->cells));
  c->rows = calloc(prompts, sizeof(*c->rows));
  c->labels = calloc(pictures, sizeof(*c->labels));
  if (!c->cells || !c->rows || !c->labels) {
    contact_free(c);
    return -1;
  }
  for (size_t n = 0; n < pictures; n++) {
    const size_t k = n / images;
    uint32_t i;
    textinv_images *drawn = picture(r, n, &i);

    snprintf(c->labels[n], sizeof(c->labels[n]), "seed %llu",
             (unsigned long long)(v->p.seed + n % images));
    c->cells[n] = (sheet_cell){ drawn, i, titled ? c->labels[n] : v->prompts.items[k].text };
    c->rows[k] = (sheet_row){ v->prompts.items[k].text, &c->cells[k * images], n % images + 1 };
  }
  if (!titled)
    c->rows[0] = (sheet_row){ NULL, c->cells, pictures };
  /* as textinv_generate() chooses them; one of 0 is refused there */
  const uint32_t scale = info.latent_scale;
  uint32_t w = v->p.width ? v->p.width : textinv_images_width(r->start) / scale * scale;
  uint32_t h = v->p.height ? v->p.height : textinv_images_height(r->start) / scale * scale;

  w = w ? w : info.size;
  h = h ? h : info.size;

  c->sheet = (sheet){ NULL,
                      c->rows,
                      titled ? (pictures + images - 1) / images : 1,
                      sheet_columns(titled ? images : pictures),
                      w * sheet_zoom(w),
                      h * sheet_zoom(w) };
  return 0;
}

/* the library names both, also one that nobody gave */
static int check_side(const run *r, const char *option, uint32_t side)
{
  textinv_model_info info;

  textinv_model_info_init(&info, sizeof(info));
  textinv_model_get_info(r->model, &info);
  if (side % info.latent_scale)
    return cli_usage(name, "--%s %u: a multiple of %u is expected", option, side,
                     info.latent_scale);
  return CLI_OK;
}

/* the library names its own options */
static int check_mask(const run *r)
{
  textinv_model_info info;

  textinv_model_info_init(&info, sizeof(info));
  textinv_model_get_info(r->model, &info);
  if (info.needs_mask && !r->mask)
    return cli_usage(name,
                     "the model was made for inpainting: --init-image and --mask are expected; a "
                     "white mask redraws all");
  return CLI_OK;
}

/* one too large for a PNG is refused before anything is drawn */
static int check_sheet(const run *r)
{
  uint64_t width, height;
  contact c;
  int fits;

  if (r->v->separate || all_pictures(r) == 1)
    return CLI_OK;
  if (contact_new(&c, r, all_pictures(r)))
    return cli_fail(name, "out of memory");
  fits = sheet_size(&c.sheet, &width, &height);
  contact_free(&c);
  if (fits)
    return CLI_OK;
  return cli_usage(
    name,
    "--images %u: a sheet of %llu x %llu pixels; at most %d a side and %d in all are "
    "expected, --separate writes one file a picture",
    r->v->p.images, (unsigned long long)width, (unsigned long long)height, SHEET_MAX_SIDE,
    SHEET_MAX_PIXELS);
}

/* ------------------------------------------------------------------ output */

/* what is drawn and not yet written */
static int save_separate(run *r)
{
  const values *v = r->v;

  for (; r->written < r->count; r->written++) {
    uint32_t i;
    textinv_images *drawn = picture(r, r->written, &i);
    char *path = cli_numbered(v->out, r->written);
    const textinv_status status = path ? textinv_images_save(r->session, drawn, i, path, NULL)
                                       : TEXTINV_E_NOMEM;

    if (status < 0) {
      free(path);
      return path ? cli_report(name, r->session, status) : cli_fail(name, "out of memory");
    }
    cli_say(&v->common, "wrote %s", path);
    free(path);
  }
  return CLI_OK;
}

/* the parameters of the first picture of every prompt */
static char *sheet_parameters(const run *r)
{
  size_t size = 1;
  char *text, *end;
  uint32_t i;

  for (size_t n = 0; n < r->count; n += r->v->p.images)
    size += strlen(textinv_images_parameters(picture(r, n, &i), 0)) + 2;
  if (!(text = end = calloc(size, 1)))
    return NULL;
  for (size_t n = 0; n < r->count; n += r->v->p.images)
    end += snprintf(end, size - (size_t)(end - text), "%s%s", n ? "\n\n" : "",
                    textinv_images_parameters(picture(r, n, &i), 0));
  return text;
}

static textinv_status draw_sheet(const run *r, textinv_images **out)
{
  contact c;
  textinv_status status;

  *out = NULL;
  if (contact_new(&c, r, r->count))
    return TEXTINV_E_NOMEM;
  status = sheet_draw(out, r->session, &c.sheet);
  contact_free(&c);
  return status;
}

/* what is drawn */
static int save(void *user)
{
  run *r = user;
  const values *v = r->v;
  textinv_images *drawn = NULL;
  char *parameters = NULL;
  textinv_status status;

  if (v->separate)
    return save_separate(r);
  if (r->count == 1) {
    status = textinv_images_save(r->session, r->drawn[0], 0, v->out, NULL);
  } else {
    if ((status = draw_sheet(r, &drawn)) < 0 || !(parameters = sheet_parameters(r))) {
      textinv_images_free(drawn);
      cli_fail(name, "no memory for a sheet, one file a picture is written");
      r->no_sheet = 1;
      return save_separate(r);
    }
    status = textinv_images_save(r->session, drawn, 0, v->out, parameters);
  }
  textinv_images_free(drawn);
  free(parameters);
  if (status < 0)
    return cli_report(name, r->session, status);
  cli_say(&v->common, "wrote %s", v->out);
  return CLI_OK;
}

static int save_elsewhere(run *r)
{
  return cli_save_elsewhere(name, "drawn", &r->v->out, save, r);
}

/* of a run that was interrupted or failed: a sheet that is there already may be better and is not
 * replaced */
static int save_what_is_drawn(run *r)
{
  int result;

  if (!r->count)
    return CLI_OK;
  if (!r->v->separate && !access(r->v->out, F_OK))
    result = save_elsewhere(r);
  else if ((result = save(r)) != CLI_OK)
    result = save_elsewhere(r);
  if (result == CLI_OK)
    cli_fail(name, "%zu of %zu pictures are drawn and saved", r->count, all_pictures(r));
  return result;
}

/* ------------------------------------------------------------------ learnt words */

/* set used[i] where text has word i, which stands there as its first vector at least */
static textinv_status find_words(const run *r, char *used, const char *text)
{
  const textinv_tokenizer *t = textinv_model_tokenizer(r->model, 0);
  uint32_t *ids = NULL;
  size_t room = 0, count = 0;
  textinv_status status;

  while ((status = textinv_tokenizer_encode(r->session, ids, room, &count, t, r->embeddings,
                                            text)) >= 0 &&
         room < count) {
    if (!(ids = calloc(room = count, sizeof(*ids))))
      return TEXTINV_E_NOMEM;
  }
  for (size_t i = 0; i < count && status >= 0; i++) {
    uint32_t first = textinv_tokenizer_size(t);
    const char *word;

    for (size_t k = 0; (word = textinv_embeddings_word(r->embeddings, k)); k++) {
      used[k] |= ids[i] == first;
      first += textinv_embeddings_vectors(r->embeddings, word);
    }
  }
  free(ids);
  return status;
}

/* find_words(), and tell what looks like a learnt word, <...>, and is none; told: the last of them
 */
static textinv_status check_text(const run *r, char *used, const char *text, char told[256])
{
  const size_t count = textinv_embeddings_count(r->embeddings);
  char *met = calloc(count + 1, 1), piece[256];
  textinv_status status = met ? find_words(r, used, text) : TEXTINV_E_NOMEM;

  for (const char *p = strchr(text, '<'); p && status >= 0; p = strchr(p + 1, '<')) {
    const size_t length = strcspn(p + 1, "<> \t\r\n") + 2;

    if (length < 3 || length >= sizeof(piece) || p[length - 1] != '>')
      continue;
    snprintf(piece, sizeof(piece), "%.*s", (int)length, p);
    memset(met, 0, count);
    status = find_words(r, met, piece);
    if (status < 0 || memchr(met, 1, count) || !strcmp(piece, told))
      continue;
    memcpy(told, piece, length + 1);
    if (!r->v->common.quiet)
      cli_fail(name, "no --embedding has the word \"%s\" of a prompt: it is read as any other text",
               piece);
  }
  free(met);
  return status;
}

/* a word that no prompt has may be a typing error; ends[i]: words after file i of --embedding */
static int check_words(const run *r, const size_t *ends)
{
  const values *v = r->v;
  const size_t count = textinv_embeddings_count(r->embeddings);
  char *used = calloc(count + 1, 1), told[256] = "";
  textinv_status status = TEXTINV_OK;

  if (!used)
    return cli_fail(name, "out of memory");
  if (v->p.negative_prompt)
    status = check_text(r, used, v->p.negative_prompt, told);
  for (size_t i = 0; i < v->prompts.count && status >= 0; i++)
    status = check_text(r, used, v->prompts.items[i].text, told);
  for (size_t i = 0, file = 0; i < count && status >= 0; i++) {
    while (i >= ends[file])
      file++;
    if (!used[i] && !v->common.quiet)
      cli_fail(name, "no prompt has the word \"%s\" of %s",
               textinv_embeddings_word(r->embeddings, i),
               cli_embedding_file(v->embeddings.items[file].text));
  }
  free(used);
  return status < 0 ? cli_report(name, r->session, status) : CLI_OK;
}

static int load_words(const run *r)
{
  const cli_list *files = &r->v->embeddings;
  size_t *ends = calloc(files->count + 1, sizeof(*ends));
  int result = ends ? CLI_OK : cli_fail(name, "out of memory");

  for (size_t i = 0; i < files->count && result == CLI_OK; i++) {
    result = cli_load_embedding(r->session, r->embeddings, r->model, name, files->items[i].text);
    ends[i] = textinv_embeddings_count(r->embeddings);
  }
  if (result == CLI_OK)
    result = check_words(r, ends);
  free(ends);
  return result;
}

/* ------------------------------------------------------------------ the run */

static int prepare(run *r)
{
  values *v = r->v;
  textinv_status status;
  int result;

  if ((result = cli_open_session(&r->session, name, &v->common)) != CLI_OK)
    return result;
  if (v->init_image && (status = textinv_image_read(&r->start, r->session, v->init_image)) < 0)
    return cli_report(name, r->session, status);
  if (v->mask && (status = textinv_image_read(&r->mask, r->session, v->mask)) < 0)
    return cli_report(name, r->session, status);
  if ((result = cli_open_model(&r->model, r->session, name, &v->common)) != CLI_OK ||
      (result = check_mask(r)) != CLI_OK ||
      (result = check_side(r, "width", v->p.width)) != CLI_OK ||
      (result = check_side(r, "height", v->p.height)) != CLI_OK ||
      (result = check_sheet(r)) != CLI_OK)
    return result;
  if ((status = textinv_embeddings_new(&r->embeddings, r->session)) < 0)
    return cli_report(name, r->session, status);
  return load_words(r);
}

/* progress of one call as that of its prompt: every call has the steps of the first, but the last
 * may have fewer */
static int32_t report_progress(void *user, const textinv_progress *progress)
{
  run *r = user;
  textinv_progress p = *progress;

  if (!r->call)
    r->steps = p.steps;
  p.step += r->call * r->steps;
  p.steps += (r->call + 1 < r->groups ? r->groups - 1 : r->call) * r->steps;
  r->seconds = p.seconds += r->past;
  return progress_update(&r->progress, &p);
}

static textinv_status draw_group(run *r, size_t prompt)
{
  values *v = r->v;
  textinv_generate_params p = v->p;
  const uint32_t first = r->call * r->group;
  textinv_status status;

  p.prompt = v->prompts.items[prompt].text;
  p.images = v->p.images - first < r->group ? v->p.images - first : r->group;
  p.seed += first;
  if (v->strength > 0.0f)
    p.strength = v->strength;
  p.init_image = r->start;
  p.mask = r->mask;
  p.progress = report_progress;
  p.progress_user = r;
  status = textinv_generate(&r->drawn[prompt * r->groups + r->call], r->session, r->model,
                            r->embeddings, &p);
  if (status >= 0)
    r->count += p.images;
  return status;
}

static int draw(run *r)
{
  for (size_t k = 0; k < r->v->prompts.count; k++) {
    r->past = r->seconds = 0.0;
    cli_forget_warnings();
    for (r->call = 0; r->call < r->groups; r->call++) {
      const textinv_status status = draw_group(r, k);

      if (status < 0 || r->call + 1 == r->groups || r->v->separate)
        progress_end(&r->progress);
      if (status < 0) {
        const int result = cli_report(name, r->session, status);

        return save_what_is_drawn(r) == CLI_OK ? result : CLI_FAILED;
      }
      r->past = r->seconds;
      if (r->v->separate && save_separate(r) != CLI_OK) {
        save_elsewhere(r);
        return CLI_FAILED;
      }
      if (r->v->separate) {
        textinv_images_free(r->drawn[k * r->groups + r->call]);
        r->drawn[k * r->groups + r->call] = NULL;
      }
    }
  }
  if (!r->v->separate && save(r) != CLI_OK) {
    save_elsewhere(r);
    return CLI_FAILED;
  }
  return r->no_sheet ? CLI_FAILED : CLI_OK;
}

static int run_generate(void *p, const cli_arguments *arguments)
{
  values *v = p;
  run r = { .v = v, .group = v->p.batch ? v->p.batch : 4 }; /* as many at once as the library */
  size_t calls;
  int result;

  (void)arguments;
  if ((result = check(v)) != CLI_OK)
    return result;
  r.groups = (v->p.images + r.group - 1) / r.group;
  calls = v->prompts.count * r.groups;
  if (!(r.drawn = calloc(calls, sizeof(*r.drawn))))
    return cli_fail(name, "out of memory");
  progress_init(&r.progress, v->common.progress, v->common.quiet);
  if ((result = prepare(&r)) == CLI_OK) {
    cli_catch_signals(r.session, NULL);
    result = draw(&r);
  }
  for (size_t i = 0; i < calls; i++)
    textinv_images_free(r.drawn[i]);
  free(r.drawn);
  textinv_images_free(r.start);
  textinv_images_free(r.mask);
  textinv_embeddings_free(r.embeddings);
  textinv_model_free(r.model);
  cli_close_session(r.session);
  return result;
}

static const char summary[] =
  "Draw pictures of a prompt, in which learnt words stand like any other.";

const cli_command cli_generate = {
  .name = name,
  .summary = summary,
  .usage = "--prompt TEXT [--embedding FILE] --out FILE.png [options]",
  .options = options,
  .shared = cli_compute_options,
  .size = sizeof(values),
  .init = init,
  .run = run_generate
};
