/*
 * The JSON header of a safetensors file.
 *
 * A pull parser: one pass, no tree, no recursion. The bytes may be a mapped file that somebody
 * changes meanwhile, so every read is bounded by the size alone and never by what was seen before.
 */
#include "safetensors_header.h"

#include <stdarg.h>
#include <string.h>

#include "alloc.h"
#include "format.h"
#include "utf8.h"

enum { MAX_DEPTH = 128, CHUNK = 65536, HEADER_START = 8 };

struct ti_header_chunk {
  ti_header_chunk *next;
  size_t used, size;
  char bytes[];
};

typedef struct dtype_name {
  const char *name;
  ti_file_dtype dtype;
  unsigned bits;
} dtype_name;

static const dtype_name dtypes[] = {
  { "F32", TI_FILE_F32, 32 },
  { "F16", TI_FILE_F16, 16 },
  { "BF16", TI_FILE_BF16, 16 },
  { "F64", TI_FILE_F64, 64 },
  { "I64", TI_FILE_I64, 64 },
  { "I32", TI_FILE_I32, 32 },
  { "I16", TI_FILE_I16, 16 },
  { "I8", TI_FILE_I8, 8 },
  { "U8", TI_FILE_U8, 8 },
  { "BOOL", TI_FILE_BOOL, 8 },
  { "U16", TI_FILE_OTHER, 16 },
  { "U32", TI_FILE_OTHER, 32 },
  { "U64", TI_FILE_OTHER, 64 },
  { "C64", TI_FILE_OTHER, 64 },
  { "F8_E5M2", TI_FILE_OTHER, 8 },
  { "F8_E4M3", TI_FILE_OTHER, 8 },
  { "F8_E8M0", TI_FILE_OTHER, 8 },
  { "F8_E4M3FNUZ", TI_FILE_OTHER, 8 },
  { "F8_E5M2FNUZ", TI_FILE_OTHER, 8 },
  { "F6_E2M3", TI_FILE_OTHER, 6 },
  { "F6_E3M2", TI_FILE_OTHER, 6 },
  { "F4", TI_FILE_OTHER, 4 },
};

enum { NUM_DTYPES = sizeof(dtypes) / sizeof(*dtypes) };

typedef struct parser {
  const unsigned char *bytes;
  size_t size, at;
  const char *name;   /* of the file */
  const char *tensor; /* whose fields are being read, or NULL */
  ti_error *error;
  ti_safetensors_header *header;
} parser;

const char *ti_safetensors_dtype(ti_file_dtype dtype, unsigned *bits)
{
  for (int i = 0; i < NUM_DTYPES; i++) {
    if (dtypes[i].dtype == dtype && dtype != TI_FILE_OTHER) {
      *bits = dtypes[i].bits;
      return dtypes[i].name;
    }
  }
  return NULL;
}

/* "PATH: byte N: [tensor "x": ]WHAT" */
static textinv_status fail(const parser *p, textinv_status status, const char *fmt, ...)
{
  char what[160];
  va_list ap;

  va_start(ap, fmt);
  ti_vformat(what, sizeof(what), fmt, ap);
  va_end(ap);
  if (p->tensor)
    return ti_fail(p->error, status, "%s: byte %zu: tensor \"%.*s\": %s", p->name,
                   HEADER_START + p->at, ti_utf8_cut(p->tensor, 80), p->tensor, what);
  return ti_fail(p->error, status, "%s: byte %zu: %s", p->name, HEADER_START + p->at, what);
}

/* the next byte, -1 at the end */
static int peek(const parser *p)
{
  return p->at < p->size ? p->bytes[p->at] : -1;
}

static void skip_space(parser *p)
{
  int c;

  while ((c = peek(p)) == ' ' || c == '\t' || c == '\n' || c == '\r')
    p->at++;
}

/* what stands at the cursor, for messages */
static const char *met(char out[32], const parser *p)
{
  const int c = peek(p);

  if (c < 0)
    return "the end of the header";
  ti_format(out, 32, c > 0x20 && c < 0x7f ? "'%c'" : "byte 0x%02x", c);
  return out;
}

static textinv_status unexpected(const parser *p, const char *expected)
{
  char buffer[32];

  return fail(p, TEXTINV_E_FORMAT, "%s, expected %s", met(buffer, p), expected);
}

/* white space, then c */
static textinv_status expect(parser *p, int c)
{
  char text[4] = { '\'', (char)c, '\'', 0 };

  skip_space(p);
  if (peek(p) != c)
    return unexpected(p, text);
  p->at++;
  return TEXTINV_OK;
}

/* white space, then c, when it is there */
static int accept(parser *p, int c)
{
  skip_space(p);
  if (peek(p) != c)
    return 0;
  p->at++;
  return 1;
}

static char *new_string(ti_safetensors_header *header, size_t size)
{
  ti_header_chunk *chunk = header->chunks;

  if (!chunk || chunk->size - chunk->used < size) {
    const size_t room = size > CHUNK ? size : CHUNK;
    size_t bytes;

    if (ti_add_size(&bytes, sizeof(*chunk), room))
      return NULL;
    chunk = ti_realloc_array(NULL, bytes, 1);
    if (!chunk)
      return NULL;
    chunk->used = 0;
    chunk->size = room;
    chunk->next = header->chunks;
    header->chunks = chunk;
  }
  chunk->used += size;
  return chunk->bytes + chunk->used - size;
}

static int hex(int c)
{
  return c >= '0' && c <= '9'   ? c - '0'
         : c >= 'a' && c <= 'f' ? c - 'a' + 10
         : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                : -1;
}

/* four hexadecimal digits, -1 when they are not there */
static int hex4(parser *p)
{
  int v = 0;

  for (int i = 0; i < 4; i++, p->at++) {
    const int d = hex(peek(p));

    if (d < 0)
      return -1;
    v = v << 4 | d;
  }
  return v;
}

/* the character of an escape, behind its backslash; -1 when there is none */
static long escaped(parser *p)
{
  static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
  const int c = peek(p);
  const char *found = c > 0 ? strchr(names, c) : NULL;
  int high, low;

  p->at++;
  if (found)
    return values[found - names];
  if (c != 'u' || (high = hex4(p)) < 0 || (high >= 0xdc00 && high < 0xe000))
    return -1;
  if (high < 0xd800 || high >= 0xe000)
    return high;
  if (peek(p) != '\\')
    return -1;
  p->at++;
  if (peek(p) != 'u')
    return -1;
  p->at++;
  low = hex4(p);
  if (low < 0xdc00 || low >= 0xe000)
    return -1;
  return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
}

/*
 * A string. out receives at most limit - 1 bytes and a final 0; NULL: the string is checked only.
 * An escape is longer than what it stands for, so limit = bytes between the quotes + 1 suffices.
 * The character NUL, which would end it, is U+FFFD.
 */
static textinv_status read_string(parser *p, char *out, size_t limit)
{
  size_t used = 0;
  textinv_status status;

  if ((status = expect(p, '"')) < 0)
    return status;
  for (;;) {
    const int c = peek(p);
    char character[4] = { (char)c };
    size_t len = 1;

    if (c < 0x20)
      return unexpected(p, "'\"' at the end of a string");
    p->at++;
    if (c == '"')
      break;
    if (c == '\\') {
      const long value = escaped(p);

      if (value < 0)
        return fail(p, TEXTINV_E_FORMAT, "an escape that is not valid");
      len = ti_utf8_put(character, value ? (unsigned)value : 0xfffd);
    }
    if (out) {
      if (len >= limit - used)
        return fail(p, TEXTINV_E_IO, "the file changed while it was read");
      memcpy(out + used, character, len);
      used += len;
    }
  }
  if (out)
    out[used] = '\0';
  return TEXTINV_OK;
}

/* a string that is kept with the header */
static textinv_status keep_string(parser *p, const char **out)
{
  textinv_status status;
  size_t end, room;
  char *s;

  skip_space(p);
  for (end = p->at + 1; end < p->size && p->bytes[end] != '"'; end++)
    end += p->bytes[end] == '\\';
  room = (end < p->size ? end : p->size) - p->at + 1;
  s = new_string(p->header, room);
  if (!s)
    return ti_fail_nomem(p->error, room, p->name);
  if ((status = read_string(p, s, room)) < 0)
    return status;
  *out = s;
  return TEXTINV_OK;
}

/* an integer in 0..2^64-1, without sign, point or exponent */
static textinv_status read_u64(parser *p, uint64_t *out)
{
  static const char expected[] = "an integer in 0..2^64-1";
  uint64_t v = 0;
  int c;

  skip_space(p);
  c = peek(p);
  if (c < '0' || c > '9')
    return unexpected(p, expected);
  if (c == '0') {
    p->at++;
  } else {
    for (; (c = peek(p)) >= '0' && c <= '9'; p->at++) {
      if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, (uint64_t)(c - '0'), &v))
        return fail(p, TEXTINV_E_FORMAT, "a number above 2^64-1, expected %s", expected);
    }
  }
  c = peek(p);
  if (c == '.' || c == 'e' || c == 'E' || (c >= '0' && c <= '9'))
    return unexpected(p, expected);
  *out = v;
  return TEXTINV_OK;
}

/* digits, at least one */
static int skip_digits(parser *p)
{
  const size_t start = p->at;

  while (peek(p) >= '0' && peek(p) <= '9')
    p->at++;
  return p->at > start;
}

static textinv_status skip_number(parser *p)
{
  if (peek(p) == '-')
    p->at++;
  if (peek(p) == '0')
    p->at++;
  else if (!skip_digits(p))
    return unexpected(p, "a value");
  if (peek(p) == '.') {
    p->at++;
    if (!skip_digits(p))
      return unexpected(p, "a digit");
  }
  if (peek(p) == 'e' || peek(p) == 'E') {
    p->at++;
    if (peek(p) == '+' || peek(p) == '-')
      p->at++;
    if (!skip_digits(p))
      return unexpected(p, "a digit");
  }
  return TEXTINV_OK;
}

static textinv_status skip_scalar(parser *p)
{
  static const char *const words[] = { "true", "false", "null" };

  if (peek(p) == '"')
    return read_string(p, NULL, 0);
  for (int i = 0; i < 3; i++) {
    const size_t len = strlen(words[i]);

    if (p->size - p->at >= len && !memcmp(p->bytes + p->at, words[i], len)) {
      p->at += len;
      return TEXTINV_OK;
    }
  }
  return skip_number(p);
}

static textinv_status skip_key(parser *p)
{
  const textinv_status status = read_string(p, NULL, 0);

  return status < 0 ? status : expect(p, ':');
}

/* the value of a field that is not known: any JSON */
static textinv_status skip_value(parser *p)
{
  unsigned char closing[MAX_DEPTH];
  int depth = 0;
  textinv_status status;

  do {
    skip_space(p);
    if (peek(p) == '[' || peek(p) == '{') {
      const int is_object = peek(p) == '{';

      if (depth == MAX_DEPTH)
        return fail(p, TEXTINV_E_FORMAT, "nested deeper than %d", MAX_DEPTH);
      p->at++;
      closing[depth++] = is_object ? '}' : ']';
      if (!accept(p, closing[depth - 1])) {
        if (is_object && (status = skip_key(p)) < 0)
          return status;
        continue;
      }
      depth--;
    } else if ((status = skip_scalar(p)) < 0) {
      return status;
    }
    /* behind a value: close what ends here, or go on to the next */
    while (depth && !accept(p, ',')) {
      if ((status = expect(p, closing[depth - 1])) < 0)
        return status;
      depth--;
    }
    if (depth && closing[depth - 1] == '}' && (status = skip_key(p)) < 0)
      return status;
  } while (depth);
  return TEXTINV_OK;
}

static textinv_status read_dtype(parser *p, ti_header_entry *entry)
{
  textinv_status status;
  const size_t start = p->at;
  char text[32];

  skip_space(p);
  if (peek(p) != '"')
    return unexpected(p, "a dtype such as \"F32\"");
  status = read_string(p, text, sizeof(text));
  if (status == TEXTINV_E_IO) { /* longer than any type's name */
    p->at = start;
    return fail(p, TEXTINV_E_FORMAT, "dtype is unknown");
  }
  if (status < 0)
    return status;
  for (int i = 0; i < NUM_DTYPES; i++) {
    if (!strcmp(text, dtypes[i].name)) {
      entry->tensor.dtype = dtypes[i].dtype;
      entry->tensor.dtype_name = dtypes[i].name;
      entry->bits = dtypes[i].bits;
      return TEXTINV_OK;
    }
  }
  return fail(p, TEXTINV_E_FORMAT, "dtype \"%s\" is unknown, expected F32, F16, BF16 or another",
              text);
}

static textinv_status read_shape(parser *p, ti_header_entry *entry)
{
  ti_tensor *t = &entry->tensor;
  textinv_status status;

  if ((status = expect(p, '[')) < 0)
    return status;
  if (accept(p, ']'))
    return TEXTINV_OK;
  do {
    uint64_t dim, *last = t->dims + TI_TENSOR_MAX_RANK - 1;

    if ((status = read_u64(p, &dim)) < 0)
      return status;
    if (t->rank < TI_TENSOR_MAX_RANK)
      t->dims[t->rank++] = dim;
    else if (__builtin_mul_overflow(*last, dim, last))
      return fail(p, TEXTINV_E_FORMAT, "the shape has over 2^64 values");
  } while (accept(p, ','));
  return expect(p, ']');
}

static textinv_status read_offsets(parser *p, ti_header_entry *entry)
{
  textinv_status status;

  if ((status = expect(p, '[')) < 0 || (status = read_u64(p, &entry->begin)) < 0 ||
      (status = expect(p, ',')) < 0 || (status = read_u64(p, &entry->end)) < 0)
    return status;
  return expect(p, ']');
}

/* {"dtype": .., "shape": .., "data_offsets": ..}, in any order */
static textinv_status read_tensor(parser *p, ti_header_entry *entry)
{
  static const char *const fields[] = { "dtype", "shape", "data_offsets" };
  unsigned seen = 0;
  textinv_status status;

  if ((status = expect(p, '{')) < 0)
    return status;
  if (!accept(p, '}')) {
    do {
      char key[16];
      int field = 3;

      skip_space(p);

      const size_t start = p->at;

      status = read_string(p, key, sizeof(key));
      if (status == TEXTINV_E_IO) { /* longer than any field's name */
        p->at = start;
        *key = '\0';
        status = read_string(p, NULL, 0);
      }
      if (status < 0 || (status = expect(p, ':')) < 0)
        return status;
      for (int i = 0; i < 3; i++) {
        if (!strcmp(key, fields[i]))
          field = i;
      }
      if (field < 3 && seen >> field & 1)
        return fail(p, TEXTINV_E_FORMAT, "\"%s\" is there twice", key);
      seen |= 1u << field;
      switch (field) {
      case 0: status = read_dtype(p, entry); break;
      case 1: status = read_shape(p, entry); break;
      case 2: status = read_offsets(p, entry); break;
      default: status = skip_value(p); break;
      }
      if (status < 0)
        return status;
    } while (accept(p, ','));
    if ((status = expect(p, '}')) < 0)
      return status;
  }
  for (int i = 0; i < 3; i++) {
    if (!(seen >> i & 1))
      return fail(p, TEXTINV_E_FORMAT, "\"%s\" is missing", fields[i]);
  }
  return TEXTINV_OK;
}

/* room for one more entry of an array that doubles */
static textinv_status grow(const parser *p, void **array, size_t *capacity, size_t count,
                           size_t size)
{
  const size_t wanted = *capacity ? *capacity * 2 : 64;
  void *larger;

  if (count < *capacity)
    return TEXTINV_OK;
  larger = ti_realloc_array(*array, wanted, size);
  if (!larger)
    return ti_fail_nomem(p->error, wanted * size, p->name);
  *array = larger;
  *capacity = wanted;
  return TEXTINV_OK;
}

/* {"key": "value", ...} or null */
static textinv_status read_metadata(parser *p)
{
  ti_safetensors_header *h = p->header;
  textinv_status status;

  skip_space(p);
  if (peek(p) == 'n')
    return skip_scalar(p);
  if ((status = expect(p, '{')) < 0)
    return status;
  if (accept(p, '}'))
    return TEXTINV_OK;
  do {
    void *array = h->metadata;

    if (h->num_metadata == TI_SAFETENSORS_MAX_METADATA)
      return fail(p, TEXTINV_E_LIMIT, "\"__metadata__\" has over %d entries",
                  TI_SAFETENSORS_MAX_METADATA);
    status = grow(p, &array, &h->metadata_capacity, h->num_metadata, sizeof(*h->metadata));
    h->metadata = array;
    if (status < 0 || (status = keep_string(p, &h->metadata[h->num_metadata].key)) < 0 ||
        (status = expect(p, ':')) < 0 ||
        (status = keep_string(p, &h->metadata[h->num_metadata].value)) < 0)
      return status;
    h->num_metadata++;
  } while (accept(p, ','));
  return expect(p, '}');
}

static textinv_status read_entry(parser *p, int *has_metadata)
{
  ti_safetensors_header *h = p->header;
  textinv_status status;
  void *array = h->entries;
  const char *name;

  if ((status = keep_string(p, &name)) < 0 || (status = expect(p, ':')) < 0)
    return status;
  if (!strcmp(name, "__metadata__")) {
    if (*has_metadata)
      return fail(p, TEXTINV_E_FORMAT, "\"__metadata__\" is there twice");
    *has_metadata = 1;
    return read_metadata(p);
  }
  if (h->count == TI_SAFETENSORS_MAX_TENSORS)
    return fail(p, TEXTINV_E_LIMIT, "has over %d tensors", TI_SAFETENSORS_MAX_TENSORS);
  status = grow(p, &array, &h->capacity, h->count, sizeof(*h->entries));
  h->entries = array;
  if (status < 0)
    return status;

  ti_header_entry *entry = h->entries + h->count;

  memset(entry, 0, sizeof(*entry));
  entry->tensor.name = p->tensor = name;
  if ((status = read_tensor(p, entry)) < 0)
    return status;
  p->tensor = NULL;
  h->count++;
  return TEXTINV_OK;
}

textinv_status ti_safetensors_header_parse(ti_safetensors_header *out, ti_error *error,
                                           const char *name, const void *bytes, size_t size)
{
  parser p = { bytes, size, 0, name, NULL, error, out };
  int has_metadata = 0;
  textinv_status status;

  if (!ti_utf8_valid(bytes, size))
    return ti_fail(error, TEXTINV_E_FORMAT, "%s: the header is not UTF-8", name);
  if ((status = expect(&p, '{')) < 0)
    return status;
  if (!accept(&p, '}')) {
    do {
      if ((status = read_entry(&p, &has_metadata)) < 0)
        return status;
    } while (accept(&p, ','));
    if ((status = expect(&p, '}')) < 0)
      return status;
  }
  skip_space(&p);
  return p.at < p.size ? unexpected(&p, "the end of the header") : TEXTINV_OK;
}

void ti_safetensors_header_free(ti_safetensors_header *header)
{
  while (header->chunks) {
    ti_header_chunk *next = header->chunks->next;

    ti_free(header->chunks);
    header->chunks = next;
  }
  ti_free(header->metadata);
  ti_free(header->entries);
  memset(header, 0, sizeof(*header));
}
