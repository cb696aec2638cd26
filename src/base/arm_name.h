/* What an ARM processor is called. */
#ifndef TI_ARM_NAME_H
#define TI_ARM_NAME_H

#include <stddef.h>

/* "Cortex-A55 and Cortex-A76", in words where the cores are not known; path is /proc/cpuinfo */
void ti_arm_name(char *out, size_t size, const char *path);

#endif /* TI_ARM_NAME_H */
