/* textinv sheet: pictures of files on one labelled sheet. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "sheet.h"

static const char name[] = "sheet";

typedef struct values {
  cli_common common;
  cli_list rows;
  const char *out, *title;
  uint32_t columns, size;
} values;

#define AT(member) offsetof(values, member)

static const cli_option options[] = {
  { "out", "FILE.png", CLI_TEXT, AT(out), 0, 0, NULL, 0, "the sheet" },
  { "title", "TEXT", CLI_TEXT, AT(title), 0, 0, NULL, 0, "above all" },
  { "row", "TEXT", CLI_LIST, AT(rows), 0, 0, NULL, 0,
    "begins a row with this title: the pictures after it" },
  { "columns", "N", CLI_UINT, AT(columns), 0, 256, NULL, 0,
    "pictures side by side; 0 = by their number" },
  { "size", "N", CLI_UINT, AT(size), 0, 4096, NULL, 0, "pixels a picture; 0 = those of the first" },
  { NULL, NULL, CLI_FLAG, 0, 0, 0, NULL, 0, NULL }
};

typedef struct run {
  const values *v;
  textinv_session *session;
  sheet_cell *cells;
  char **labels;
  sheet_row *rows;
  size_t num_rows, widest;
} run;

/* "FILE" or "LABEL=FILE" */
static int read_picture(run *r, size_t i, const char *text)
{
  const char *equals = strrchr(text, '='), *path = text;
  textinv_status status;
  int result;

  if (equals && access(text, F_OK)) {
    if (!(r->labels[i] = strndup(text, (size_t)(equals - text))))
      return cli_fail(name, "out of memory");
    path = equals + 1;
  }
  if ((result = cli_check_apart(name, r->v->out, path)) != CLI_OK)
    return result;
  if ((status = textinv_image_read(&r->cells[i].images, r->session, path)) < 0)
    return cli_report(name, r->session, status);
  r->cells[i].label = r->labels[i];
  return CLI_OK;
}

/* the pictures before the first --row have a row without a title */
static void make_rows(run *r, size_t count)
{
  const cli_list *titles = &r->v->rows;
  size_t from = 0;

  for (size_t t = 0; t <= titles->count; t++) {
    const size_t to = t < titles->count ? titles->items[t].arguments : count;
    const char *title = t ? titles->items[t - 1].text : NULL;

    if (to > from || t)
      r->rows[r->num_rows++] = (sheet_row){ title, r->cells + from, to - from };
    r->widest = to - from > r->widest ? to - from : r->widest;
    from = to;
  }
}

static int write_sheet(run *r)
{
  const values *v = r->v;
  const uint32_t w = textinv_images_width(r->cells[0].images);
  const uint32_t h = textinv_images_height(r->cells[0].images);
  const uint32_t width = v->size ? v->size : w * sheet_zoom(w);
  const uint32_t height = v->size ? v->size : h * sheet_zoom(w);
  const sheet s = { v->title,
                    r->rows,
                    r->num_rows,
                    v->columns        ? v->columns
                    : r->num_rows > 1 ? (uint32_t)r->widest
                                      : sheet_columns(r->widest),
                    width,
                    height };
  textinv_images *drawn = NULL;
  uint64_t sheet_w, sheet_h;
  textinv_status status;

  if (!sheet_size(&s, &sheet_w, &sheet_h))
    return cli_usage(
      name,
      "a sheet of %llu x %llu pixels; at most %d a side and %d in all are expected, see --size",
      (unsigned long long)sheet_w, (unsigned long long)sheet_h, SHEET_MAX_SIDE, SHEET_MAX_PIXELS);
  status = sheet_draw(&drawn, r->session, &s);
  if (status >= 0)
    status = textinv_images_save(r->session, drawn, 0, v->out, "");
  textinv_images_free(drawn);
  if (status < 0)
    return cli_report(name, r->session, status);
  cli_say(&v->common, "wrote %s", v->out);
  return CLI_OK;
}

static int run_sheet(void *p, const cli_arguments *arguments)
{
  const values *v = p;
  run r = { .v = v };
  int result;

  if ((result = cli_require(name, "out", v->out != NULL)) != CLI_OK ||
      (result = cli_check_ending(name, "--out", v->out, CLI_PNG)) != CLI_OK ||
      (result = cli_check_output(name, "--out", v->out)) != CLI_OK ||
      (result = cli_open_session(&r.session, name, &v->common)) != CLI_OK)
    return result;
  r.cells = calloc(arguments->count, sizeof(*r.cells));
  r.labels = calloc(arguments->count, sizeof(*r.labels));
  r.rows = calloc(v->rows.count + 1, sizeof(*r.rows));
  if (!r.cells || !r.labels || !r.rows)
    result = cli_fail(name, "out of memory");
  for (size_t i = 0; i < arguments->count && result == CLI_OK; i++)
    result = read_picture(&r, i, arguments->items[i]);
  if (result == CLI_OK) {
    make_rows(&r, arguments->count);
    result = write_sheet(&r);
  }
  for (size_t i = 0; r.cells && r.labels && i < arguments->count; i++) {
    textinv_images_free(r.cells[i].images);
    free(r.labels[i]);
  }
  free(r.cells);
  free(r.labels);
  free(r.rows);
  cli_close_session(r.session);
  return result;
}

static const char summary[] =
  "Put pictures on one sheet. LABEL=FILE writes a label below a picture.";

const cli_command cli_sheet = { .name = name,
                                .summary = summary,
                                .usage = "--out FILE.png [--row TEXT] [LABEL=]FILE ...",
                                .options = options,
                                .shared = cli_talk_options,
                                .size = sizeof(values),
                                .min_arguments = 1,
                                .max_arguments = 4096,
                                .run = run_sheet };
