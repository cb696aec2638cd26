/*
 * Classifier-free guidance of outputs x without the prompt and p with it,
 *
 *   g = x + scale (p - x)
 *
 * and what Lin et al. 2023 do against its contrast, with the standard deviations of one sample:
 *
 *   y = rescale g std(p) / std(g) + (1 - rescale) g
 */
#include "guidance.h"

#include <math.h>

static double squared_deviations(const float *x, size_t count)
{
  double mean = 0.0, sum = 0.0;

  for (size_t i = 0; i < count; i++)
    mean += (double)x[i];
  mean /= (double)count;
  for (size_t i = 0; i < count; i++)
    sum += ((double)x[i] - mean) * ((double)x[i] - mean);
  return sum;
}

/* the divisor of both deviations, count - 1, cancels; values that are all the same stay */
static void scale_back(float *guided, const float *prompted, size_t count, float rescale)
{
  const double from = squared_deviations(guided, count);
  const float factor = from > 0.0 ? (float)sqrt(squared_deviations(prompted, count) / from) : 1.0f;

  for (size_t i = 0; i < count; i++)
    guided[i] = rescale * (guided[i] * factor) + (1.0f - rescale) * guided[i];
}

void ti_guide(float *outputs, size_t n, size_t count, float scale, float rescale)
{
  const size_t total = n * count;

  for (size_t i = 0; i < total; i++)
    outputs[i] += scale * (outputs[total + i] - outputs[i]);
  for (size_t i = 0; rescale > 0.0f && i < total; i += count)
    scale_back(outputs + i, outputs + total + i, count, rescale);
}
