/* The prompt templates of textual inversion (Gal et al. 2022, appendix D, and the authors' code).
 */
#ifndef TI_TEMPLATES_H
#define TI_TEMPLATES_H

#include <stddef.h>

#include "textinv/textinv.h"

/* "{}" stands for the word */
const char *const *ti_templates(textinv_property property, size_t *count);

#endif /* TI_TEMPLATES_H */
