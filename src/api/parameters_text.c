/* The text in a drawn picture that A1111 and its relatives read back. */
#include <string.h>

#include "alloc.h"
#include "api.h"
#include "format.h"
#include "unicode.h"

static const char *rng_name(textinv_rng rng)
{
  return rng == TEXTINV_RNG_NATIVE ? "native" : rng == TEXTINV_RNG_TORCH_CPU ? "CPU" : "CPU scalar";
}

/* the name of the model's folder or file, and its length: without the slashes or the ending that
 * may stand behind it */
static const char *model_name(const textinv_model *model, int *len)
{
  const char *path = model->dir.path, *end = path + strlen(path), *name, *dot;

  while (end > path + 1 && end[-1] == '/')
    end--;
  for (name = end; name > path && name[-1] != '/'; name--)
    ;
  name = name < end ? name : path;
  if (model->dir.file && (dot = strrchr(name, '.')) && dot > name)
    end = dot;
  *len = (int)(end - name);
  return name;
}

textinv_status ti_parameters_text(textinv_images *images, uint32_t i, ti_error *error,
                                  const textinv_model *model, const textinv_generate_params *p)
{
  const char *negative = p->negative_prompt ? p->negative_prompt : "";
  const textinv_sampler kind = p->sampler ? p->sampler : model->schedule.sampler;
  const size_t size = strlen(p->prompt) + strlen(negative) + strlen(model->dir.path) + 512;
  char *text = ti_calloc(size, 1), *end;
  int name_len;
  const char *name = model_name(model, &name_len);
  size_t length;
  textinv_status status;

  if (!text)
    return ti_fail_nomem(error, size, "the parameters text");
  end = text + ti_format(text, size, "%s\n", p->prompt);
  if (*negative)
    end += ti_format(end, size - (size_t)(end - text), "Negative prompt: %s\n", negative);
  end += ti_format(end, size - (size_t)(end - text),
                   "Steps: %u, Sampler: %s, CFG scale: %g, Seed: %llu, Size: %dx%d, "
                   "Model hash: %.10s, Model: %.*s, ",
                   p->steps, ti_sampler_a1111_name(kind), (double)p->guidance_scale,
                   (unsigned long long)images->seeds[i], images->width, images->height,
                   model->fingerprint, name_len, name);
  if (p->guidance_rescale > 0.0f)
    end += ti_format(end, size - (size_t)(end - text), "CFG Rescale: %g, ",
                     (double)p->guidance_rescale);
  if (p->init_image)
    end += ti_format(end, size - (size_t)(end - text), "Denoising strength: %g, ",
                     (double)p->strength);
  if (p->clip_skip)
    end += ti_format(end, size - (size_t)(end - text), "Clip skip: %u, ", p->clip_skip + 1);
  ti_format(end, size - (size_t)(end - text), "RNG: %s, Version: libtextinv %d.%d.%d",
            rng_name(p->rng), TEXTINV_VERSION_MAJOR, TEXTINV_VERSION_MINOR, TEXTINV_VERSION_PATCH);
  /* of a prompt that is not UTF-8 as the tokenizer read it, and a folder may have any name */
  status = ti_text_repair(&images->texts[i], &length, error, text, strlen(text));
  ti_free(text);
  return status;
}
