/* The checkpoints of a run: their names, the newest one, and whether it belongs to this run. */
#ifndef TI_RESUME_H
#define TI_RESUME_H

#include "api.h"

/* FOLDER/checkpoint-00000100.safetensors */
void ti_checkpoint_path(char *out, size_t size, const char *folder, uint64_t step);

/*
 * The newest checkpoint of folder that can be read: *found = 1 and its path. Damaged ones are
 * passed over with a warning.
 */
textinv_status ti_checkpoint_latest(textinv_session *s, const char *folder, char *path, size_t size,
                                    int *found);

/* the last by name of those that were set aside: its path and 1; 0 when there is none */
int ti_checkpoint_aside(const char *folder, char *path, size_t size);

/*
 * Checkpoints of later steps than step, which another run left, become FILE.1, or the next number
 * that is free: "latest" would take them for this run's newest.
 */
void ti_checkpoint_set_aside(textinv_session *s, const char *folder, uint64_t step);

/* of the checkpoints behind step after, up to step, remove all but the newest keep; 0 keeps all */
void ti_checkpoint_prune(textinv_session *s, const char *folder, uint64_t after, uint64_t step,
                         uint32_t keep);

/*
 * settings are "key=value; key=value"; fails with the first that differs. What an earlier release
 * did not write, at the end, is not compared.
 */
textinv_status ti_settings_match(ti_error *error, const char *path, const char *saved,
                                 const char *ours);

#endif /* TI_RESUME_H */
