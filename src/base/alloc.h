/* Heap and checked sizes. All arithmetic on sizes that come from outside goes through here. */
#ifndef TI_ALLOC_H
#define TI_ALLOC_H

#include <stddef.h>
#include <stdint.h>

/* *out = a op b; 0 when it fits, -1 (and *out = SIZE_MAX) when it does not */
int ti_mul_size(size_t *out, size_t a, size_t b);
int ti_add_size(size_t *out, size_t a, size_t b);

/* zeroed, aligned to 64 bytes; NULL when it fails or count * size overflows; count 0 gives 1 byte
 */
void *ti_calloc(size_t count, size_t size);

/* p may be NULL; new bytes are not set; NULL (p stays valid) when it fails or overflows */
void *ti_realloc_array(void *p, size_t count, size_t size);

void ti_free(void *p);

/* copy of len bytes, or of a string, with a final 0 */
char *ti_strndup(const char *s, size_t len);
char *ti_strdup(const char *s);

#endif /* TI_ALLOC_H */
