/* Brackets that weigh: what is left of the text, and what its parts weigh, as in AUTOMATIC1111's
 * web UI. */
#include "weighted_text.h"

#include "testing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_RUNS = 10 };

typedef struct run {
  const char *text;
  double weight;
} run;

static void parses(const char *text, const run *expected)
{
  ti_weighted_text t;
  ti_error error;
  size_t i;

  if (ti_weighted_text_parse(&t, &error, text, strlen(text)) < 0)
    fail_msg("\"%s\": %s", text, error.text);
  for (i = 0; i < t.count && expected[i].text; i++) {
    const ti_text_run *r = &t.runs[i];

    if (strlen(expected[i].text) != r->len || memcmp(t.text + r->from, expected[i].text, r->len) ||
        fabs(r->weight - expected[i].weight) > 1e-12)
      fail_msg("\"%s\": part %zu is \"%.*s\" with %.15g", text, i, (int)r->len, t.text + r->from,
               r->weight);
  }
  if (i != t.count || expected[i].text)
    fail_msg("\"%s\": %zu parts", text, t.count);
  ti_weighted_text_free(&t);
}

static void brackets_weigh(void **state)
{
  static const struct {
    const char *text;
    run parts[MAX_RUNS];
  } cases[] = {
    { "", { { 0 } } },
    { "plain: text", { { "plain: text", 1.0 } } },
    { "an (important) word", { { "an ", 1.0 }, { "important", 1.1 }, { " word", 1.0 } } },
    { "((x))[y][[z]]", { { "x", 1.21 }, { "y", 1 / 1.1 }, { "z", 1 / 1.21 } } },
    { "(x:1.3)(y: -2 )(z:+.5)", { { "x", 1.3 }, { "y", -2.0 }, { "z", 0.5 } } },
    { "(a)(b) c", { { "ab", 1.1 }, { " c", 1.0 } } },
    { "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
      { { "a ", 1.0 },
        { "house", 1.573 },
        { " ", 1.1 },
        { "on", 1.0 },
        { " a ", 1.1 },
        { "hill", 0.55 },
        { ", sun, ", 1.1 },
        { "sky", 1.4641 },
        { ".", 1.1 } } },
    { "(not closed [nor this", { { "not closed ", 1.1 }, { "nor this", 1.0 } } },
    { "not opened) nor] :1.5)", { { "not opened) nor] :1.5)", 1.0 } } },
    { "[a (b] c)", { { "a ", 1 / 1.1 }, { "b", 1.0 }, { " c", 1.1 } } },
    { "[x:1.5]", { { "x:1.5", 1 / 1.1 } } },
    { "\\(x\\) \\[y\\] \\\\ \\z\\", { { "(x) [y] \\ z", 1.0 } } },
    { "(x:1.2.3) (y:) (z:1e3)",
      { { "x:1.2.3", 1.1 }, { " ", 1.0 }, { "y:", 1.1 }, { " ", 1.0 }, { "z:1e3", 1.1 } } },
    { "(x:0)()y", { { "x", 0.0 }, { "y", 1.0 } } },
    { "(x:1000)", { { "x", 1000.0 } } },
  };

  (void)state;
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
    parses(cases[i].text, cases[i].parts);
}

static void weights_have_limits(void **state)
{
  enum { LENGTH = 100000 };
  static const char *const texts[] = { "(x:1001)", "(x:-1000.5)", "((x:900):2)" };
  char *text = calloc(LENGTH + 2, 1);
  ti_weighted_text t;
  ti_error error;

  (void)state;
  for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
    assert_int_equal(ti_weighted_text_parse(&t, &error, texts[i], strlen(texts[i])),
                     TEXTINV_E_INVALID);
    assert_non_null(strstr(error.text, "-1000 to 1000"));
  }
  assert_non_null(text);
  memset(text, '(', LENGTH);
  text[LENGTH] = 'x';
  assert_int_equal(ti_weighted_text_parse(&t, &error, text, LENGTH + 1), TEXTINV_E_INVALID);
  memset(text, '[', LENGTH);
  parses(text, (run[]){ { "x", 0.0 }, { 0 } });
  memset(text + 1, '9', LENGTH - 1);
  memcpy(text, "(x:", 3);
  text[LENGTH] = ')';
  assert_int_equal(ti_weighted_text_parse(&t, &error, text, LENGTH + 1), TEXTINV_E_INVALID);
  memcpy(text, "(x:1.", 5);
  parses(text, (run[]){ { "x", 2.0 }, { 0 } });
  free(text);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(brackets_weigh),
    cmocka_unit_test(weights_have_limits),
  };

  return cmocka_run_group_tests_name("weighted_text", tests, NULL, NULL);
}
