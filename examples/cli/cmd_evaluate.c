/* textinv evaluate: how well a word was learnt, by pictures drawn with it; a table on stdout. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli.h"

static const char name[] = "evaluate";

typedef struct values {
  cli_common common;
  cli_list pictures, references, prompts, placeholders;
  const char *clip;
} values;

#define AT(member) offsetof(values, member)

static const cli_option options[] = {
  { "pictures", "PATH ...", CLI_LIST, AT(pictures), 0, 0, NULL, CLI_MORE,
    "drawn with the word: files or folders" },
  { "references", "PATH ...", CLI_LIST, AT(references), 0, 0, NULL, CLI_MORE,
    "pictures that it was learnt from" },
  { "prompt", "TEXT", CLI_LIST, AT(prompts), 0, 0, NULL, 0,
    "what was drawn; once, or once for each PATH" },
  { "placeholder", "WORD", CLI_LIST, AT(placeholders), 0, 0, NULL, 0,
    "learnt word in --prompt, which CLIP cannot know" },
  { "clip", "DIR", CLI_TEXT, AT(clip), 0, 0, NULL, 0, "CLIP model (that of the default model)" },
  { NULL, NULL, CLI_FLAG, 0, 0, 0, NULL, 0, NULL }
};

typedef struct picture {
  textinv_images *images; /* one */
  char *path;
  size_t value; /* of the option, which it comes from */
} picture;

/* of files and folders */
typedef struct pictures {
  picture *items;
  size_t count, room;
} pictures;

typedef struct run {
  const values *v;
  textinv_session *session;
  textinv_clip *clip;
  pictures drawn, references;
  const textinv_images **images; /* [drawn.count], then [references.count] */
  const char **prompts;          /* [drawn.count], or NULL */
  float *each;                   /* [drawn.count, 2] */
  progress_state progress;
} run;

static void pictures_free(pictures *p)
{
  for (size_t i = 0; i < p->count; i++) {
    textinv_images_free(p->items[i].images);
    free(p->items[i].path);
  }
  free(p->items);
}

/* the file of path, which is freed here or with the pictures */
static int add_file(pictures *p, textinv_session *session, char *path, size_t value)
{
  picture new = { NULL, path, value };
  textinv_status status;

  if (p->count == p->room) {
    const size_t room = p->room ? 2 * p->room : 16;
    picture *items = realloc(p->items, room * sizeof(*items));

    if (!items) {
      free(path);
      return cli_fail(name, "out of memory");
    }
    p->items = items;
    p->room = room;
  }
  if ((status = textinv_image_read(&new.images, session, path)) < 0) {
    free(path);
    return cli_report(name, session, status);
  }
  p->items[p->count++] = new;
  return CLI_OK;
}

/* whether it begins as PNG or JPEG, which is what invert takes of a folder; -1 = it cannot be read
 */
static int is_picture(const char *path)
{
  FILE *f = fopen(path, "rb");
  char head[8];
  size_t count;
  int failed;

  if (!f)
    return -1;
  count = fread(head, 1, sizeof(head), f);
  failed = ferror(f);
  fclose(f);
  if (failed)
    return -1;
  return (count == 8 && !memcmp(head, "\x89PNG\r\n\x1a\n", 8)) ||
         (count >= 3 && !memcmp(head, "\xff\xd8\xff", 3));
}

/* "FOLDER/FILE" when that is a picture, else NULL; *result is not CLI_OK after a message */
static char *picture_in(int *result, const char *folder, const char *file)
{
  const size_t size = strlen(folder) + strlen(file) + 2;
  char *path = malloc(size);
  struct stat st;
  int found = 0;

  if (!path) {
    *result = cli_fail(name, "out of memory");
    return NULL;
  }
  snprintf(path, size, "%s/%s", folder, file);
  if (!stat(path, &st) && S_ISREG(st.st_mode))
    found = is_picture(path);
  if (found > 0)
    return path;
  if (found < 0)
    *result = cli_fail(name, "%s: %s", path, strerror(errno));
  free(path);
  return NULL;
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
  return strcmp((*a)->d_name, (*b)->d_name);
}

/* its PNG and JPEG files, in the order of their names */
static int add_folder(pictures *p, textinv_session *session, const char *folder, size_t value)
{
  struct dirent **entries;
  const size_t before = p->count;
  const int count = scandir(folder, &entries, NULL, by_bytes);
  int result = CLI_OK;

  if (count < 0)
    return cli_fail(name, "%s: %s", folder, strerror(errno));
  for (int i = 0; i < count; i++) {
    char *path = result == CLI_OK ? picture_in(&result, folder, entries[i]->d_name) : NULL;

    if (path)
      result = add_file(p, session, path, value);
    free(entries[i]);
  }
  free(entries);
  if (result == CLI_OK && p->count == before)
    return cli_fail(name, "%s: holds no PNG or JPEG picture", folder);
  return result;
}

static int read_pictures(pictures *p, textinv_session *session, const cli_list *list)
{
  int result = CLI_OK;

  for (size_t i = 0; i < list->count && result == CLI_OK; i++) {
    const char *text = list->items[i].text;
    struct stat st;
    char *path;

    if (!stat(text, &st) && S_ISDIR(st.st_mode))
      result = add_folder(p, session, text, i);
    else if ((path = strdup(text)))
      result = add_file(p, session, path, i);
    else
      result = cli_fail(name, "out of memory");
  }
  return result;
}

/* ------------------------------------------------------------------ the run */

static int check(const values *v)
{
  const int result = cli_require(name, "pictures", v->pictures.count > 0);

  if (result != CLI_OK)
    return result;
  if (!v->references.count && !v->prompts.count)
    return cli_usage(name, "--references, --prompt or both are required: what to compare with");
  if (v->prompts.count > 1 && v->prompts.count != v->pictures.count)
    return cli_usage(name,
                     "%zu --prompt, but --pictures has %zu values; one for all or one for "
                     "each is expected",
                     v->prompts.count, v->pictures.count);
  if (v->placeholders.count && !v->prompts.count)
    return cli_usage(name, "--placeholder is a word of --prompt, which is not there");
  return CLI_OK;
}

static int prepare(run *r)
{
  const values *v = r->v;
  textinv_status status;
  int result;

  if ((result = cli_open_session(&r->session, name, &v->common)) != CLI_OK)
    return result;
  if ((status = textinv_clip_open(&r->clip, r->session, v->clip)) < 0)
    return cli_report(name, r->session, status);
  if ((result = read_pictures(&r->drawn, r->session, &v->pictures)) != CLI_OK ||
      (result = read_pictures(&r->references, r->session, &v->references)) != CLI_OK)
    return result;
  const size_t drawn = r->drawn.count;

  r->images = calloc(drawn + r->references.count, sizeof(*r->images));
  r->prompts = calloc(drawn, sizeof(*r->prompts));
  r->each = calloc(drawn, 2 * sizeof(*r->each));
  if (!r->images || !r->prompts || !r->each)
    return cli_fail(name, "out of memory");
  for (size_t i = 0; i < drawn; i++)
    r->images[i] = r->drawn.items[i].images;
  for (size_t i = 0; i < r->references.count; i++)
    r->images[drawn + i] = r->references.items[i].images;
  for (size_t i = 0; i < drawn && v->prompts.count; i++)
    r->prompts[i] = v->prompts.items[v->prompts.count > 1 ? r->drawn.items[i].value : 0].text;
  return CLI_OK;
}

/* one line, of what was compared */
static void print_line(const values *v, const char *path, float image, float text)
{
  cli_print_text(path);
  if (v->references.count)
    printf("\t%.4f", (double)image);
  if (v->prompts.count)
    printf("\t%.4f", (double)text);
  putchar('\n');
}

static int evaluate(run *r)
{
  const values *v = r->v;
  const char **words = calloc(v->placeholders.count + 1, sizeof(*words));
  textinv_evaluate_params p;
  textinv_scores scores;
  textinv_status status;

  if (!words)
    return cli_fail(name, "out of memory");
  for (size_t i = 0; i < v->placeholders.count; i++)
    words[i] = v->placeholders.items[i].text;
  textinv_evaluate_params_init(&p, sizeof(p));
  textinv_scores_init(&scores, sizeof(scores));
  p.pictures = r->images;
  p.num_pictures = r->drawn.count;
  p.references = r->images + r->drawn.count;
  p.num_references = r->references.count;
  p.prompts = r->prompts;
  p.num_prompts = v->prompts.count > 1 ? r->drawn.count : v->prompts.count;
  p.placeholders = words;
  p.num_placeholders = v->placeholders.count;
  p.progress = progress_update;
  p.progress_user = &r->progress;
  status = textinv_evaluate(r->session, &scores, r->each, 2 * r->drawn.count, r->clip, &p);
  free(words);
  progress_end(&r->progress);
  if (status < 0)
    return cli_report(name, r->session, status);
  printf("picture%s%s\n", v->references.count ? "\timage" : "", v->prompts.count ? "\ttext" : "");
  for (size_t i = 0; i < r->drawn.count; i++)
    print_line(v, r->drawn.items[i].path, r->each[2 * i], r->each[2 * i + 1]);
  print_line(v, "mean", scores.image_similarity, scores.text_similarity);
  return CLI_OK;
}

static int run_evaluate(void *p, const cli_arguments *arguments)
{
  const values *v = p;
  run r = { .v = v };
  int result;

  (void)arguments;
  if ((result = check(v)) != CLI_OK)
    return result;
  progress_init(&r.progress, v->common.progress, v->common.quiet);
  if ((result = prepare(&r)) == CLI_OK) {
    cli_catch_signals(r.session, NULL);
    result = evaluate(&r);
  }
  free(r.each);
  free(r.prompts);
  free(r.images);
  pictures_free(&r.drawn);
  pictures_free(&r.references);
  textinv_clip_free(r.clip);
  cli_close_session(r.session);
  return result;
}

static const char summary[] =
  "Score pictures drawn with a learnt word by CLIP, one a line: how much they show\n"
  "what the references show, and how much they follow their prompt.";

const cli_command cli_evaluate = {
  .name = name,
  .summary = summary,
  .usage = "--pictures PATH ... [--references PATH ...] [--prompt TEXT]",
  .options = options,
  .shared = &cli_compute_options[1], /* without --model */
  .size = sizeof(values),
  .run = run_evaluate
};
