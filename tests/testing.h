/* What every test uses: cmocka, random values, comparisons, guarded buffers. */
#ifndef TI_TESTING_H
#define TI_TESTING_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "dtype.h"

/* cmocka's own takes NaN and infinity for equal to anything */
#undef assert_float_equal
#define assert_float_equal(a, b, epsilon)                                                          \
  do {                                                                                             \
    const double met_ = (a), expected_ = (b);                                                      \
                                                                                                   \
    if (!(fabs(met_ - expected_) <= (epsilon)))                                                    \
      fail_msg("%.9g, expected %.9g", met_, expected_);                                            \
  } while (0)

/* deterministic random values of a test; seed first */
void test_seed(uint64_t seed);
uint32_t test_u32(void);
float test_uniform(void); /* -1..1 */
float test_normal(void);
int test_below(int n); /* 0..n-1 */

/* norm(a - b) / norm(b), both [count] of dtype; 0 when both are zero; NaN counts as infinite */
double test_relative_error(ti_dtype dtype, const void *a, const float *b, size_t count);

/* count values of dtype between canaries, filled with NaN; test_buffer_check fails the test when
 * one was touched */
void *test_buffer_new(ti_dtype dtype, size_t count);
void test_buffer_check(const void *buffer);
void test_buffer_free(void *buffer); /* checks, too */

/* path of a file below the temporary folder of this process, which is made at first use and removed
 * at exit */
const char *test_path(const char *name);

#endif /* TI_TESTING_H */
