/* Where this library lies, for what is installed beside it. */
#ifndef TI_LIBRARY_H
#define TI_LIBRARY_H

/* its folder, absolute, without a slash at the end; "" when it is not known */
const char *ti_library_folder(void);

#endif /* TI_LIBRARY_H */
