/* JSON configs: what is refused and how it is said, limits, getters, locales. */
#include "io_testing.h"

#include <locale.h>

#include "json.h"
#include "utf8.h"

static ti_json json;

#define parse(text) ti_json_parse(&json, &error, "c.json", text, strlen(text))
#define assert_refused(status, text, ...) assert_fails(parse(text), status, "c.json", __VA_ARGS__)

static void open_text(const char *text)
{
  assert_succeeds(parse(text));
}

static void what_is_no_json(void **state)
{
  static const char *const texts[] = { "",
                                       " ",
                                       "{",
                                       "{]",
                                       "{\"a\":1,}",
                                       "{\"a\":1} x",
                                       "{\"a\":1}}",
                                       "{'a':1}",
                                       "{\"a\":0x1}",
                                       "{\"a\":01}",
                                       "{\"a\":.5}",
                                       "{\"a\":1.}",
                                       "{\"a\":+1}",
                                       "// x\n{}",
                                       "{\"a\":NaN}",
                                       "{\"a\":Infinite}",
                                       "{\"a\":+Infinity}",
                                       "{\"a\":1e999}",
                                       "{\"a\":-1e999}",
                                       "{\"a\":009999999999999999999999}",
                                       "{\"a\":99999999999999999999",
                                       "Infinity",
                                       "{\"\xff\":1}",
                                       "{\"\xc0\xaf\":1}",
                                       "{\"\xed\xa0\x80\":1}",
                                       "{\"a\":\"\\ud800\"}",
                                       "{\"a\":\"\\u0000\"}",
                                       "{\"\\u0000\":1}",
                                       "{\"a\":\"\n\"}",
                                       "\xef\xbb\xbf{}",
                                       "{\"a\":tru}",
                                       "5",
                                       "\"x\"",
                                       "null" };
  char integer[136];

  (void)state;
  for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
    assert_refused(TEXTINV_E_FORMAT, texts[i], "line ");
    assert_null(json.root);
  }
  memcpy(integer, "{\"a\":", 5); /* of 124 digits */
  memset(integer + 5, '1', 124);
  strcpy(integer + 129, "}");
  assert_refused(TEXTINV_E_FORMAT, integer, "line 1", "too big");
  assert_refused(TEXTINV_E_FORMAT, "{\n\"a\":1,\n\"a\":2}", "line 3", "duplicate");
  assert_refused(TEXTINV_E_FORMAT, "[]", "array");
  assert_refused(TEXTINV_E_FORMAT, "[null,9999999999999999999999999999999999999999]", "array");
  assert_fails(ti_json_parse(&json, &error, "c.json", "{}\0", 3), TEXTINV_E_FORMAT, "c.json");
}

/* Python writes them, and real configs have them where no number is asked for */
static void infinities_and_large_integers(void **state)
{
  const char *string;
  double real;
  int value;

  (void)state;
  open_text(
    "{\"lambda_min_clipped\":-Infinity,\"a\":Infinity,"
    "\"text\":\"Infinity 99999999999999999999 \\\" -Infinity\","
    "\"model_max_length\":1000000000000000019884624838656,\"b\":9223372036854775808,"
    "\"c\":9223372036854775807,"
    "\"d\":-9223372036854775809,\"e\":0.99999999999999999999,\"f\":1.5e-00000000000000000001,"
    "\"g\":15000000000000000000.5,\"h\":15000000000000000000E-00000000000000000019,"
    "\"i\":15000000000000000000e+00000000000000000019,\"j\":0e+99999999999999999999}");
  assert_false(ti_json_has(&json, "lambda_min_clipped"));
  assert_false(ti_json_has(&json, "a"));
  assert_succeeds(ti_json_string(&json, &error, "text", NULL, &string));
  assert_string_equal(string, "Infinity 99999999999999999999 \" -Infinity");
  assert_fails(ti_json_int(&json, &error, "model_max_length", 1, 1, 77, &value), TEXTINV_E_FORMAT,
               "model_max_length", "e+30");
  assert_fails(ti_json_int(&json, &error, "b", 1, 1, 77, &value), TEXTINV_E_FORMAT, "\"b\"");
  assert_fails(ti_json_int(&json, &error, "c", 1, 1, 77, &value), TEXTINV_E_LIMIT,
               "9223372036854775807");
  assert_fails(ti_json_int(&json, &error, "d", 1, 1, 77, &value), TEXTINV_E_FORMAT, "\"d\"");
  assert_succeeds(ti_json_float(&json, &error, "e", 0, 0, 1, &real));
  assert_true(real == 1.0);
  assert_succeeds(ti_json_float(&json, &error, "f", 0, 0, 1, &real));
  assert_true(real == 0.15);
  assert_succeeds(ti_json_float(&json, &error, "g", 0, 0, 1e300, &real));
  assert_true(real == 1.5e19);
  assert_succeeds(ti_json_float(&json, &error, "h", 0, 0, 1e300, &real));
  assert_true(real == 1.5);
  assert_succeeds(ti_json_float(&json, &error, "i", 0, 0, 1e300, &real));
  assert_true(real == 1.5e38);
  assert_succeeds(ti_json_float(&json, &error, "j", 1, 0, 1, &real));
  assert_true(real == 0);
  ti_json_close(&json);
}

static void sizes_are_limited(void **state)
{
  const size_t size = (16u << 20) + 1;
  char *text = malloc(size), deep[512] = "", fine[512] = "";

  (void)state;
  memset(text, ' ', size);
  memcpy(text, "{}", 2);
  assert_fails(ti_json_parse(&json, &error, "c.json", text, size), TEXTINV_E_LIMIT, "16777217",
               "16777216");
  write_file(test_path("big.json"), text, size);
  assert_fails(ti_json_open(&json, &error, test_path("big.json")), TEXTINV_E_LIMIT, "big.json",
               "16777217");
  assert_succeeds(ti_json_parse(&json, &error, "c.json", text, size - 1));
  ti_json_close(&json);
  memset(text, '[', 200000);
  assert_fails(ti_json_parse(&json, &error, "c.json", text, 200000), TEXTINV_E_LIMIT,
               "deeper than 64");
  memcpy(text, "{\"a\":[", 6);
  for (size_t i = 6; i + 1 < size; i += 2)
    memcpy(text + i, "1,", 2);
  assert_fails(ti_json_parse(&json, &error, "c.json", text, size - 1), TEXTINV_E_LIMIT, "values");
  free(text);

  strcat(deep, "{\"a\":");
  strcat(fine, "{\"[[[{{{\\\"[\":");
  for (int i = 0; i < 64; i++)
    strcat(deep, "[");
  for (int i = 0; i < 63; i++)
    strcat(fine, "[");
  for (int i = 0; i < 64; i++)
    strcat(deep, "]");
  for (int i = 0; i < 63; i++)
    strcat(fine, "]");
  assert_refused(TEXTINV_E_LIMIT, strcat(deep, "}"), "deeper than 64");
  open_text(strcat(fine, "}"));
  ti_json_close(&json);
}

static void getters_say_what_they_met(void **state)
{
  int value = 7;
  double real;
  const char *string;
  ti_json inner;

  (void)state;
  open_text(
    "{\"zero\":0,\"no\":false,\"minus\":-1,\"half\":768.5,\"text\":\"768\",\"big\":2147483648,"
    "\"huge\":9007199254740993,"
    "\"whole\":16.0,\"null\":null,\"list\":[1],\"yes\":true,\"object\":{},\"good\":768}");
  assert_fails(ti_json_int(&json, &error, "zero", 1, 1, 65536, &value), TEXTINV_E_LIMIT, "c.json",
               "\"zero\" is 0", "1..65536");
  assert_fails(ti_json_int(&json, &error, "minus", 1, 1, 65536, &value), TEXTINV_E_LIMIT,
               "\"minus\" is -1");
  assert_fails(ti_json_int(&json, &error, "half", 1, 1, 65536, &value), TEXTINV_E_FORMAT,
               "\"half\" is 768.5", "an integer");
  assert_fails(ti_json_int(&json, &error, "whole", 1, 1, 65536, &value), TEXTINV_E_FORMAT,
               "\"whole\" is 16");
  assert_fails(ti_json_int(&json, &error, "text", 1, 1, 65536, &value), TEXTINV_E_FORMAT,
               "\"text\" is \"768\"");
  assert_fails(ti_json_int(&json, &error, "big", 1, 1, 65536, &value), TEXTINV_E_LIMIT,
               "2147483648");
  assert_fails(ti_json_int(&json, &error, "huge", 1, 1, 65536, &value), TEXTINV_E_LIMIT,
               "9007199254740993");
  assert_fails(ti_json_int(&json, &error, "list", 1, 1, 65536, &value), TEXTINV_E_FORMAT,
               "an array of 1");
  assert_fails(ti_json_int(&json, &error, "yes", 1, 1, 65536, &value), TEXTINV_E_FORMAT,
               "\"yes\" is true");
  assert_fails(ti_json_int(&json, &error, "object", 1, 1, 65536, &value), TEXTINV_E_FORMAT,
               "an object");
  assert_fails(ti_json_int(&json, &error, "no", 1, 1, 65536, &value), TEXTINV_E_FORMAT,
               "\"no\" is false");
  assert_int_equal(value, 1); /* the fallback */
  assert_fails(ti_json_object(&json, &error, "null", &inner), TEXTINV_E_FORMAT,
               "\"null\" is null, expected an object");
  assert_fails(ti_json_object(&json, &error, "absent", &inner), TEXTINV_E_FORMAT, "missing");
  assert_null(inner.root);
  assert_succeeds(ti_json_int(&json, &error, "null", 5, 1, 65536, &value));
  assert_int_equal(value, 5);
  assert_succeeds(ti_json_int(&json, &error, "absent", 6, 1, 65536, &value));
  assert_int_equal(value, 6);
  assert_succeeds(ti_json_int(&json, &error, "good", 6, 1, 65536, &value));
  assert_int_equal(value, 768);
  assert_true(ti_json_has(&json, "zero"));
  assert_false(ti_json_has(&json, "null"));
  assert_false(ti_json_has(&json, "absent"));

  assert_fails(ti_json_float(&json, &error, "minus", 1, 0, 1, &real), TEXTINV_E_LIMIT,
               "\"minus\" is -1", "0..1");
  assert_fails(ti_json_float(&json, &error, "text", 1, 0, 1, &real), TEXTINV_E_FORMAT, "a number");
  assert_succeeds(ti_json_float(&json, &error, "half", 1, 0, 1000, &real));
  assert_true(real == 768.5);
  assert_succeeds(ti_json_float(&json, &error, "null", 0.25, 0, 1, &real));
  assert_true(real == 0.25);
  assert_fails(ti_json_bool(&json, &error, "zero", 1, &value), TEXTINV_E_FORMAT, "\"zero\" is 0",
               "true or false");
  assert_succeeds(ti_json_bool(&json, &error, "yes", 0, &value));
  assert_int_equal(value, 1);
  assert_succeeds(ti_json_bool(&json, &error, "absent", 1, &value));
  assert_int_equal(value, 1);
  assert_fails(ti_json_string(&json, &error, "yes", "x", &string), TEXTINV_E_FORMAT, "a string");
  assert_succeeds(ti_json_string(&json, &error, "absent", NULL, &string));
  assert_null(string);
  assert_succeeds(ti_json_string(&json, &error, "text", NULL, &string));
  assert_string_equal(string, "768");
  ti_json_close(&json);
}

static void arrays(void **state)
{
  int ints[4], count = 3;
  double floats[2];
  const char *strings[2];

  (void)state;
  open_text(
    "{\"none\":[],\"five\":[1,2,3,4,5],\"three\":[1,2,3],\"bad\":[1,\"2\"],\"low\":[1,0],"
    "\"one\":8,\"reals\":[0.5,2],"
    "\"words\":[\"a\",\"b\"],\"text\":\"a\",\"nested\":[[1]]}");
  assert_fails(ti_json_ints(&json, &error, "none", 1, 1, 9, ints, 4, &count), TEXTINV_E_LIMIT,
               "0 entries", "1..4");
  assert_fails(ti_json_ints(&json, &error, "five", 1, 1, 9, ints, 4, &count), TEXTINV_E_LIMIT,
               "5 entries");
  assert_fails(ti_json_ints(&json, &error, "bad", 1, 1, 9, ints, 4, &count), TEXTINV_E_FORMAT,
               "\"bad[1]\" is \"2\"");
  assert_fails(ti_json_ints(&json, &error, "low", 1, 1, 9, ints, 4, &count), TEXTINV_E_LIMIT,
               "\"low[1]\" is 0");
  assert_fails(ti_json_ints(&json, &error, "nested", 1, 1, 9, ints, 4, &count), TEXTINV_E_FORMAT,
               "\"nested[0]\"");
  assert_fails(ti_json_ints(&json, &error, "text", 1, 1, 9, ints, 4, &count), TEXTINV_E_FORMAT,
               "\"text\"");
  count = 2;
  assert_succeeds(ti_json_ints(&json, &error, "three", 1, 1, 9, ints, 4, &count));
  assert_int_equal(count, 3);
  assert_int_equal(ints[2], 3);
  count = 2;
  assert_succeeds(ti_json_ints(&json, &error, "one", 1, 1, 9, ints, 4, &count));
  assert_true(count == 2 && ints[0] == 8 && ints[1] == 8);
  assert_succeeds(ti_json_ints(&json, &error, "absent", 4, 1, 9, ints, 4, &count));
  assert_true(count == 2 && ints[0] == 4 && ints[1] == 4);
  assert_fails(ti_json_ints(&json, &error, "one", 1, 1, 7, ints, 4, &count), TEXTINV_E_LIMIT,
               "\"one\" is 8");
  count = 4;
  assert_succeeds(ti_json_ints(&json, &error, "one", 1, 1, 9, ints, 4, &count));
  assert_int_equal(ints[3], 8);
  assert_succeeds(ti_json_ints(&json, &error, "three", 1, 1, 9, ints, 3, &count));
  count = 5;
  assert_fails(ti_json_ints(&json, &error, "one", 1, 1, 9, ints, 4, &count), TEXTINV_E_LIMIT,
               "\"one\" stands for 5 entries");
  count = -1;
  assert_fails(ti_json_ints(&json, &error, "absent", 1, 1, 9, ints, 4, &count), TEXTINV_E_LIMIT,
               "\"absent\" stands for -1 entries");

  assert_succeeds(ti_json_floats(&json, &error, "reals", floats, 2, &count));
  assert_true(count == 2 && floats[0] == 0.5 && floats[1] == 2.0);
  assert_succeeds(ti_json_floats(&json, &error, "absent", floats, 2, &count));
  assert_int_equal(count, 0);
  assert_fails(ti_json_floats(&json, &error, "three", floats, 2, &count), TEXTINV_E_LIMIT,
               "3 entries");
  assert_fails(ti_json_floats(&json, &error, "one", floats, 2, &count), TEXTINV_E_FORMAT,
               "\"one\" is 8, expected an array of numbers");
  assert_fails(ti_json_floats(&json, &error, "words", floats, 2, &count), TEXTINV_E_FORMAT,
               "\"words[0]\"");
  assert_succeeds(ti_json_strings(&json, &error, "words", strings, 2, &count));
  assert_true(count == 2 && !strcmp(strings[1], "b"));
  assert_succeeds(ti_json_strings(&json, &error, "absent", strings, 2, &count));
  assert_int_equal(count, 0);
  assert_fails(ti_json_strings(&json, &error, "text", strings, 2, &count), TEXTINV_E_FORMAT,
               "an array of strings");
  assert_fails(ti_json_strings(&json, &error, "three", strings, 2, &count), TEXTINV_E_LIMIT,
               "3 entries");
  assert_fails(ti_json_strings(&json, &error, "reals", strings, 2, &count), TEXTINV_E_FORMAT,
               "\"reals[0]\" is 0.5");
  ti_json_close(&json);
}

static void utf8_has_edges(void **state)
{
  static const struct {
    const char *text;
    int valid;
  } cases[] = {
    { "\x7f", 1 },         { "\xc2\x80", 1 },         { "\xdf\xbf", 1 },
    { "\xe0\xa0\x80", 1 }, { "\xed\x9f\xbf", 1 },     { "\xee\x80\x80", 1 },
    { "\xef\xbf\xbf", 1 }, { "\xf0\x90\x80\x80", 1 }, { "\xf4\x8f\xbf\xbf", 1 },
    { "\x80", 0 },         { "\xc1\xbf", 0 },         { "\xc2", 0 },
    { "\xc2\x7f", 0 },     { "\xc2\xc0", 0 },         { "\xe0\x9f\xbf", 0 },
    { "\xe1\x80\xc0", 0 }, { "\xed\xa0\x80", 0 },     { "\xf0\x8f\xbf\xbf", 0 },
    { "\xf1\x80\x80", 0 }, { "\xf4\x90\x80\x80", 0 }, { "\xf5\x80\x80\x80", 0 },
  };

  (void)state;
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
    if (ti_utf8_valid(cases[i].text, strlen(cases[i].text)) != cases[i].valid)
      fail_msg("case %zu", i);
}

static void long_values_are_cut_between_characters(void **state)
{
  char text[256] = "{\"k\":\"a";
  const char *string;
  ti_error error;
  int value;

  (void)state;
  for (int i = 0; i < 60; i++)
    strcat(text, "\xc3\xa9");
  open_text(strcat(text, "\"}"));
  assert_int_equal(ti_json_int(&json, &error, "k", 0, 0, 1, &value), TEXTINV_E_FORMAT);
  string = strstr(error.text, "\"a");
  assert_non_null(string);
  assert_int_equal(string[2 + 46], '"'); /* 23 characters of two bytes */
  ti_json_close(&json);
  assert_int_equal(ti_utf8_cut("a\xe2\x82\xac!", 3), 1);
  assert_int_equal(ti_utf8_cut("a\xe2\x82\xac!", 4), 4);
  assert_int_equal(ti_utf8_cut("a\xe2\x82\xac", 4), 4);
  assert_int_equal(ti_utf8_cut("\x80\x80\x80", 2), 0);
}

/* German, from the system or compiled for this test */
static const char *set_german(void)
{
  char command[600];

  if (setlocale(LC_ALL, "de_DE.UTF-8"))
    return "de_DE.UTF-8";
  sprintf(command, "localedef -i de_DE -f UTF-8 %s >/dev/null 2>&1", test_path("de_DE.UTF-8"));
  if (system(command))
    return NULL;
  *strrchr(strcpy(command, test_path("x")), '/') = '\0';
  setenv("LOCPATH", command, 1);
  return setlocale(LC_ALL, "de_DE.UTF-8");
}

static void a_decimal_comma_changes_nothing(void **state)
{
  double real;

  (void)state;
  if (!set_german())
    skip();
  assert_string_equal(localeconv()->decimal_point, ",");
  open_text("{\"beta\":0.00085}");
  assert_succeeds(ti_json_float(&json, &error, "beta", 0, 0, 1, &real));
  assert_true(real == 0.00085);
  assert_fails(ti_json_float(&json, &error, "beta", 0, 0.5, 1, &real), TEXTINV_E_LIMIT, "0.00085",
               "0.5..1");
  ti_json_close(&json);
  setlocale(LC_ALL, "C");
}

static void files(void **state)
{
  const char *path = test_path("config.json");

  (void)state;
  write_file(path, "{\"a\":1}", 7);
  assert_succeeds(ti_json_open(&json, &error, path));
  assert_string_equal(json.path, path);
  ti_json_close(&json);
  ti_json_close(&json);
  write_file(path, "", 0);
  assert_fails(ti_json_open(&json, &error, path), TEXTINV_E_FORMAT, "config.json");
  assert_fails(ti_json_open(&json, &error, test_path("absent.json")), TEXTINV_E_NOT_FOUND,
               "absent.json");
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(what_is_no_json),
    cmocka_unit_test(infinities_and_large_integers),
    cmocka_unit_test(sizes_are_limited),
    cmocka_unit_test(getters_say_what_they_met),
    cmocka_unit_test(arrays),
    cmocka_unit_test(utf8_has_edges),
    cmocka_unit_test(long_values_are_cut_between_characters),
    cmocka_unit_test(a_decimal_comma_changes_nothing),
    cmocka_unit_test(files),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
