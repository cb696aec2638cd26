/* Names of ARM's processors, from what Linux says of them. */
#include "testing.h"

#include <stdio.h>
#include <string.h>

#include "arm_name.h"

#define CORE(maker, part)                                                                          \
  "processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd\nCPU implementer\t: " maker             \
  "\nCPU architecture: 8\nCPU variant\t: 0x3\nCPU part\t: " part "\nCPU revision\t: 1\n\n"

static const struct {
  const char *text, *name;
} cases[] = {
  { CORE("0x41", "0xd0c") CORE("0x41", "0xd0c"), "Neoverse-N1" },
  { CORE("0x41", "0xd05") CORE("0x41", "0xd0b") CORE("0x41", "0xd05"),
    "Cortex-A55 and Cortex-A76" },
  { CORE("0x46", "0x001"), "Fujitsu A64FX" },
  { CORE("0x41", "0xfff") CORE("0x7f", "0x1"),
    "ARM part 0xfff of maker 0x41 and ARM part 0x001 of maker 0x7f" },
  { CORE("0x41", "0xd05") "CPU implementer\t: 0x41\n", "Cortex-A55" },
  { "CPU implementer\nCPU part", "64-bit ARM" },
  { "model name\t: x86\n", "64-bit ARM" },
  { "", "64-bit ARM" },
};

static void cores_have_names(void **state)
{
  const char *path = test_path("cpuinfo");
  char name[256];

  (void)state;
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fputs(cases[i].text, f);
    assert_int_equal(fclose(f), 0);
    ti_arm_name(name, sizeof(name), path);
    assert_string_equal(name, cases[i].name);
  }
  ti_arm_name(name, sizeof(name), "/not/there");
  assert_string_equal(name, "64-bit ARM");
}

/* a name that does not fit, and a file that does not end */
static void what_is_too_long_is_cut(void **state)
{
  const char *path = test_path("cpuinfo");
  char name[16 + 1];
  FILE *f = fopen(path, "w");

  (void)state;
  assert_non_null(f);
  for (int i = 0; i < 2000; i++)
    fprintf(f, CORE("0x41", "0x%x"), 0xd03 + i);
  assert_int_equal(fclose(f), 0);
  name[16] = '!';
  ti_arm_name(name, 16, path);
  assert_string_equal(name, "Cortex-A53 and ");
  assert_int_equal(name[16], '!');
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(cores_have_names),
    cmocka_unit_test(what_is_too_long_is_cut),
  };

  return cmocka_run_group_tests_name("arm_name", tests, NULL, NULL);
}
