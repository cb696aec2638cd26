/* Parts of pickles. */
#ifndef TI_TORCH_TESTING_H
#define TI_TORCH_TESTING_H

/* the persistent id of storage "0" */
#define STORAGE(numel)                                                                             \
  "(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0"                                               \
  "0X\3\0\0\0cpu" numel "tQ"

#endif /* TI_TORCH_TESTING_H */
