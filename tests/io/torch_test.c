/*
 * Torch files: hostile archives, and what their pickles hold. What real ones read as is tested by
 * embedding_test.c and model_dir_test.c, pickles opcode by opcode by torch_pickle_test.c.
 */
#include "io_testing.h"

#include <zlib.h>

#include "embedding_file.h"
#include "single_file.h"
#include "torch_file.h"
#include "torch_testing.h"

typedef struct member {
  const char *name;       /* in the central directory */
  const char *local_name; /* NULL = the same */
  const char *data;
  size_t size;
  int method, flags;
  uint32_t sum_error, size_error; /* added to the central ones */
  int no_sum;
} member;

static unsigned char archive[1 << 20];
static size_t archive_size;

static void put(const void *bytes, size_t size)
{
  assert_true(size <= sizeof(archive) - archive_size);
  memcpy(archive + archive_size, bytes, size);
  archive_size += size;
}

static void put_number(uint64_t v, int n)
{
  for (; n > 0; n--, v >>= 8)
    put(&(unsigned char){ (unsigned char)v }, 1);
}

enum { CIPHER_HEADER = 12 }; /* bytes before an encrypted entry, counted as compressed ones */

static void put_common(const member *m, const char *name, uint32_t sum_error, uint32_t size_error)
{
  put_number(20, 2);
  put_number((uint64_t)m->flags, 2);
  put_number((uint64_t)m->method, 2);
  put_number(0x00210000, 4);
  put_number(m->no_sum
               ? 0
               : (uint32_t)crc32(0, (const unsigned char *)m->data, (unsigned)m->size) + sum_error,
             4);
  put_number(m->size + size_error, 4);
  put_number(m->size + size_error - (m->flags & 1 ? CIPHER_HEADER : 0), 4);
  put_number(strlen(name), 2);
}

static void make_archive(const member *members, int count)
{
  size_t offsets[8], start;

  archive_size = 0;
  for (int i = 0; i < count; i++) {
    const char *name = members[i].local_name ? members[i].local_name : members[i].name;

    offsets[i] = archive_size;
    put("PK\3\4", 4);
    put_common(members + i, name, 0, 0);
    put_number(0, 2);
    put(name, strlen(name));
    put(members[i].data, members[i].size);
  }
  start = archive_size;
  for (int i = 0; i < count; i++) {
    put("PK\1\2", 4);
    put_number(20, 2);
    put_common(members + i, members[i].name, members[i].sum_error, members[i].size_error);
    put_number(0, 12);
    put_number(offsets[i], 4);
    put(members[i].name, strlen(members[i].name));
  }
  const size_t size = archive_size - start;

  put("PK\5\6", 4);
  put_number(0, 4);
  put_number((uint64_t)count, 2);
  put_number((uint64_t)count, 2);
  put_number(size, 4);
  put_number(start, 4);
  put_number(0, 2);
}

static ti_torch_file *file;

#define assert_archive_refused(status, ...)                                                        \
  assert_fails(ti_torch_parse(&file, &error, "x.pt", archive, archive_size), status, "x.pt",       \
               __VA_ARGS__)

static const char dict[] = "}X\1\0\0\0actorch._utils\n_rebuild_tensor_v2\n(" STORAGE(
  "K\2") "K\0K\2\x85K\1\x85\x89)tRs.";
static const float values[2] = { 1.5f, -2.0f };

static member good[3] = {
  { .name = "a/data.pkl", .data = dict, .size = sizeof(dict) - 1 },
  { .name = "a/data/0", .data = (const char *)values, .size = sizeof(values) },
  { .name = "a/version", .data = "3\n", .size = 2 },
};

static void a_good_archive(void **state)
{
  const ti_tensor *t;

  (void)state;
  make_archive(good, 3);
  assert_succeeds(ti_torch_parse(&file, &error, "x.pt", archive, archive_size));
  assert_succeeds(ti_torch_load_all(file, &error));
  assert_int_equal(ti_torch_count(file), 1);
  t = ti_torch_tensor(file, 0);
  assert_string_equal(t->name, "a");
  assert_string_equal(t->dtype_name, "F32");
  assert_int_equal(t->bytes, sizeof(values));
  assert_memory_equal(t->data, values, sizeof(values));
  assert_null(ti_torch_tensor(file, 1));
  ti_torch_close(file);
}

/* as of torch.serialization.set_crc32_options(False) */
static void an_archive_without_sums(void **state)
{
  member m[3];

  (void)state;
  memcpy(m, good, sizeof(good));
  for (int i = 0; i < 3; i++)
    m[i].no_sum = 1;
  make_archive(m, 3);
  assert_succeeds(ti_torch_parse(&file, &error, "x.pt", archive, archive_size));
  assert_succeeds(ti_torch_load_all(file, &error));
  assert_memory_equal(ti_torch_tensor(file, 0)->data, values, sizeof(values));
  ti_torch_close(file);
}

static void hostile_archives(void **state)
{
  member m[4];

  (void)state;
#define RESET memcpy(m, good, sizeof(good))
  RESET;
  m[2].method = 8;
  make_archive(m, 3);
  assert_archive_refused(TEXTINV_E_UNSUPPORTED, "a/version", "compressed");
  RESET;
  m[0].flags = 1;
  make_archive(m, 3);
  assert_archive_refused(TEXTINV_E_UNSUPPORTED, "a/data.pkl", "encrypted");
  RESET;
  m[1].local_name = "a/data/1";
  make_archive(m, 3);
  assert_archive_refused(TEXTINV_E_FORMAT, "zip archive");
  RESET;
  m[0].sum_error = 1;
  make_archive(m, 3);
  assert_archive_refused(TEXTINV_E_FORMAT, "x.pt");
  RESET;
  m[1].size_error = 1;
  make_archive(m, 3);
  assert_archive_refused(TEXTINV_E_FORMAT, "zip archive");
  RESET;
  m[1].size_error = 1u << 30;
  make_archive(m, 3);
  assert_archive_refused(TEXTINV_E_FORMAT, "zip archive");
  RESET;
  m[2] = m[0];
  m[2].name = "b/data.pkl";
  make_archive(m, 3);
  assert_archive_refused(TEXTINV_E_FORMAT, "two data.pkl");
  RESET;
  make_archive(m + 1, 2);
  assert_archive_refused(TEXTINV_E_FORMAT, "no data.pkl");
  RESET;
  m[3] = (member){ .name = "a/byteorder", .data = "big", .size = 3 };
  make_archive(m, 4);
  assert_archive_refused(TEXTINV_E_UNSUPPORTED, "byte order");
  make_archive((const member[]){ m[3], m[0], m[1] }, 3);
  assert_archive_refused(TEXTINV_E_UNSUPPORTED, "byte order");
  m[3].data = "LITTLE";
  m[3].size = 6;
  make_archive(m, 4);
  assert_archive_refused(TEXTINV_E_UNSUPPORTED, "byte order");
  m[3].data = "little, and what has no place in 64 bytes: the rest of a long text";
  m[3].size = 65;
  make_archive(m, 4);
  assert_archive_refused(TEXTINV_E_LIMIT, "a/byteorder", "65 bytes, at most 64");
  m[3] = (member){ .name = "a/byteorder", .data = "little", .size = 6 };
  make_archive(m, 4);
  assert_succeeds(ti_torch_parse(&file, &error, "x.pt", archive, archive_size));
  ti_torch_close(file);
  m[3] = (member){ .name = "a/constants.pkl", .data = "N.", .size = 2 };
  make_archive(m, 4);
  assert_archive_refused(TEXTINV_E_UNSUPPORTED, "TorchScript", "safetensors");
  m[3] = (member){ .name = "../../etc/passwd", .data = "x", .size = 1 };
  make_archive(m, 4);
  assert_succeeds(ti_torch_parse(&file, &error, "x.pt", archive, archive_size));
  ti_torch_close(file);

  make_archive(good, 3);
  put("x", 1);
  assert_archive_refused(TEXTINV_E_FORMAT, "end record");
  archive_size -= 2;
  assert_archive_refused(TEXTINV_E_FORMAT, "end record");
  make_archive(good, 3);
  memmove(archive + 4, archive, archive_size);
  archive_size += 4;
  memcpy(archive, "\xff\xd8\xff\xe0", 4);
  assert_archive_refused(TEXTINV_E_FORMAT, "no file of torch.save()");
  memcpy(archive, "PK\3\4", 4);
  assert_archive_refused(TEXTINV_E_FORMAT, "zip archive");
}

static void storages_have_to_fit(void **state)
{
  static char many[2 * 65537 + 4]; /* {None: None, ...} */
  ti_embedding_file embedding;
  ti_single_file *single;
  member m[3];

  (void)state;
  RESET;
  m[1].size = 4;
  make_archive(m, 3);
  assert_succeeds(ti_torch_parse(&file, &error, "x.pt", archive, archive_size));
  assert_fails(ti_torch_load_all(file, &error), TEXTINV_E_FORMAT, "x.pt", "data/0",
               "4 bytes, expected 8");
  ti_torch_close(file);
  m[1].name = "a/data/1";
  make_archive(m, 3);
  assert_succeeds(ti_torch_parse(&file, &error, "x.pt", archive, archive_size));
  assert_fails(ti_torch_load_all(file, &error), TEXTINV_E_FORMAT, "x.pt", "no storage", "data/0");
  ti_torch_close(file);
  RESET;
  m[1].data = "12345678";
  make_archive(m, 3);
  archive[(unsigned char *)memmem(archive, archive_size, "12345678", 8) - archive] ^= 1;
  assert_succeeds(ti_torch_parse(&file, &error, "x.pt", archive, archive_size));
  assert_fails(ti_torch_load_all(file, &error), TEXTINV_E_FORMAT, "x.pt", "data/0", "damaged");
  ti_torch_close(file);
  m[0].data = "N.";
  m[0].size = 2;
  make_archive(m, 3);
  assert_succeeds(ti_torch_parse(&file, &error, "x.pt", archive, archive_size));
  assert_fails(ti_torch_load_all(file, &error), TEXTINV_E_FORMAT, "no dict");
  ti_torch_close(file);
  assert_fails(ti_single_file_parse(&single, &error, "x.pt", archive, archive_size),
               TEXTINV_E_FORMAT, "x.pt", "no dict");
  memset(many, 'N', sizeof(many));
  memcpy(many, "}(", 2);
  memcpy(many + sizeof(many) - 2, "u.", 2);
  m[0].data = many;
  m[0].size = sizeof(many);
  make_archive(m, 3);
  assert_succeeds(ti_torch_parse(&file, &error, "x.pt", archive, archive_size));
  assert_fails(ti_torch_load_all(file, &error), TEXTINV_E_LIMIT, "65537 tensors, at most 65536");
  ti_torch_close(file);
  assert_fails(ti_embedding_file_decode(&embedding, &error, "x.pt", archive, archive_size),
               TEXTINV_E_LIMIT, "65537 entries, an embedding at most 1024");
  /* one element seen 16 million times, and another three times */
  static const char wide[] = "}X\1\0\0\0actorch._utils\n_rebuild_tensor_v2\n(" STORAGE(
    "K\2") "K\0J\0\0\xf0\0\x85K\0\x85\x89)tRs.";
  static const char expanded[] = "}X\1\0\0\0actorch._utils\n_rebuild_tensor_v2\n(" STORAGE(
    "K\2") "K\1K\3\x85K\0\x85\x89)tRs.";
  RESET;
  m[0].data = wide;
  m[0].size = sizeof(wide) - 1;
  make_archive(m, 3);
  assert_succeeds(ti_torch_parse(&file, &error, "x.pt", archive, archive_size));
  assert_fails(ti_torch_load_all(file, &error), TEXTINV_E_LIMIT, "\"a\"",
               "expanded tensors have over 33554432 bytes");
  ti_torch_close(file);
  m[0].data = expanded;
  m[0].size = sizeof(expanded) - 1;
  make_archive(m, 3);
  assert_succeeds(ti_torch_parse(&file, &error, "x.pt", archive, archive_size));
  assert_succeeds(ti_torch_load_all(file, &error));
  assert_int_equal(ti_torch_tensor(file, 0)->bytes, 12);
  assert_memory_equal(ti_torch_tensor(file, 0)->data, ((float[]){ -2.0f, -2.0f, -2.0f }), 12);
  ti_torch_close(file);
}

/* what stands beside the tensors, and where there is none */
static void dicts_as_embeddings(void **state)
{
  static const struct {
    const char *pickle;
    size_t size;
    const char *message; /* NULL: it is read */
  } cases[] = {
#define CASE(text, message) { text, sizeof(text) - 1, message }
#define A_TENSOR "ctorch._utils\n_rebuild_tensor_v2\n(" STORAGE("K\2") "K\0K\2\x85K\1\x85\x89)tR"
    CASE("}(X\1\0\0\0t" A_TENSOR "X\3\0\0\0yes\x88X\2\0\0\0no\x89X\1\0\0\0rG?\xe0\0\0\0\0\0\0NK\1"
         "X\4\0\0\0step\x8a\1\xffX\4\0\0\0nameK\5u.",
         NULL),
    CASE("}X\x0f\0\0\0string_to_paramNs.", "\"string_to_param\" is no dict"),
    CASE("}X\x0f\0\0\0string_to_param}K\1" A_TENSOR "ss.", "\"string_to_param\" holds no tensor"),
    CASE("}X\x0f\0\0\0string_to_param}X\1\0\0\0*Nss.", "\"string_to_param\" holds no tensor"),
    CASE("N.", "it is no dict and no tensor"),
  };
  ti_embedding_file embedding;
  member m[3];

  (void)state;
  RESET;
  for (size_t i = 1; i < sizeof(cases) / sizeof(*cases); i++) {
    m[0].data = cases[i].pickle;
    m[0].size = cases[i].size;
    make_archive(m, 3);
    assert_fails(ti_embedding_file_decode(&embedding, &error, "x.pt", archive, archive_size),
                 TEXTINV_E_FORMAT, "x.pt", cases[i].message);
  }
  m[0].data = cases[0].pickle;
  m[0].size = cases[0].size;
  make_archive(m, 3);
  assert_succeeds(ti_embedding_file_decode(&embedding, &error, "x.pt", archive, archive_size));
  assert_int_equal(embedding.count, 1);
  assert_string_equal(embedding.entries->word, "t");
  assert_int_equal(embedding.num_metadata, 6); /* layout, and all whose key is a string */
  assert_string_equal(embedding.metadata[1].value, "true");
  assert_string_equal(embedding.metadata[2].value, "false");
  assert_string_equal(embedding.metadata[3].value, "0.5");
  assert_int_equal(embedding.step, -1);
  assert_null(embedding.name);
  ti_embedding_file_free(&embedding);
}

/* each has a copy; of one without elements there is nothing to copy */
static void many_expanded_tensors(void **state)
{
  enum { COUNT = 9 };
  static const char tensor[] = "ctorch._utils\n_rebuild_tensor_v2\n(" STORAGE("K\2") "K\1";
  static const char expanded[] = "K\3\x85K\0\x85\x89)tR", empty[] = "K\0K\3\x86K\7K\7\x86\x89)tR";
  static char text[COUNT * 160] = "}(";
  char *end = text + 2;
  member m[3];

  (void)state;
  for (int i = 0; i < COUNT; i++) {
    const int last = i == COUNT - 1;

    memcpy(end, "X\1\0\0\0", 5);
    end[5] = (char)('a' + i);
    memcpy(end += 6, tensor, sizeof(tensor) - 1);
    end += sizeof(tensor) - 1;
    memcpy(end, last ? empty : expanded, (last ? sizeof(empty) : sizeof(expanded)) - 1);
    end += (last ? sizeof(empty) : sizeof(expanded)) - 1;
  }
  memcpy(end, "u.", 2);
  RESET;
  m[0].data = text;
  m[0].size = (size_t)(end + 2 - text);
  make_archive(m, 3);
  assert_succeeds(ti_torch_parse(&file, &error, "x.pt", archive, archive_size));
  assert_succeeds(ti_torch_load_all(file, &error));
  assert_int_equal(ti_torch_count(file), COUNT);
  for (size_t i = 0; i + 1 < COUNT; i++)
    assert_memory_equal(ti_torch_tensor(file, i)->data, ((float[]){ -2.0f, -2.0f, -2.0f }), 12);
  assert_int_equal(ti_torch_tensor(file, COUNT - 1)->count, 0);
  assert_int_equal(ti_torch_tensor(file, COUNT - 1)->bytes, 0);
  ti_torch_close(file);
}

/* every word would get floats of its own */
static void one_storage_under_many_names(void **state)
{
  enum { WORDS = 1024, VALUES = 3 * 65536, SIZE = 20 * WORDS + 256 };
  static const char tensor[] = "ctorch._utils\n_rebuild_tensor_v2\n(" STORAGE(
    "J\0\0\3\0") "K\0K\3J\0\0\1\0\x86J\0\0\1\0K\1\x86\x89)tRq\0000}(";
  char *pickle_text = malloc(SIZE), *end = pickle_text;
  char *zeros = calloc(VALUES, sizeof(float));
  ti_embedding_file embedding;
  member m[3];

  (void)state;
  assert_true(pickle_text && zeros);
  memcpy(end, tensor, sizeof(tensor) - 1);
  end += sizeof(tensor) - 1;
  for (int i = 0; i < WORDS; i++) {
    memcpy(end, "X\4\0\0\0", 5);
    end += 5 + sprintf(end + 5, "%04dh%c", i, 0);
  }
  memcpy(end, "u.", 2);
  end += 2;
  RESET;
  m[0].data = pickle_text;
  m[0].size = (size_t)(end - pickle_text);
  m[1].data = zeros;
  m[1].size = VALUES * sizeof(float);
  make_archive(m, 3);
  assert_fails(ti_embedding_file_decode(&embedding, &error, "x.pt", archive, archive_size),
               TEXTINV_E_LIMIT, "x.pt", "1024 tensors take 805306368 bytes");
  free(pickle_text);
  free(zeros);
}

static void a_cut_archive_is_refused_wherever_it_is_cut(void **state)
{
  (void)state;
  make_archive(good, 3);
  for (size_t size = 0; size < archive_size; size++)
    assert_fails(ti_torch_parse(&file, &error, "x.pt", archive, size), TEXTINV_E_FORMAT, "x.pt");
}

static void other_containers(void **state)
{
  char tar[512] = "sys_info";
  ti_single_file *single;

  (void)state;
  assert_fails(
    ti_torch_parse(&file, &error, "x.pt", "\x80\2\x8a\nl\xfc\x9c\x46\xf9 j\xa8P\x19.", 15),
    TEXTINV_E_UNSUPPORTED, "older than torch 1.6", "safetensors");
  assert_fails(ti_single_file_parse(&single, &error, "x.ckpt", "\x80\2N.", 4),
               TEXTINV_E_UNSUPPORTED, "x.ckpt", "older than torch 1.6");
  assert_fails(ti_torch_parse(&file, &error, "x.pt", "\x80\0N.", 4), TEXTINV_E_FORMAT,
               "no file of torch.save()");
  assert_fails(ti_torch_parse(&file, &error, "x.pt", "\x80\6N.", 4), TEXTINV_E_FORMAT,
               "no file of torch.save()");
  memcpy(tar + 257, "ustar", 5);
  assert_fails(ti_torch_parse(&file, &error, "x.pt", tar, sizeof(tar)), TEXTINV_E_UNSUPPORTED,
               "tar archive", "safetensors");
  assert_fails(ti_torch_open(&file, &error, test_path("absent.pt")), TEXTINV_E_NOT_FOUND,
               "absent.pt");
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_good_archive),
    cmocka_unit_test(an_archive_without_sums),
    cmocka_unit_test(hostile_archives),
    cmocka_unit_test(storages_have_to_fit),
    cmocka_unit_test(dicts_as_embeddings),
    cmocka_unit_test(many_expanded_tensors),
    cmocka_unit_test(one_storage_under_many_names),
    cmocka_unit_test(a_cut_archive_is_refused_wherever_it_is_cut),
    cmocka_unit_test(other_containers),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
