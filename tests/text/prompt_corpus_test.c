/* what the fuzzer of prompts starts from, and what it has found, run once */
#include <dirent.h>

#include "../fuzz/prompt_fuzz.c"
#include "testing.h"

static void corpus(void **state)
{
  static const char folder_name[] = "tests/fuzz/corpus/prompt";
  DIR *dir = opendir(folder_name);
  struct dirent *entry;
  int count = 0;

  (void)state;
  assert_non_null(dir);
  assert_int_equal(LLVMFuzzerInitialize(NULL, NULL), 0);
  while ((entry = readdir(dir)) != NULL) {
    static uint8_t bytes[1 << 16];
    char path[512];
    size_t size;
    FILE *f;

    if (entry->d_name[0] == '.')
      continue;
    snprintf(path, sizeof(path), "%s/%s", folder_name, entry->d_name);
    f = fopen(path, "rb");
    assert_non_null(f);
    size = fread(bytes, 1, sizeof(bytes), f);
    fclose(f);
    LLVMFuzzerTestOneInput(bytes, size);
    count++;
  }
  closedir(dir);
  assert_true(count >= 9);
}

int main(void)
{
  const struct CMUnitTest tests[] = { cmocka_unit_test(corpus) };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
