/* Where this library lies, for what is installed beside it. */
#ifndef TI_LIBRARY_H
#define TI_LIBRARY_H

#include "error.h"

/* its folder, absolute, without a slash at the end; "" when it is not known */
const char *ti_library_folder(void);

/*
 * The folder name of the data that come with it, known by a file that it has: beside the library
 * (PREFIX/lib -> PREFIX/share/textinv, and lib/ or build/cc of the source tree -> models/), then
 * where it was configured to be installed. what and remedy are for the message that it is not
 * there.
 */
textinv_status ti_library_data(char *out, size_t size, ti_error *error, const char *name,
                               const char *file, const char *what, const char *remedy);

#endif /* TI_LIBRARY_H */
