/*
 * Text as code points, with what the tokenizers library has of Unicode.
 *
 * The oracle is transformers 5.23 with tokenizers 0.23.3, whose parts follow different versions of
 * Unicode: lower case 17, canonical order 9. utf8proc 2.8 has Unicode 15. The tables here and in
 * clip_normal.c and wordpiece_normal.c are the differences, found by comparing every code point;
 * with them the two agree on all.
 */
#include "unicode.h"

#include <string.h>

#include <utf8proc.h>

#include "alloc.h"
#include "utf8.h"

/* capitals of Unicode 16 and 17 */
static const ti_range new_capitals[] = {
  { 0x1c89, 0x1c89, 1 },      { 0xa7cb, 0xa7cb, 0x264 - 0xa7cb },
  { 0xa7cc, 0xa7cc, 1 },      { 0xa7ce, 0xa7ce, 1 },
  { 0xa7d2, 0xa7d2, 1 },      { 0xa7d4, 0xa7d4, 1 },
  { 0xa7da, 0xa7da, 1 },      { 0xa7dc, 0xa7dc, 0x19b - 0xa7dc },
  { 0x10d50, 0x10d65, 0x20 }, { 0x16ea0, 0x16eb8, 0x1b },
};
/* marks of Unicode 10 and later, which keep their place and end a sequence of marks */
static const ti_range new_marks[] = {
  { 0x7fd, 0x7fd, 0 },     { 0x898, 0x89f, 0 },     { 0x8ca, 0x8d3, 0 },
  { 0x9fe, 0x9fe, 0 },     { 0xc3c, 0xc3c, 0 },     { 0xd3b, 0xd3c, 0 },
  { 0xeba, 0xeba, 0 },     { 0x1715, 0x1715, 0 },   { 0x1abf, 0x1ace, 0 },
  { 0x1df6, 0x1dfa, 0 },   { 0xa82c, 0xa82c, 0 },   { 0x10d24, 0x10d27, 0 },
  { 0x10eab, 0x10eac, 0 }, { 0x10efd, 0x10eff, 0 }, { 0x10f46, 0x10f50, 0 },
  { 0x10f82, 0x10f85, 0 }, { 0x11070, 0x11070, 0 }, { 0x1133b, 0x1133b, 0 },
  { 0x1145e, 0x1145e, 0 }, { 0x11839, 0x1183a, 0 }, { 0x1193d, 0x1193e, 0 },
  { 0x11943, 0x11943, 0 }, { 0x119e0, 0x119e0, 0 }, { 0x11a34, 0x11a34, 0 },
  { 0x11a47, 0x11a47, 0 }, { 0x11a99, 0x11a99, 0 }, { 0x11d42, 0x11d42, 0 },
  { 0x11d44, 0x11d45, 0 }, { 0x11d97, 0x11d97, 0 }, { 0x11f41, 0x11f42, 0 },
  { 0x16ff0, 0x16ff1, 0 }, { 0x1e08f, 0x1e08f, 0 }, { 0x1e130, 0x1e136, 0 },
  { 0x1e2ae, 0x1e2ae, 0 }, { 0x1e2ec, 0x1e2ef, 0 }, { 0x1e4ec, 0x1e4ef, 0 },
};

const ti_range *ti_range_find(const ti_range *table, size_t count, int32_t c)
{
  size_t lo = 0, hi = count;

  while (lo < hi) {
    const size_t mid = lo + (hi - lo) / 2;

    if (c > table[mid].last)
      lo = mid + 1;
    else if (c < table[mid].first)
      hi = mid;
    else
      return &table[mid];
  }
  return NULL;
}

int ti_unicode_is_space(int32_t c)
{
  return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
         c == 0x3000;
}

int ti_unicode_is_new_mark(int32_t c)
{
  return c >= new_marks[0].first && ti_range_find(new_marks, TI_RANGES(new_marks), c) != NULL;
}

size_t ti_text_put_lower(char *out, int32_t c)
{
  const ti_range *r = NULL;

  if (c == 0x130) { /* the one capital that becomes two characters */
    *out = 'i';
    return 1 + ti_utf8_put(out + 1, 0x307);
  }
  if (c >= new_capitals[0].first)
    r = ti_range_find(new_capitals, TI_RANGES(new_capitals), c);
  return ti_utf8_put(out, (unsigned)(r ? c + r->shift : utf8proc_tolower(c)));
}

/* ------ UTF-8 */

size_t ti_text_next(int32_t *c, const char *text)
{
  const unsigned char *s = (const unsigned char *)text;

  if (s[0] < 0x80) {
    *c = s[0];
    return 1;
  }
  if (s[0] < 0xe0) {
    *c = (s[0] & 0x1f) << 6 | (s[1] & 0x3f);
    return 2;
  }
  if (s[0] < 0xf0) {
    *c = (s[0] & 0x0f) << 12 | (s[1] & 0x3f) << 6 | (s[2] & 0x3f);
    return 3;
  }
  *c = (s[0] & 0x07) << 18 | (s[1] & 0x3f) << 12 | (s[2] & 0x3f) << 6 | (s[3] & 0x3f);
  return 4;
}

/* bytes of the character that s begins with, or of the invalid part; *valid says which */
static size_t sequence(const unsigned char *s, size_t len, int *valid)
{
  unsigned lo = 0x80, hi = 0xbf;
  size_t need;

  *valid = 1;
  if (s[0] < 0x80)
    return 1;
  *valid = 0;
  if (s[0] < 0xc2 || s[0] > 0xf4)
    return 1;
  need = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
  switch (s[0]) { /* no overlong forms, no surrogates, nothing above 10ffff */
  case 0xe0: lo = 0xa0; break;
  case 0xed: hi = 0x9f; break;
  case 0xf0: lo = 0x90; break;
  case 0xf4: hi = 0x8f; break;
  default: break;
  }
  for (size_t i = 1; i < need; i++) {
    if (i >= len || s[i] < lo || s[i] > hi)
      return i;
    lo = 0x80;
    hi = 0xbf;
  }
  *valid = 1;
  return need;
}

textinv_status ti_text_repair(char **out, size_t *out_len, ti_error *error, const char *text,
                              size_t len)
{
  const unsigned char *s = (const unsigned char *)text;
  size_t n = 0;

  *out = NULL;
  if (len > TI_TEXT_MAX_BYTES)
    return ti_fail(error, TEXTINV_E_LIMIT, "text has %zu bytes, at most %d are read", len,
                   TI_TEXT_MAX_BYTES);
  *out = ti_calloc(len * 3 + 1, 1);
  if (!*out)
    return ti_fail_nomem(error, len * 3 + 1, "text");
  for (size_t i = 0; i < len;) {
    int valid;
    const size_t bytes = sequence(s + i, len - i, &valid);

    if (valid) {
      memcpy(*out + n, text + i, bytes);
      n += bytes;
    } else {
      n += ti_utf8_put(*out + n, 0xfffd);
    }
    i += bytes;
  }
  *out_len = n;
  return TEXTINV_OK;
}

/* ------ NFD */

static int combining_class(int32_t c)
{
  const int class = utf8proc_get_property(c)->combining_class;

  return class > 0 && ti_unicode_is_new_mark(c) ? 0 : class;
}

/* stable, by combining class; counting, so that a long run of marks costs no more than its length
 */
static void sort_marks(int32_t *marks, int32_t *scratch, size_t count)
{
  size_t start[257] = { 0 };

  if (count < 24) {
    for (size_t i = 1; i < count; i++) {
      const int32_t c = marks[i];
      const int class = combining_class(c);
      size_t j = i;

      for (; j > 0 && combining_class(marks[j - 1]) > class; j--)
        marks[j] = marks[j - 1];
      marks[j] = c;
    }
    return;
  }
  for (size_t i = 0; i < count; i++)
    start[combining_class(marks[i]) + 1]++;
  for (int i = 1; i < 257; i++)
    start[i] += start[i - 1];
  memcpy(scratch, marks, count * sizeof(*marks));
  for (size_t i = 0; i < count; i++)
    marks[start[combining_class(scratch[i])]++] = scratch[i];
}

static void order_marks(int32_t *c, int32_t *scratch, size_t count)
{
  for (size_t i = 0; i < count;) {
    size_t end = i;

    while (end < count && combining_class(c[end]) != 0)
      end++;
    sort_marks(c + i, scratch, end - i);
    i = end > i ? end : i + 1;
  }
}

textinv_status ti_text_decompose(int32_t **out, size_t *count, ti_error *error, const char *text,
                                 size_t len)
{
  enum { MAX_DECOMPOSED = 4 };
  int32_t *c = ti_calloc(len * MAX_DECOMPOSED, sizeof(*c));
  int32_t *scratch = ti_calloc(len * MAX_DECOMPOSED, sizeof(*c));
  size_t n = 0;
  int boundary = 0;

  *out = NULL;
  *count = 0;
  if (!c || !scratch) {
    ti_free(c);
    ti_free(scratch);
    return ti_fail_nomem(error, len * MAX_DECOMPOSED * sizeof(*c), "text");
  }
  for (size_t i = 0; i < len;) {
    int32_t one;

    i += ti_text_next(&one, text + i);
    if (one < 0x80 || one == 0x11938) /* the latter, of Unicode 13, is taken for whole */
      c[n++] = one;
    else
      n += (size_t)utf8proc_decompose_char(one, c + n, MAX_DECOMPOSED, UTF8PROC_DECOMPOSE,
                                           &boundary);
  }
  order_marks(c, scratch, n);
  ti_free(scratch);
  *out = c;
  *count = n;
  return TEXTINV_OK;
}
