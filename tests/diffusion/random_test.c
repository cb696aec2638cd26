/* torch.randn bit for bit (hashes of torch 1.13.1 and 2.15.0, scalar ones also of 2.4.1 on 64-bit
 * ARM), Philox by its published vectors */
#include "random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "testing.h"

static uint64_t fnv1a(const float *x, size_t count)
{
  uint64_t hash = 0xcbf29ce484222325ull;

  for (size_t i = 0; i < count; i++) {
    uint32_t bits;

    memcpy(&bits, &x[i], sizeof(bits));
    for (int shift = 0; shift < 32; shift += 8)
      hash = (hash ^ ((bits >> shift) & 0xff)) * 0x100000001b3ull;
  }
  return hash;
}

static void torch_hashes(void **state)
{
  static const struct {
    uint64_t seed;
    size_t count;
    uint64_t vector, scalar;
  } cases[] = {
    { 42, 16384, 0xa6f589a085841b88ull, 0x6df84c3e1ccde7e3ull },
    { 0, 16, 0x28d49f8f92bf21d6ull, 0x120ff73397dfeb3eull },
    { 42, 20, 0xc1d466f638cae7cbull, 0x440297f4e8c9d969ull },
    { 42, 3, 0x37ecaea295c8b6deull, 0x37ecaea295c8b6deull },
    { 3407, 24576, 0x9502e83aef481436ull, 0x2dab91885591544full },
    { (1ull << 40) + 7, 17, 0xb8b2b898064e9a44ull, 0xcc2afca9338c9675ull },
  };
  float *x = malloc(24576 * sizeof(*x));

  (void)state;
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    for (int scalar = 0; scalar < 2; scalar++) {
      ti_torch_rng rng;

      ti_torch_rng_seed(&rng, cases[i].seed, scalar);
      ti_torch_randn(&rng, x, cases[i].count);
      assert_true(fnv1a(x, cases[i].count) == (scalar ? cases[i].scalar : cases[i].vector));
    }
  }
  free(x);
}

/* one value of a pair stays for the next short draw, also past a long one between them */
static void torch_cached_normal(void **state)
{
  ti_torch_rng rng;
  float whole[4], parts[4], between[32];

  (void)state;
  ti_torch_rng_seed(&rng, 7, 0);
  ti_torch_randn(&rng, whole, 4);
  ti_torch_rng_seed(&rng, 7, 0);
  for (int i = 0; i < 4; i++)
    ti_torch_randn(&rng, &parts[i], 1);
  assert_memory_equal(whole, parts, sizeof(whole));

  ti_torch_rng_seed(&rng, 7, 0);
  ti_torch_randn(&rng, parts, 1);
  ti_torch_randn(&rng, between, 32);
  ti_torch_randn(&rng, parts + 1, 1);
  assert_memory_equal(whole, parts, 2 * sizeof(float));
}

/* known answers of the Random123 distribution: counter, key and result */
static void philox_vectors(void **state)
{
  const ti_draw_key zero = { 0, (ti_draw)0, 0, 0 };
  const ti_draw_key pi = { 0x299f31d0a4093822ull, (ti_draw)0x13198a2e, 0x85a308d3, 0x03707344 };
  static const uint32_t expected_zero[4] = { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 };
  static const uint32_t expected_pi[4] = { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 };

  (void)state;
  for (uint32_t i = 0; i < 4; i++)
    assert_int_equal(ti_draw_u32(&zero, i), expected_zero[i]);
  /* the published counter begins with 0x243f6a88, the block of elements 0x90fdaa20.. */
  for (uint32_t i = 0; i < 4; i++)
    assert_int_equal(ti_draw_u32(&pi, 0x90fdaa20u + i), expected_pi[i]);
}

static void draws_are_functions_of_their_coordinates(void **state)
{
  ti_draw_key key = { 1234, TI_DRAW_NOISE, 5, 6 };
  float a[103], b[103];
  int same = 0;

  (void)state;
  ti_draw_normal(&key, a, 103);
  ti_draw_normal(&key, b, 50);
  assert_memory_equal(a, b, 50 * sizeof(float));
  key.step = 6;
  ti_draw_normal(&key, b, 103);
  for (int i = 0; i < 103; i++)
    same += a[i] == b[i];
  assert_int_equal(same, 0);
  for (uint32_t i = 0; i < 1000; i++) {
    const float u = ti_draw_uniform(&key, i);

    assert_true(u >= 0 && u < 1);
    assert_true(ti_draw_below(&key, i, 7) < 7);
  }
  assert_int_equal(ti_draw_below(&key, 3, 1), 0);
  assert_int_equal(ti_draw_below(&key, 3, 0), 0);
}

static void moments(void **state)
{
  enum { COUNT = 1 << 20 };
  const ti_draw_key key = { 99, TI_DRAW_LATENT, 0, 0 };
  float *x = malloc(COUNT * sizeof(*x));
  double m1 = 0, m2 = 0, m3 = 0, m4 = 0, neighbour = 0;
  unsigned bins[8] = { 0 };

  (void)state;
  ti_draw_normal(&key, x, COUNT);
  for (int i = 0; i < COUNT; i++) {
    const double v = x[i];

    m1 += v;
    m2 += v * v;
    m3 += v * v * v;
    m4 += v * v * v * v;
    neighbour += i > 0 ? v * x[i - 1] : 0;
    bins[ti_draw_below(&key, (uint32_t)i, 8)]++;
  }
  assert_true(fabs(m1 / COUNT) < 5e-3);
  assert_true(fabs(m2 / COUNT - 1) < 7e-3);
  assert_true(fabs(m3 / COUNT) < 2e-2);
  assert_true(fabs(m4 / COUNT - 3) < 5e-2);
  assert_true(fabs(neighbour / COUNT) < 5e-3);
  for (int i = 0; i < 8; i++)
    assert_true(fabs(bins[i] - COUNT / 8.0) < 6 * sqrt(COUNT / 8.0));
  free(x);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(torch_hashes),   cmocka_unit_test(torch_cached_normal),
    cmocka_unit_test(philox_vectors), cmocka_unit_test(draws_are_functions_of_their_coordinates),
    cmocka_unit_test(moments),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
