/* Conversions by vectors against those of single values: every pattern of 16 bits, at odd
 * addresses. */
#include "dtype.h"

#include <math.h>
#include <stdlib.h>

#include "testing.h"

enum { PATTERNS = 1 << 16, COUNT = PATTERNS + 3 }; /* so that no vector ends with the last */

static const ti_dtype types[] = { TI_F32, TI_F16, TI_BF16 };

/* a value of each pattern of the upper 16 bits, which for f32 has these lower ones */
static void fill(ti_dtype dtype, unsigned char *x, uint32_t lower)
{
  for (uint32_t i = 0; i < COUNT; i++) {
    const uint32_t wide = i << 16 | lower;
    const uint16_t half = (uint16_t)i;

    memcpy(x + i * ti_dtype_size(dtype), dtype == TI_F32 ? (const void *)&wide : &half,
           ti_dtype_size(dtype));
  }
}

static int is_same(ti_dtype dtype, const unsigned char *a, const unsigned char *b)
{
  float x, y;

  ti_convert(TI_F32, &x, dtype, a, 1);
  ti_convert(TI_F32, &y, dtype, b, 1);
  return !memcmp(a, b, ti_dtype_size(dtype)) || (isnan(x) && isnan(y));
}

static void vectors_convert_as_single_values_do(void **state)
{
  /* a tie of bf16 and what is beside it; a tie of f16 between its smallest values */
  static const uint32_t lower[] = { 0, 0x8000, 0x8001, 0x7fff, 0x1000 };
  unsigned char *x = malloc(4 * COUNT + 1), *y = malloc(4 * COUNT + 1), one[4];

  (void)state;
  for (int from = 0; from < 3; from++) {
    for (int to = 0; to < 3; to++) {
      for (size_t j = 0; j < (types[from] == TI_F32 ? sizeof(lower) / sizeof(*lower) : 1); j++) {
        const size_t x_size = ti_dtype_size(types[from]), y_size = ti_dtype_size(types[to]);

        fill(types[from], x + 1, lower[j]);
        ti_convert(types[to], y + 1, types[from], x + 1, COUNT);
        for (size_t i = 0; i < COUNT; i++) {
          ti_convert(types[to], one, types[from], x + 1 + i * x_size, 1);
          if (!is_same(types[to], y + 1 + i * y_size, one))
            fail_msg("type %d to %d: value %zu of %x", types[from], types[to], i, lower[j]);
        }
      }
    }
  }
  free(x);
  free(y);
}

int main(void)
{
  const struct CMUnitTest tests[] = { cmocka_unit_test(vectors_convert_as_single_values_do) };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
