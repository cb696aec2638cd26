/* Text from values, messages of one line, and sizes that do not fit. */
#include "testing.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "error.h"
#include "format.h"

#define assert_text(expected, ...)                                                                 \
  do {                                                                                             \
    char out[128];                                                                                 \
                                                                                                   \
    assert_int_equal(ti_format(out, sizeof(out), __VA_ARGS__), strlen(expected));                  \
    assert_string_equal(out, expected);                                                            \
  } while (0)

static void strings(void **state)
{
  const char *nothing = NULL;

  (void)state;
  assert_text("a(null)b", "a%sb", nothing);
  assert_text("ab|  ab|a|a", "%s|%4s|%.*s|%.1s", "ab", "ab", 1, "ab", "ab");
  assert_text("x 100% ", "%c 100%% %", 'x');
  assert_text("q", "%q");
}

static void integers(void **state)
{
  (void)state;
  assert_text("-2147483648 -00042  -7", "%d %06d %3d", INT32_MIN, -42, -7);
  assert_text("-3 9223372036854775807 -9223372036854775808", "%ld %lld %lld", -3l, INT64_MAX,
              INT64_MIN);
  assert_text("4294967295 4 18446744073709551615 0", "%u %lu %llu %zu", UINT32_MAX, 4ul, UINT64_MAX,
              (size_t)0);
  assert_text("ff 000000ff 0000000000000001", "%x %08x %016llx", 255u, 255u, 1ull);
}

static void reals(void **state)
{
  (void)state;
  assert_text("nan inf -inf 0 -0", "%g %g %g %g %g", (double)NAN, (double)INFINITY,
              (double)-INFINITY, 0.0, -0.0);
  assert_text("0.1 1 1234570 -0.000012 1.5e-07", "%g %g %g %g %g", 0.1, 0.9999999, 1234567.0,
              -1.2e-5, 1.5e-7);
  assert_text("1e+17 2e-300 4.94066e-324 1.79769e+308", "%g %g %g %g", 1e17, 2e-300, 5e-324,
              1.7976931348623157e308);
  assert_text("0.3 2 999.99999999999989 0.10000000000000001", "%.1g %.0g %.17g %.99g", 0.25001, 2.0,
              999.9999999999999, 0.1);
  assert_text("    1e+20", "%9g", 1e20);
  assert_text("0.00001 1.5e-06 1e+99 1e+100", "%g %g %g %g", 1e-5, 1.5e-6, 1e99, 1e100);
}

/* the fewest digits that read back, from 15 on; below a power of ten the logarithm is rounded up */
static void shortest(void **state)
{
  static const double values[] = { 0.1, 1e23, 999.9999999999999, 1e-5, 123456789012345680, 5e-324 };
  static const char *const texts[] = { "0.1",     "9.999999999999999e+22", "999.9999999999999",
                                       "0.00001", "1.2345678901234568e+17", "4.94065645841247e-324" };
  char out[32];

  (void)state;
  for (int i = 0; i < 6; i++) {
    assert_int_equal(ti_format_double(out, values[i]), strlen(texts[i]));
    assert_string_equal(out, texts[i]);
  }
  ti_format_double(out, (double)-INFINITY);
  assert_string_equal(out, "-inf");
  ti_format_float(out, 0.1f);
  assert_string_equal(out, "0.1");
  for (int i = 0; i < 100000; i++) {
    const float value = ldexpf(test_uniform(), test_below(250) - 125);

    ti_format_float(out, value);
    assert_true(strtof(out, NULL) == value);
  }
}

static void what_does_not_fit_is_counted(void **state)
{
  char out[4] = "---";

  (void)state;
  assert_int_equal(ti_format(out, 0, "%d", 12345), 5);
  assert_string_equal(out, "---");
  out[3] = '-';
  assert_int_equal(ti_format(out, sizeof(out), "%d", 12345), 5);
  assert_string_equal(out, "123");
}

/* a message of len bytes 'a' and then end, as ti_fail() keeps it */
static const char *message(size_t len, const char *end)
{
  static char text[TI_ERROR_SIZE + 8];
  static ti_error error;

  memset(text, 'a', len);
  strcpy(text + len, end);
  assert_int_equal(ti_fail(&error, TEXTINV_E_IO, "%s", text), TEXTINV_E_IO);
  return error.text;
}

static void messages_are_a_line(void **state)
{
  enum { ROOM = TI_ERROR_SIZE - 1 };
  static const char euro[] = "\xe2\x82\xac";
  char tails[TI_ERROR_SIZE + 1];
  ti_error error;

  (void)state;
  assert_string_equal(message(1, "\n\x7f\xc2\x85\xc2\xa0\xc2"), "a????\xc2\xa0\xc2");
  assert_string_equal(message(1, "\xc2!"), "a\xc2!");
  assert_string_equal(message(ROOM - 3, euro) + ROOM - 3, euro);
  assert_string_equal(message(ROOM - 2, euro) + ROOM - 3, "a"); /* not within a character */
  assert_string_equal(message(ROOM - 1, euro) + ROOM - 2, "a");
  assert_string_equal(message(ROOM, euro) + ROOM - 1, "a");
  memset(tails, 0x80, TI_ERROR_SIZE); /* there is none that it could end before */
  tails[TI_ERROR_SIZE] = '\0';
  assert_int_equal(strlen(message(0, tails)), ROOM);
  assert_int_equal(strlen(message(1, tails + 1)), ROOM);

  assert_int_equal(ti_fail(NULL, TEXTINV_E_LIMIT, "%s", "x"), TEXTINV_E_LIMIT);
  assert_int_equal(ti_fail_errno(&error, ENOENT, "a", "b"), TEXTINV_E_NOT_FOUND);
  assert_int_equal(ti_fail_errno(&error, EIO, "a", "b"), TEXTINV_E_IO);
  assert_int_equal(strncmp(error.text, "a: b: ", 6), 0);
}

static void sizes_beyond_all_memory(void **state)
{
  size_t size;

  (void)state;
  assert_int_equal(ti_mul_size(&size, SIZE_MAX / 2, 2), 0);
  assert_int_equal(size, SIZE_MAX - 1);
  assert_int_equal(ti_mul_size(&size, SIZE_MAX / 2 + 1, 2), -1);
  assert_int_equal(size, SIZE_MAX);
  assert_int_equal(ti_add_size(&size, SIZE_MAX - 1, 1), 0);
  assert_int_equal(size, SIZE_MAX);
  assert_int_equal(ti_add_size(&size, SIZE_MAX - 1, 2), -1);
  assert_null(ti_calloc(SIZE_MAX / 2 + 1, 2));
  assert_null(ti_calloc(SIZE_MAX / 2 + 1, 1));
  assert_null(ti_realloc_array(NULL, SIZE_MAX / 2 + 1, 2));
  assert_null(ti_realloc_array(NULL, SIZE_MAX / 2 + 1, 1));
  assert_null(ti_strndup("", SIZE_MAX));
  void *p = ti_realloc_array(NULL, 0, 8), *q = ti_calloc(0, 8);

  assert_non_null(p);
  assert_non_null(q);
  ti_free(p);
  ti_free(q);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(strings),
    cmocka_unit_test(integers),
    cmocka_unit_test(reals),
    cmocka_unit_test(shortest),
    cmocka_unit_test(what_does_not_fit_is_counted),
    cmocka_unit_test(messages_are_a_line),
    cmocka_unit_test(sizes_beyond_all_memory),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
