/* Contact sheets: rows of labelled pictures. */
#ifndef CLI_SHEET_H
#define CLI_SHEET_H

#include <textinv/textinv.h>

enum { SHEET_MAX_SIDE = 16384, SHEET_MAX_PIXELS = 1 << 26 }; /* those of the library */

typedef struct sheet_cell {
  textinv_images *images; /* picture i of them; borrowed */
  uint32_t i;
  const char *label; /* below the picture; NULL = none */
} sheet_cell;

typedef struct sheet_row {
  const char *title; /* above the row; NULL = none */
  const sheet_cell *cells;
  size_t count;
} sheet_row;

typedef struct sheet {
  const char *title; /* above all; NULL = none */
  const sheet_row *rows;
  size_t num_rows;
  uint32_t columns;    /* a row with more cells goes on below */
  uint32_t cell_width; /* pictures of another size are fitted into it */
  uint32_t cell_height;
} sheet;

/* columns that make count pictures a pleasant sheet */
uint32_t sheet_columns(size_t count);

/* how many times larger pictures of this width are shown, so that labels have room beside them */
uint32_t sheet_zoom(uint32_t width);

/* width and height in pixels; cells need no images for this. 0 when no picture can be as large */
int sheet_size(const sheet *sheet, uint64_t *width, uint64_t *height);

/* the sheet as one picture; the caller frees it */
textinv_status sheet_draw(textinv_images **out, textinv_session *session, const sheet *sheet);

#endif /* CLI_SHEET_H */
