/* libFuzzer's entry for the target that -DTARGET names. */
#include "targets.h"

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
  JOIN(fuzz_, TARGET)(bytes, size);
  return 0;
}
