/* A bitmap font for labels: the printable ASCII characters, 5 pixels wide, 7 above the line and 2
 * below. */
#ifndef CLI_FONT_H
#define CLI_FONT_H

#include <stddef.h>
#include <stdint.h>

enum { FONT_ADVANCE = 6, FONT_HEIGHT = 9, FONT_LINE = 11 };

typedef struct font_target {
  uint8_t *pixels; /* [height, width, 3] */
  int width, height;
} font_target;

/* draw length bytes of UTF-8 in dark grey, scaled up; what has no glyph becomes a box; clipped to
 * the target */
void font_draw(const font_target *target, int x, int y, int scale, const char *text, size_t length);

/* characters in length bytes of UTF-8 */
size_t font_characters(const char *text, size_t length);

/* bytes of the character at text, which is not at its end */
size_t font_character_size(const char *text);

#endif /* CLI_FONT_H */
