/* Noise and AdamW of a training step against the host's: the draws must have the same bits. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
extern "C" {
#include "random.h"
}

static const char *check_noise_case(ti_dtype dtype, int prediction, int n, int hw, int c)
{
  const size_t chw = (size_t)c * hw, count = n * chw;
  const int pictures = 3;
  const ti_cuda_noise_shape s = { n, hw, c };
  std::vector<float> latents(pictures * 2 * chw), target(count), latent(chw), noise(chw);
  std::vector<unsigned char> noisy(count * ti_dtype_size(dtype));
  ti_cuda_step step = {};
  void *d_latents, *d_noisy, *d_target, *d_step;
  ti_error error;
  ti_exec e = {};
  textinv_status status = TEXTINV_OK;

  for (size_t i = 0; i < latents.size(); i++)
    latents[i] = (float)((int)(i * 7919 % 1000) - 500) * 0.003f;
  step.seed = 0x123456789abcdefull;
  step.step = 77;
  step.prediction = prediction;
  for (int i = 0; i < n; i++)
    step.samples[i] = { (uint32_t)(i + 5), (uint32_t)(i % pictures), 0.8f - 0.1f * i, 0.6f };

  if (plugin()->allocate(context(), &error, &d_latents, latents.size() * 4) < 0 ||
      plugin()->allocate(context(), &error, &d_noisy, noisy.size()) < 0 ||
      plugin()->allocate(context(), &error, &d_target, count * 4) < 0 ||
      plugin()->allocate(context(), &error, &d_step, sizeof(step)) < 0)
    return "no memory";
  e.device = context();
  e.stream = plugin()->stream(context());
  e.error = &error;
  plugin()->upload(context(), &error, d_latents, latents.data(), latents.size() * 4);
  plugin()->upload(context(), &error, d_step, &step, sizeof(step));
  plugin()->enter(context(), &error);
  status = plugin()->noise(&e, dtype, d_noisy, (float *)d_target, (const float *)d_latents,
                           (const ti_cuda_step *)d_step, &s);
  plugin()->leave(context());
  plugin()->download(context(), &error, noisy.data(), d_noisy, noisy.size());
  plugin()->download(context(), &error, target.data(), d_target, count * 4);
  for (void *p : { d_latents, d_noisy, d_target, d_step })
    plugin()->free(context(), p);
  if (status < 0)
    return "the kernel failed";

  for (int i = 0; i < n; i++) {
    ti_draw_key key = { step.seed, TI_DRAW_LATENT, step.step, step.samples[i].sample };
    const float *mean = latents.data() + step.samples[i].picture * 2 * chw;

    ti_draw_normal(&key, latent.data(), chw);
    key.purpose = TI_DRAW_NOISE;
    ti_draw_normal(&key, noise.data(), chw);
    for (size_t at = 0; at < chw; at++) {
      const size_t to = i * chw + at % hw * c + at / hw;
      const float signal = step.samples[i].signal, sigma = step.samples[i].sigma;
      const float x = mean[at] + mean[chw + at] * latent[at];
      const float z = signal * x + sigma * noise[at];
      const float wanted = prediction == 0   ? noise[at]
                           : prediction == 1 ? signal * noise[at] - sigma * x
                                             : x;
      unsigned char stored[4];

      ti_store(dtype, stored, 0, z);
      if (memcmp(stored, noisy.data() + to * ti_dtype_size(dtype), ti_dtype_size(dtype)))
        return "noisy latents have other bits than the host's";
      if (memcmp(&wanted, &target[to], 4))
        return "the target has other bits than the host's";
    }
  }
  return NULL;
}

static const char *check_adamw_case()
{
  const size_t count = 777;
  const float beta1 = 0.9f, beta2 = 0.999f, epsilon = 1e-8f, rate = 5e-3f, decay = 1e-2f;
  std::vector<float> rows(count), m(count), v(count), g(count), got(count);
  void *d[4], *d_step;
  ti_cuda_step step = {};
  ti_error error;
  ti_exec e = {};
  const char *failure = NULL;

  for (size_t i = 0; i < count; i++) {
    rows[i] = (float)((int)(i * 37 % 101) - 50) * 0.01f;
    g[i] = (float)((int)(i * 53 % 97) - 48) * 1e-4f;
  }
  e.device = context();
  e.stream = plugin()->stream(context());
  e.error = &error;
  std::vector<float> *const host[4] = { &rows, &m, &v, &g };

  for (int i = 0; i < 4; i++) {
    if (plugin()->allocate(context(), &error, &d[i], count * 4) < 0)
      return "no memory";
    plugin()->upload(context(), &error, d[i], host[i]->data(), count * 4);
  }
  if (plugin()->allocate(context(), &error, &d_step, sizeof(step)) < 0)
    return "no memory";
  for (int t = 1; t <= 3; t++) {
    const float size = (float)(rate / (1.0 - pow(beta1, t)));
    const float root = (float)sqrt(1.0 - pow(beta2, t)), keep = (float)(1.0 - (double)rate * decay);

    step.beta1 = beta1;
    step.beta2 = beta2;
    step.epsilon = epsilon;
    step.size = size;
    step.root = root;
    step.decay = keep;
    plugin()->upload(context(), &error, d_step, &step, sizeof(step));
    plugin()->enter(context(), &error);
    if (plugin()->adamw(&e, (float *)d[0], (float *)d[1], (float *)d[2], (const float *)d[3],
                        (const ti_cuda_step *)d_step, count) < 0)
      failure = "the kernel failed";
    plugin()->leave(context());
    for (size_t i = 0; i < count; i++) {
      m[i] += (g[i] - m[i]) * (1.0f - beta1);
      v[i] = v[i] * beta2 + (1.0f - beta2) * g[i] * g[i];
      rows[i] = rows[i] * keep - size * (m[i] / (sqrtf(v[i]) / root + epsilon));
    }
  }
  for (int i = 0; i < 3; i++) {
    plugin()->download(context(), &error, got.data(), d[i], count * 4);
    if (memcmp(got.data(), host[i]->data(), count * 4))
      failure = "rows or moments have other bits than the host's";
  }
  for (void *p : d)
    plugin()->free(context(), p);
  plugin()->free(context(), d_step);
  return failure;
}

void check_step()
{
  if (check_wanted("noise")) {
    for (int prediction = 0; prediction < 3; prediction++) {
      check_result("noise f32", check_noise_case(TI_F32, prediction, 3, 35, 3));
      check_result("noise f16", check_noise_case(TI_F16, prediction, 1, 64, 4));
      check_result("noise bf16", check_noise_case(TI_BF16, prediction, 2, 16, 4));
    }
  }
  if (check_wanted("adamw"))
    check_result("adamw", check_adamw_case());
}
