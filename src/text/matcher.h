/* Words that are found whole in a text: leftmost, and of those that begin there the longest. */
#ifndef TI_MATCHER_H
#define TI_MATCHER_H

#include <stddef.h>
#include <stdint.h>

typedef struct ti_match {
  const char *text; /* not empty; not owned */
  size_t len;
  const int32_t *written; /* [len] of ti_tokenizer_normalize(), NULL = any case; not owned */
  uint32_t first_id, num_ids;
  size_t order; /* of equal texts the lowest counts */
} ti_match;

void ti_match_sort(ti_match *matches, size_t count);

/* of the matches that m is the first of by its text, up to end: the one written so, else m */
const ti_match *ti_match_written(const ti_match *m, const ti_match *end, const int32_t *written);

/* the longest of sorted matches that text begins with, NULL = none; O(length of it * log count) */
const ti_match *ti_match_longest(const ti_match *matches, size_t count, const char *text,
                                 size_t len);

#endif /* TI_MATCHER_H */
