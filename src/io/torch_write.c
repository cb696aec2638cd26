/*
 * A torch file with one embedding, written: a zip archive of stored members and a pickle of
 * protocol 2. The same input gives the same bytes.
 */
#include <string.h>
#include <zlib.h>

#include "alloc.h"
#include "atomic_file.h"
#include "torch_file.h"

enum {
  FOLDER = 9,
  MAX_PICKLE = 4096,
  MAX_TEXT = 1024,
  MAX_MEMBERS = 3,
  ALIGNMENT = 64,
  HEADER = 30
};

static const char folder[FOLDER + 1] = "embedding";

/* bytes in a buffer that suffices for all that is put */
typedef struct buffer {
  unsigned char bytes[MAX_PICKLE];
  size_t size;
} buffer;

static void put(buffer *b, const void *bytes, size_t size)
{
  memcpy(b->bytes + b->size, bytes, size);
  b->size += size;
}

static void put_text(buffer *b, const char *s)
{
  put(b, s, strlen(s));
}

static void put_number(buffer *b, uint64_t v, int n)
{
  for (; n > 0; n--, v >>= 8)
    b->bytes[b->size++] = (unsigned char)v;
}

/* --- pickle */

static void put_string(buffer *b, const char *s)
{
  put_text(b, "X");
  put_number(b, strlen(s), 4);
  put_text(b, s);
}

/* or None */
static void put_model(buffer *b, const char *s)
{
  if (s && strlen(s) <= MAX_TEXT)
    put_string(b, s);
  else
    put_text(b, "N");
}

/* not below 0 */
static void put_int(buffer *b, long long v)
{
  if (v <= INT32_MAX) {
    put_text(b, "J");
    put_number(b, (uint64_t)v, 4);
  } else {
    put(b, "\x8a\x08", 2); /* LONG1 of 8 bytes */
    put_number(b, (uint64_t)v, 8);
  }
}

/* _rebuild_tensor_v2(storage, 0, (n, dim), (dim, 1), False, OrderedDict()) */
static void put_tensor(buffer *b, int n, int dim)
{
  put_text(b, "ctorch._utils\n_rebuild_tensor_v2\n((");
  put_string(b, "storage");
  put_text(b, "ctorch\nFloatStorage\n");
  put_string(b, "0");
  put_string(b, "cpu");
  put_int(b, (long long)n * dim);
  put_text(b, "tQ"); /* tuple, persistent id */
  put_int(b, 0);
  put_int(b, n);
  put_int(b, dim);
  put_text(b, "\x86"); /* pair */
  put_int(b, dim);
  put_int(b, 1);
  put_text(b, "\x86\x89"); /* pair, False */
  put_text(b, "ccollections\nOrderedDict\n)RtR");
}

static void put_pickle(buffer *b, const char *word, long long step, const char *model,
                       const char *model_name, int n, int dim)
{
  put(b, "\x80\x02}(", 4); /* protocol 2, dict, mark */
  put_string(b, "string_to_token");
  put_text(b, "}");
  put_string(b, "*");
  put_int(b, 265);
  put_text(b, "s");
  put_string(b, "string_to_param");
  put_text(b, "}");
  put_string(b, "*");
  put_tensor(b, n, dim);
  put_text(b, "s");
  put_string(b, "name");
  put_string(b, word);
  put_string(b, "step");
  if (step < 0)
    put_text(b, "N");
  else
    put_int(b, step);
  put_string(b, "sd_checkpoint");
  put_model(b, model);
  put_string(b, "sd_checkpoint_name");
  put_model(b, model_name);
  put_text(b, "u."); /* set items, stop */
}

/* --- zip */

typedef struct member {
  const char *name; /* behind the folder */
  const void *data;
  size_t size, offset;
  uint32_t sum;
} member;

/* what local and central header have in common: version needed to name's length */
static void put_common(buffer *b, const member *m)
{
  put_number(b, 20, 2);     /* version of the format */
  put_number(b, 0, 2);      /* flags */
  put_number(b, 0, 2);      /* stored */
  put_number(b, 0, 2);      /* time */
  put_number(b, 0x0021, 2); /* 1980-01-01 */
  put_number(b, m->sum, 4);
  put_number(b, m->size, 4);
  put_number(b, m->size, 4);
  put_number(b, FOLDER + 1 + strlen(m->name), 2);
}

static void put_name(buffer *b, const member *m)
{
  put_text(b, folder);
  put_text(b, "/");
  put_text(b, m->name);
}

/* local header, padded so that the data begin at a multiple of 64 bytes, as torch does */
static size_t write_member(ti_atomic_file *file, member *m, size_t at)
{
  static const unsigned char zeros[ALIGNMENT];
  const size_t names = FOLDER + 1 + strlen(m->name);
  const size_t padding = (ALIGNMENT - (at + HEADER + names + 4) % ALIGNMENT) % ALIGNMENT;
  buffer b;

  b.size = 0;
  m->offset = at;
  m->sum = (uint32_t)crc32_z(0, m->data, m->size);
  put_text(&b, "PK\3\4");
  put_common(&b, m);
  put_number(&b, padding + 4, 2); /* of the extra field */
  put_name(&b, m);
  put_text(&b, "FB"); /* its id */
  put_number(&b, padding, 2);
  put(&b, zeros, padding);
  ti_atomic_write(file, b.bytes, b.size);
  ti_atomic_write(file, m->data, m->size);
  return at + b.size + m->size;
}

static void write_directory(ti_atomic_file *file, const member *members, int count, size_t at)
{
  buffer b;

  b.size = 0;
  for (int i = 0; i < count; i++) {
    put_text(&b, "PK\1\2");
    put_number(&b, 20, 2); /* written by */
    put_common(&b, members + i);
    put_number(&b, 0, 2); /* extra field */
    put_number(&b, 0, 2); /* comment */
    put_number(&b, 0, 2); /* disk */
    put_number(&b, 0, 2); /* attributes */
    put_number(&b, 0, 4);
    put_number(&b, members[i].offset, 4);
    put_name(&b, members + i);
  }
  const size_t size = b.size;

  put_text(&b, "PK\5\6");
  put_number(&b, 0, 4); /* disks */
  put_number(&b, (uint64_t)count, 2);
  put_number(&b, (uint64_t)count, 2);
  put_number(&b, size, 4);
  put_number(&b, at, 4);
  put_number(&b, 0, 2); /* comment */
  ti_atomic_write(file, b.bytes, b.size);
}

textinv_status ti_torch_write_a1111(ti_memory_file *memory, ti_error *error, const char *path,
                                    const char *word, long long step, const char *model,
                                    const char *model_name, int num_vectors, int dim,
                                    const float *rows)
{
  buffer pickle;
  member members[MAX_MEMBERS];
  ti_atomic_file *file;
  textinv_status status;
  size_t at = 0;

  if (strlen(word) > MAX_TEXT)
    return ti_fail(error, TEXTINV_E_INVALID, "%s: the word has %zu bytes, at most %d", path,
                   strlen(word), MAX_TEXT);
  pickle.size = 0;
  put_pickle(&pickle, word, step, model, model_name, num_vectors, dim);
  members[0] = (member){ "data.pkl", pickle.bytes, pickle.size, 0, 0 };
  members[1] = (member){ "data/0", rows, (size_t)num_vectors * (size_t)dim * sizeof(*rows), 0, 0 };
  members[2] = (member){ "version", "3\n", 2, 0, 0 };
  if (members[1].size > UINT32_MAX / 2)
    return ti_fail(error, TEXTINV_E_LIMIT, "%s: %d vectors of %d values are too many", path,
                   num_vectors, dim);
  if ((status = ti_atomic_open_to(&file, error, path, memory)) < 0)
    return status;
  for (int i = 0; i < MAX_MEMBERS; i++)
    at = write_member(file, members + i, at);
  write_directory(file, members, MAX_MEMBERS, at);
  return ti_atomic_commit(file, error);
}
