/*
 * Whole files: read with limits, written under a temporary name in the same folder, fsynced (file
 * and folder) and renamed, so that a file under its final name is always complete.
 */
#ifndef TI_ATOMIC_FILE_H
#define TI_ATOMIC_FILE_H

#include <stddef.h>

#include "error.h"

/* TEXTINV_E_LIMIT when a file, or what stands for one, has more than limit bytes */
textinv_status ti_file_check_size(ti_error *error, const char *path, size_t size, size_t limit);

/* a regular file of at most limit bytes; *bytes has a further 0 at the end; ti_free() it */
textinv_status ti_file_read(void **bytes, size_t *size, ti_error *error, const char *path,
                            size_t limit);

/* a regular file, mapped read-only; size 0 gives NULL bytes and is no error */
textinv_status ti_file_map(const void **bytes, size_t *size, ti_error *error, const char *path);
void ti_file_unmap(const void *bytes, size_t size);

typedef struct ti_atomic_file ti_atomic_file;

/* memory that is written like a file: what does not fit is counted and dropped */
typedef struct ti_memory_file {
  void *bytes; /* [capacity] */
  size_t capacity, size;
} ti_memory_file;

textinv_status ti_atomic_open(ti_atomic_file **out, ti_error *error, const char *path);
/* the same, or memory in place of path, from its beginning, when it is not NULL */
textinv_status ti_atomic_open_to(ti_atomic_file **out, ti_error *error, const char *path,
                                 ti_memory_file *memory);
/* errors are kept and reported by commit */
void ti_atomic_write(ti_atomic_file *file, const void *bytes, size_t size);
/* fsync, rename, fsync the folder; on failure the temporary file is gone and the old file
 * untouched, unless the new one is in place and only closing it or writing the folder failed; frees
 * file */
textinv_status ti_atomic_commit(ti_atomic_file *file, ti_error *error);
void ti_atomic_abandon(ti_atomic_file *file); /* NULL is allowed */

/* 0 when the folder that would hold path exists and can be written to: asked before long work
 * begins */
textinv_status ti_check_writable(ti_error *error, const char *path);

#endif /* TI_ATOMIC_FILE_H */
