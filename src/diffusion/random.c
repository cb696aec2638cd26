/*
 * Random numbers.
 *
 * torch: mt19937 (Matsumoto, Nishimura 1998); a draw of 16 values or more is Box-Muller in blocks
 * of 16, value j with value j + 8, radius from 1 - u_j and angle from u_{j+8}; what is left over at
 * the end is a fresh block over the last 16. Fewer values are Box-Muller in double, one after the
 * other, the second value of a pair kept for the next such draw. On processors with AVX2 torch
 * takes logarithm, sine and cosine from Cephes' single precision polynomials with fused
 * multiply-adds, elsewhere from libm; the two differ in the last bits.
 *
 * ours: Philox4x32-10 (Salmon et al. 2011), Box-Muller with the same polynomials, so that no
 * libm decides about a bit.
 */
#include "random.h"

#include <float.h>
#include <math.h>
#include <string.h>

#if FLT_EVAL_METHOD != 0
#error "the bits of noise need sums of float in float: -msse2 -mfpmath=sse on 32-bit x86"
#endif

enum { MT_N = 624, MT_M = 397, BLOCK = 16 };

/* ------ single precision functions after Cephes (Moshier), every rounding fixed */

static float bits_float(uint32_t u)
{
  float f;

  memcpy(&f, &u, sizeof(f));
  return f;
}

static uint32_t float_bits(float f)
{
  uint32_t u;

  memcpy(&u, &f, sizeof(u));
  return u;
}

/* natural logarithm of a normal x > 0 */
static float log_poly(float x)
{
  static const float p[9] = { 7.0376836292E-2f,  -1.1514610310E-1f, 1.1676998740E-1f,
                              -1.2420140846E-1f, 1.4249322787E-1f,  -1.6668057665E-1f,
                              2.0000714765E-1f,  -2.4999993993E-1f, 3.3333331174E-1f };
  const uint32_t u = float_bits(x);
  float e = (float)((int)(u >> 23) - 0x7f) + 1.0f;
  float m = bits_float((u & 0x807fffffu) | 0x3f000000u); /* [0.5, 1) */
  float y = p[0], z;

  if (m < 0.707106781186547524f) {
    e -= 1.0f;
    m = (m - 1.0f) + m;
  } else {
    m -= 1.0f;
  }
  z = m * m;
  for (int i = 1; i < 9; i++)
    y = fmaf(y, m, p[i]);
  y = y * m;
  y = fmaf(y, z, e * -2.12194440e-4f);
  y = fmaf(-z, 0.5f, y);
  return fmaf(e, 0.693359375f, m + y);
}

/* sine and cosine of x in 0..2 pi */
static void sincos_poly(float x, float *sine, float *cosine)
{
  const int octant = ((int)(x * 1.27323954473516f) + 1) & ~1;
  const float q = (float)octant;
  float s, c, z;

  x = fmaf(q, -0.78515625f, x);
  x = fmaf(q, -2.4187564849853515625e-4f, x);
  x = fmaf(q, -3.77489497744594108e-8f, x);
  z = x * x;

  c = fmaf(2.443315711809948E-005f, z, -1.388731625493765E-003f);
  c = fmaf(c, z, 4.166664568298827E-002f);
  c = c * z;
  c = fmaf(c, z, -(z * 0.5f)) + 1.0f;

  s = fmaf(-1.9515295891E-4f, z, 8.3321608736E-3f);
  s = fmaf(s, z, -1.6666654611E-1f);
  s = s * z;
  s = fmaf(s, x, x);

  *sine = octant & 2 ? c : s;
  *cosine = octant & 2 ? s : c;
  if (octant & 4)
    *sine = -*sine;
  if (!((octant - 2) & 4))
    *cosine = -*cosine;
}

/* two normals of two uniforms in [0, 1); the sum with 0 makes -0 a 0 */
static void box_muller(float u1, float u2, float *a, float *b)
{
  const float radius = sqrtf(-2.0f * log_poly(1.0f - u1));
  float s, c;

  sincos_poly(6.28318530717958648f * u2, &s, &c);
  *a = radius * c + 0.0f;
  *b = radius * s + 0.0f;
}

static void box_muller_libm(float u1, float u2, float *a, float *b)
{
  const float radius = sqrtf(-2.0f * logf(1.0f - u1));
  const float theta = (float)(2.0 * 3.14159265358979323846 * u2);

  *a = radius * cosf(theta) + 0.0f;
  *b = radius * sinf(theta) + 0.0f;
}

/* ------ torch */

static uint32_t mt_next(ti_torch_rng *rng)
{
  uint32_t *s = rng->state;
  uint32_t y;

  if (rng->index >= MT_N) {
    for (int i = 0; i < MT_N; i++) {
      y = (s[i] & 0x80000000u) | (s[(i + 1) % MT_N] & 0x7fffffffu);
      s[i] = s[(i + MT_M) % MT_N] ^ (y >> 1) ^ (y & 1 ? 0x9908b0dfu : 0);
    }
    rng->index = 0;
  }
  y = s[rng->index++];
  y ^= y >> 11;
  y ^= (y << 7) & 0x9d2c5680u;
  y ^= (y << 15) & 0xefc60000u;
  return y ^ (y >> 18);
}

static float mt_float(ti_torch_rng *rng)
{
  return (float)(mt_next(rng) & 0xffffffu) * 0x1p-24f;
}

static double mt_double(ti_torch_rng *rng)
{
  const uint64_t high = mt_next(rng);

  return (double)(((high << 32) | mt_next(rng)) & ((1ull << 53) - 1)) * 0x1p-53;
}

static void normal_block(const ti_torch_rng *rng, float *x)
{
  for (int j = 0; j < BLOCK / 2; j++) {
    if (rng->scalar)
      box_muller_libm(x[j], x[j + 8], &x[j], &x[j + 8]);
    else
      box_muller(x[j], x[j + 8], &x[j], &x[j + 8]);
  }
}

void ti_torch_rng_seed(ti_torch_rng *rng, uint64_t seed, int scalar)
{
  memset(rng, 0, sizeof(*rng));
  rng->state[0] = (uint32_t)seed;
  for (uint32_t i = 1; i < MT_N; i++)
    rng->state[i] = 1812433253u * (rng->state[i - 1] ^ (rng->state[i - 1] >> 30)) + i;
  rng->index = MT_N;
  rng->scalar = scalar;
}

static float normal_single(ti_torch_rng *rng)
{
  double u1, u2, radius, theta;

  if (rng->has_next) {
    rng->has_next = 0;
    return (float)rng->next;
  }
  u1 = mt_double(rng);
  u2 = mt_double(rng);
  radius = sqrt(-2.0 * log1p(-u2));
  theta = 2.0 * 3.14159265358979323846 * u1;
  rng->next = radius * sin(theta);
  rng->has_next = 1;
  return (float)(radius * cos(theta));
}

void ti_torch_randn(ti_torch_rng *rng, float *out, size_t count)
{
  if (count < BLOCK) {
    for (size_t i = 0; i < count; i++)
      out[i] = normal_single(rng);
    return;
  }
  for (size_t i = 0; i < count; i++)
    out[i] = mt_float(rng);
  for (size_t i = 0; i + BLOCK <= count; i += BLOCK)
    normal_block(rng, out + i);
  if (count % BLOCK != 0) {
    out += count - BLOCK;
    for (int i = 0; i < BLOCK; i++)
      out[i] = mt_float(rng);
    normal_block(rng, out);
  }
}

/* ------ ours */

static void philox(const ti_draw_key *key, uint32_t block, uint32_t x[4])
{
  uint32_t k0 = (uint32_t)key->seed, k1 = (uint32_t)(key->seed >> 32);

  x[0] = block;
  x[1] = key->step;
  x[2] = (uint32_t)key->purpose;
  x[3] = key->sample;
  for (int round = 0; round < 10; round++) {
    const uint64_t a = (uint64_t)x[0] * 0xd2511f53u, b = (uint64_t)x[2] * 0xcd9e8d57u;

    x[0] = (uint32_t)(b >> 32) ^ x[1] ^ k0;
    x[1] = (uint32_t)b;
    x[2] = (uint32_t)(a >> 32) ^ x[3] ^ k1;
    x[3] = (uint32_t)a;
    k0 += 0x9e3779b9u;
    k1 += 0xbb67ae85u;
  }
}

uint32_t ti_draw_u32(const ti_draw_key *key, uint32_t element)
{
  uint32_t x[4];

  philox(key, element / 4, x);
  return x[element % 4];
}

float ti_draw_uniform(const ti_draw_key *key, uint32_t element)
{
  return (float)(ti_draw_u32(key, element) >> 8) * 0x1p-24f;
}

uint32_t ti_draw_below(const ti_draw_key *key, uint32_t element, uint32_t n)
{
  return (uint32_t)(((uint64_t)ti_draw_u32(key, element) * n) >> 32);
}

void ti_draw_normal(const ti_draw_key *key, float *out, size_t count)
{
  for (size_t i = 0; i < count; i += 4) {
    uint32_t x[4];
    float z[4];

    philox(key, (uint32_t)(i / 4), x);
    for (int j = 0; j < 4; j += 2)
      box_muller((float)(x[j] >> 8) * 0x1p-24f, (float)(x[j + 1] >> 8) * 0x1p-24f, &z[j],
                 &z[j + 1]);
    memcpy(out + i, z, (count - i < 4 ? count - i : 4) * sizeof(*out));
  }
}
