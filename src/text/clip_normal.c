/*
 * The normalizers of CLIPTokenizer: NFC, \s+ to one space, lower case of every character by itself.
 * Classes are those of Unicode 16, see unicode.c. Normal forms agree with the library's but for the
 * pair U+11935 U+11930, which utf8proc composes to U+11938.
 *
 * The tokenizer of transformers before version 5 differs: it used ftfy when that was installed,
 * which repairs mojibake, straightens quotes and decodes HTML entities; else it stripped accents,
 * dropped control characters and set every CJK character apart. OpenAI's own did as with ftfy.
 */
#include "clip_normal.h"

#include <string.h>

#include <utf8proc.h>

#include "alloc.h"
#include "unicode.h"

/* \p{L} of Unicode 15.1 and 16 */
static const ti_range new_letters[] = {
  { 0x1c89, 0x1c8a, 0 },   { 0xa7cb, 0xa7cd, 0 },   { 0xa7da, 0xa7dc, 0 },
  { 0x105c0, 0x105f3, 0 }, { 0x10d4a, 0x10d65, 0 }, { 0x10d6f, 0x10d85, 0 },
  { 0x10ec2, 0x10ec4, 0 }, { 0x11380, 0x11389, 0 }, { 0x1138b, 0x1138b, 0 },
  { 0x1138e, 0x1138e, 0 }, { 0x11390, 0x113b5, 0 }, { 0x113b7, 0x113b7, 0 },
  { 0x113d1, 0x113d1, 0 }, { 0x113d3, 0x113d3, 0 }, { 0x11bc0, 0x11be0, 0 },
  { 0x13460, 0x143fa, 0 }, { 0x16100, 0x1611d, 0 }, { 0x16d40, 0x16d6c, 0 },
  { 0x18cff, 0x18cff, 0 }, { 0x1e5d0, 0x1e5ed, 0 }, { 0x1e5f0, 0x1e5f0, 0 },
  { 0x2ebf0, 0x2ee5d, 0 },
};
/* \p{N} of Unicode 16 */
static const ti_range new_numbers[] = {
  { 0x10d40, 0x10d49, 0 }, { 0x116d0, 0x116e3, 0 }, { 0x11bf0, 0x11bf9, 0 },
  { 0x16130, 0x16139, 0 }, { 0x16d70, 0x16d79, 0 }, { 0x1ccf0, 0x1ccf9, 0 },
  { 0x1e5f1, 0x1e5fa, 0 },
};
ti_clip_class ti_clip_class_of(int32_t c)
{
  if (ti_unicode_is_space(c))
    return TI_CLIP_SPACE;
  switch (utf8proc_category(c)) {
  case UTF8PROC_CATEGORY_LU:
  case UTF8PROC_CATEGORY_LL:
  case UTF8PROC_CATEGORY_LT:
  case UTF8PROC_CATEGORY_LM:
  case UTF8PROC_CATEGORY_LO: return TI_CLIP_LETTER;
  case UTF8PROC_CATEGORY_ND:
  case UTF8PROC_CATEGORY_NL:
  case UTF8PROC_CATEGORY_NO: return TI_CLIP_NUMBER;
  default: break;
  }
  if (ti_range_find(new_letters, TI_RANGES(new_letters), c))
    return TI_CLIP_LETTER;
  if (ti_range_find(new_numbers, TI_RANGES(new_numbers), c))
    return TI_CLIP_NUMBER;
  return TI_CLIP_OTHER;
}

/* in parts that begin at new marks, over which nothing composes; returns the new count */
static size_t compose(int32_t *c, size_t count)
{
  size_t n = 0;

  for (size_t i = 0; i < count;) {
    size_t end = i + 1;
    utf8proc_ssize_t length;

    while (end < count && !ti_unicode_is_new_mark(c[end]))
      end++;
    memmove(c + n, c + i, (end - i) * sizeof(*c));
    length = utf8proc_normalize_utf32(c + n, (utf8proc_ssize_t)(end - i),
                                      UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    n += length > 0 ? (size_t)length : 0;
    i = end;
  }
  return n;
}

/* white space to one space and lower case; what is written is at most 3 bytes longer a character */
static size_t fold(char *out, int32_t *written, const int32_t *c, size_t count)
{
  size_t n = 0;

  for (size_t i = 0; i < count; i++) {
    if (written)
      written[n] = c[i];
    if (!ti_unicode_is_space(c[i]))
      n += ti_text_put_lower(out + n, c[i]);
    else if (i == 0 || !ti_unicode_is_space(c[i - 1]))
      out[n++] = ' ';
  }
  return n;
}

textinv_status ti_clip_normalize(char **out, size_t *out_len, int32_t **written, ti_error *error,
                                 const char *text, size_t len)
{
  textinv_status status;
  size_t count;
  int32_t *c;

  *out = NULL;
  *out_len = 0;
  if (written)
    *written = NULL;
  if ((status = ti_text_decompose(&c, &count, error, text, len)) < 0)
    return status;
  count = compose(c, count);
  *out = ti_calloc(count * 4 + 1, 1);
  if (written)
    *written = ti_calloc(count * 4 + 1, sizeof(**written));
  if (!*out || (written && !*written))
    status = ti_fail_nomem(error, (count * 4 + 1) * sizeof(*c), "text");
  else
    *out_len = fold(*out, written ? *written : NULL, c, count);
  ti_free(c);
  return status;
}
