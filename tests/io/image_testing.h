/* the golden pictures (tests/golden/images.py), open while tests of pictures run */
#ifndef TI_IMAGE_TESTING_H
#define TI_IMAGE_TESTING_H

#include "io_testing.h"
#include "safetensors.h"

static ti_safetensors *golden;

static inline int open_golden(void **state)
{
  ti_error error;

  (void)state;
  return ti_safetensors_open(&golden, &error, "tests/golden/images.safetensors") < 0;
}

static inline int close_golden(void **state)
{
  (void)state;
  ti_safetensors_close(golden);
  return 0;
}

#endif
