/* Noise, and sums and AdamW of a training step, have the bits of the host's. */
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
  struct {
    ti_cuda_step step;
    ti_cuda_sample samples[2 * 3];
  } all = {};
  ti_cuda_step &step = all.step;
  const ti_cuda_sample *samples = all.samples + n; /* of pass 1 */
  void *d_latents, *d_noisy, *d_target, *d_step;
  ti_error error;
  ti_exec e = {};
  textinv_status status = TEXTINV_OK;

  for (size_t i = 0; i < latents.size(); i++)
    latents[i] = (float)((int)(i * 7919 % 1000) - 500) * 0.003f;
  step.seed = 0x123456789abcdefull;
  step.step = 77;
  step.prediction = prediction;
  step.pass = 1;
  for (int i = 0; i < 2 * n; i++)
    all.samples[i] = {
      (uint32_t)(i + 5), (uint32_t)(i % pictures), 0, 0.0f, 0.8f - 0.1f * i, 0.6f
    };

  if (plugin()->allocate(context(), &error, &d_latents, latents.size() * 4) < 0 ||
      plugin()->allocate(context(), &error, &d_noisy, noisy.size()) < 0 ||
      plugin()->allocate(context(), &error, &d_target, count * 4) < 0 ||
      plugin()->allocate(context(), &error, &d_step, sizeof(all)) < 0)
    return "no memory";
  e.device = context();
  e.stream = plugin()->stream(context());
  e.error = &error;
  plugin()->upload(context(), &error, d_latents, latents.data(), latents.size() * 4);
  plugin()->upload(context(), &error, d_step, &all, sizeof(all));
  plugin()->enter(context(), &error);
  status = plugin()->noise(&e, dtype, d_noisy, (float *)d_target, (const float *)d_latents,
                           (const ti_cuda_step *)d_step,
                           (const ti_cuda_sample *)((const ti_cuda_step *)d_step + 1), &s);
  plugin()->leave(context());
  plugin()->download(context(), &error, noisy.data(), d_noisy, noisy.size());
  plugin()->download(context(), &error, target.data(), d_target, count * 4);
  for (void *p : { d_latents, d_noisy, d_target, d_step })
    plugin()->free(context(), p);
  if (status < 0)
    return "the kernel failed";

  for (int i = 0; i < n; i++) {
    ti_draw_key key = { step.seed, TI_DRAW_LATENT, step.step, samples[i].sample };
    const float *mean = latents.data() + samples[i].picture * 2 * chw;

    ti_draw_normal(&key, latent.data(), chw);
    key.purpose = TI_DRAW_NOISE;
    ti_draw_normal(&key, noise.data(), chw);
    for (size_t at = 0; at < chw; at++) {
      const size_t to = i * chw + at % hw * c + at / hw;
      const float signal = samples[i].signal, sigma = samples[i].sigma;
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

/* one memory for all that update_kernel works on */
struct update_memory {
  ti_cuda_step step;
  ti_cuda_result result;
  float loss_sum, loss;
  float states[2][3][777], gradient[777], drows[2][500];
  int32_t learnt[2][500];
};

/* what the host makes of two passes of one step; false when it skips the step */
static bool host_update(update_memory *h, float share)
{
  const ti_cuda_step &s = h->step;
  const int from = (int)s.from;
  const float(*a)[777] = h->states[from];
  float(*b)[777] = h->states[1 - from];
  bool good = true;

  for (int k = 0; k < 2; k++) {
    for (int i = 0; i < 500; i++) {
      const int at = h->learnt[k][i];

      if (at < 0)
        continue;
      const float d = h->drows[k][i] / 4096.0f, g = d * share + d * share;

      h->gradient[at] = g;
      b[1][at] = a[1][at] + (g - a[1][at]) * (1.0f - s.beta1);
      b[2][at] = a[2][at] * s.beta2 + (1.0f - s.beta2) * g * g;
      b[0][at] = a[0][at] * s.decay - s.size * (b[1][at] / (sqrtf(b[2][at]) / s.root + s.epsilon));
      good = good && isfinite(b[0][at]);
    }
  }
  good = good && isfinite(h->loss);
  if (!good)
    memcpy(h->states[1 - from], h->states[from], sizeof(h->states[0]));
  return good;
}

static const char *check_update_case(int shared)
{
  static update_memory host, back;
  const float beta1 = 0.9f, beta2 = 0.999f, rate = 5e-3f;
  ti_cuda_training t = {};
  update_memory *d;
  ti_error error;
  ti_exec e = {};

  e.device = context();
  e.stream = plugin()->stream(context());
  e.error = &error;
  if (plugin()->allocate(context(), &error, (void **)&d, sizeof(host)) < 0)
    return "no memory";
  t.encoders = 2;
  t.count = 777;
  t.step = &d->step;
  t.result = &d->result;
  t.loss_sum = &d->loss_sum;
  t.loss = &d->loss;
  t.states = &d->states[0][0][0];
  t.gradient = d->gradient;
  t.unscale = 1.0f / 4096.0f;
  t.shared = shared;
  for (int k = 0; k < 2; k++) {
    t.num_table[k] = 500;
    t.learnt[k] = d->learnt[k];
    t.drows[k] = d->drows[k];
  }
  /* values 277 on of the first table are learnt as 0 on, those of the second as 277 - 223 on */
  for (int i = 0; i < 500; i++) {
    host.learnt[0][i] = i < 277 ? -1 : i - 277;
    host.learnt[1][i] = 223 + i;
  }
  host.learnt[1][7] = -1;
  for (int i = 0; i < 777; i++)
    host.states[0][0][i] = host.states[1][0][i] = (float)((i * 37 % 101) - 50) * 0.01f;
  for (int turn = 0; turn < 4; turn++) {
    const bool poison = turn == 2;

    host.step = ti_cuda_step{};
    host.step.passes = 2;
    host.step.from = (uint32_t)turn % 2;
    host.step.share = 0.5f;
    host.step.beta1 = beta1;
    host.step.beta2 = beta2;
    host.step.epsilon = 1e-8f;
    host.step.size = (float)(rate / (1.0 - pow(beta1, turn + 1)));
    host.step.root = (float)sqrt(1.0 - pow(beta2, turn + 1));
    host.step.decay = 0.999f;
    host.loss = poison ? INFINITY : 0.3f + (float)turn;
    for (int k = 0; k < 2; k++) {
      for (int i = 0; i < 500; i++)
        host.drows[k][i] = (float)((i * 53 % 97) - 48 + turn) * 0.4096f * (float)(k + 1);
    }
    plugin()->upload(context(), &error, d, &host, sizeof(host));
    for (int pass = 0; pass < 2 + shared; pass++) {
      plugin()->enter(context(), &error);
      const textinv_status status = pass < 2 ? plugin()->step_update(&e, &t)
                                             : plugin()->step_apply(&e, &t);

      plugin()->leave(context());
      if (status < 0)
        return "the kernel failed";
    }
    const bool good = host_update(&host, 0.5f);

    plugin()->download(context(), &error, &back, d, sizeof(back));
    if (good == poison || back.result.applied != good)
      return "a step that is not finite is applied, or a finite one skipped";
    if (memcmp(back.states, host.states, sizeof(host.states)))
      return "rows or moments have other bits than the host's";
    if (good && (back.result.loss != host.loss || back.step.pass != 0))
      return "the loss is not the mean of the passes, or passes are not counted";
    double squares = 0.0;

    for (float g : host.gradient)
      squares += (double)g * g;
    if (good && fabs(back.result.gradient_norm / sqrt(squares) - 1.0) > 1e-6)
      return "the norm of the gradient is wrong";
  }
  plugin()->free(context(), d);
  return NULL;
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
  if (check_wanted("update")) {
    check_result("update", check_update_case(0));
    check_result("update of a shared gradient", check_update_case(1));
  }
}
