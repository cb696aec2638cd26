/* What the names in a pickle stand for: the whole list of what is built, and how. */
#include <string.h>

#include "alloc.h"
#include "torch_pickle_machine.h"
#include "utf8.h"

enum {
  ORDERED_DICT,
  SET,
  SIZE,
  REBUILD_TENSOR,
  REBUILD_TENSOR_V2,
  REBUILD_PARAMETER,
  PARAMETER_DICT,
  KEY, /* of a dict, and nothing else */
  STORAGE
};

typedef struct global_name {
  const char *module, *name;
  int id;
  ti_file_dtype dtype; /* of a storage */
} global_name;

static const global_name globals[] = {
  { "collections", "OrderedDict", ORDERED_DICT, 0 },
  { "__builtin__", "set", SET, 0 },
  { "builtins", "set", SET, 0 },
  { "__builtin__", "frozenset", SET, 0 },
  { "builtins", "frozenset", SET, 0 },
  { "torch", "Size", SIZE, 0 },
  { "torch._utils", "_rebuild_tensor", REBUILD_TENSOR, 0 },
  { "torch._utils", "_rebuild_tensor_v2", REBUILD_TENSOR_V2, 0 },
  { "torch._utils", "_rebuild_parameter", REBUILD_PARAMETER, 0 },
  { "torch.nn.modules.container", "ParameterDict", PARAMETER_DICT, 0 },
  /* checkpoints of Stable Diffusion have them among their "callbacks" */
  { "pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint", KEY, 0 },
  { "pytorch_lightning.callbacks", "ModelCheckpoint", KEY, 0 },
  { "torch", "FloatStorage", STORAGE, TI_FILE_F32 },
  { "torch", "HalfStorage", STORAGE, TI_FILE_F16 },
  { "torch", "BFloat16Storage", STORAGE, TI_FILE_BF16 },
  { "torch", "DoubleStorage", STORAGE, TI_FILE_F64 },
  { "torch", "LongStorage", STORAGE, TI_FILE_I64 },
  { "torch", "IntStorage", STORAGE, TI_FILE_I32 },
  { "torch", "ShortStorage", STORAGE, TI_FILE_I16 },
  { "torch", "CharStorage", STORAGE, TI_FILE_I8 },
  { "torch", "ByteStorage", STORAGE, TI_FILE_U8 },
  { "torch", "BoolStorage", STORAGE, TI_FILE_BOOL },
};

enum {
  NUM_GLOBALS = sizeof(globals) / sizeof(*globals),
  MAX_ATTRIBUTES = 256 /* BUILD looks through them: a torch.nn.Module has about 20 */
};

textinv_status ti_pickle_global(ti_pickle_machine *m, const char *module, const char *name)
{
  ti_pickle_value *v;
  textinv_status status;

  for (int i = 0; i < NUM_GLOBALS; i++) {
    if (!strcmp(module, globals[i].module) && !strcmp(name, globals[i].name)) {
      if ((status = ti_pickle_new(m, TI_PICKLE_GLOBAL, &v)) < 0)
        return status;
      v->u.global = i;
      return ti_pickle_push(m, v);
    }
  }
  return ti_pickle_fail(
    m, TEXTINV_E_UNSUPPORTED,
    "asks for the Python object \"%.*s.%.*s\", which is not run: convert the file to "
    "safetensors where you trust it",
    ti_utf8_cut(module, 80), module, ti_utf8_cut(name, 80), name);
}

/* item i of a tuple when it is of that kind */
static ti_pickle_value *item_of(const ti_pickle_value *tuple, size_t i, ti_pickle_kind kind)
{
  return i < tuple->u.list.count && tuple->u.list.items[i]->kind == kind ? tuple->u.list.items[i]
                                                                         : NULL;
}

/* letters and digits: a storage's key becomes part of a name within the archive */
static int is_key(const char *s)
{
  const size_t len = strspn(s, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");

  return len > 0 && len < 32 && !s[len];
}

/* ("storage", type, key, location, number of elements) */
textinv_status ti_pickle_storage(ti_pickle_machine *m)
{
  ti_pickle_value *id, *word, *type, *key, *numel, *v;
  ti_pickle_tensor *storage;
  textinv_status status;
  size_t bytes;
  void *room;

  if ((status = ti_pickle_pop(m, &id)) < 0)
    return status;
  if (id->kind != TI_PICKLE_TUPLE || id->u.list.count != 5 ||
      !(word = item_of(id, 0, TI_PICKLE_STRING)) || strcmp(word->u.string, "storage") ||
      !(type = item_of(id, 1, TI_PICKLE_GLOBAL)) || globals[type->u.global].id != STORAGE ||
      !(key = item_of(id, 2, TI_PICKLE_STRING)) || !item_of(id, 3, TI_PICKLE_STRING) ||
      !(numel = item_of(id, 4, TI_PICKLE_INT)) || numel->u.integer < 0)
    return ti_pickle_fail(m, TEXTINV_E_FORMAT,
                          "a persistent id is not (\"storage\", type, key, location, size)");
  if (!is_key(key->u.string))
    return ti_pickle_fail(m, TEXTINV_E_FORMAT, "the key of a storage is \"%.*s\", expected digits",
                          ti_utf8_cut(key->u.string, 80), key->u.string);
  if ((uint64_t)numel->u.integer > SIZE_MAX ||
      ti_mul_size(&bytes, (size_t)numel->u.integer,
                  ti_file_dtype_size(globals[type->u.global].dtype)))
    return ti_pickle_fail(m, TEXTINV_E_FORMAT, "a storage of %lld elements", numel->u.integer);
  if ((status = ti_pickle_take(m, &room, sizeof(*storage))) < 0)
    return status;
  storage = room;
  storage->key = key->u.string;
  storage->dtype = globals[type->u.global].dtype;
  storage->numel = (uint64_t)numel->u.integer;
  if ((status = ti_pickle_new(m, TI_PICKLE_STORAGE, &v)) < 0)
    return status;
  v->u.tensor = storage;
  return ti_pickle_push(m, v);
}

/* dims and strides, and whether all elements lie within the storage */
static textinv_status fill_tensor(const ti_pickle_machine *m, ti_pickle_tensor *t,
                                  const ti_pickle_value *offset, const ti_pickle_value *dims,
                                  const ti_pickle_value *strides)
{
  uint64_t last, count = 1;

  if (dims->u.list.count != strides->u.list.count || offset->u.integer < 0)
    return ti_pickle_fail(m, TEXTINV_E_FORMAT,
                          "a tensor whose sizes and strides do not fit together");
  if (dims->u.list.count > TI_TENSOR_MAX_RANK)
    return ti_pickle_fail(m, TEXTINV_E_LIMIT, "a tensor of %zu dimensions, at most %d",
                          dims->u.list.count, TI_TENSOR_MAX_RANK);
  t->offset = last = (uint64_t)offset->u.integer;
  t->rank = (int)dims->u.list.count;
  for (int i = 0; i < t->rank; i++) {
    const ti_pickle_value *d = dims->u.list.items[i], *s = strides->u.list.items[i];
    uint64_t reach;

    if (d->kind != TI_PICKLE_INT || s->kind != TI_PICKLE_INT || d->u.integer < 0 ||
        s->u.integer < 0)
      return ti_pickle_fail(m, TEXTINV_E_FORMAT,
                            "a tensor with a size or stride that is no integer >= 0");
    t->dims[i] = (uint64_t)d->u.integer;
    t->strides[i] = (uint64_t)s->u.integer;
    if (__builtin_mul_overflow(count, t->dims[i], &count))
      return ti_pickle_fail(m, TEXTINV_E_FORMAT, "a tensor of over 2^64 elements");
    if (t->dims[i] && (__builtin_mul_overflow(t->dims[i] - 1, t->strides[i], &reach) ||
                       __builtin_add_overflow(last, reach, &last)))
      return ti_pickle_fail(m, TEXTINV_E_FORMAT, "a tensor that reaches beyond 2^64");
  }
  if (count && last >= t->numel)
    return ti_pickle_fail(m, TEXTINV_E_FORMAT,
                          "a tensor whose last element is number %llu of a storage of %llu",
                          (unsigned long long)last, (unsigned long long)t->numel);
  return TEXTINV_OK;
}

/*
 * (storage, offset, dims, strides, requires_grad, hooks, metadata). Of the last three only metadata
 * can change the values: {"neg": True}, {"conj": True}
 */
static textinv_status push_tensor(ti_pickle_machine *m, const ti_pickle_value *args)
{
  const ti_pickle_value *metadata = args->u.list.count > 6 ? args->u.list.items[6] : NULL;
  const ti_pickle_value *storage = item_of(args, 0, TI_PICKLE_STORAGE);
  const ti_pickle_value *offset = item_of(args, 1, TI_PICKLE_INT);
  const ti_pickle_value *dims = item_of(args, 2, TI_PICKLE_TUPLE);
  const ti_pickle_value *strides = item_of(args, 3, TI_PICKLE_TUPLE);
  ti_pickle_tensor *t;
  ti_pickle_value *v;
  textinv_status status;
  void *room;

  if (!storage || !offset || !dims || !strides)
    return ti_pickle_fail(m, TEXTINV_E_FORMAT,
                          "a tensor that is not (storage, offset, sizes, strides)");
  if (metadata && metadata->kind != TI_PICKLE_NONE &&
      (metadata->kind != TI_PICKLE_DICT || metadata->u.list.count))
    return ti_pickle_fail(m, TEXTINV_E_UNSUPPORTED,
                          "a tensor with metadata, as a negated view has: save its clone()");
  if ((status = ti_pickle_take(m, &room, sizeof(*t))) < 0)
    return status;
  t = room;
  *t = *storage->u.tensor;
  if ((status = fill_tensor(m, t, offset, dims, strides)) < 0 ||
      (status = ti_pickle_new(m, TI_PICKLE_TENSOR, &v)) < 0)
    return status;
  v->u.tensor = t;
  return ti_pickle_push(m, v);
}

/* OrderedDict() or OrderedDict([[key, value], ...]) */
static textinv_status push_ordered_dict(ti_pickle_machine *m, const ti_pickle_value *args)
{
  const ti_pickle_value *pairs = item_of(args, 0, TI_PICKLE_LIST);
  ti_pickle_value *v;
  textinv_status status = ti_pickle_new(m, TI_PICKLE_DICT, &v);

  if (status < 0)
    return status;
  if (args->u.list.count > 1 || (args->u.list.count && !pairs))
    return ti_pickle_fail(m, TEXTINV_E_FORMAT, "an OrderedDict of something else than pairs");
  for (size_t i = 0; pairs && i < pairs->u.list.count; i++) {
    const ti_pickle_value *pair = pairs->u.list.items[i];

    if ((pair->kind != TI_PICKLE_LIST && pair->kind != TI_PICKLE_TUPLE) || pair->u.list.count != 2)
      return ti_pickle_fail(m, TEXTINV_E_FORMAT, "an OrderedDict of something else than pairs");
    if ((status = ti_pickle_add(m, v, pair->u.list.items[0])) < 0 ||
        (status = ti_pickle_add(m, v, pair->u.list.items[1])) < 0)
      return status;
  }
  return ti_pickle_push(m, v);
}

textinv_status ti_pickle_reduce(ti_pickle_machine *m)
{
  ti_pickle_value *args, *callee, *v;
  textinv_status status;

  if ((status = ti_pickle_pop(m, &args)) < 0 || (status = ti_pickle_pop(m, &callee)) < 0)
    return status;
  if (args->kind != TI_PICKLE_TUPLE || callee->kind != TI_PICKLE_GLOBAL)
    return ti_pickle_fail(m, TEXTINV_E_FORMAT, "a call of something else than a name and a tuple");
  switch (globals[callee->u.global].id) {
  case ORDERED_DICT: return push_ordered_dict(m, args);
  case REBUILD_TENSOR:
  case REBUILD_TENSOR_V2: return push_tensor(m, args);
  case REBUILD_PARAMETER:
    if ((v = item_of(args, 0, TI_PICKLE_TENSOR)))
      return ti_pickle_push(m, v);
    return ti_pickle_fail(m, TEXTINV_E_FORMAT, "a parameter that is no tensor");
  case SET:
    if ((v = item_of(args, 0, TI_PICKLE_LIST)))
      return ti_pickle_push(m, v);
    return ti_pickle_fail(m, TEXTINV_E_FORMAT, "a set that is made of no list");
  case SIZE:
    if ((v = item_of(args, 0, TI_PICKLE_TUPLE)) || (v = item_of(args, 0, TI_PICKLE_LIST)))
      return ti_pickle_push(m, v);
    return ti_pickle_fail(m, TEXTINV_E_FORMAT, "a torch.Size that is made of no tuple");
  default:
    return ti_pickle_fail(m, TEXTINV_E_UNSUPPORTED, "calls \"%s.%s\", which is not run",
                          globals[callee->u.global].module, globals[callee->u.global].name);
  }
}

/* cls.__new__(cls): of a ParameterDict alone, which becomes a dict */
textinv_status ti_pickle_object(ti_pickle_machine *m)
{
  ti_pickle_value *args, *class, *v;
  textinv_status status;

  if ((status = ti_pickle_pop(m, &args)) < 0 || (status = ti_pickle_pop(m, &class)) < 0)
    return status;
  if (args->kind != TI_PICKLE_TUPLE || args->u.list.count || class->kind != TI_PICKLE_GLOBAL)
    return ti_pickle_fail(m, TEXTINV_E_FORMAT, "an object of something else than a class");
  if (globals[class->u.global].id != PARAMETER_DICT)
    return ti_pickle_fail(m, TEXTINV_E_UNSUPPORTED, "makes a \"%s.%s\", which is not run",
                          globals[class->u.global].module, globals[class->u.global].name);
  if ((status = ti_pickle_new(m, TI_PICKLE_DICT, &v)) < 0)
    return status;
  v->is_parameter_dict = 1;
  return ti_pickle_push(m, v);
}

/* the state of an object: a ParameterDict's entries; attributes of an OrderedDict do not matter */
textinv_status ti_pickle_build(ti_pickle_machine *m)
{
  const ti_pickle_value *parameters;
  ti_pickle_value *state, *object;
  textinv_status status;

  if ((status = ti_pickle_pop(m, &state)) < 0 || (status = ti_pickle_top(m, &object)) < 0)
    return status;
  if (object->kind != TI_PICKLE_DICT || state->kind != TI_PICKLE_DICT)
    return ti_pickle_fail(m, TEXTINV_E_UNSUPPORTED, "sets the state of an object that is no dict");
  if (!object->is_parameter_dict)
    return TEXTINV_OK;
  if (state->u.list.count / 2 > MAX_ATTRIBUTES)
    return ti_pickle_fail(m, TEXTINV_E_LIMIT, "a ParameterDict of %zu attributes, at most %d",
                          state->u.list.count / 2, MAX_ATTRIBUTES);
  parameters = ti_pickle_get(state, "_parameters");
  if (!parameters || parameters->kind != TI_PICKLE_DICT)
    return ti_pickle_fail(m, TEXTINV_E_FORMAT, "a ParameterDict without \"_parameters\"");
  object->u.list = parameters->u.list;
  object->u.list.capacity = object->u.list.count; /* not shared when it grows */
  return TEXTINV_OK;
}
