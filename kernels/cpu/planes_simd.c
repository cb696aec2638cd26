/* Weights packed once for both directions, and the turn that the backward one takes. */
#include "gemm_simd.h"

#ifdef TI_HAVE_SIMD

#include "format.h"

typedef struct packing {
  ti_matrix matrix;
  const ti_planes *planes;
  void *units;
  const ti_exec *e;
} packing;

/* the planes of a unit of couts from l and of cins from d on */
TI_SIMD_INLINE void pack_unit(ti_dtype dtype, const packing *k, int l, int d)
{
  const ti_matrix *w = &k->matrix;
  ti_planes p = *k->planes;
  _Alignas(64) float taps[TI_TAP_FLOATS];

  p.units = k->units;
  TI_FN(matrix_taps)(w, taps, d, l);
  for (int i = 0; i < p.count; i++) {
    void *to = (void *)ti_planes_unit(&p, i, l / TI_UNIT, d / TI_UNIT);

    for (int c = 0; c < TI_UNIT; c += TI_PER_LANE) {
      for (int v = 0; v < TI_UNIT; v += TI_LANES) {
        ti_vec sum[TI_PER_LANE];

        for (int j = 0; j < TI_PER_LANE; j++) {
          const float *from = taps + (size_t)(c + j) * w->taps * TI_UNIT + v;

          sum[j] = ti_set(0.0f);
          for (unsigned set = p.sets[i]; set; set &= set - 1)
            sum[j] += ti_get(from + __builtin_ctz(set) * TI_UNIT);
        }
        ti_store_mask(dtype, to, (size_t)c / TI_PER_LANE * TI_UNIT + v, ti_first(TI_LANES),
                      ti_operand(sum));
      }
    }
  }
}

static TI_SIMD void pack_row(const void *user, size_t l)
{
  const packing *k = user;

  for (int d = 0; d < k->matrix.cin; d += TI_UNIT)
    TI_DISPATCH(k->planes->dtype, pack_unit, k, (int)l * TI_UNIT, d);
}

static textinv_status fill(ti_error *error, void *out, const ti_weight *w, void *user)
{
  packing *k = user;

  (void)error;
  k->units = out;
  ti_for(k->e, w->count, k->planes->cout, pack_row, k);
  return TEXTINV_OK;
}

/* of 16 bits, and to stay so */
static int keeps_type(const ti_planes *p, ti_dtype dtype)
{
  for (int i = 0; i < p->count; i++) {
    if (p->sets[i] & (p->sets[i] - 1))
      return 0;
  }
  return TI_PER_LANE == 1 && dtype != TI_F32;
}

textinv_status TI_FN(planes_pack)(const ti_exec *e, ti_planes *p, ti_weight *w)
{
  const int cout = w->dims[0], cin = w->dims[1];
  packing k = { .matrix = { w->data, w->dtype, cout, cin, (int)(w->count / cout / cin), 0 },
                .planes = p,
                .e = e };
  const size_t units = (size_t)p->count * p->cout * p->cin;
  char key[96];
  size_t len = ti_format(key, sizeof(key), "planes %d %d", TI_UNIT, TI_PER_LANE);

  p->dtype = keeps_type(p, w->dtype) ? w->dtype : TI_F32;
  for (int i = 0; i < p->count && len < sizeof(key); i++)
    len += ti_format(key + len, sizeof(key) - len, " %x", p->sets[i]);
  return ti_weight_pack(e->error, &p->units, w, key, units * ti_unit_bytes(p), fill, &k);
}

#ifdef TI_PAIRS

/* rows of pairs of cins become rows of cins, of which two and two are paired */
static TI_SIMD void turn(float *out, const float *unit)
{
  static const uint16_t order[2][32] = {
    { 0, 32, 1, 33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
      8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47 },
    { 16, 48, 17, 49, 18, 50, 19, 51, 20, 52, 21, 53, 22, 54, 23, 55,
      24, 56, 25, 57, 26, 58, 27, 59, 28, 60, 29, 61, 30, 62, 31, 63 }
  };

  for (int h = 0; h < TI_UNIT; h += TI_LANES) {
    ti_vec r[TI_LANES];

    TI_UNROLL
    for (int i = 0; i < TI_LANES; i++)
      r[i] = ti_get(unit + i * TI_UNIT + h);
    ti_transpose(r);
    TI_UNROLL
    for (int i = 0; i < TI_LANES; i += 2) {
      for (int v = 0; v < 2; v++)
        ti_put(out + (h + i) / 2 * TI_UNIT + v * TI_LANES,
               _mm512_castsi512_ps(_mm512_permutex2var_epi16(_mm512_castps_si512(r[i]),
                                                             _mm512_loadu_si512(order[v]),
                                                             _mm512_castps_si512(r[i + 1]))));
    }
  }
}

void TI_FN(planes_get)(const ti_planes *p, float *out, const void *unit, int turned)
{
  (void)p;
  (void)turned; /* else it is read in place */
  turn(out, unit);
}

#else

TI_SIMD_INLINE void turn_worker(ti_dtype dtype, float *out, const void *unit)
{
  for (int c = 0; c < TI_UNIT; c += TI_LANES) {
    for (int h = 0; h < TI_UNIT; h += TI_LANES) {
      ti_vec r[TI_LANES];

      TI_UNROLL
      for (int i = 0; i < TI_LANES; i++)
        r[i] = ti_load_mask(dtype, unit, (size_t)(c + i) * TI_UNIT + h, ti_first(TI_LANES));
      ti_transpose(r);
      TI_UNROLL
      for (int i = 0; i < TI_LANES; i++)
        ti_put(out + (h + i) * TI_UNIT + c, r[i]);
    }
  }
}

TI_SIMD_INLINE void copy_worker(ti_dtype dtype, float *out, const void *unit)
{
  for (size_t i = 0; i < TI_WEIGHT_UNIT; i += TI_LANES)
    ti_put(out + i, ti_load_mask(dtype, unit, i, ti_first(TI_LANES)));
}

static TI_SIMD void get(ti_dtype dtype, float *out, const void *unit, int turned)
{
  if (turned)
    TI_DISPATCH(dtype, turn_worker, out, unit);
  else
    TI_DISPATCH(dtype, copy_worker, out, unit);
}

void TI_FN(planes_get)(const ti_planes *p, float *out, const void *unit, int turned)
{
  get(p->dtype, out, unit, turned);
}

#endif

#endif /* TI_HAVE_SIMD */
