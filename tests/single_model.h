/* A model of random weights in both forms: a diffusers folder, and a single file with the names of
 * LDM or SGM. */
#ifndef TI_SINGLE_MODEL_H
#define TI_SINGLE_MODEL_H

/* the last is SD 2 for inpainting */
typedef enum { SINGLE_SD1, SINGLE_SD2, SINGLE_SDXL, SINGLE_INPAINT } single_kind;

/* made at the first call; weights are f16, bf16, f32 and bf16 */
const char *single_model_folder(single_kind kind);
const char *single_model_file(single_kind kind);

/* a copy of the file below the temporary folder without the tensors whose name begins with
 * leave_out (NULL = all), where rename (NULL = none) is replaced by to in every name, and with an
 * f32 tensor extra of one value (NULL = none) and the metadata key = value (NULL = none) */
typedef struct single_change {
  const char *leave_out, *rename, *to, *extra, *key, *value;
} single_change;

const char *single_model_changed(single_kind kind, const char *name, const single_change *change);

#endif /* TI_SINGLE_MODEL_H */
