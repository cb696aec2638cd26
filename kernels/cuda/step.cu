/*
 * What a training pass needs besides the network. Before it: ids, times and rows of its samples,
 * noised latents and their target. After it: the sum of gradients, and AdamW behind the last pass,
 * or, where other processes have a part of the gradient, once theirs are added. All read
 * ti_cuda_step on the device, so that a captured pass can be run again with other numbers.
 *
 * The draws are those of src/diffusion/random.c: Philox4x32-10 (Salmon et al. 2011), Box-Muller on
 * Cephes' polynomials with every rounding spelled out, so that the device's bits are the host's.
 */
#include "common.cuh"

/* purposes of src/diffusion/random.h */
enum { DRAW_NOISE = 0, DRAW_LATENT = 1 };

enum { UPDATE_THREADS = 256 };

// ------------------------------------------------------------------ kernels

static __device__ __forceinline__ float bits_float(uint32_t u)
{
  float f;

  memcpy(&f, &u, sizeof(f));
  return f;
}

static __device__ __forceinline__ uint32_t float_bits(float f)
{
  uint32_t u;

  memcpy(&u, &f, sizeof(u));
  return u;
}

/* natural logarithm of a normal x > 0 */
static __device__ float log_poly(float x)
{
  const float p[9] = { 7.0376836292E-2f,  -1.1514610310E-1f, 1.1676998740E-1f,
                       -1.2420140846E-1f, 1.4249322787E-1f,  -1.6668057665E-1f,
                       2.0000714765E-1f,  -2.4999993993E-1f, 3.3333331174E-1f };
  const uint32_t u = float_bits(x);
  float e = (float)((int)(u >> 23) - 0x7f) + 1.0f;
  float m = bits_float((u & 0x807fffffu) | 0x3f000000u); /* [0.5, 1) */
  float y = p[0];

  if (m < 0.707106781186547524f) {
    e -= 1.0f;
    m = __fadd_rn(__fadd_rn(m, -1.0f), m);
  } else {
    m = __fadd_rn(m, -1.0f);
  }
  const float z = __fmul_rn(m, m);

#pragma unroll
  for (int i = 1; i < 9; i++)
    y = fmaf(y, m, p[i]);
  y = __fmul_rn(y, m);
  y = fmaf(y, z, __fmul_rn(e, -2.12194440e-4f));
  y = fmaf(-z, 0.5f, y);
  return fmaf(e, 0.693359375f, __fadd_rn(m, y));
}

/* sine and cosine of x in 0..2 pi */
static __device__ void sincos_poly(float x, float *sine, float *cosine)
{
  const int octant = ((int)__fmul_rn(x, 1.27323954473516f) + 1) & ~1;
  const float q = (float)octant;

  x = fmaf(q, -0.78515625f, x);
  x = fmaf(q, -2.4187564849853515625e-4f, x);
  x = fmaf(q, -3.77489497744594108e-8f, x);
  const float z = __fmul_rn(x, x);
  float c = fmaf(2.443315711809948E-005f, z, -1.388731625493765E-003f);
  float s = fmaf(-1.9515295891E-4f, z, 8.3321608736E-3f);

  c = fmaf(c, z, 4.166664568298827E-002f);
  c = __fmul_rn(c, z);
  c = __fadd_rn(fmaf(c, z, -__fmul_rn(z, 0.5f)), 1.0f);

  s = fmaf(s, z, -1.6666654611E-1f);
  s = __fmul_rn(s, z);
  s = fmaf(s, x, x);

  *sine = octant & 2 ? c : s;
  *cosine = octant & 2 ? s : c;
  if (octant & 4)
    *sine = -*sine;
  if (!((octant - 2) & 4))
    *cosine = -*cosine;
}

/* the four normals of a block of elements */
static __device__ void draw_normals(float z[4], uint64_t seed, uint32_t purpose, uint32_t step,
                                    uint32_t sample, uint32_t block)
{
  uint32_t x[4] = { block, step, purpose, sample };
  uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);

  for (int round = 0; round < 10; round++) {
    const uint32_t a = 0xd2511f53u * x[0], a_high = __umulhi(0xd2511f53u, x[0]);
    const uint32_t b = 0xcd9e8d57u * x[2], b_high = __umulhi(0xcd9e8d57u, x[2]);

    x[0] = b_high ^ x[1] ^ k0;
    x[1] = b;
    x[2] = a_high ^ x[3] ^ k1;
    x[3] = a;
    k0 += 0x9e3779b9u;
    k1 += 0xbb67ae85u;
  }
#pragma unroll
  for (int j = 0; j < 4; j += 2) {
    const float u1 = __fmul_rn((float)(x[j] >> 8), 5.9604644775390625e-8f); /* 2^-24 */
    const float u2 = __fmul_rn((float)(x[j + 1] >> 8), 5.9604644775390625e-8f);
    const float radius = sqrtf(__fmul_rn(-2.0f, log_poly(__fadd_rn(1.0f, -u1))));
    float s, c;

    sincos_poly(__fmul_rn(6.28318530717958648f, u2), &s, &c);
    z[j] = __fadd_rn(__fmul_rn(radius, c), 0.0f);
    z[j + 1] = __fadd_rn(__fmul_rn(radius, s), 0.0f);
  }
}

/* one thread four neighbours of [c, hw] */
template <typename T>
static __global__ void noise_kernel(T *__restrict__ noisy, float *__restrict__ target,
                                    const float *__restrict__ latents,
                                    const ti_cuda_step *__restrict__ step,
                                    const ti_cuda_sample *__restrict__ samples,
                                    ti_cuda_noise_shape s)
{
  const size_t chw = (size_t)s.c * s.hw, blocks = (chw + 3) / 4;

  samples += (size_t)step->pass * s.n;
  for (size_t i = grid_index(); i < s.n * blocks; i += grid_step()) {
    const size_t n = i / blocks, block = i % blocks;
    const float *mean = latents + (size_t)samples[n].picture * 2 * chw;
    const float signal = samples[n].signal, sigma = samples[n].sigma;
    float latent[4], noise[4];

    draw_normals(latent, step->seed, DRAW_LATENT, step->step, samples[n].sample,
                 (uint32_t)block);
    draw_normals(noise, step->seed, DRAW_NOISE, step->step, samples[n].sample,
                 (uint32_t)block);
    for (int j = 0; j < 4 && block * 4 + j < chw; j++) {
      const size_t at = block * 4 + j, to = n * chw + at % s.hw * s.c + at / s.hw;
      const float x = __fadd_rn(mean[at], __fmul_rn(mean[chw + at], latent[j]));

      from_float(&noisy[to], __fadd_rn(__fmul_rn(signal, x), __fmul_rn(sigma, noise[j])));
      target[to] = step->prediction == 0   ? noise[j]
                   : step->prediction == 1 ? __fadd_rn(__fmul_rn(signal, noise[j]),
                                                       -__fmul_rn(sigma, x))
                                           : x;
    }
  }
}

/* the plan's other inputs */
static __global__ void inputs_kernel(ti_cuda_training t)
{
  const ti_cuda_sample *samples = t.samples + (size_t)t.step->pass * t.n;
  const float *rows = t.states + (size_t)t.step->from * 3 * t.count;

  for (size_t i = grid_index(); i < (size_t)t.n * t.tokens; i += grid_step()) {
    const size_t prompt = samples[i / t.tokens].prompt;

    for (int k = 0; k < t.encoders; k++)
      t.ids[k][i] = t.prompts[(prompt * t.encoders + k) * t.tokens + i % t.tokens];
  }
  for (size_t i = grid_index(); i < (size_t)t.n; i += grid_step()) {
    t.timesteps[i] = samples[i].timestep;
    if (t.eos)
      t.eos[i] = t.ends[samples[i].prompt];
    for (int j = 0; t.size_ids && j < 6; j++)
      t.size_ids[i * 6 + j] = t.sizes[j];
  }
  for (int k = 0; k < t.encoders; k++) {
    for (size_t i = grid_index(); t.rows[k] && i < t.num_table[k]; i += grid_step()) {
      const int at = t.learnt[k][i];

      t.rows[k][i] = at < 0 ? t.table[k][i] : rows[at];
    }
  }
}

static __device__ __forceinline__ bool is_finite(float x)
{
  return (float_bits(x) & 0x7f800000u) != 0x7f800000u;
}

/* AdamW of value i; false when a result is not finite */
static __device__ bool adamw(const float *from, float *to, size_t count, size_t i, float g,
                             const ti_cuda_step *s)
{
  const float row = from[i], m = from[count + i], v = from[2 * count + i];
  const float m1 = __fadd_rn(m, __fmul_rn(__fadd_rn(g, -m), __fadd_rn(1.0f, -s->beta1)));
  const float v1 = __fadd_rn(__fmul_rn(v, s->beta2),
                             __fmul_rn(__fmul_rn(__fadd_rn(1.0f, -s->beta2), g), g));
  const float row1 =
      __fadd_rn(__fmul_rn(row, s->decay),
                -__fmul_rn(s->size, m1 / __fadd_rn(sqrtf(v1) / s->root, s->epsilon)));

  to[i] = row1;
  to[count + i] = m1;
  to[2 * count + i] = v1;
  return is_finite(row1) && is_finite(m1) && is_finite(v1);
}

/* sum of v over the block, in every thread; a fixed order */
static __device__ double sum_in_double(double v)
{
  __shared__ double part[UPDATE_THREADS];

  __syncthreads(); /* an earlier call may still be reading part */
  part[threadIdx.x] = v;
  for (int half = UPDATE_THREADS / 2; half > 0; half /= 2) {
    __syncthreads();
    if ((int)threadIdx.x < half)
      part[threadIdx.x] += part[threadIdx.x + half];
  }
  __syncthreads();
  return part[0];
}

/*
 * add: the gradient of a pass to the sum. apply: AdamW, behind the last pass. One block: rows are
 * few, and no value may be kept before all are known to be finite
 */
static __global__ void __launch_bounds__(UPDATE_THREADS)
  update_kernel(ti_cuda_training t, bool add, bool apply)
{
  __shared__ int good;
  const ti_cuda_step step = *t.step;
  const bool first = step.pass == 0, last = step.pass + 1 == step.passes;
  const bool end = apply && (last || !add);
  const float *from = t.states + (size_t)step.from * 3 * t.count;
  float *to = t.states + (size_t)(1 - step.from) * 3 * t.count;
  const float loss = add ? __fadd_rn(first ? 0.0f : *t.loss_sum, __fmul_rn(*t.loss, step.share))
                         : *t.loss_sum;
  double squares = 0.0, bad = 0.0;

  for (int k = 0; k < t.encoders; k++) {
    for (size_t i = threadIdx.x; i < t.num_table[k]; i += UPDATE_THREADS) {
      const int at = t.learnt[k][i];

      if (at < 0)
        continue;
      float g = add && first ? 0.0f : t.gradient[at];

      if (add) {
        const float d = t.drows[k] ? __fmul_rn(t.drows[k][i], t.unscale) : 0.0f;

        g = __fadd_rn(g, __fmul_rn(d, step.share));
        t.gradient[at] = g;
      }
      squares += (double)g * g;
      if (end && !adamw(from, to, t.count, at, g, &step))
        bad += 1.0;
    }
  }
  squares = sum_in_double(squares);
  bad = sum_in_double(bad);
  if (threadIdx.x == 0) {
    const float norm = (float)sqrt(squares);

    good = bad == 0.0 && is_finite(loss) && is_finite(norm);
    *t.loss_sum = loss;
    if (add)
      t.step->pass = last ? 0 : step.pass + 1;
    if (end)
      *t.result = ti_cuda_result{ loss, norm, good };
  }
  __syncthreads();
  for (size_t i = threadIdx.x; end && !good && i < 3 * t.count; i += UPDATE_THREADS)
    to[i] = from[i];
}

// ------------------------------------------------------------------ launchers

extern "C" textinv_status ti_cuda_noise(ti_exec *e, ti_dtype dtype, void *noisy, float *target,
                                        const float *latents, const ti_cuda_step *step,
                                        const ti_cuda_sample *samples,
                                        const ti_cuda_noise_shape *s)
{
  const size_t blocks = ti_ceil_div((size_t)s->c * s->hw, 4);

  TI_WITH_DTYPE(dtype, return launch(e, "noise", noise_kernel<T>, ti_flat_blocks(s->n * blocks),
                                     TI_FLAT_THREADS, 0, (T *)noisy, target, latents, step, samples,
                                     *s));
}

extern "C" textinv_status ti_cuda_step_inputs(ti_exec *e, const ti_cuda_training *t)
{
  const ti_cuda_noise_shape s = { t->n, t->hw, t->c };
  const size_t items = (size_t)t->n * t->tokens + t->num_table[0] + t->num_table[1];
  const textinv_status status = launch(e, "step_inputs", inputs_kernel, ti_flat_blocks(items),
                                       TI_FLAT_THREADS, 0, *t);

  return status < 0 ? status
                    : ti_cuda_noise(e, TI_F32, t->noisy, t->target, t->latents, t->step, t->samples,
                                    &s);
}

extern "C" textinv_status ti_cuda_step_update(ti_exec *e, const ti_cuda_training *t)
{
  return launch(e, "step_update", update_kernel, 1, UPDATE_THREADS, 0, *t, true, !t->shared);
}

extern "C" textinv_status ti_cuda_step_apply(ti_exec *e, const ti_cuda_training *t)
{
  return launch(e, "step_apply", update_kernel, 1, UPDATE_THREADS, 0, *t, false, true);
}
