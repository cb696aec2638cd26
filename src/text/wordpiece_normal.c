/*
 * The normalizer and the punctuation of BertTokenizer: control characters dropped, white space to
 * spaces, CJK ideographs set apart by spaces, NFD without its marks, and lower case. The classes
 * are those of Unicode 8; the tables are what utf8proc's Unicode 15 has beyond them, see unicode.c.
 */
#include <string.h>

#include <utf8proc.h>

#include "alloc.h"
#include "unicode.h"
#include "utf8.h"
#include "wordpiece.h"

/* signs of format: kept */
static const ti_range new_formats[] = {
  { 0x890, 0x891, 0 },
  { 0x8e2, 0x8e2, 0 },
  { 0x110cd, 0x110cd, 0 },
  { 0x13430, 0x1343f, 0 },
};
/* parts of words, as no other code point in these ranges is punctuation */
static const ti_range new_punctuation[] = {
  { 0x61d, 0x61d, 0 },     { 0x9fd, 0xa76, 0 },     { 0xc77, 0xc84, 0 },
  { 0x1b7d, 0x1b7e, 0 },   { 0x2e43, 0x2e5d, 0 },   { 0x10ead, 0x10f89, 0 },
  { 0x1144b, 0x1145d, 0 }, { 0x11660, 0x116b9, 0 }, { 0x1183b, 0x11fff, 0 },
  { 0x12ff1, 0x12ff2, 0 }, { 0x16e97, 0x16fe2, 0 }, { 0x1e95e, 0x1e95f, 0 },
};
/* marks that are no accents, nor is any other in these ranges */
static const ti_range new_accents[] = {
  { 0x7fd, 0x7fd, 0 },     { 0x898, 0x8e1, 0 },     { 0x9fe, 0x9fe, 0 },
  { 0xafa, 0xaff, 0 },     { 0xb55, 0xb55, 0 },     { 0xc04, 0xc04, 0 },
  { 0xc3c, 0xc3c, 0 },     { 0xd00, 0xd00, 0 },     { 0xd3b, 0xd3c, 0 },
  { 0xd81, 0xd81, 0 },     { 0xeba, 0xeba, 0 },     { 0xece, 0xece, 0 },
  { 0x180f, 0x1886, 0 },   { 0x1abf, 0x1ace, 0 },   { 0x1df6, 0x1dfb, 0 },
  { 0xa82c, 0xa82c, 0 },   { 0xa8c5, 0xa8c5, 0 },   { 0xa8ff, 0xa8ff, 0 },
  { 0xa9bd, 0xa9bd, 0 },   { 0x10d24, 0x10f85, 0 }, { 0x11070, 0x11074, 0 },
  { 0x110c2, 0x110c2, 0 }, { 0x111c9, 0x111c9, 0 }, { 0x111cf, 0x111cf, 0 },
  { 0x1123e, 0x11241, 0 }, { 0x1133b, 0x1133b, 0 }, { 0x11438, 0x1145e, 0 },
  { 0x1182f, 0x13455, 0 }, { 0x16f4f, 0x16f4f, 0 }, { 0x16fe4, 0x16fe4, 0 },
  { 0x1cf00, 0x1cf46, 0 }, { 0x1e000, 0x1e4ef, 0 }, { 0x1e944, 0x1e94a, 0 },
};
/* not all of Unicode's: those that BERT's first program knew */
static const ti_range han[] = {
  { 0x3400, 0x4dbf, 0 },   { 0x4e00, 0x9fff, 0 },   { 0xf900, 0xfaff, 0 },
  { 0x20000, 0x2a6df, 0 }, { 0x2a700, 0x2b81f, 0 }, { 0x2b920, 0x2ceaf, 0 },
  { 0x2f800, 0x2fa1f, 0 },
};

static int is_control(int32_t c)
{
  if (c == 0 || c == 0xfffd)
    return 1;
  if (c == '\t' || c == '\n' || c == '\r')
    return 0;
  switch (utf8proc_category(c)) {
  case UTF8PROC_CATEGORY_CC:
  case UTF8PROC_CATEGORY_CO: return 1;
  case UTF8PROC_CATEGORY_CF: return !ti_range_find(new_formats, TI_RANGES(new_formats), c);
  default: return 0;
  }
}

static int is_accent(int32_t c)
{
  if (c == 0x1734)
    return 1;
  return utf8proc_category(c) == UTF8PROC_CATEGORY_MN &&
         !ti_range_find(new_accents, TI_RANGES(new_accents), c);
}

int ti_wordpiece_is_punctuation(int32_t c)
{
  if (c < 0x80)
    return (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) ||
           (c >= 123 && c <= 126);
  if (c == 0x166d || c == 0x111c9)
    return 1;
  switch (utf8proc_category(c)) {
  case UTF8PROC_CATEGORY_PC:
  case UTF8PROC_CATEGORY_PD:
  case UTF8PROC_CATEGORY_PS:
  case UTF8PROC_CATEGORY_PE:
  case UTF8PROC_CATEGORY_PI:
  case UTF8PROC_CATEGORY_PF:
  case UTF8PROC_CATEGORY_PO: return !ti_range_find(new_punctuation, TI_RANGES(new_punctuation), c);
  default: return 0;
  }
}

/* up to the accents, which are told in decomposed text; an ideograph of 3 bytes becomes 5 */
static size_t clean(char *out, const ti_wordpiece *w, const char *text, size_t len)
{
  size_t n = 0;

  for (size_t i = 0; i < len;) {
    int32_t c;
    const size_t bytes = ti_text_next(&c, text + i);
    const int apart = w->split_han && ti_range_find(han, TI_RANGES(han), c);

    if (ti_unicode_is_space(c) && !is_control(c)) {
      out[n++] = ' ';
    } else if (!is_control(c)) {
      if (apart)
        out[n++] = ' ';
      memcpy(out + n, text + i, bytes);
      n += bytes;
      if (apart)
        out[n++] = ' ';
    }
    i += bytes;
  }
  return n;
}

static textinv_status decode(int32_t **out, size_t *count, ti_error *error, const char *text,
                             size_t len)
{
  *count = 0;
  *out = ti_calloc(len, sizeof(**out));
  if (!*out)
    return ti_fail_nomem(error, len * sizeof(**out), "text");
  for (size_t i = 0; i < len;)
    i += ti_text_next(*out + (*count)++, text + i);
  return TEXTINV_OK;
}

textinv_status ti_wordpiece_normalize(const ti_wordpiece *w, char **out, size_t *out_len,
                                      int32_t **written, ti_error *error, const char *text,
                                      size_t len)
{
  char *cleaned = ti_calloc(2 * len, 1);
  textinv_status status;
  int32_t *c = NULL;
  size_t count, n = 0;

  *out = NULL;
  *out_len = 0;
  if (written)
    *written = NULL;
  if (!cleaned)
    return ti_fail_nomem(error, 2 * len, "text");
  len = clean(cleaned, w, text, len);
  status = (w->strip_accents ? ti_text_decompose : decode)(&c, &count, error, cleaned, len);
  ti_free(cleaned);
  if (status < 0)
    goto out;
  *out = ti_calloc(count * 4 + 1, 1);
  if (written)
    *written = ti_calloc(count * 4 + 1, sizeof(**written));
  if (!*out || (written && !*written)) {
    status = ti_fail_nomem(error, (count * 4 + 1) * sizeof(*c), "text");
    goto out;
  }
  for (size_t i = 0; i < count; i++) {
    if (w->strip_accents && is_accent(c[i]))
      continue;
    if (written)
      (*written)[n] = c[i];
    n += w->lower ? ti_text_put_lower(*out + n, c[i]) : ti_utf8_put(*out + n, (unsigned)c[i]);
  }
  *out_len = n;
out:
  ti_free(c);
  return status;
}
