/* what the tokenizers do to every character, against transformers (tests/golden/characters.py) */
#include <stdio.h>
#include <string.h>

#include <utf8proc.h>

#include "alloc.h"
#include "clip_normal.h"
#include "hash.h"
#include "testing.h"
#include "utf8.h"
#include "wordpiece.h"

typedef textinv_status (*normalize_fn)(char **out, size_t *out_len, ti_error *error,
                                       const char *text, size_t len);
typedef char (*class_fn)(int32_t c);

/* of every character: its normal form between the marks that all others go between, and its class
 */
static uint64_t hash_all(normalize_fn normalize, class_fn class_of)
{
  uint64_t hash = TI_HASH_START;

  for (int32_t c = 1; c < 0x110000; c++) {
    char text[24] = "e\xcd\x85", *out, class;
    size_t len = 3;
    ti_error error;

    if (c == 0xd800)
      c = 0xe000;
    len += ti_utf8_put(text + len, (unsigned)c);
    len += (size_t)sprintf(text + len, "\xcc\xb4 ");
    len += ti_utf8_put(text + len, (unsigned)c);
    assert_int_equal(normalize(&out, &len, &error, text, len), TEXTINV_OK);
    hash = ti_hash(hash, out, len);
    class = class_of(c);
    hash = ti_hash(hash, &class, 1);
    ti_free(out);
  }
  return hash;
}

/* the tokenizers have tables of what is different in this version */
static void only_of_unicode_15(void)
{
  if (strcmp(utf8proc_unicode_version(), "15.0.0") != 0)
    skip();
}

static textinv_status clip_normalize(char **out, size_t *out_len, ti_error *error, const char *text,
                                     size_t len)
{
  return ti_clip_normalize(out, out_len, NULL, error, text, len);
}

static char clip_class(int32_t c)
{
  return "slno"[ti_clip_class_of(c)];
}

static void clip(void **state)
{
  (void)state;
  only_of_unicode_15();
  assert_int_equal(hash_all(clip_normalize, clip_class), 0x344f3f9056ad593d);
}

static const ti_wordpiece uncased = { .lower = 1, .strip_accents = 1, .split_han = 1 };

static textinv_status bert_normalize(char **out, size_t *out_len, ti_error *error, const char *text,
                                     size_t len)
{
  return ti_wordpiece_normalize(&uncased, out, out_len, NULL, error, text, len);
}

static char bert_class(int32_t c)
{
  return ti_wordpiece_is_punctuation(c) ? 'p' : 'w';
}

static void bert(void **state)
{
  (void)state;
  only_of_unicode_15();
  assert_int_equal(hash_all(bert_normalize, bert_class), 0x66f24fefbc2f2435);
}

int main(void)
{
  const struct CMUnitTest tests[] = { cmocka_unit_test(clip), cmocka_unit_test(bert) };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
