/* What every test uses. */
#include "testing.h"

#include <ftw.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint64_t state = 1;

void test_seed(uint64_t seed)
{
  state = seed * 2 + 1;
}

uint32_t test_u32(void)
{
  uint64_t z = state += 0x9e3779b97f4a7c15u;

  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return (uint32_t)(z >> 32);
}

float test_uniform(void)
{
  return (float)(test_u32() >> 8) * 0x1p-23f - 1.0f;
}

float test_normal(void)
{
  float sum = 0.0f;

  for (int i = 0; i < 12; i++)
    sum += test_uniform();
  return sum * 0.5f;
}

int test_below(int n)
{
  return (int)(test_u32() % (uint32_t)n);
}

double test_relative_error(ti_dtype dtype, const void *a, const float *b, size_t count)
{
  double difference = 0.0, norm = 0.0;

  for (size_t i = 0; i < count; i++) {
    const double d = (double)ti_load(dtype, a, i) - b[i];

    difference += d * d;
    norm += (double)b[i] * b[i];
  }
  if (!isfinite(difference))
    return INFINITY;
  return difference == 0.0 ? 0.0 : sqrt(difference) / sqrt(norm > 0.0 ? norm : 1e-30);
}

enum { GUARD = 256, CANARY = 0xff /* NaN in every type: what is read there is seen, too */ };

typedef struct guard_header {
  size_t bytes;
} guard_header;

void *test_buffer_new(ti_dtype dtype, size_t count)
{
  const size_t bytes = count * ti_dtype_size(dtype), padded = (bytes + 63) / 64 * 64;
  unsigned char *p = aligned_alloc(64, GUARD + padded + GUARD);

  assert_non_null(p);
  memset(p, CANARY, GUARD + padded + GUARD);
  memcpy(p, &(guard_header){ bytes }, sizeof(guard_header));
  for (size_t i = 0; i < count; i++)
    ti_store(dtype, p + GUARD, i, NAN);
  return p + GUARD;
}

void test_buffer_check(const void *buffer)
{
  const unsigned char *p = (const unsigned char *)buffer - GUARD;
  guard_header h;

  memcpy(&h, p, sizeof(h));
  for (size_t i = sizeof(h); i < GUARD; i++)
    assert_int_equal(p[i], CANARY);
  for (size_t i = h.bytes; i < (h.bytes + 63) / 64 * 64 + GUARD; i++)
    assert_int_equal(p[GUARD + i], CANARY);
}

void test_buffer_free(void *buffer)
{
  if (!buffer)
    return;
  test_buffer_check(buffer);
  free((unsigned char *)buffer - GUARD);
}

static char folder[64];

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
  (void)st;
  (void)type;
  (void)ftw;
  return remove(path);
}

static void remove_folder(void)
{
  nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

const char *test_path(const char *name)
{
  static char path[8][512];
  static int next;

  if (!*folder) {
    strcpy(folder, "/tmp/textinv-test-XXXXXX");
    assert_non_null(mkdtemp(folder));
    atexit(remove_folder);
  }
  next = (next + 1) % 8;
  snprintf(path[next], sizeof(path[next]), "%s/%s", folder, name);
  return path[next];
}
