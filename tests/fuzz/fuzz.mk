# `make fuzz SECONDS=60`: each reader of files under libFuzzer, AddressSanitizer and
# UndefinedBehaviorSanitizer. It starts from the seeds in tests/fuzz/corpus and keeps its inputs
# below build/fuzz. A crash is copied into the corpus with its fix: `make check` runs it from then on.
# So far a million executions of each without a finding, but of image and single 210,000 and of
# clip_image 550,000.

SECONDS      ?= 60
FUZZ_CC      ?= clang
FUZZ_READERS := safetensors json image torch pickle embedding checkpoint schedule clip_image single
FUZZ_TARGETS := $(FUZZ_READERS) prompt

# the library as it is everywhere, but without oneDNN, whose files no reader calls
fuzz-build:
	$(Q)$(MAKE) CC='$(FUZZ_CC)' BUILD=build/fuzz ONEDNN=0 SANITIZE=address,undefined,fuzzer-no-link CFLAGS='-O1 -g' \
	  $(FUZZ_TARGETS:%=build/fuzz/%)
build/fuzz/kernels/%.o: SAN_FLAGS := # no reader gets there
FUZZ_LINK = $(CC) $(ALL_CFLAGS) -fsanitize=fuzzer -o $@ $< build/fuzz/libtextinv.a $(LIBS)
$(FUZZ_READERS:%=build/fuzz/%): build/fuzz/%: tests/fuzz/fuzz.c tests/fuzz/targets.h build/fuzz/libtextinv.a
	$(Q)$(FUZZ_LINK) -DTARGET=$*
build/fuzz/prompt: tests/fuzz/prompt_fuzz.c build/fuzz/libtextinv.a
	$(Q)$(FUZZ_LINK)

.PHONY: fuzz fuzz-build $(FUZZ_TARGETS:%=fuzz-%)
fuzz: $(FUZZ_TARGETS:%=fuzz-%) ## fuzz the readers of files, SECONDS=60 each (needs clang)
$(FUZZ_TARGETS:%=fuzz-%): fuzz-%: fuzz-build
	@mkdir -p build/fuzz/found/$* build/fuzz/$*-crashes
	ASAN_OPTIONS=allocator_may_return_null=1 build/fuzz/$* -max_total_time=$(SECONDS) -timeout=20 \
	  -rss_limit_mb=2048 -max_len=65536 -print_final_stats=1 -verbosity=0 \
	  -artifact_prefix=build/fuzz/$*-crashes/ build/fuzz/found/$* tests/fuzz/corpus/$*
