/* What the fuzzed files of src/api call of the rest of the library: no target gets there. */
#define STUB(name)                                                                                 \
  void name(void);                                                                                 \
  void name(void)                                                                                  \
  {                                                                                                \
    __builtin_trap();                                                                              \
  }

STUB(ti_begin)
STUB(ti_convert)
STUB(ti_log)
STUB(ti_net_optional)
