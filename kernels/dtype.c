/* Conversions between storage types. */
#include "dtype.h"

void ti_convert(ti_dtype y_dtype, void *y, ti_dtype x_dtype, const void *x, size_t count)
{
  const unsigned char *from = x;
  unsigned char *to = y;

  if (y_dtype == x_dtype) {
    memcpy(y, x, count * ti_dtype_size(x_dtype));
    return;
  }
  /* mapped values need not be aligned */
  for (size_t i = 0; i < count; i++) {
    float f;

    if (x_dtype == TI_F32) {
      memcpy(&f, from + 4 * i, 4);
    } else {
      uint16_t h;

      memcpy(&h, from + 2 * i, 2);
      f = x_dtype == TI_F16 ? ti_f16_to_f32(h) : ti_bf16_to_f32(h);
    }
    if (y_dtype == TI_F32) {
      memcpy(to + 4 * i, &f, 4);
    } else {
      const uint16_t h = y_dtype == TI_F16 ? ti_f32_to_f16(f) : ti_f32_to_bf16(f);

      memcpy(to + 2 * i, &h, 2);
    }
  }
}
