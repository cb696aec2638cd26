# `make fuzz SECONDS=60`: each reader of files under libFuzzer, AddressSanitizer and
# UndefinedBehaviorSanitizer. It starts from the seeds in tests/fuzz/corpus and keeps its inputs
# below build/fuzz. A crash is copied into the corpus with its fix: `make check` runs it from then on.
# So far a million executions of each without a finding, but of image and single 210,000 and of
# clip_image 550,000.

SECONDS      ?= 60
FUZZ_CC      ?= clang
FUZZ_READERS := safetensors json image torch pickle embedding checkpoint schedule clip_image single
FUZZ_TARGETS := $(FUZZ_READERS) prompt
# of src/api what readers of words and checkpoints need; session.c and unreached.c stand for the rest
FUZZ_SOURCES := $(wildcard src/base/*.c src/io/*.c src/text/*.c src/diffusion/*.c) \
  $(patsubst %,src/api/%.c,checkpoint embeddings embeddings_files optimizer params) \
  tests/fuzz/session.c tests/fuzz/unreached.c
FUZZ_FLAGS   := -std=c11 -D_GNU_SOURCE -g -O1 -fno-sanitize-recover=all $(INCLUDES)
FUZZ_OBJECTS := $(FUZZ_SOURCES:%.c=build/fuzz/%.o)

build/fuzz/%.o: %.c
	@mkdir -p $(@D)
	$(FUZZ_CC) $(FUZZ_FLAGS) -fsanitize=fuzzer-no-link,address,undefined -MMD -MP -c $< -o $@

FUZZ_LINK = $(FUZZ_CC) $(FUZZ_FLAGS) -fsanitize=fuzzer,address,undefined -o $@ $< \
  $(FUZZ_OBJECTS) $(LIBS)
$(FUZZ_READERS:%=build/fuzz/%): build/fuzz/%: tests/fuzz/fuzz.c tests/fuzz/targets.h $(FUZZ_OBJECTS)
	$(FUZZ_LINK) -DTARGET=$*
build/fuzz/prompt: tests/fuzz/prompt_fuzz.c $(FUZZ_OBJECTS)
	$(FUZZ_LINK)
-include $(FUZZ_OBJECTS:.o=.d)

.PHONY: fuzz $(FUZZ_TARGETS:%=fuzz-%)
fuzz: $(FUZZ_TARGETS:%=fuzz-%) ## fuzz the readers of files, SECONDS=60 each (needs clang)
$(FUZZ_TARGETS:%=fuzz-%): fuzz-%: build/fuzz/%
	@mkdir -p build/fuzz/found/$* build/fuzz/$*-crashes
	ASAN_OPTIONS=allocator_may_return_null=1 $< -max_total_time=$(SECONDS) -timeout=20 \
	  -rss_limit_mb=2048 -max_len=65536 -print_final_stats=1 -verbosity=0 \
	  -artifact_prefix=build/fuzz/$*-crashes/ build/fuzz/found/$* tests/fuzz/corpus/$*
