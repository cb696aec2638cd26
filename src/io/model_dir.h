/*
 * A pipeline in the diffusers folder layout, as every generation of diffusers and transformers has
 * written it: sharded or not, with or without a variant (".fp16"), safetensors (preferred) or torch
 * .bin. A single file is given out as if it were one.
 */
#ifndef TI_MODEL_DIR_H
#define TI_MODEL_DIR_H

#include "json.h"
#include "single_file.h"

typedef struct ti_tensor_set ti_tensor_set;

/* class name ("UNet2DConditionModel") that model_index.json gives a component; NULL = absent or
 * null */
typedef struct ti_model_dir {
  char *path;
  ti_json index;        /* model_index.json */
  ti_single_file *file; /* NULL = a folder */
} ti_model_dir;

/* a component "" is the folder itself, of a network that is no part of a pipeline */
textinv_status ti_model_dir_open(ti_model_dir *out, ti_error *error, const char *path);
void ti_model_dir_close(ti_model_dir *dir); /* safe on a zeroed struct */
textinv_status ti_model_dir_class(const ti_model_dir *dir, ti_error *error, const char *component,
                                  const char **class_name);
/* DIR/component/config.json, or scheduler_config.json for "scheduler" */
textinv_status ti_model_dir_config(const ti_model_dir *dir, ti_error *error, const char *component,
                                   ti_json *out);
/* all weights of a component, mapped; those of a single file are valid while dir is open */
textinv_status ti_model_dir_weights(const ti_model_dir *dir, ti_error *error, const char *component,
                                    ti_tensor_set **out);

size_t ti_tensor_set_count(const ti_tensor_set *set);
const ti_tensor *ti_tensor_set_tensor(const ti_tensor_set *set,
                                      size_t i); /* in the order of names */
const ti_tensor *ti_tensor_set_find(const ti_tensor_set *set, const char *name);
/* file that holds a tensor, for messages */
const char *ti_tensor_set_path(const ti_tensor_set *set, const ti_tensor *tensor);
void ti_tensor_set_free(ti_tensor_set *set);

#endif /* TI_MODEL_DIR_H */
