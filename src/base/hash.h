/* FNV-1a, 64 bits: fingerprints and checksums, not protection against an adversary. */
#ifndef TI_HASH_H
#define TI_HASH_H

#include <stddef.h>
#include <stdint.h>

#define TI_HASH_START 0xcbf29ce484222325u

static inline uint64_t ti_hash(uint64_t hash, const void *bytes, size_t size)
{
  const unsigned char *p = (const unsigned char *)bytes;

  for (size_t i = 0; i < size; i++)
    hash = (hash ^ p[i]) * 0x100000001b3u;
  return hash;
}

#endif /* TI_HASH_H */
