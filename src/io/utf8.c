/* UTF-8: strict checks, and cuts that leave characters whole. */
#include "utf8.h"

#include <string.h>

int ti_utf8_valid(const void *bytes, size_t size)
{
  const unsigned char *p = bytes, *end = p + size;

  while (p < end) {
    const unsigned c = *p++;
    unsigned low = 0x80, high = 0xbf; /* of the second byte */
    int more;

    if (c < 0x80)
      continue;
    if (c >= 0xc2 && c <= 0xdf) {
      more = 1;
    } else if (c >= 0xe0 && c <= 0xef) {
      more = 2;
      if (c == 0xe0)
        low = 0xa0;
      if (c == 0xed)
        high = 0x9f;
    } else if (c >= 0xf0 && c <= 0xf4) {
      more = 3;
      if (c == 0xf0)
        low = 0x90;
      if (c == 0xf4)
        high = 0x8f;
    } else {
      return 0;
    }
    for (; more; more--, low = 0x80, high = 0xbf) {
      if (p == end || *p < low || *p > high)
        return 0;
      p++;
    }
  }
  return 1;
}

int ti_utf8_cut(const char *s, size_t limit)
{
  size_t len = strnlen(s, limit);

  if (s[len]) {
    while (len > 0 && ((unsigned char)s[len] & 0xc0) == 0x80)
      len--;
  }
  return (int)len;
}

size_t ti_utf8_put(char *out, unsigned c)
{
  unsigned char *p = (unsigned char *)out;

  if (c < 0x80) {
    p[0] = (unsigned char)c;
    return 1;
  }
  if (c < 0x800) {
    p[0] = (unsigned char)(0xc0 | c >> 6);
    p[1] = (unsigned char)(0x80 | (c & 63));
    return 2;
  }
  if (c < 0x10000) {
    p[0] = (unsigned char)(0xe0 | c >> 12);
    p[1] = (unsigned char)(0x80 | (c >> 6 & 63));
    p[2] = (unsigned char)(0x80 | (c & 63));
    return 3;
  }
  p[0] = (unsigned char)(0xf0 | c >> 18);
  p[1] = (unsigned char)(0x80 | (c >> 12 & 63));
  p[2] = (unsigned char)(0x80 | (c >> 6 & 63));
  p[3] = (unsigned char)(0x80 | (c & 63));
  return 4;
}
