/*
 * ARM's processors have no name of their own that a program could ask for, but every core has two
 * numbers: who made it, and which of the maker's it is. Linux lists them core by core; a processor
 * may have several kinds of cores.
 */
#include "arm_name.h"

#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "cores.h"
#include "format.h"

enum { ROOM = 1 << 15, KINDS = 4 };

typedef struct core {
  unsigned maker, part;
} core;

static const struct {
  core core;
  const char *name;
} names[] = {
  { { 0x41, 0xd03 }, "Cortex-A53" },     { { 0x41, 0xd04 }, "Cortex-A35" },
  { { 0x41, 0xd05 }, "Cortex-A55" },     { { 0x41, 0xd06 }, "Cortex-A65" },
  { { 0x41, 0xd07 }, "Cortex-A57" },     { { 0x41, 0xd08 }, "Cortex-A72" },
  { { 0x41, 0xd09 }, "Cortex-A73" },     { { 0x41, 0xd0a }, "Cortex-A75" },
  { { 0x41, 0xd0b }, "Cortex-A76" },     { { 0x41, 0xd0c }, "Neoverse-N1" },
  { { 0x41, 0xd0d }, "Cortex-A77" },     { { 0x41, 0xd0e }, "Cortex-A76AE" },
  { { 0x41, 0xd40 }, "Neoverse-V1" },    { { 0x41, 0xd41 }, "Cortex-A78" },
  { { 0x41, 0xd42 }, "Cortex-A78AE" },   { { 0x41, 0xd44 }, "Cortex-X1" },
  { { 0x41, 0xd46 }, "Cortex-A510" },    { { 0x41, 0xd47 }, "Cortex-A710" },
  { { 0x41, 0xd48 }, "Cortex-X2" },      { { 0x41, 0xd49 }, "Neoverse-N2" },
  { { 0x41, 0xd4b }, "Cortex-A78C" },    { { 0x41, 0xd4c }, "Cortex-X1C" },
  { { 0x41, 0xd4d }, "Cortex-A715" },    { { 0x41, 0xd4e }, "Cortex-X3" },
  { { 0x41, 0xd4f }, "Neoverse-V2" },    { { 0x41, 0xd80 }, "Cortex-A520" },
  { { 0x41, 0xd81 }, "Cortex-A720" },    { { 0x41, 0xd82 }, "Cortex-X4" },
  { { 0x41, 0xd83 }, "Neoverse-V3AE" },  { { 0x41, 0xd84 }, "Neoverse-V3" },
  { { 0x41, 0xd85 }, "Cortex-X925" },    { { 0x41, 0xd87 }, "Cortex-A725" },
  { { 0x41, 0xd8e }, "Neoverse-N3" },    { { 0x43, 0x0af }, "Cavium ThunderX2" },
  { { 0x46, 0x001 }, "Fujitsu A64FX" },  { { 0x48, 0xd01 }, "HiSilicon TaiShan v110" },
  { { 0x4e, 0x004 }, "NVIDIA Carmel" },  { { 0x4e, 0x010 }, "NVIDIA Olympus" },
  { { 0x51, 0x001 }, "Qualcomm Oryon" }, { { 0xc0, 0xac3 }, "Ampere-1" },
  { { 0xc0, 0xac4 }, "Ampere-1a" },      { { 0xc0, 0xac5 }, "Ampere-1b" },
};

/* the number that stands behind the next key and a colon; what follows, or NULL when none does */
static const char *next_number(unsigned *out, const char *text, const char *key)
{
  if (!(text = strstr(text, key)) || !(text = strchr(text, ':')))
    return NULL;
  *out = (unsigned)strtoul(text + 1, NULL, 0);
  return text;
}

static void append(char *out, size_t size, core c)
{
  const size_t len = strlen(out);
  char name[64];

  ti_format(name, sizeof(name), "ARM part 0x%03x of maker 0x%02x", c.part, c.maker);
  for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
    if (names[i].core.maker == c.maker && names[i].core.part == c.part)
      ti_format(name, sizeof(name), "%s", names[i].name);
  }
  ti_format(out + len, size - len, "%s%s", len ? " and " : "", name);
}

void ti_arm_name(char *out, size_t size, const char *path)
{
  char *const text = ti_calloc(ROOM, 1);
  const char *at = text && !ti_read_text(text, ROOM, path) ? text : NULL;
  core met[KINDS], c;
  int count = 0;

  *out = '\0';
  while (at && count < KINDS && (at = next_number(&c.maker, at, "CPU implementer")) &&
         (at = next_number(&c.part, at, "CPU part"))) {
    int i = 0;

    while (i < count && (met[i].maker != c.maker || met[i].part != c.part))
      i++;
    if (i < count)
      continue;
    met[count++] = c;
    append(out, size, c);
  }
  ti_free(text);
  if (!count)
    ti_format(out, size, "64-bit ARM");
}
