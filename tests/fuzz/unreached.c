/* What the fuzzed files of src/api call of the rest of the library: no target gets there. */
#define UNREACHED(name)                                                                            \
  void name(void);                                                                                 \
  void name(void)                                                                                  \
  {                                                                                                \
    __builtin_trap();                                                                              \
  }

UNREACHED(ti_convert)
UNREACHED(ti_net_optional)
