/* The pickles of torch files, hostile ones, opcode by opcode. */
#include "io_testing.h"

#include "torch_pickle.h"
#include "torch_testing.h"

static ti_pickle *pickle;

#define parse(bytes, size) ti_pickle_parse(&pickle, &error, "x.pt", bytes, size)
#define assert_refused(status, text, ...)                                                          \
  do {                                                                                             \
    pickle = (void *)1;                                                                            \
    assert_fails(parse(text, sizeof(text) - 1), status, "x.pt", "byte", __VA_ARGS__);              \
    assert_null(pickle);                                                                           \
  } while (0)
#define assert_reads(text) assert_succeeds(parse(text, sizeof(text) - 1))

static void objects_are_not_run(void **state)
{
  char endless[256] = "c";

  (void)state;
  assert_refused(TEXTINV_E_UNSUPPORTED, "cposix\nsystem\nX\2\0\0\0id\x85R.", "posix.system",
                 "safetensors");
  assert_refused(TEXTINV_E_UNSUPPORTED, "\x80\4\x8c\5posix\x8c\6system\x93.", "posix.system");
  assert_refused(TEXTINV_E_UNSUPPORTED, "\x80\4\x8c\5posix\x94\x8c\6system\x94h\0h\1\x93.",
                 "posix.system");
  assert_refused(TEXTINV_E_UNSUPPORTED, "(X\2\0\0\0idiposix\nsystem\n.", "opcode 0x69");
  assert_refused(TEXTINV_E_UNSUPPORTED, "(ccollections\nOrderedDict\no.", "opcode 0x6f");
  assert_refused(TEXTINV_E_UNSUPPORTED, "ccollections\nOrderedDict\n)\x81.",
                 "collections.OrderedDict");
  assert_refused(TEXTINV_E_UNSUPPORTED, "ctorch.nn.modules.container\nParameterDict\n)R.",
                 "ParameterDict");
  assert_refused(TEXTINV_E_UNSUPPORTED, "]}b.", "state");
  assert_refused(TEXTINV_E_UNSUPPORTED, "\x82\1.", "opcode 0x82");
  assert_refused(TEXTINV_E_UNSUPPORTED, "\x83\1\0.", "opcode 0x83");
  assert_refused(TEXTINV_E_UNSUPPORTED, "\x84\1\0\0\0.", "opcode 0x84");
  assert_refused(TEXTINV_E_UNSUPPORTED, "ctorch.storage\n_load_from_bytes\n.",
                 "torch.storage._load_from_bytes");
  assert_refused(TEXTINV_E_UNSUPPORTED, "ctorch._utils\n_rebuild_device_tensor_from_numpy\n.",
                 "from_numpy");
  assert_refused(TEXTINV_E_UNSUPPORTED, "cnumpy.core.multiarray\nscalar\n.",
                 "numpy.core.multiarray.scalar");
  assert_refused(TEXTINV_E_UNSUPPORTED, "cbuiltins\neval\n.", "builtins.eval");
  assert_refused(TEXTINV_E_UNSUPPORTED, "ctorch\nFloatStorage\n)R.", "FloatStorage");
  assert_refused(TEXTINV_E_FORMAT, "cposix\nsys\x01tem\n.", "0x01");
  assert_refused(TEXTINV_E_FORMAT, "cposix", "does not end");
  memset(endless + 1, 'a', sizeof(endless) - 1);
  assert_fails(parse(endless, sizeof(endless)), TEXTINV_E_FORMAT, "x.pt", "does not end");
  assert_refused(TEXTINV_E_FORMAT, "NX\1\0\0\0a\x93.", "not a string");
  assert_refused(TEXTINV_E_FORMAT, "X\1\0\0\0aN\x93.", "not a string");
  assert_refused(TEXTINV_E_FORMAT, "N)\x81.", "something else than a class");
  assert_refused(TEXTINV_E_FORMAT, "ctorch.nn.modules.container\nParameterDict\nN\x85\x81.",
                 "something else than a class");
  assert_refused(TEXTINV_E_FORMAT, "ctorch.nn.modules.container\nParameterDict\nN\x81.",
                 "something else than a class");
}

static void every_opcode_finds_an_empty_stack(void **state)
{
  /* what an opcode needs on the stack, and its bytes behind it */
  static const struct {
    const char *code;
    size_t size;
  } codes[] = { { ".", 1 },         { "0", 1 },    { "1", 1 },    { "2", 1 },   { "t", 1 },
                { "\x85", 1 },      { "\x86", 1 }, { "\x87", 1 }, { "l", 1 },   { "a", 1 },
                { "e", 1 },         { "d", 1 },    { "s", 1 },    { "u", 1 },   { "q\0", 2 },
                { "r\0\0\0\0", 5 }, { "\x94", 1 }, { "\x93", 1 }, { "Q", 1 },   { "R", 1 },
                { "\x81", 1 },      { "b", 1 },    { "\x90", 1 }, { "\x91", 1 } };

  (void)state;
  for (size_t i = 0; i < sizeof(codes) / sizeof(*codes); i++) {
    char text[16] = "(";

    assert_fails(parse(codes[i].code, codes[i].size), TEXTINV_E_FORMAT, "x.pt", "byte 0",
                 "finds no");
    if (strchr("01tlde\x90\x91", *codes[i].code) || *codes[i].code == 'u')
      continue; /* happy with a mark, or tested below */
    memcpy(text + 1, codes[i].code, codes[i].size);
    assert_fails(parse(text, codes[i].size + 1), TEXTINV_E_FORMAT, "x.pt", "byte 1", "finds no");
  }
}

static void a_pickle_ends_at_every_byte(void **state)
{
  static const char whole[] =
    "\x80\2}q\0(X\1\0\0\0aK\5X\1\0\0\0bM\1\2X\1\0\0\0cJ\1\2\3\xffX\1\0\0\0dG?\xf0\0\0\0\0\0\0"
    "X\1\0\0\0e\x8a\1\xffX\1\0\0\0f](NK\1eu.";

  (void)state;
  for (size_t size = 0; size < sizeof(whole) - 1; size++) {
    char *cut = malloc(size ? size : 1);

    memcpy(cut, whole, size);
    assert_fails(parse(cut, size), TEXTINV_E_FORMAT, "x.pt");
    free(cut);
  }
  assert_reads(whole);
  assert_int_equal(ti_pickle_get(ti_pickle_root(pickle), "a")->u.integer, 5);
  assert_int_equal(ti_pickle_get(ti_pickle_root(pickle), "b")->u.integer, 513);
  assert_int_equal(ti_pickle_get(ti_pickle_root(pickle), "c")->u.integer, (int32_t)0xff030201);
  assert_true(ti_pickle_get(ti_pickle_root(pickle), "d")->u.real == 1.0);
  assert_int_equal(ti_pickle_get(ti_pickle_root(pickle), "e")->u.integer, -1);
  assert_int_equal(ti_pickle_get(ti_pickle_root(pickle), "f")->u.list.count, 2);
  assert_null(ti_pickle_get(ti_pickle_root(pickle), "g"));
  ti_pickle_free(pickle);
}

static void memo_and_stack(void **state)
{
  (void)state;
  assert_refused(TEXTINV_E_FORMAT, "h\5.", "memo entry 5 was never set");
  assert_refused(TEXTINV_E_FORMAT, "Nq\1h\0.", "memo entry 0");
  assert_refused(TEXTINV_E_FORMAT, "j\xff\xff\xff\xff.", "4294967295");
  assert_refused(TEXTINV_E_LIMIT, "Nr\xff\xff\xff\xff.", "4294967295");
  assert_refused(TEXTINV_E_FORMAT, "NN.", "1 values too many");
  assert_refused(TEXTINV_E_FORMAT, "N.N", "1 bytes before its end");
  assert_refused(TEXTINV_E_FORMAT, "(N.", "too many");
  assert_refused(TEXTINV_E_FORMAT, "K\1Na.", "0x61 is not for");
  assert_refused(TEXTINV_E_FORMAT, "}Na.", "0x61 is not for");
  assert_refused(TEXTINV_E_FORMAT, "]NNs.", "0x73 is not for");
  assert_refused(TEXTINV_E_FORMAT, "](NNu.", "0x75 is not for");
  assert_refused(TEXTINV_E_FORMAT, "}(Nu.", "without a value");
  assert_refused(TEXTINV_E_FORMAT, "(Nd.", "odd number");
  assert_refused(TEXTINV_E_FORMAT, "}(NNe.", "0x65 is not for");
  assert_refused(TEXTINV_E_FORMAT, "}(N\x90.", "0x90 is not for");
  assert_reads("\x8f(NN\x90(NN\x91\x86."); /* {..}, frozenset({..}) */
  for (int i = 0; i < 2; i++) {
    assert_int_equal(ti_pickle_root(pickle)->u.list.items[i]->kind, TI_PICKLE_LIST);
    assert_int_equal(ti_pickle_root(pickle)->u.list.items[i]->u.list.count, 2);
  }
  ti_pickle_free(pickle);
  assert_reads("c__builtin__\nfrozenset\n]Na\x85R.");
  assert_int_equal(ti_pickle_root(pickle)->kind, TI_PICKLE_LIST);
  ti_pickle_free(pickle);
  assert_reads("ctorch\nSize\nK\2K\3\x86\x85R.");
  assert_int_equal(ti_pickle_root(pickle)->kind, TI_PICKLE_TUPLE);
  ti_pickle_free(pickle);
  assert_reads("ctorch\nSize\n](K\2K\3e\x85R.");
  assert_int_equal(ti_pickle_root(pickle)->u.list.count, 2);
  ti_pickle_free(pickle);
  assert_refused(TEXTINV_E_FORMAT, "ctorch\nSize\nN\x85R.", "made of no tuple");
  assert_refused(TEXTINV_E_FORMAT, "cbuiltins\nset\nN\x85R.", "made of no list");
  assert_reads("ccollections\nOrderedDict\n](NK\1\x86](NK\2ee\x85R}b."); /* attributes are left */
  assert_int_equal(ti_pickle_root(pickle)->u.list.count, 4);
  assert_int_equal(ti_pickle_root(pickle)->u.list.items[3]->u.integer, 2);
  ti_pickle_free(pickle);
#define ORDERED(args) "ccollections\nOrderedDict\n" args "R."
  assert_refused(TEXTINV_E_FORMAT, ORDERED("]N\x86"), "else than pairs");
  assert_refused(TEXTINV_E_FORMAT, ORDERED("N\x85"), "else than pairs");
  assert_refused(TEXTINV_E_FORMAT, ORDERED("]Na\x85"), "else than pairs");
  assert_refused(TEXTINV_E_FORMAT, ORDERED("]N\x85\x61\x85"), "else than pairs");
  assert_reads("]q\0h\0a."); /* a list in itself */
  ti_pickle_free(pickle);
  assert_reads("}q\0X\1\0\0\0ah\0s.");
  ti_pickle_free(pickle);
  assert_reads("N\x94h\0"
               "0.");
  ti_pickle_free(pickle);
}

static void numbers_and_strings(void **state)
{
  (void)state;
  assert_refused(TEXTINV_E_FORMAT, "X\xff\xff\xff\x7f.", "2147483647 bytes");
  assert_refused(TEXTINV_E_FORMAT, "X\xff\xff\xff\xff.", "4294967295 bytes");
  assert_refused(TEXTINV_E_FORMAT, "\x8d\0\0\0\0\0\0\0\x80.", "9223372036854775808 bytes");
  assert_refused(TEXTINV_E_FORMAT, "\x8b\0\0\0\x80.", "2147483648 bytes");
  assert_refused(TEXTINV_E_FORMAT, "\x8a\xff.", "255 bytes");
  assert_refused(TEXTINV_E_FORMAT, "\x8b\1.", "needs 4 bytes, 2 are left");
  assert_refused(TEXTINV_E_FORMAT, "X\2\0\0\0\xff\xfe.", "UTF-8");
  assert_refused(TEXTINV_E_FORMAT, "X\2\0\0\0a\0.", "NUL");
  assert_refused(TEXTINV_E_UNSUPPORTED, "\x80\xff.", "protocol 255");
  assert_refused(TEXTINV_E_FORMAT, "\x80\4\x95\xff\0\0\0\0\0\0\0N.", "frame");
  assert_refused(TEXTINV_E_UNSUPPORTED, "I5\n.", "opcode 0x49");
  assert_refused(TEXTINV_E_UNSUPPORTED, "Vabc\n.", "opcode 0x56");
  assert_reads("\x80\5\x95\2\0\0\0\0\0\0\0N.");
  ti_pickle_free(pickle);
  assert_reads("\x8a\0.");
  assert_int_equal(ti_pickle_root(pickle)->u.integer, 0);
  ti_pickle_free(pickle);
  assert_reads("\x8a\x08\0\0\0\0\0\0\0\x80.");
  assert_true(ti_pickle_root(pickle)->u.integer == INT64_MIN);
  ti_pickle_free(pickle);
  assert_reads("\x8b\2\0\0\0\xfe\xff.");
  assert_int_equal(ti_pickle_root(pickle)->u.integer, -2);
  ti_pickle_free(pickle);
  assert_reads("\x8a\x09\0\0\0\0\0\0\0\x80\0."); /* a seed of 2^63 */
  assert_int_equal(ti_pickle_root(pickle)->kind, TI_PICKLE_NONE);
  ti_pickle_free(pickle);
}

static void depth_and_work_are_bounded(void **state)
{
  const size_t size = (1 << 22) + 2;
  char *text = malloc(size);

  (void)state;
  memset(text, ']', size);
  memset(text + 1000000, 'a', 999999);
  text[1999999] = '.';
  assert_succeeds(parse(text, 2000000)); /* a million lists deep */
  ti_pickle_free(pickle);
  memset(text, ']', size);
  assert_fails(parse(text, 4000000), TEXTINV_E_FORMAT, "without STOP");
  memset(text, 'N', size);
  assert_fails(parse(text, size), TEXTINV_E_LIMIT, "over 4194304 values on its stack");
  /* each tuple holds the one before it twice */
  text[0] = ')';
  for (size_t i = 1; i + 2 < 300000; i += 2)
    memcpy(text + i, "2\x86", 2);
  text[299999] = '.';
  assert_succeeds(parse(text, 300000));
  ti_pickle_free(pickle);
  free(text);
}

/* an OrderedDict of a list that is there already, over and over */
static void lists_are_not_copied_without_end(void **state)
{
  enum { PAIRS = 10000, CALLS = 1000, SIZE = 3 * PAIRS + 5 * CALLS + 64 };
  char *text = malloc(SIZE), *end = text;

  (void)state;
  assert_non_null(text);
  end += sprintf(end, "ccollections\nOrderedDict\nq%c](", 1);
  for (int i = 0; i < PAIRS; i++)
    end += sprintf(end, "NN\x86");
  end += sprintf(end, "e\x85q%c", 2);
  for (int i = 0; i < CALLS; i++)
    end += sprintf(end, "h%ch%cR", 1, 2);
  *end++ = '.';
  assert_fails(parse(text, (size_t)(end - text)), TEXTINV_E_LIMIT, "x.pt", "bytes of memory for");
  free(text);
}

/* a state that is there already, looked through over and over */
static void states_are_not_searched_without_end(void **state)
{
  enum { MAX = 256, ENTRIES = 1 << 20, BUILDS = 1 << 18, SIZE = 2 * ENTRIES + 3 * BUILDS + 128 };
  char *text = malloc(SIZE);

  (void)state;
  assert_non_null(text);
  for (int large = 0; large < 2; large++) {
    char *end = text;

    /* entries whose key is None behind the one that is asked for, which is found last */
    end += sprintf(end, "ctorch.nn.modules.container\nParameterDict\n)%c}(X%c%c%c%c_parameters}",
                   0x81, 11, 0, 0, 0);
    for (int i = 1; i < (large ? ENTRIES : MAX); i++)
      end += sprintf(end, "NN");
    end += sprintf(end, "uq%cb", 1);
    for (int i = 1; i < BUILDS; i++)
      end += sprintf(end, "h%cb", 1);
    *end++ = '.';
    if (large) {
      assert_fails(parse(text, (size_t)(end - text)), TEXTINV_E_LIMIT, "x.pt",
                   "a ParameterDict of 1048576 attributes, at most 256");
    } else {
      assert_succeeds(parse(text, (size_t)(end - text)));
      ti_pickle_free(pickle);
    }
  }
  free(text);
}

/* with offset, sizes, strides */
#define TENSOR(storage, rest) "ctorch._utils\n_rebuild_tensor_v2\n(" storage rest "\x89)tR."

static void storages_and_tensors(void **state)
{
  static char deep[512] = "ctorch._utils\n_rebuild_tensor_v2\n(" STORAGE("K\4") "K\0(";
  char *p = deep + strlen(deep);

  (void)state;
  assert_reads(TENSOR(STORAGE("K\6"), "K\0K\2K\3\x86K\3K\1\x86"));
  assert_int_equal(ti_pickle_root(pickle)->kind, TI_PICKLE_TENSOR);
  assert_int_equal(ti_pickle_root(pickle)->u.tensor->dims[1], 3);
  ti_pickle_free(pickle);
  assert_reads(TENSOR(STORAGE("K\0"), "K\0K\0\x85K\1\x85"));
  ti_pickle_free(pickle);
#define WITH_METADATA(dict)                                                                        \
  "ctorch._utils\n_rebuild_tensor_v2\n(" STORAGE("K\6") "K\0K\6\x85K\1\x85\x89N" dict "tR."
  assert_reads(WITH_METADATA("N"));
  ti_pickle_free(pickle);
  assert_refused(TEXTINV_E_UNSUPPORTED, WITH_METADATA("K\1"), "metadata");
  assert_reads(WITH_METADATA("}"));
  ti_pickle_free(pickle);
  assert_refused(TEXTINV_E_UNSUPPORTED, WITH_METADATA("}X\3\0\0\0neg\x88s"), "metadata", "clone()");
  assert_refused(TEXTINV_E_FORMAT, TENSOR(STORAGE("K\5"), "K\0K\2K\3\x86K\3K\1\x86"),
                 "number 5 of a storage of 5");
  assert_refused(TEXTINV_E_FORMAT, TENSOR(STORAGE("K\6"), "K\1K\2K\3\x86K\3K\1\x86"), "number 6");
  assert_refused(TEXTINV_E_FORMAT, TENSOR(STORAGE("K\6"), "J\xff\xff\xff\xffK\2\x85K\1\x85"),
                 "sizes and strides");
  assert_refused(TEXTINV_E_FORMAT, TENSOR(STORAGE("K\6"), "K\0J\xff\xff\xff\xff\x85K\1\x85"),
                 ">= 0");
  assert_refused(TEXTINV_E_FORMAT, TENSOR(STORAGE("K\6"), "K\0K\2\x85J\xff\xff\xff\xff\x85"),
                 ">= 0");
  assert_refused(TEXTINV_E_FORMAT, TENSOR(STORAGE("K\6"), "K\0K\2\x85)"), "do not fit");
  assert_refused(TEXTINV_E_FORMAT, TENSOR(STORAGE("K\6"), "K\0N\x85K\1\x85"), "integer");
  assert_refused(TEXTINV_E_FORMAT,
                 TENSOR(STORAGE("K\6"), "K\0\x8a\x08\0\0\0\0\0\0\0\x40\x8a\1\x08\x86K\1K\1\x86"),
                 "2^64");
  assert_refused(TEXTINV_E_FORMAT,
                 TENSOR(STORAGE("K\6"), "K\0K\5\x85\x8a\x08\0\0\0\0\0\0\0\x7f\x85"), "2^64");
  assert_refused(TEXTINV_E_FORMAT,
                 TENSOR(STORAGE("K\6"), "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7fK\3\x85"
                                        "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x85"),
                 "beyond 2^64");
  assert_refused(TEXTINV_E_FORMAT, TENSOR(STORAGE("K\6"), "K\0K\2\x85N\x85"), "integer");
  assert_refused(TEXTINV_E_FORMAT, TENSOR("N", "K\0))"), "storage");
  assert_refused(TEXTINV_E_FORMAT, TENSOR(STORAGE("K\6"), "N))"), "(storage, offset");
  assert_refused(TEXTINV_E_FORMAT, TENSOR(STORAGE("K\6"), "K\0N)"), "(storage, offset");
  assert_refused(TEXTINV_E_FORMAT, TENSOR(STORAGE("K\6"), "K\0)N"), "(storage, offset");
  assert_refused(TEXTINV_E_FORMAT, STORAGE("J\xff\xff\xff\xff") ".", "persistent id");
  assert_refused(TEXTINV_E_FORMAT, STORAGE("\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f") ".",
                 "9223372036854775807");
  assert_refused(TEXTINV_E_FORMAT, STORAGE("N") ".", "persistent id");
  assert_refused(TEXTINV_E_FORMAT, STORAGE("N0") ".", "persistent id");
#define KEYED(key, place) "(X\7\0\0\0storagectorch\nFloatStorage\n" key place "K\1tQ."
  assert_refused(TEXTINV_E_FORMAT, KEYED("N", "X\3\0\0\0cpu"), "persistent id");
  assert_refused(TEXTINV_E_FORMAT, KEYED("X\1\0\0\0x", "N"), "persistent id");
  assert_refused(TEXTINV_E_FORMAT, KEYED("X\0\0\0\0", "X\3\0\0\0cpu"), "expected digits");
  assert_refused(TEXTINV_E_FORMAT,
                 KEYED("X\x20\0\0\0xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "X\3\0\0\0cpu"),
                 "expected digits");
  assert_refused(TEXTINV_E_FORMAT, "(X\7\0\0\0staragectorch\nFloatStorage\n)))tQ.",
                 "persistent id");
  assert_refused(TEXTINV_E_FORMAT, "X\1\0\0\0aQ.", "persistent id");
  assert_refused(TEXTINV_E_FORMAT,
                 "(X\7\0\0\0storageNX\1\0\0\0"
                 "0X\3\0\0\0cpuK\1tQ.",
                 "persistent id");
  assert_refused(TEXTINV_E_FORMAT,
                 "(X\7\0\0\0storagectorch\nFloatStorage\nX\x07\0\0\0../../xX\3\0\0\0cpuK\1tQ.",
                 "../../x");
  assert_refused(TEXTINV_E_FORMAT,
                 "(X\7\0\0\0storagectorch._utils\n_rebuild_tensor_v2\nX\1\0\0\0"
                 "0X\3\0\0\0cpuK\1tQ.",
                 "persistent id");
  assert_refused(TEXTINV_E_FORMAT, "ctorch._utils\n_rebuild_parameter\nN\x85R.", "parameter");
  assert_refused(TEXTINV_E_FORMAT, "NNR.", "call");
  for (int i = 0; i < 130; i++)
    *p++ = i == 65 ? 't' : i == 66 ? '(' : ')'; /* 65 dimensions */
  assert_fails(parse(deep, (size_t)(p - deep)), TEXTINV_E_FORMAT, "x.pt");
  assert_refused(
    TEXTINV_E_LIMIT,
    TENSOR(STORAGE("K\6"), "K\0(K\1K\1K\1K\1K\1K\1K\1K\1K\1t(K\1K\1K\1K\1K\1K\1K\1K\1K\1t"),
    "9 dimensions");
  assert_refused(TEXTINV_E_FORMAT, "ctorch.nn.modules.container\nParameterDict\n)\x81}b.",
                 "_parameters");
  assert_refused(TEXTINV_E_FORMAT,
                 "ctorch.nn.modules.container\nParameterDict\n)\x81}X\x0b\0\0\0_parametersNsb.",
                 "_parameters");
}

static void every_type_of_a_storage(void **state)
{
  static const struct {
    const char *name;
    ti_file_dtype dtype;
  } types[] = {
    { "Float", TI_FILE_F32 },  { "Half", TI_FILE_F16 }, { "BFloat16", TI_FILE_BF16 },
    { "Double", TI_FILE_F64 }, { "Long", TI_FILE_I64 }, { "Int", TI_FILE_I32 },
    { "Short", TI_FILE_I16 },  { "Char", TI_FILE_I8 },  { "Byte", TI_FILE_U8 },
    { "Bool", TI_FILE_BOOL },
  };

  (void)state;
  for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++) {
    static const char begin[] = "ctorch._utils\n_rebuild_tensor_v2\n((X\7\0\0\0storage";
    static const char end[] = "X\1\0\0\0"
                              "0X\3\0\0\0cpuK\2tQK\0K\2\x85K\1\x85\x89)tR.";
    char text[200];
    size_t size = sizeof(begin) - 1;

    memcpy(text, begin, size);
    size += (size_t)sprintf(text + size, "ctorch\n%sStorage\n", types[i].name);
    memcpy(text + size, end, sizeof(end) - 1);
    assert_succeeds(parse(text, size + sizeof(end) - 1));
    assert_int_equal(ti_pickle_root(pickle)->kind, TI_PICKLE_TENSOR);
    assert_int_equal(ti_pickle_root(pickle)->u.tensor->dtype, types[i].dtype);
    ti_pickle_free(pickle);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(objects_are_not_run),
    cmocka_unit_test(every_opcode_finds_an_empty_stack),
    cmocka_unit_test(a_pickle_ends_at_every_byte),
    cmocka_unit_test(memo_and_stack),
    cmocka_unit_test(numbers_and_strings),
    cmocka_unit_test(depth_and_work_are_bounded),
    cmocka_unit_test(lists_are_not_copied_without_end),
    cmocka_unit_test(states_are_not_searched_without_end),
    cmocka_unit_test(storages_and_tensors),
    cmocka_unit_test(every_type_of_a_storage),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
