/*
 * A pickle interpreter with a closed list of what it builds. There is no call in it: REDUCE, NEWOBJ
 * and BUILD know a dozen names and what each of them stands for.
 *
 * Values are shared and never copied, and all live in one arena that may not outgrow the bytes of
 * the pickle; BUILD, which takes nothing from it, looks through a bounded number of entries. So
 * neither cycles nor depth nor sharing can make it run long.
 */
#include "torch_pickle_machine.h"

#include <stdarg.h>
#include <string.h>

#include "alloc.h"
#include "format.h"
#include "utf8.h"

enum {
  MAX_VALUES = 1 << 22,
  MAX_MEMO = 1 << 21,
  CHUNK = 1 << 16,
  MAX_NAME = 128,
  /* what may be taken: a tuple of tuples takes 96 for a byte, lists that grow counted */
  MAX_TAKEN = 1 << 20,
  MAX_TAKEN_PER_BYTE = 128
};

textinv_status ti_pickle_fail(const ti_pickle_machine *m, textinv_status status, const char *fmt,
                              ...)
{
  char what[320];
  va_list ap;

  va_start(ap, fmt);
  ti_vformat(what, sizeof(what), fmt, ap);
  va_end(ap);
  return ti_fail(m->error, status, "%s: pickle byte %zu: %s", m->name, m->start, what);
}

/* --- memory */

textinv_status ti_pickle_take(ti_pickle_machine *m, void **out, size_t size)
{
  ti_pickle_chunk *c = m->pickle->chunks;

  *out = NULL;
  size = (size + 15) / 16 * 16; /* no size here is near the limit: all follow from bytes read */
  m->taken += size;
  if (m->taken > MAX_TAKEN && (m->taken - MAX_TAKEN) / MAX_TAKEN_PER_BYTE > m->size)
    return ti_pickle_fail(m, TEXTINV_E_LIMIT, "takes over %zu bytes of memory for %zu in the file",
                          m->taken - size, m->size);
  if (!c || c->size - c->used < size) {
    const size_t room = size > CHUNK ? size : CHUNK;

    c = ti_calloc(1, sizeof(*c) + room);
    if (!c)
      return ti_fail_nomem(m->error, sizeof(*c) + room, m->name);
    c->size = room;
    c->next = m->pickle->chunks;
    m->pickle->chunks = c;
  }
  *out = c->bytes + c->used;
  c->used += size;
  return TEXTINV_OK;
}

textinv_status ti_pickle_new(ti_pickle_machine *m, ti_pickle_kind kind, ti_pickle_value **out)
{
  textinv_status status;
  void *p;

  *out = NULL;
  if (m->values++ >= MAX_VALUES)
    return ti_pickle_fail(m, TEXTINV_E_LIMIT, "has over %d values", MAX_VALUES);
  if ((status = ti_pickle_take(m, &p, sizeof(**out))) < 0)
    return status;
  *out = p;
  (*out)->kind = kind;
  return TEXTINV_OK;
}

textinv_status ti_pickle_add(ti_pickle_machine *m, ti_pickle_value *list, ti_pickle_value *item)
{
  if (list->u.list.count == list->u.list.capacity) {
    const size_t capacity = list->u.list.capacity ? list->u.list.capacity * 2 : 4;
    void *items;
    const textinv_status status = ti_pickle_take(m, &items, capacity * sizeof(item));

    if (status < 0)
      return status;
    if (list->u.list.count)
      memcpy(items, list->u.list.items, list->u.list.count * sizeof(item));
    list->u.list.items = items;
    list->u.list.capacity = capacity;
  }
  list->u.list.items[list->u.list.count++] = item;
  return TEXTINV_OK;
}

/* --- bytes */

static textinv_status read_bytes(ti_pickle_machine *m, size_t n, const unsigned char **out)
{
  *out = NULL;
  if (n > m->size - m->at)
    return ti_pickle_fail(m, TEXTINV_E_FORMAT, "needs %zu bytes, %zu are left", n, m->size - m->at);
  *out = m->bytes + m->at;
  m->at += n;
  return TEXTINV_OK;
}

/* an unsigned little-endian number of n <= 8 bytes */
static textinv_status read_number(ti_pickle_machine *m, size_t n, uint64_t *out)
{
  const unsigned char *p;
  textinv_status status = read_bytes(m, n, &p);

  *out = 0;
  if (status < 0)
    return status;
  for (size_t i = n; i-- > 0;)
    *out = *out << 8 | p[i];
  return TEXTINV_OK;
}

/* a line without its '\n' */
static textinv_status read_line(ti_pickle_machine *m, char out[MAX_NAME])
{
  for (size_t i = 0; i < MAX_NAME && m->at < m->size; i++) {
    const unsigned char c = m->bytes[m->at++];

    out[i] = (char)c;
    if (c == '\n') {
      out[i] = '\0';
      return TEXTINV_OK;
    }
    if (c < 0x20 || c >= 0x7f)
      return ti_pickle_fail(m, TEXTINV_E_FORMAT, "a name has byte 0x%02x", c);
  }
  return ti_pickle_fail(m, TEXTINV_E_FORMAT, "a name does not end");
}

/* --- stack */

textinv_status ti_pickle_push(ti_pickle_machine *m, ti_pickle_value *v)
{
  if (m->depth == m->stack_capacity) {
    const size_t capacity = m->stack_capacity ? m->stack_capacity * 2 : 256;
    ti_pickle_value **stack;

    if (m->depth >= MAX_VALUES)
      return ti_pickle_fail(m, TEXTINV_E_LIMIT, "has over %d values on its stack", MAX_VALUES);
    stack = ti_realloc_array(m->stack, capacity, sizeof(*stack));
    if (!stack)
      return ti_fail_nomem(m->error, capacity * sizeof(*stack), m->name);
    m->stack = stack;
    m->stack_capacity = capacity;
  }
  m->stack[m->depth++] = v;
  return TEXTINV_OK;
}

textinv_status ti_pickle_top(const ti_pickle_machine *m, ti_pickle_value **out)
{
  *out = NULL;
  if (!m->depth || m->stack[m->depth - 1]->kind == TI_PICKLE_MARK)
    return ti_pickle_fail(m, TEXTINV_E_FORMAT, "opcode 0x%02x finds no value on the stack",
                          m->bytes[m->start]);
  *out = m->stack[m->depth - 1];
  return TEXTINV_OK;
}

textinv_status ti_pickle_pop(ti_pickle_machine *m, ti_pickle_value **out)
{
  const textinv_status status = ti_pickle_top(m, out);

  if (status >= 0)
    m->depth--;
  return status;
}

/* the values above the last mark, which is removed with them */
static textinv_status pop_to_mark(ti_pickle_machine *m, ti_pickle_value ***items, size_t *count)
{
  size_t i = m->depth;

  *items = NULL;
  *count = 0;
  while (i > 0 && m->stack[i - 1]->kind != TI_PICKLE_MARK)
    i--;
  if (!i)
    return ti_pickle_fail(m, TEXTINV_E_FORMAT, "opcode 0x%02x finds no mark on the stack",
                          m->bytes[m->start]);
  *items = m->stack + i;
  *count = m->depth - i;
  m->depth = i - 1;
  return TEXTINV_OK;
}

static textinv_status push_int(ti_pickle_machine *m, long long integer)
{
  ti_pickle_value *v;
  textinv_status status = ti_pickle_new(m, TI_PICKLE_INT, &v);

  if (status < 0)
    return status;
  v->u.integer = integer;
  return ti_pickle_push(m, v);
}

static textinv_status push_string(ti_pickle_machine *m, size_t length_bytes)
{
  const unsigned char *p;
  ti_pickle_value *v;
  textinv_status status;
  uint64_t len;
  void *s;

  if ((status = read_number(m, length_bytes, &len)) < 0 ||
      (status = read_bytes(m, len > SIZE_MAX ? SIZE_MAX : (size_t)len, &p)) < 0)
    return status;
  if (!ti_utf8_valid(p, (size_t)len) || memchr(p, 0, (size_t)len))
    return ti_pickle_fail(m, TEXTINV_E_FORMAT, "a string is not UTF-8 without NUL");
  if ((status = ti_pickle_new(m, TI_PICKLE_STRING, &v)) < 0 ||
      (status = ti_pickle_take(m, &s, (size_t)len + 1)) < 0)
    return status;
  memcpy(s, p, (size_t)len);
  v->u.string = s;
  return ti_pickle_push(m, v);
}

/* a signed little-endian number of n bytes; None when it is longer than an integer can be here */
static textinv_status push_long(ti_pickle_machine *m, size_t n)
{
  const unsigned char *p;
  textinv_status status;
  uint64_t v;

  if (n > 8) {
    status = read_bytes(m, n, &p);
    return status < 0 ? status : ti_pickle_push(m, &m->pickle->none);
  }
  if ((status = read_number(m, n, &v)) < 0)
    return status;
  if (n && n < 8 && v >> (8 * n - 1))
    v |= UINT64_MAX << 8 * n;
  return push_int(m, (long long)v);
}

static textinv_status push_float(ti_pickle_machine *m)
{
  const unsigned char *p;
  ti_pickle_value *v;
  uint64_t bits = 0;
  textinv_status status;

  if ((status = read_bytes(m, 8, &p)) < 0 || (status = ti_pickle_new(m, TI_PICKLE_FLOAT, &v)) < 0)
    return status;
  for (int i = 0; i < 8; i++)
    bits = bits << 8 | p[i];
  memcpy(&v->u.real, &bits, sizeof(bits));
  return ti_pickle_push(m, v);
}

static textinv_status push_new(ti_pickle_machine *m, ti_pickle_kind kind)
{
  ti_pickle_value *v;
  const textinv_status status = ti_pickle_new(m, kind, &v);

  return status < 0 ? status : ti_pickle_push(m, v);
}

/* a container of values, which are on the stack */
static textinv_status push_container(ti_pickle_machine *m, ti_pickle_kind kind,
                                     ti_pickle_value **items, size_t count)
{
  ti_pickle_value *v;
  textinv_status status;

  if (kind == TI_PICKLE_DICT && count % 2)
    return ti_pickle_fail(m, TEXTINV_E_FORMAT, "a dict of an odd number of values");
  if ((status = ti_pickle_new(m, kind, &v)) < 0)
    return status;
  for (size_t i = 0; i < count; i++) {
    if ((status = ti_pickle_add(m, v, items[i])) < 0)
      return status;
  }
  return ti_pickle_push(m, v);
}

static textinv_status push_marked(ti_pickle_machine *m, ti_pickle_kind kind)
{
  ti_pickle_value **items;
  size_t count;
  const textinv_status status = pop_to_mark(m, &items, &count);

  return status < 0 ? status : push_container(m, kind, items, count);
}

/* the n topmost values, in their order */
static textinv_status pop_some(ti_pickle_machine *m, ti_pickle_value **items, size_t n)
{
  textinv_status status = TEXTINV_OK;

  while (n-- > 0 && status >= 0)
    status = ti_pickle_pop(m, items + n);
  return status;
}

/* those as a tuple */
static textinv_status push_tuple(ti_pickle_machine *m, size_t n)
{
  ti_pickle_value *items[3];
  const textinv_status status = pop_some(m, items, n);

  return status < 0 ? status : push_container(m, TI_PICKLE_TUPLE, items, n);
}

/* append to the list, or set in the dict, that is below the values */
static textinv_status extend(ti_pickle_machine *m, ti_pickle_kind kind, ti_pickle_value **items,
                             size_t count)
{
  ti_pickle_value *v;
  textinv_status status = ti_pickle_top(m, &v);

  if (status < 0)
    return status;
  if (v->kind != kind)
    return ti_pickle_fail(m, TEXTINV_E_FORMAT, "opcode 0x%02x is not for this kind of value",
                          m->bytes[m->start]);
  if (kind == TI_PICKLE_DICT && count % 2)
    return ti_pickle_fail(m, TEXTINV_E_FORMAT, "a key without a value");
  for (size_t i = 0; i < count; i++) {
    if ((status = ti_pickle_add(m, v, items[i])) < 0)
      return status;
  }
  return TEXTINV_OK;
}

static textinv_status extend_by(ti_pickle_machine *m, ti_pickle_kind kind, size_t n)
{
  ti_pickle_value *items[2];
  const textinv_status status = pop_some(m, items, n);

  return status < 0 ? status : extend(m, kind, items, n);
}

static textinv_status extend_marked(ti_pickle_machine *m, ti_pickle_kind kind)
{
  ti_pickle_value **items;
  size_t count;
  const textinv_status status = pop_to_mark(m, &items, &count);

  return status < 0 ? status : extend(m, kind, items, count);
}

/* --- memo */

static textinv_status memo_put(ti_pickle_machine *m, uint64_t i)
{
  ti_pickle_value *v;
  textinv_status status = ti_pickle_top(m, &v);

  if (status < 0)
    return status;
  if (i >= MAX_MEMO)
    return ti_pickle_fail(m, TEXTINV_E_LIMIT, "memo entry %llu, at most %d are kept",
                          (unsigned long long)i, MAX_MEMO);
  if (i >= m->memo_size) {
    size_t size = m->memo_size ? m->memo_size : 256;
    ti_pickle_value **memo;

    while (size <= i)
      size *= 2;
    memo = ti_realloc_array(m->memo, size, sizeof(*memo));
    if (!memo)
      return ti_fail_nomem(m->error, size * sizeof(*memo), m->name);
    memset(memo + m->memo_size, 0, (size - m->memo_size) * sizeof(*memo));
    m->memo = memo;
    m->memo_size = size;
  }
  m->memoized += !m->memo[i];
  m->memo[i] = v;
  return TEXTINV_OK;
}

static textinv_status memo_get(ti_pickle_machine *m, uint64_t i)
{
  if (i >= m->memo_size || !m->memo[i])
    return ti_pickle_fail(m, TEXTINV_E_FORMAT, "memo entry %llu was never set",
                          (unsigned long long)i);
  return ti_pickle_push(m, m->memo[i]);
}

/* an opcode with an index of n bytes */
static textinv_status memo_at(ti_pickle_machine *m, size_t n,
                              textinv_status (*access)(ti_pickle_machine *, uint64_t))
{
  uint64_t i;
  const textinv_status status = read_number(m, n, &i);

  return status < 0 ? status : access(m, i);
}

/* --- opcodes */

static textinv_status global_of_lines(ti_pickle_machine *m)
{
  char module[MAX_NAME], name[MAX_NAME];
  textinv_status status;

  if ((status = read_line(m, module)) < 0 || (status = read_line(m, name)) < 0)
    return status;
  return ti_pickle_global(m, module, name);
}

static textinv_status global_of_stack(ti_pickle_machine *m)
{
  ti_pickle_value *module, *name;
  textinv_status status;

  if ((status = ti_pickle_pop(m, &name)) < 0 || (status = ti_pickle_pop(m, &module)) < 0)
    return status;
  if (module->kind != TI_PICKLE_STRING || name->kind != TI_PICKLE_STRING)
    return ti_pickle_fail(m, TEXTINV_E_FORMAT, "the name of an object is not a string");
  return ti_pickle_global(m, module->u.string, name->u.string);
}

static textinv_status pop_one(ti_pickle_machine *m)
{
  if (!m->depth)
    return ti_pickle_fail(m, TEXTINV_E_FORMAT, "opcode 0x30 finds no value on the stack");
  m->depth--; /* of a mark, too */
  return TEXTINV_OK;
}

static textinv_status duplicate(ti_pickle_machine *m)
{
  ti_pickle_value *v;
  const textinv_status status = ti_pickle_top(m, &v);

  return status < 0 ? status : ti_pickle_push(m, v);
}

static textinv_status protocol(ti_pickle_machine *m)
{
  uint64_t version;
  const textinv_status status = read_number(m, 1, &version);

  if (status >= 0 && version > 5)
    return ti_pickle_fail(m, TEXTINV_E_UNSUPPORTED, "protocol %d, at most 5 is read", (int)version);
  return status;
}

static textinv_status frame(ti_pickle_machine *m)
{
  uint64_t size;
  const textinv_status status = read_number(m, 8, &size);

  if (status >= 0 && size > m->size - m->at)
    return ti_pickle_fail(m, TEXTINV_E_FORMAT, "a frame of %llu bytes, %zu are left",
                          (unsigned long long)size, m->size - m->at);
  return status;
}

static textinv_status stop(ti_pickle_machine *m)
{
  textinv_status status = ti_pickle_pop(m, &m->pickle->root);

  if (status >= 0 && m->depth)
    return ti_pickle_fail(m, TEXTINV_E_FORMAT, "ends with %zu values too many", m->depth);
  if (status >= 0 && m->at < m->size)
    return ti_pickle_fail(m, TEXTINV_E_FORMAT, "ends %zu bytes before its end", m->size - m->at);
  m->stopped = 1;
  return status;
}

static textinv_status step(ti_pickle_machine *m)
{
  ti_pickle_value **items;
  textinv_status status;
  uint64_t n;
  size_t count;

  m->start = m->at;
  if (m->at == m->size)
    return ti_pickle_fail(m, TEXTINV_E_FORMAT, "ends without STOP");
  switch (m->bytes[m->at++]) {
  case 0x80: return protocol(m);
  case 0x95: return frame(m);
  case '.': return stop(m);
  case '(': return ti_pickle_push(m, &m->pickle->mark);
  case '0': return pop_one(m);
  case '1': return pop_to_mark(m, &items, &count);
  case '2': return duplicate(m);
  case 'N': return ti_pickle_push(m, &m->pickle->none);
  case 0x88: return ti_pickle_push(m, &m->pickle->yes);
  case 0x89: return ti_pickle_push(m, &m->pickle->no);
  case 'J':
    status = read_number(m, 4, &n);
    return status < 0 ? status : push_int(m, (int32_t)(uint32_t)n);
  case 'K': status = read_number(m, 1, &n); return status < 0 ? status : push_int(m, (long long)n);
  case 'M': status = read_number(m, 2, &n); return status < 0 ? status : push_int(m, (long long)n);
  case 0x8a: status = read_number(m, 1, &n); return status < 0 ? status : push_long(m, (size_t)n);
  case 0x8b: status = read_number(m, 4, &n); return status < 0 ? status : push_long(m, (size_t)n);
  case 'G': return push_float(m);
  case 'X':
  case 'T': return push_string(m, 4);
  case 0x8c:
  case 'U': return push_string(m, 1);
  case 0x8d: return push_string(m, 8);
  case ')': return ti_pickle_push(m, &m->pickle->empty);
  case 't': return push_marked(m, TI_PICKLE_TUPLE);
  case 0x85: return push_tuple(m, 1);
  case 0x86: return push_tuple(m, 2);
  case 0x87: return push_tuple(m, 3);
  case 0x8f: /* sets become lists */
  case ']': return push_new(m, TI_PICKLE_LIST);
  case 0x91:
  case 'l': return push_marked(m, TI_PICKLE_LIST);
  case 'a': return extend_by(m, TI_PICKLE_LIST, 1);
  case 0x90:
  case 'e': return extend_marked(m, TI_PICKLE_LIST);
  case '}': return push_new(m, TI_PICKLE_DICT);
  case 'd': return push_marked(m, TI_PICKLE_DICT);
  case 's': return extend_by(m, TI_PICKLE_DICT, 2);
  case 'u': return extend_marked(m, TI_PICKLE_DICT);
  case 'q': return memo_at(m, 1, memo_put);
  case 'r': return memo_at(m, 4, memo_put);
  case 0x94: return memo_put(m, m->memoized);
  case 'h': return memo_at(m, 1, memo_get);
  case 'j': return memo_at(m, 4, memo_get);
  case 'c': return global_of_lines(m);
  case 0x93: return global_of_stack(m);
  case 'Q': return ti_pickle_storage(m);
  case 'R': return ti_pickle_reduce(m);
  case 0x81: return ti_pickle_object(m);
  case 'b': return ti_pickle_build(m);
  default:
    return ti_pickle_fail(m, TEXTINV_E_UNSUPPORTED, "opcode 0x%02x is none that torch.save writes",
                          m->bytes[m->start]);
  }
}

textinv_status ti_pickle_parse(ti_pickle **out, ti_error *error, const char *name,
                               const void *bytes, size_t size)
{
  ti_pickle_machine m = { .bytes = bytes, .size = size, .name = name, .error = error };
  textinv_status status = TEXTINV_OK;

  *out = NULL;
  m.pickle = ti_calloc(1, sizeof(*m.pickle));
  if (!m.pickle)
    return ti_fail_nomem(error, sizeof(*m.pickle), name);
  m.pickle->none.kind = TI_PICKLE_NONE;
  m.pickle->yes.kind = m.pickle->no.kind = TI_PICKLE_BOOL;
  m.pickle->yes.u.integer = 1;
  m.pickle->empty.kind = TI_PICKLE_TUPLE;
  m.pickle->mark.kind = TI_PICKLE_MARK;
  while (status >= 0 && !m.stopped)
    status = step(&m);
  ti_free(m.stack);
  ti_free(m.memo);
  if (status < 0)
    ti_pickle_free(m.pickle);
  else
    *out = m.pickle;
  return status;
}

void ti_pickle_free(ti_pickle *pickle)
{
  if (!pickle)
    return;
  while (pickle->chunks) {
    ti_pickle_chunk *next = pickle->chunks->next;

    ti_free(pickle->chunks);
    pickle->chunks = next;
  }
  ti_free(pickle);
}

const ti_pickle_value *ti_pickle_root(const ti_pickle *pickle)
{
  return pickle->root;
}

const ti_pickle_value *ti_pickle_get(const ti_pickle_value *dict, const char *key)
{
  if (dict->kind != TI_PICKLE_DICT)
    return NULL;
  for (size_t i = dict->u.list.count; i >= 2; i -= 2) {
    const ti_pickle_value *k = dict->u.list.items[i - 2];

    if (k->kind == TI_PICKLE_STRING && !strcmp(k->u.string, key))
      return dict->u.list.items[i - 1];
  }
  return NULL;
}

size_t ti_file_dtype_size(ti_file_dtype dtype)
{
  switch (dtype) {
  case TI_FILE_F64:
  case TI_FILE_I64: return 8;
  case TI_FILE_F32:
  case TI_FILE_I32: return 4;
  case TI_FILE_F16:
  case TI_FILE_BF16:
  case TI_FILE_I16: return 2;
  case TI_FILE_I8:
  case TI_FILE_U8:
  case TI_FILE_BOOL: return 1;
  default: return 0;
  }
}
