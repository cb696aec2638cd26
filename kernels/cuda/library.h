/* Libraries that are opened at run time, so that the plug-in loads without them. */
#ifndef TI_CUDA_LIBRARY_H
#define TI_CUDA_LIBRARY_H

#include <dlfcn.h>

/* the text of a number that is a macro */
#define TI_TEXT_OF(x) #x
#define TI_NUMBER_TEXT(x) TI_TEXT_OF(x)

/* *f = the function of that name; false: the library has none */
template <typename F> static inline bool ti_find(void *library, const char *name, F *f)
{
  *f = (F)dlsym(library, name);
  return *f != NULL;
}

#endif /* TI_CUDA_LIBRARY_H */
