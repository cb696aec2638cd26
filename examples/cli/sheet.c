/* Contact sheets: a title, and rows of pictures with a title above and labels below. */
#include "sheet.h"

#include <string.h>

#include "font.h"

enum { PAPER = 255, LABEL_LINES = 3 };

/* where things are: everything is a multiple of scale, which grows with the pictures */
typedef struct layout {
  int scale, margin, gap, line;
  int columns;
  int cell_width, cell_height;
  int width;
} layout;

static layout plan(const sheet *s)
{
  layout l = { .cell_width = (int)s->cell_width, .cell_height = (int)s->cell_height };
  size_t widest = 1;

  l.scale = ((int)s->cell_width + 96) / 160;
  l.scale = l.scale < 1 ? 1 : l.scale;
  l.margin = 10 * l.scale;
  l.gap = 6 * l.scale;
  l.line = FONT_LINE * l.scale;
  for (size_t i = 0; i < s->num_rows; i++)
    widest = s->rows[i].count > widest ? s->rows[i].count : widest;
  l.columns = (int)(s->columns && s->columns < widest ? s->columns : widest);
  l.width = 2 * l.margin + l.columns * l.cell_width + (l.columns - 1) * l.gap;
  return l;
}

uint32_t sheet_columns(size_t count)
{
  uint32_t side = 1;

  if (count <= 5)
    return count ? (uint32_t)count : 1;
  while ((size_t)side * side < count)
    side++;
  return side;
}

uint32_t sheet_zoom(uint32_t width)
{
  return width && width < 128 ? (127 + width) / width : 1;
}

/* ------------------------------------------------------------------ text */

/* bytes of the first line of text when at most columns characters fit, broken at a space where
 * there is one */
static size_t first_line(const char *text, int columns)
{
  size_t length = 0, space = 0;

  for (int n = 0; text[length] && n < columns; n++) {
    if (text[length] == ' ')
      space = length;
    length += font_character_size(text + length);
  }
  if (!text[length] || text[length] == ' ' || !space)
    return length;
  return space;
}

/* text in at most limit lines; returns the lines. target NULL only counts */
static int paragraph(const font_target *target, const layout *l, int x, int y, int scale, int width,
                     int limit, const char *text)
{
  const int columns = (width + scale) / (FONT_ADVANCE * scale);
  int lines = 0;

  while (text && *text && lines < limit) {
    const size_t length = first_line(text, columns < 1 ? 1 : columns);

    if (target)
      font_draw(target, x, y + lines * l->line * scale / l->scale, scale, text, length);
    text += length;
    while (*text == ' ')
      text++;
    lines++;
  }
  return lines;
}

/* ------------------------------------------------------------------ pictures */

/* a picture in the cell at x, y, as large as fits */
static textinv_status place(const font_target *t, textinv_session *session, const layout *l,
                            const sheet_cell *cell, int x, int y)
{
  const int w = (int)textinv_images_width(cell->images),
            h = (int)textinv_images_height(cell->images);
  const uint8_t *pixels = textinv_images_pixels(cell->images, cell->i);
  textinv_images *copy = NULL;
  int fit_w = l->cell_width, fit_h = l->cell_height;
  textinv_status status;

  if (w != l->cell_width || h != l->cell_height) {
    if ((int64_t)w * l->cell_height >= (int64_t)h * l->cell_width)
      fit_h = (int)((int64_t)h * l->cell_width / w);
    else
      fit_w = (int)((int64_t)w * l->cell_height / h);
    fit_w = fit_w < 1 ? 1 : fit_w;
    fit_h = fit_h < 1 ? 1 : fit_h;
    if ((status = textinv_images_new(&copy, session, pixels, 1, (uint32_t)w, (uint32_t)h)) < 0 ||
        (status = textinv_images_resize(session, copy, (uint32_t)fit_w, (uint32_t)fit_h)) < 0) {
      textinv_images_free(copy);
      return status;
    }
    pixels = textinv_images_pixels(copy, 0);
  }
  x += (l->cell_width - fit_w) / 2;
  y += (l->cell_height - fit_h) / 2;
  for (int row = 0; row < fit_h; row++)
    memcpy(t->pixels + ((size_t)(y + row) * (size_t)t->width + (size_t)x) * 3,
           pixels + (size_t)row * (size_t)fit_w * 3, (size_t)fit_w * 3);
  textinv_images_free(copy);
  return TEXTINV_OK;
}

/* cells from .. to of a row; moves y below them; target NULL only measures */
static textinv_status strip(const font_target *t, textinv_session *session, const layout *l,
                            const sheet_row *row, size_t from, size_t to, int64_t *y)
{
  int lines = 0;

  for (size_t i = from; i < to; i++) {
    const int x = l->margin + (int)(i - from) * (l->cell_width + l->gap);
    const int n = paragraph(t, l, x, (int)*y + l->cell_height + 4 * l->scale, l->scale,
                            l->cell_width, LABEL_LINES, row->cells[i].label);

    lines = n > lines ? n : lines;
    if (t) {
      textinv_status status = place(t, session, l, &row->cells[i], x, (int)*y);

      if (status < 0)
        return status;
    }
  }
  *y += l->cell_height + l->gap + (lines ? lines * l->line + 2 * l->scale : 0);
  return TEXTINV_OK;
}

static textinv_status walk(const font_target *t, textinv_session *session, const sheet *s,
                           int64_t *height)
{
  const layout l = plan(s);
  const int text_width = l.width - 2 * l.margin;
  int64_t y = l.margin;
  textinv_status status;

  if (s->title) {
    const int lines = paragraph(t, &l, l.margin, (int)y, 2 * l.scale, text_width, LABEL_LINES,
                                s->title);

    y += 2 * lines * l.line + l.gap;
  }
  for (size_t r = 0; r < s->num_rows; r++) {
    const sheet_row *row = &s->rows[r];

    if (row->title) {
      y += r ? l.gap : 0;
      y += paragraph(t, &l, l.margin, (int)y, l.scale, text_width, LABEL_LINES, row->title) *
             l.line +
           2 * l.scale;
    }
    for (size_t i = 0; i < row->count; i += (size_t)l.columns) {
      const size_t end = i + (size_t)l.columns < row->count ? i + (size_t)l.columns : row->count;

      if ((status = strip(t, session, &l, row, i, end, &y)) < 0)
        return status;
    }
  }
  *height = y + l.margin - l.gap;
  return TEXTINV_OK;
}

int sheet_size(const sheet *s, uint64_t *width, uint64_t *height)
{
  int64_t h = 0;

  walk(NULL, NULL, s, &h);
  *width = (uint64_t)plan(s).width;
  *height = (uint64_t)h;
  return *width <= SHEET_MAX_SIDE && *height <= SHEET_MAX_SIDE &&
         *width * *height <= SHEET_MAX_PIXELS;
}

textinv_status sheet_draw(textinv_images **out, textinv_session *session, const sheet *s)
{
  uint64_t width, height;
  int64_t drawn;
  font_target target;
  textinv_status status;

  sheet_size(s, &width, &height);
  status = textinv_images_new(out, session, NULL, 1, (uint32_t)width,
                              (uint32_t)(height > UINT32_MAX ? UINT32_MAX : height));
  if (status < 0)
    return status;
  target = (font_target){ textinv_images_pixels(*out, 0), (int)width, (int)height };
  memset(target.pixels, PAPER, (size_t)width * (size_t)height * 3);
  if ((status = walk(&target, session, s, &drawn)) < 0) {
    textinv_images_free(*out);
    *out = NULL;
  }
  return status;
}
