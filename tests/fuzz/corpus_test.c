/*
 * The fuzz targets on the committed corpus, and on small changes of it that are the same in every
 * run and whatever the order of the folder's entries: no crash, and no result without its message.
 * `make fuzz` goes further.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "hash.h"
#include "targets.h"
#include "testing.h"

enum { MAX_SIZE = 1 << 16, CHANGES = 200 };

typedef void (*target)(const uint8_t *bytes, size_t size);

/* a few bytes changed, moved, or cut off; returns the new size */
static size_t change(uint8_t *bytes, size_t size)
{
  static const uint8_t odd[] = { 0, 1, 0x7f, 0x80, 0xff, '"', '{', '9', '-', '.' };

  for (int n = 1 + test_below(4); n > 0 && size > 0; n--) {
    const size_t i = test_u32() % size, k = test_u32() % size;

    switch (test_below(6)) {
    case 0: bytes[i] ^= (uint8_t)(1 << test_below(8)); break;
    case 1: bytes[i] = odd[test_below(sizeof(odd))]; break;
    case 2: bytes[i] = bytes[k]; break;
    case 3: memset(bytes + i, bytes[k], size - i < 4 ? size - i : 4); break;
    case 4: memmove(bytes + i, bytes + k, size - (i > k ? i : k)); break;
    default: size = i; break;
    }
  }
  return size;
}

static void run(const char *name, target function)
{
  char folder[64], path[512];
  struct dirent *entry;
  int files = 0;
  DIR *dir;

  sprintf(folder, "tests/fuzz/corpus/%s", name);
  dir = opendir(folder);
  assert_non_null(dir);
  while ((entry = readdir(dir))) {
    static uint8_t bytes[MAX_SIZE];
    uint8_t *exact;
    size_t size;
    FILE *f;

    if (*entry->d_name == '.')
      continue;
    test_seed(ti_hash(TI_HASH_START, entry->d_name, strlen(entry->d_name)));
    snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
    f = fopen(path, "rb");
    assert_non_null(f);
    size = fread(bytes, 1, sizeof(bytes), f);
    fclose(f);
    function(bytes, size);
    for (int i = 0; i < CHANGES; i++) {
      exact = malloc(size + 1);
      assert_non_null(exact);
      memcpy(exact, bytes, size);

      const size_t changed = change(exact, size);
      uint8_t *cut = malloc(changed ? changed : 1); /* no byte behind it */

      assert_non_null(cut);
      memcpy(cut, exact, changed);
      free(exact);
      function(cut, changed);
      free(cut);
    }
    files++;
  }
  closedir(dir);
  assert_true(files > 0);
}

static void safetensors_corpus(void **state)
{
  (void)state;
  run("safetensors", fuzz_safetensors);
}

static void json_corpus(void **state)
{
  (void)state;
  run("json", fuzz_json);
}

static void image_corpus(void **state)
{
  (void)state;
  run("image", fuzz_image);
}

static void torch_corpus(void **state)
{
  (void)state;
  run("torch", fuzz_torch);
}

static void pickle_corpus(void **state)
{
  (void)state;
  run("pickle", fuzz_pickle);
}

static void embedding_corpus(void **state)
{
  (void)state;
  run("embedding", fuzz_embedding);
}

static void checkpoint_corpus(void **state)
{
  (void)state;
  run("checkpoint", fuzz_checkpoint);
}

static void schedule_corpus(void **state)
{
  (void)state;
  run("schedule", fuzz_schedule);
}

static void clip_image_corpus(void **state)
{
  (void)state;
  run("clip_image", fuzz_clip_image);
}

static void single_corpus(void **state)
{
  (void)state;
  run("single", fuzz_single);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(safetensors_corpus), cmocka_unit_test(json_corpus),
    cmocka_unit_test(image_corpus),       cmocka_unit_test(torch_corpus),
    cmocka_unit_test(pickle_corpus),      cmocka_unit_test(embedding_corpus),
    cmocka_unit_test(checkpoint_corpus),  cmocka_unit_test(schedule_corpus),
    cmocka_unit_test(clip_image_corpus),  cmocka_unit_test(single_corpus),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
