/* Longest match by binary search, byte after byte, in the sorted words. */
#include "matcher.h"

#include <stdlib.h>
#include <string.h>

static int compare(const void *a_, const void *b_)
{
  const ti_match *a = a_, *b = b_;
  const int order = memcmp(a->text, b->text, a->len < b->len ? a->len : b->len);

  if (order != 0)
    return order;
  if (a->len != b->len)
    return a->len < b->len ? -1 : 1;
  return a->order < b->order ? -1 : a->order > b->order;
}

void ti_match_sort(ti_match *matches, size_t count)
{
  if (count > 1)
    qsort(matches, count, sizeof(*matches), compare);
}

/* first of matches lo..hi-1, all longer than at, whose byte there is c or more */
static size_t first_from(const ti_match *matches, size_t lo, size_t hi, size_t at, unsigned c)
{
  while (lo < hi) {
    const size_t mid = lo + (hi - lo) / 2;

    if ((unsigned char)matches[mid].text[at] < c)
      lo = mid + 1;
    else
      hi = mid;
  }
  return lo;
}

const ti_match *ti_match_written(const ti_match *m, const ti_match *end, const int32_t *written)
{
  for (const ti_match *one = m;
       one < end && one->len == m->len && memcmp(one->text, m->text, m->len) == 0; one++) {
    if (one->written && memcmp(one->written, written, one->len * sizeof(*written)) == 0)
      return one;
  }
  return m;
}

const ti_match *ti_match_longest(const ti_match *matches, size_t count, const char *text,
                                 size_t len)
{
  const ti_match *best = NULL;
  size_t lo = 0, hi = count;

  /* lo..hi-1 begin with the first at bytes of text; the shortest come first */
  for (size_t at = 0;; at++) {
    if (lo < hi && matches[lo].len == at) {
      best = &matches[lo];
      while (lo < hi && matches[lo].len == at)
        lo++;
    }
    if (lo == hi || at == len)
      return best;
    lo = first_from(matches, lo, hi, at, (unsigned char)text[at]);
    hi = first_from(matches, lo, hi, at, (unsigned char)text[at] + 1u);
  }
}
