/* textinv invert: learn words from pictures. */
#include <errno.h>
#include <float.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "sheet.h"

static const char name[] = "invert";

typedef struct values {
  cli_common common;
  cli_list images, placeholders, initializers, vectors, properties, prompts, embeddings;
  int32_t captions;
  const char *out, *output_dir, *resume, *preview;
  textinv_invert_params p;
} values;

static const cli_choice properties[] = { { "object", TEXTINV_PROPERTY_OBJECT },
                                         { "style", TEXTINV_PROPERTY_STYLE },
                                         { NULL, 0 } };
static const cli_choice schedules[] = { { "constant", TEXTINV_LR_CONSTANT },
                                        { "linear", TEXTINV_LR_LINEAR },
                                        { "cosine", TEXTINV_LR_COSINE },
                                        { "constant_with_warmup", TEXTINV_LR_CONSTANT },
                                        { NULL, 0 } };

#define AT(member) offsetof(values, member)

static const cli_option options[] = {
  { "images", "DIR", CLI_LIST, AT(images), 0, 0, NULL, 0, "folder of its pictures (PNG, JPEG)" },
  { "placeholder", "WORD", CLI_LIST, AT(placeholders), 0, 0, NULL, 0,
    "the new word, such as '<toy>'" },
  { "initializer", "TEXT", CLI_LIST, AT(initializers), 0, 0, NULL, 0,
    "words to start from; without: random" },
  { "out", "FILE", CLI_TEXT, AT(out), 0, 0, NULL, 0,
    "embedding to write, such as toy.safetensors" },
  { "steps", "N", CLI_UINT, AT(p.steps), 1, 1e7, NULL, 0, "optimiser steps" },
  { "batch", "N", CLI_UINT, AT(p.batch), 1, 1024, NULL, 0, "samples of one pass" },
  { "lr", "X", CLI_FLOAT, AT(p.learning_rate), 0, 1e3, NULL, CLI_ABOVE_MIN, "learning rate" },
  { "vectors", "K", CLI_LIST, AT(vectors), 0, 0, NULL, 0,
    "vectors of the word, 0 = those of the initializer (1)" },
  { "property", "KIND", CLI_LIST, AT(properties), 0, 0, NULL, 0,
    "what is learnt: object or style (object)" },
  { "seed", "N", CLI_UINT64, AT(p.seed), 0, 0, NULL, 0, "of data order, crops and noise" },
  { "preview", "PROMPT", CLI_TEXT, AT(preview), 0, 0, NULL, 0,
    "draw this now and then into the output folder" },
  { "output-dir", "DIR", CLI_TEXT, AT(output_dir), 0, 0, NULL, 0,
    "checkpoints, previews (toy-run for toy.safetensors)" },
  { "checkpoint-every", "N", CLI_UINT, AT(p.checkpoint_every), 0, 1e7, NULL, 0,
    "steps, and at the end; 0 = only on interrupt" },
  { "resume", "latest|FILE", CLI_TEXT, AT(resume), 0, 0, NULL, 0, "go on from a checkpoint" },
  { "accumulate", "N", CLI_UINT, AT(p.accumulate), 1, 1024, NULL, CLI_RARE, "passes of one step" },
  { "scale-lr", NULL, CLI_FLAG, AT(p.scale_lr), 0, 0, NULL, CLI_RARE,
    "rate times batch times accumulate" },
  { "lr-schedule", "KIND", CLI_CHOICE, AT(p.lr_schedule), 0, 0, schedules, CLI_RARE, "" },
  { "warmup", "N", CLI_UINT, AT(p.lr_warmup), 0, 1e7, NULL, CLI_RARE, "steps of linear warm-up" },
  { "beta1", "X", CLI_FLOAT, AT(p.beta1), 0, 1, NULL, CLI_RARE, "of AdamW" },
  { "beta2", "X", CLI_FLOAT, AT(p.beta2), 0, 1, NULL, CLI_RARE, "of AdamW" },
  { "epsilon", "X", CLI_FLOAT, AT(p.epsilon), 0, 1, NULL, CLI_RARE | CLI_ABOVE_MIN, "of AdamW" },
  { "weight-decay", "X", CLI_FLOAT, AT(p.weight_decay), 0, 1e3, NULL, CLI_RARE,
    "of AdamW, decoupled" },
  { "resolution", "N", CLI_UINT, AT(p.resolution), 8, 16384, NULL, CLI_RARE | CLI_QUIET_DEFAULT,
    "pixels (the model's size)" },
  { "center-crop", NULL, CLI_FLAG, AT(p.center_crop), 0, 0, NULL, CLI_RARE,
    "squash instead of a square crop" },
  { "crop-scale", "X", CLI_FLOAT, AT(p.crop_scale), 0.5, 1, NULL, CLI_RARE,
    "random crops down to this side" },
  { "flip", "X", CLI_FLOAT, AT(p.flip), 0, 1, NULL, CLI_RARE, "probability of a mirrored picture" },
  { "captions", NULL, CLI_FLAG, AT(captions), 0, 0, NULL, CLI_RARE,
    "NAME.txt beside NAME.png is its caption" },
  { "prompt", "TEXT", CLI_LIST, AT(prompts), 0, 0, NULL, CLI_RARE,
    "template with {} for the word; may be repeated" },
  { "embedding", "FILE ...", CLI_LIST, AT(embeddings), 0, 0, NULL, CLI_RARE | CLI_MORE,
    "words to go on with; may be repeated" },
  { "checkpoint-keep", "N", CLI_UINT, AT(p.checkpoint_keep), 0, 1e7, NULL, CLI_RARE,
    "newest ones kept; 0 = all" },
  { "preview-every", "N", CLI_UINT, AT(p.preview_every), 0, 1e7, NULL, CLI_RARE | CLI_QUIET_DEFAULT,
    "steps (a fifth of the run)" },
  { "preview-images", "N", CLI_UINT, AT(p.preview_images), 1, 16, NULL, CLI_RARE,
    "pictures of a preview" },
  { "preview-steps", "N", CLI_UINT, AT(p.preview_steps), 1, 1000, NULL, CLI_RARE,
    "sampler steps of a preview" },
  { NULL, NULL, CLI_FLAG, 0, 0, 0, NULL, 0, NULL }
};

static void init(void *p)
{
  values *v = p;

  textinv_invert_params_init(&v->p, sizeof(v->p));
}

/* what the callbacks of one run need */
typedef struct run {
  values *v;
  textinv_session *session;
  textinv_embeddings *embeddings;
  textinv_concept *concepts;
  const char **prompts;
  char *folder, *preview;
  int made_folder;
  int separate; /* every word got its own file */
  progress_state progress;
} run;

/* ------------------------------------------------------------------ concepts */

/* item i of a list that is empty, or has one item for all words, or one for each */
static const char *item(const cli_list *list, size_t i)
{
  return !list->count ? NULL : list->items[list->count == 1 ? 0 : i].text;
}

static int check_counts(const values *v)
{
  static const char *const names[] = { "initializer", "vectors", "property" };
  const cli_list *const lists[] = { &v->initializers, &v->vectors, &v->properties };
  const size_t words = v->placeholders.count;

  if (cli_require(name, "placeholder", words > 0) ||
      cli_require(name, "images", v->images.count > 0))
    return CLI_USAGE;
  if (v->images.count != words)
    return cli_usage(name,
                     "%zu --placeholder but %zu --images; every word needs its folder of pictures",
                     words, v->images.count);
  if (v->captions && v->prompts.count)
    return cli_usage(name, "--captions with --prompt %s: one of them is expected",
                     v->prompts.items[0].text);
  for (size_t i = 0; i < 3; i++) {
    if (lists[i]->count > 1 && lists[i]->count != words)
      return cli_usage(name, "%zu --%s for %zu words; give one for all of them or one for each",
                       lists[i]->count, names[i], words);
  }
  for (size_t i = 0; i < words; i++) {
    for (size_t j = 0; j < i; j++) {
      if (!strcmp(v->placeholders.items[i].text, v->placeholders.items[j].text))
        return cli_usage(name, "--placeholder %s is given twice", v->placeholders.items[i].text);
    }
  }
  return CLI_OK;
}

static int parse_vectors(uint32_t *out, const char *text)
{
  char *end;
  const unsigned long n = text ? strtoul(text, &end, 10) : 1;

  if (text && (*text < '0' || *text > '9' || *end || n > 32))
    return cli_usage(name, "--vectors %s: a whole number from 0 to 32 is expected", text);
  *out = (uint32_t)n;
  return CLI_OK;
}

static int parse_property(textinv_property *out, const char *text)
{
  for (const cli_choice *c = properties; text && c->name; c++) {
    if (!strcmp(c->name, text)) {
      *out = c->value;
      return CLI_OK;
    }
  }
  return text ? cli_usage(name, "--property %s: object or style is expected", text) : CLI_OK;
}

static int make_concepts(run *r)
{
  values *v = r->v;
  const size_t words = v->placeholders.count;

  r->concepts = calloc(words, sizeof(*r->concepts));
  r->prompts = calloc(v->prompts.count + 1, sizeof(*r->prompts));
  if (!r->concepts || !r->prompts)
    return cli_fail(name, "out of memory");
  for (size_t i = 0; i < v->prompts.count; i++) {
    r->prompts[i] = v->prompts.items[i].text;
    if (!strstr(r->prompts[i], "{}"))
      return cli_usage(name, "--prompt %s: a template with {} in place of the word is expected",
                       r->prompts[i]);
  }
  for (size_t i = 0; i < words; i++) {
    textinv_concept *c = &r->concepts[i];

    textinv_concept_init(c, sizeof(*c));
    c->placeholder = v->placeholders.items[i].text;
    c->images_path = v->images.items[i].text;
    c->initializer = item(&v->initializers, i);
    c->captions = v->captions;
    c->prompts = v->prompts.count ? r->prompts : NULL;
    c->num_prompts = v->prompts.count;
    if (!*c->placeholder || strlen(c->placeholder) > 255 || strpbrk(c->placeholder, " \t\n\r\f\v"))
      return cli_usage(
        name, "--placeholder \"%.300s\": a word of 1 to 255 bytes without spaces is expected",
        c->placeholder);
    if (parse_vectors(&c->num_vectors, item(&v->vectors, i)) != CLI_OK ||
        parse_property(&c->property, item(&v->properties, i)) != CLI_OK)
      return CLI_USAGE;
    if (!c->num_vectors && !(c->initializer && *c->initializer))
      return cli_usage(name, "--vectors 0: takes the count from --initializer, which is not given");
    if (cli_check_input(name, "--images", c->images_path) != CLI_OK)
      return CLI_FAILED;
  }
  return CLI_OK;
}

/* ------------------------------------------------------------------ output */

/* toy.safetensors -> toy-run */
static char *run_folder(const char *out)
{
  const size_t stem = cli_stem(out);
  char *folder = calloc(stem + sizeof("-run"), 1);

  if (folder) {
    memcpy(folder, out, stem);
    memcpy(folder + stem, "-run", sizeof("-run"));
  }
  return folder;
}

static int check_output(run *r)
{
  values *v = r->v;
  struct stat st;
  int status;

  if ((status = cli_require(name, "out", v->out != NULL)) != CLI_OK ||
      (status = cli_check_ending(name, "--out", v->out, CLI_SAFETENSORS)) != CLI_OK ||
      (status = cli_check_output(name, "--out", v->out)) != CLI_OK)
    return status;
  if (v->resume && strcmp(v->resume, "latest") &&
      (status = cli_check_input(name, "--resume", v->resume)) != CLI_OK)
    return status;
  if (!(r->folder = v->output_dir ? strdup(v->output_dir) : run_folder(v->out)))
    return cli_fail(name, "out of memory");
  if (v->output_dir || !stat(r->folder, &st))
    return cli_check_output_folder(name, "--output-dir", r->folder);
  return CLI_OK;
}

/* the implied folder is made when the work begins, and goes when nothing is in it */
static int make_folder(run *r)
{
  if (!mkdir(r->folder, 0777)) {
    r->made_folder = 1;
    return CLI_OK;
  }
  return errno == EEXIST ? CLI_OK : cli_fail(name, "%s: %s", r->folder, strerror(errno));
}

static int plan_previews(run *r)
{
  values *v = r->v;

  if (!v->preview && !v->p.preview_every)
    return CLI_OK;
  if (!v->preview) {
    const char *word = r->concepts[0].placeholder;
    const size_t size = strlen(word) + 32;

    if (!(r->preview = calloc(size, 1)))
      return cli_fail(name, "out of memory");
    snprintf(r->preview, size, "a photo of %s", word);
  }
  if (!v->p.preview_every)
    v->p.preview_every = v->p.steps < 5 ? 1 : v->p.steps / 5;
  v->p.preview_prompt = v->preview ? v->preview : r->preview;
  return CLI_OK;
}

static textinv_status draw_preview(run *r, textinv_images **out, textinv_images *images)
{
  sheet_cell cells[16];
  char labels[16][32];
  const uint32_t count = textinv_images_count(images) < 16 ? textinv_images_count(images) : 16;
  const sheet_row row = { NULL, cells, count };
  const uint32_t w = textinv_images_width(images), h = textinv_images_height(images);
  const sheet s = { r->v->p.preview_prompt, &row, 1, sheet_columns(count), w * sheet_zoom(w),
                    h * sheet_zoom(w) };

  for (uint32_t i = 0; i < count; i++) {
    snprintf(labels[i], sizeof(labels[i]), "seed %llu",
             (unsigned long long)textinv_images_seed(images, i));
    cells[i] = (sheet_cell){ images, i, labels[i] };
  }
  return sheet_draw(out, r->session, &s);
}

/* a textinv_preview_fn: preview-000100.png in the output folder */
static int32_t save_preview(void *user, uint32_t step, textinv_images *images)
{
  run *r = user;
  const size_t size = strlen(r->folder) + 32;
  char *path = calloc(size, 1);
  textinv_images *drawn = NULL;
  textinv_status status = TEXTINV_E_NOMEM;

  if (path) {
    snprintf(path, size, "%s/preview-%06u.png", r->folder, step);
    status = textinv_images_count(images) > 1 ? draw_preview(r, &drawn, images) : TEXTINV_OK;
    if (status >= 0)
      status = textinv_images_save(r->session, drawn ? drawn : images, 0, path,
                                   textinv_images_parameters(images, 0));
  }
  progress_end(&r->progress);
  if (status < 0)
    cli_fail(name, "preview of step %u: %s", step,
             status == TEXTINV_E_NOMEM ? "out of memory" : textinv_session_error(r->session));
  else
    cli_say(&r->v->common, "wrote %s", path);
  textinv_images_free(drawn);
  free(path);
  return 0; /* a run does not end for want of a preview */
}

/* ------------------------------------------------------------------ the run */

static void print_result(const run *r, const textinv_invert_report *report)
{
  const values *v = r->v;
  char words[256] = "";
  size_t used = 0;

  for (size_t i = 0; i < v->placeholders.count && used < sizeof(words); i++)
    used += (size_t)snprintf(words + used, sizeof(words) - used, "%s%s", i ? " " : "",
                             v->placeholders.items[i].text);
  if (report->skipped)
    cli_say(&v->common, "skipped %u step%s, as loss or gradient was not finite", report->skipped,
            report->skipped == 1 ? "" : "s");
  cli_say(&v->common, "%s%s%s, %u step%s in %.0f s, loss %.4f", r->separate ? "" : v->out,
          r->separate ? "" : ": ", words, report->steps, report->steps == 1 ? "" : "s",
          report->seconds, (double)report->loss_average);
}

/* other programs take files of one word: of several each gets its own */
static char *result_path(const values *v, size_t i)
{
  return v->placeholders.count > 1 ? cli_numbered(v->out, i) : strdup(v->out);
}

static int save(void *user)
{
  run *r = user;
  const values *v = r->v;
  const size_t words = v->placeholders.count;

  r->separate = words > 1;
  for (size_t i = 0; i < words; i++) {
    const char *word = v->placeholders.items[i].text;
    char *path = result_path(v, i);
    textinv_status status;

    if (!path)
      return cli_fail(name, "out of memory");
    status = textinv_embeddings_save(r->session, r->embeddings, path, TEXTINV_FORMAT_AUTO, word);
    if (status >= 0 && r->separate)
      cli_say(&v->common, "wrote %s: %s", path, word);
    free(path);
    if (status < 0)
      return cli_report(name, r->session, status);
  }
  return CLI_OK;
}

static int save_elsewhere(run *r)
{
  return cli_save_elsewhere(name, "learnt", &r->v->out, save, r);
}

/* of a run that failed: a file that is there already may be better and is not replaced */
static void save_what_is_learnt(run *r, uint32_t step)
{
  char *first = result_path(r->v, 0);
  int there = 0;

  for (size_t i = 0; i < r->v->placeholders.count && !there; i++) {
    char *path = result_path(r->v, i);

    there = !path || !access(path, F_OK);
    free(path);
  }
  if (!there && save(r) == CLI_OK)
    cli_fail(name, "%s %s the last finite vectors, those of step %u", first ? first : r->v->out,
             r->separate ? "and those of the other words hold" : "holds", step);
  else
    save_elsewhere(r);
  free(first);
}

/* before its first call pictures are read, which nothing cancels, and there is nothing to save */
static int32_t report_progress(void *user, const textinv_progress *progress)
{
  run *r = user;

  cli_catch_signals(r->session, r->made_folder ? r->folder : NULL);
  return progress_update(&r->progress, progress);
}

static int learn(run *r, const textinv_model *model)
{
  values *v = r->v;
  textinv_invert_report report;
  textinv_status status;
  int result;

  textinv_invert_report_init(&report, sizeof(report));
  for (size_t i = 0; i < v->embeddings.count; i++) {
    const int loaded = cli_load_embedding(r->session, r->embeddings, model, name,
                                          v->embeddings.items[i].text);

    if (loaded != CLI_OK)
      return loaded;
  }
  if (make_folder(r) != CLI_OK)
    return CLI_FAILED;
  cli_catch_signals(NULL, r->made_folder ? r->folder : NULL);
  v->p.concepts = r->concepts;
  v->p.num_concepts = v->placeholders.count;
  v->p.output_dir = r->folder;
  v->p.resume = v->resume;
  v->p.preview = v->p.preview_every ? save_preview : NULL;
  v->p.preview_user = r;
  v->p.progress = report_progress;
  v->p.progress_user = r;
  status = textinv_invert(r->session, model, r->embeddings, &v->p, &report);
  progress_end(&r->progress);
  if (status == TEXTINV_E_CANCELLED) {
    cli_fail(name,
             "interrupted at step %u of %u; the same command with --resume latest%s%s goes on",
             report.steps, v->p.steps, v->output_dir ? " --output-dir " : "",
             v->output_dir ? v->output_dir : "");
    return CLI_INTERRUPTED;
  }
  if (status < 0) {
    result = cli_report(name, r->session, status);
    if (report.steps > report.first_step + report.skipped)
      save_what_is_learnt(r, report.steps);
    return result;
  }
  if ((result = save(r)) != CLI_OK) {
    save_elsewhere(r);
    return result;
  }
  print_result(r, &report);
  return CLI_OK;
}

static void release(run *r)
{
  if (r->made_folder)
    rmdir(r->folder); /* stays when something is in it */
  free(r->concepts);
  free(r->prompts);
  free(r->folder);
  free(r->preview);
}

static int run_invert(void *p, const cli_arguments *arguments)
{
  values *v = p;
  run r = { .v = v };
  textinv_model *model = NULL;
  textinv_status status;
  int result;

  (void)arguments;
  if (v->p.lr_warmup > v->p.steps) {
    result = cli_usage(name, "--warmup %u: at most the %u of --steps is expected", v->p.lr_warmup,
                       v->p.steps);
    goto out;
  }
  if ((result = check_counts(v)) != CLI_OK || (result = check_output(&r)) != CLI_OK ||
      (result = make_concepts(&r)) != CLI_OK || (result = plan_previews(&r)) != CLI_OK)
    goto out;
  progress_init(&r.progress, v->common.progress, v->common.quiet);
  if ((result = cli_open_session(&r.session, name, &v->common)) != CLI_OK ||
      (result = cli_open_model(&model, r.session, name, &v->common)) != CLI_OK)
    goto out;
  if ((status = textinv_embeddings_new(&r.embeddings, r.session)) < 0) {
    result = cli_report(name, r.session, status);
    goto out;
  }
  result = learn(&r, model);
out:
  textinv_embeddings_free(r.embeddings);
  textinv_model_free(model);
  cli_close_session(r.session);
  release(&r);
  return result;
}

static const char summary[] =
  "Learn a word from three to five pictures of a thing. For several words in one\n"
  "run repeat --images, --placeholder and --initializer; each has its own file.";

const cli_command cli_invert = { .name = name,
                                 .summary = summary,
                                 .usage = "--images DIR --placeholder WORD --out FILE [options]",
                                 .options = options,
                                 .shared = cli_compute_options,
                                 .size = sizeof(values),
                                 .init = init,
                                 .run = run_invert };
