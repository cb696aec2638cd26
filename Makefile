# libtextinv. `make help` lists the targets.

# --- version, from the one place for the number
version_part = $(shell sed -n 's/^\#define TEXTINV_VERSION_$(1) //p' include/textinv/version.h)
MAJOR   := $(call version_part,MAJOR)
VERSION := $(MAJOR).$(call version_part,MINOR).$(call version_part,PATCH)

# --- what a user may set
CC         ?= cc
MPICC      ?= mpicc
PKG_CONFIG ?= pkg-config
CFLAGS     ?= -O3 -g
PREFIX     ?= /usr/local
BINDIR     ?= $(PREFIX)/bin
LIBDIR     ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
DATADIR    ?= $(PREFIX)/share
ONEDNN     ?= 1
SANITIZE   ?=
WERROR     ?= 0
V          ?= 0
PARITY     ?= --full

# what is installed does not depend on the folder that a command runs in
override DESTDIR := $(if $(DESTDIR),$(if $(filter /%,$(DESTDIR)),,$(CURDIR)/)$(DESTDIR))

# goals beside clean wait for it
ifneq ($(filter clean,$(MAKECMDGOALS)),)
.NOTPARALLEL:
endif

# every core, unless -j or a make above says otherwise
ifeq ($(MAKELEVEL)$(filter -j% j%,$(MAKEFLAGS)),0)
MAKEFLAGS += -j$(shell nproc 2>/dev/null || echo 2)
endif

# --- how things are built
DEPS     := $(filter deps deps-ci,$(MAKECMDGOALS)) # installed before anything is compiled
PKGS     := libpng libjpeg zlib libzip jansson libutf8proc
WARN     := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla $(if $(filter 1,$(WERROR)),-Werror)
SRCDIRS  := src/base src/io src/text src/diffusion src/tape src/nets src/api
INCLUDES := -Iinclude -Ikernels -Ikernels/cpu $(addprefix -I,$(SRCDIRS))
BUILD    ?= build/$(notdir $(firstword $(CC)))$(if $(SANITIZE),-san)$(if $(filter 0,$(ONEDNN)),-ref)
SAN_FLAGS := $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=all)
# the prefix map keeps the name of this folder out of the binaries
COMMON_CFLAGS = -std=c11 -D_GNU_SOURCE -ffile-prefix-map='$(CURDIR)/'= $(WARN) $(CPPFLAGS) $(CFLAGS) $(SAN_FLAGS)
ALL_CFLAGS = $(COMMON_CFLAGS) -fPIC -fvisibility=hidden -fopenmp-simd -ffp-contract=off -DTEXTINV_BUILD \
  $(if $(SANITIZE),,-DNDEBUG) $(INCLUDES) $(PKG_CFLAGS) $(if $(filter 0,$(ONEDNN)),,-DTI_ONEDNN)
PKG_CFLAGS = $(eval PKG_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(PKGS)))$(PKG_CFLAGS) # asked once, when needed
LIBS       = $(shell $(PKG_CONFIG) --libs $(PKGS)) $(if $(filter 0,$(ONEDNN)),,-ldnnl -lgomp) -lpthread -ldl -lm
Q := $(if $(filter 0,$(V)),@)
comma := ,

SIMD    := $(sort $(wildcard kernels/cpu/*_simd.c)) # compiled once for each form of a vector that $(CC)'s processors have
PAIRS   := $(patsubst %,kernels/cpu/%_simd.c,attention attention_bwd conv2d gemm planes table) # those for bf16 instructions
# of $(CC), or this one where "make deps" has yet to install it
MACHINE := $(firstword $(subst -, ,$(shell $(CC) -dumpmachine 2>/dev/null || uname -m)))
LANES_x86_64  := 8 16
LANES_aarch64 := 4
VECTORS := $(foreach lanes,$(LANES_$(MACHINE)),$(SIMD:%.c=%_$(lanes).o)) $(if $(filter x86_64,$(MACHINE)),$(PAIRS:%.c=%_bf16.o))
SOURCES := $(filter-out $(SIMD),$(sort $(wildcard $(addsuffix /*.c,$(SRCDIRS)) kernels/*.c kernels/cpu/*.c)))
OBJECTS := $(SOURCES:%.c=$(BUILD)/%.o) $(VECTORS:%=$(BUILD)/%)
LIBNAME := libtextinv.so.$(VERSION)
SONAME  := libtextinv.so.$(MAJOR)
CLI     := $(sort $(wildcard examples/cli/*.c))
TESTS   := $(sort $(wildcard tests/*/*_test.c))
TESTBIN := $(TESTS:%.c=$(BUILD)/%)
TESTLIB := $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/*.c)) # what tests share
SCRIPTS := $(sort $(wildcard tests/*/check.sh)) tests/faults/kill.sh
MODELS  := $(wildcard models/toybox models/toybox-clip models/clip-tokenizer)

.PHONY: all lib build deps deps-ci demo check check-san check-parity store-abi examples \
        install uninstall help clean
.DEFAULT_GOAL := all

all: lib $(BUILD)/textinv ## the library and the program (build/cc/textinv)

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(filter-out %.d,$(MAKEFILE_LIST)) | expand -t 16
	@echo 'Variables: PREFIX DESTDIR CC CFLAGS ONEDNN=0 SANITIZE=address,undefined WERROR=1 V=1'

deps: ## install what is missing to build, run and test (Debian, Ubuntu; root or sudo)
	@scripts/deps.sh

deps-ci: # what .ci/run needs beyond that
	@scripts/deps.sh ci

demo: all ## learn a new object from five pictures, draw it elsewhere: build/demo/sheet.png
	@scripts/demo.sh $(BUILD)/textinv build/demo

# --- library
lib: lib/$(LIBNAME) ## lib/libtextinv.so

build: $(BUILD)/$(LIBNAME) $(BUILD)/textinv $(TESTBIN) examples # everything, below build/ alone

compile = @mkdir -p $(@D)$(if $(Q), && echo "CC $<") && $(CC) $(1) -MMD -MP -c $< -o $@
$(BUILD)/%.o: %.c $(BUILD)/flags
	$(call compile,$(ALL_CFLAGS))
$(BUILD)/%_simd_4.o: %_simd.c $(BUILD)/flags
	$(call compile,$(ALL_CFLAGS) -DTI_LANES=4)
$(BUILD)/%_simd_8.o: %_simd.c $(BUILD)/flags
	$(call compile,$(ALL_CFLAGS) -DTI_LANES=8)
$(BUILD)/%_simd_16.o: %_simd.c $(BUILD)/flags
	$(call compile,$(ALL_CFLAGS) -DTI_LANES=16)

$(BUILD)/%_simd_bf16.o: %_simd.c $(BUILD)/flags
	$(call compile,$(ALL_CFLAGS) -DTI_LANES=16 -DTI_PAIRS)

# changed flags compile everything again, a changed PREFIX what knows it
FLAGS := $(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) sanitize:$(SANITIZE) onednn:$(ONEDNN)
differ = $(filter-out $(1),$(2))$(filter-out $(2),$(1))
stored = $(shell cat $(BUILD)/$(1) 2>/dev/null)
$(BUILD)/flags: $(if $(call differ,$(FLAGS),$(call stored,flags)),always) | $(DEPS)
	@$(PKG_CONFIG) --print-errors --exists $(PKGS) || { echo '"make deps" installs what is missing'; exit 1; }
	@mkdir -p $(@D)
	@echo '$(FLAGS)' >$@
FOLDERS := $(BINDIR) $(LIBDIR) $(DATADIR)
$(BUILD)/folders: $(if $(call differ,$(FOLDERS),$(call stored,folders)),always)
	@mkdir -p $(@D)
	@echo '$(FOLDERS)' >$@
always:
.PHONY: always
$(BUILD)/src/base/library.o: ALL_CFLAGS += -DTI_DATADIR='"$(DATADIR)/textinv"'
$(BUILD)/src/base/library.o: $(BUILD)/folders

$(BUILD)/$(LIBNAME): $(OBJECTS) lib/textinv.map
	$(if $(Q),@echo "LD $@")
	$(Q)$(CC) -shared $(SAN_FLAGS) $(LDFLAGS) -Wl,-soname,$(SONAME) \
	  $(if $(SANITIZE),,-Wl$(comma)-z$(comma)defs) -Wl,--version-script=lib/textinv.map -o $@.new $(OBJECTS) $(LIBS)
	$(Q)mv -f $@.new $@
	$(Q)ln -sf $(LIBNAME) $(BUILD)/$(SONAME) && ln -sf $(SONAME) $(BUILD)/libtextinv.so
	$(Q)ln -sf '$(CURDIR)/lib/libtextinv-cuda.so' $(BUILD)/libtextinv-cuda.so # `make cuda` makes it

lib/$(LIBNAME): $(BUILD)/$(LIBNAME)
	$(Q)cp -f $< $@.new && mv -f $@.new $@
	$(Q)ln -sf $(LIBNAME) lib/$(SONAME) && ln -sf $(SONAME) lib/libtextinv.so

# the same objects for tests, which may look inside
$(BUILD)/libtextinv.a: $(OBJECTS)
	$(Q)rm -f $@.new; ar rcs $@.new $^ && mv -f $@.new $@

# --- programs, which see the public header alone
$(BUILD)/examples/%.o: examples/%.c $(BUILD)/flags
	$(call compile,$(COMMON_CFLAGS) -Iinclude)

# textinv.pc of a prefix, a folder of libraries, one of headers
pc_file = sed -e 's|@PREFIX@|$(1)|' -e 's|@LIBDIR@|$(2)|' -e 's|@INCLUDEDIR@|$(3)|' -e 's|@VERSION@|$(VERSION)|' pkgconfig/textinv.pc.in

# beside the program while it is built, in LIBDIR once it is installed
RPATH = -Wl,-rpath,'$$ORIGIN:$$ORIGIN/$(shell realpath -m --relative-to=$(BINDIR) $(LIBDIR))'
$(BUILD)/textinv: $(CLI:%.c=$(BUILD)/%.o) $(BUILD)/$(LIBNAME) $(BUILD)/folders
	$(if $(Q),@echo "LD $@")
	$(Q)$(CC) $(SAN_FLAGS) $(LDFLAGS) -o $@ $(CLI:%.c=$(BUILD)/%.o) -L$(BUILD) -ltextinv $(RPATH) -lm

# those in C++, Go and Rust, with MPI and for GIMP where there is what they are compiled with
found = $(shell command -v $(1) 2>/dev/null)
CXX_EXAMPLES := $(if $(call found,$(CXX)),$(wildcard examples/cpp/*.cpp))
OTHER_EXAMPLES := $(if $(SANITIZE),,$(if $(call found,go),examples/go/learn) $(if $(call found,rustc),examples/rust/learn) \
  $(if $(filter 2.%,$(shell $(PKG_CONFIG) --modversion gimpui-2.0 2>/dev/null)),examples/gimp/textinv-gimp)) \
  $(if $(call found,$(MPICC)),examples/mpi/textinv-mpi)
EXAMPLES := $(patsubst examples/%.c,$(BUILD)/examples/%,$(wildcard examples/c/*.c)) \
  $(CXX_EXAMPLES:%.cpp=$(BUILD)/%) $(OTHER_EXAMPLES:%=$(BUILD)/%)
examples: $(EXAMPLES) # the programs of examples/c, cpp, go, rust, mpi and gimp
$(BUILD)/examples/c/%: $(BUILD)/examples/c/%.o $(BUILD)/$(LIBNAME)
	$(Q)$(CC) $(SAN_FLAGS) $(LDFLAGS) -o $@ $< -L$(BUILD) -ltextinv -lm -Wl,-rpath,'$$ORIGIN/../..'
CXX_WARN := -Wall -Wextra -Wshadow -pedantic $(if $(filter 1,$(WERROR)),-Werror)
$(BUILD)/examples/cpp/%: examples/cpp/%.cpp include/textinv/textinv.h $(BUILD)/$(LIBNAME)
	@mkdir -p $(@D)$(if $(Q), && echo "CXX $<")
	$(Q)$(CXX) -std=c++17 $(CXX_WARN) $(CPPFLAGS) -O2 -g $(SAN_FLAGS) $(LDFLAGS) -Iinclude -o $@ $< -L$(BUILD) -ltextinv \
	  -Wl,-rpath,'$$ORIGIN/../..'
# MPI's wrapper adds its headers and libraries to the compiler that it is told
$(BUILD)/examples/mpi/textinv-mpi: examples/mpi/textinv_mpi.c include/textinv/textinv.h $(BUILD)/$(LIBNAME)
	@mkdir -p $(@D)$(if $(Q), && echo "MPICC $<")
	$(Q)OMPI_CC='$(CC)' MPICH_CC='$(CC)' $(MPICC) $(COMMON_CFLAGS) $(LDFLAGS) -Iinclude -o $@ $< -L$(BUILD) -ltextinv \
	  -Wl,-rpath,'$$ORIGIN/../..'

$(BUILD)/examples/go/%: examples/go/%.go include/textinv/textinv.h $(BUILD)/$(LIBNAME)
	@mkdir -p $(@D)$(if $(Q), && echo "GO $<")
	$(Q)$(call pc_file,$(CURDIR),$(CURDIR)/$(BUILD),$(CURDIR)/include) >$(@D)/textinv.pc
	$(Q)PKG_CONFIG_PATH='$(CURDIR)/$(@D)' GOCACHE='$(CURDIR)/$(BUILD)/go' CGO_LDFLAGS='-Wl,-rpath,$$ORIGIN/../..' \
	  go build -o $@ $<
$(BUILD)/examples/gimp/textinv-gimp: examples/gimp/textinv_gimp.c include/textinv/textinv.h $(BUILD)/$(LIBNAME)
	@mkdir -p $(@D)$(if $(Q), && echo "CC $<")
	$(Q)$(CC) -std=gnu11 -O2 -Wall -Wextra $(CPPFLAGS) $(LDFLAGS) -Iinclude $(subst -I,-isystem ,$(shell $(PKG_CONFIG) --cflags gimpui-2.0)) \
	  -o $@ $< -L$(BUILD) -ltextinv $(shell $(PKG_CONFIG) --libs gimpui-2.0) -lm -Wl,-rpath,'$$ORIGIN/../..'
$(BUILD)/examples/rust/%: examples/rust/%.rs $(BUILD)/$(LIBNAME)
	@mkdir -p $(@D)$(if $(Q), && echo "RUSTC $<")
	$(Q)env -u MAKEFLAGS -u MFLAGS rustc --edition 2021 -O -o $@ $< -L $(BUILD) -C link-arg=-Wl,-rpath,'$$ORIGIN/../..'

# --- tests: every tests/*/NAME_test.c is one cmocka program
$(BUILD)/tests/%_test: $(BUILD)/tests/%_test.o $(TESTLIB) $(BUILD)/libtextinv.a
	$(Q)$(CC) $(SAN_FLAGS) $(LDFLAGS) -o $@ $^ $(LIBS) -lcmocka
$(BUILD)/tests/%.o: ALL_CFLAGS += -Itests -Wno-missing-prototypes

check: all $(TESTBIN) examples ## every test this machine can run
	@BUILD=$(BUILD) CC='$(CC)' tests/run.sh $(TESTBIN) $(SANITIZED) $(SCRIPTS)

check-san: ## the tests under AddressSanitizer and UndefinedBehaviorSanitizer
	$(Q)$(MAKE) SANITIZE=address,undefined CFLAGS='-O2 -g' check-san-run
check-san-run: $(BUILD)/textinv $(TESTBIN) examples
	@BUILD=$(BUILD) CC='$(CC)' tests/run.sh $(TESTBIN) tests/cli/check.sh
.PHONY: check-san-run

# without oneDNN, which does not tell ThreadSanitizer what it orders
check-threads: ## what threads share: loops, a model, a run, under ThreadSanitizer
	$(Q)$(MAKE) SANITIZE=thread ONEDNN=0 CFLAGS='-O1 -g' check-threads-run
check-threads-run: $(BUILD)/tests/base/team_test $(BUILD)/tests/api/threads_test $(BUILD)/tests/api/parallel_test
	@BUILD=$(BUILD) tests/run.sh $^
.PHONY: check-threads check-threads-run

# counts are exact where threads share them, but in kernels: these would take three times as long, and
# are optimized, too
coverage: ## lines and branches that tests reach: build/coverage/report/index.html
	@command -v gcovr >/dev/null || scripts/deps.sh coverage
	$(Q)$(MAKE) CC=gcc BUILD=build/coverage CFLAGS='-O0 -g --coverage -fprofile-update=atomic' LDFLAGS=--coverage \
	  coverage-run
build/coverage/kernels/%.o: ALL_CFLAGS += -O2 -fprofile-update=single
coverage-run: $(BUILD)/textinv $(TESTS:%.c=$(BUILD)/%)
	@find $(BUILD) -name '*.gcda' -delete
	@BUILD=$(BUILD) CC='$(CC)' tests/run.sh $(TESTS:%.c=$(BUILD)/%) tests/cli/check.sh
	@scripts/coverage.sh $(BUILD)
.PHONY: coverage coverage-run

check-parity: all build/venv/ready ## compare with PyTorch, diffusers and transformers (fetches them from PyPI)
	@build/venv/bin/python tests/parity/run.py $(PARITY)
build/venv/ready: tests/parity/requirements.txt
	python3 -m venv build/venv
	build/venv/bin/pip install -q -r $<
	@touch $@

include kernels/cuda/cuda.mk
include tests/fuzz/fuzz.mk
include tests/arm64/arm64.mk

# --- speed
BENCH := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/bench/*_bench.c))
$(BUILD)/tests/bench/%_bench: $(BUILD)/tests/bench/%_bench.o $(BUILD)/libtextinv.a
	$(Q)$(CC) $(SAN_FLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)
# which operations a training step has: plan_ops MODEL [BATCH]
$(BUILD)/tests/bench/plan_ops: $(BUILD)/tests/bench/plan_ops.o $(BUILD)/libtextinv.a
	$(Q)$(CC) $(SAN_FLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)
bench: all $(BENCH) $(if $(OP),,build/venv/ready) ## whole steps beside PyTorch and OpenVINO; OP=conv2d: one operation
	@for b in $(BENCH); do $$b $(OP) || exit 1; done
	$(if $(OP),,@build/venv/bin/python tests/bench/steps.py)
.PHONY: bench

store-abi: $(BUILD)/$(LIBNAME) # keep the interface as it is now as the baseline of tests/abi
	abidw --no-corpus-path --no-comp-dir-path --no-elf-needed --exported-interfaces-only \
	  --drop-private-types --headers-dir include --out-file lib/libtextinv.abi $<

# --- installation
install: all $(wildcard lib/libtextinv-cuda.so) ## into $(DESTDIR)$(PREFIX)
	@case '$(PREFIX)' in /*) ;; *) echo 'PREFIX=$(PREFIX): an absolute path is expected'; exit 1 ;; esac
	install -d '$(DESTDIR)$(BINDIR)' '$(DESTDIR)$(LIBDIR)/pkgconfig' '$(DESTDIR)$(INCLUDEDIR)/textinv' \
	  '$(DESTDIR)$(DATADIR)/doc/textinv' '$(DESTDIR)$(DATADIR)/bash-completion/completions' '$(DESTDIR)$(DATADIR)/man/man1'
	install -m 755 $(BUILD)/textinv '$(DESTDIR)$(BINDIR)/textinv'
	install -m 755 $(BUILD)/$(LIBNAME) '$(DESTDIR)$(LIBDIR)/$(LIBNAME)'
	ln -sf $(LIBNAME) '$(DESTDIR)$(LIBDIR)/$(SONAME)'
	ln -sf $(SONAME) '$(DESTDIR)$(LIBDIR)/libtextinv.so'
	$(if $(wildcard lib/libtextinv-cuda.so),install -m 755 lib/libtextinv-cuda.so '$(DESTDIR)$(LIBDIR)/libtextinv-cuda.so')
	install -m 644 include/textinv/*.h '$(DESTDIR)$(INCLUDEDIR)/textinv'
	$(call pc_file,$(PREFIX),$(LIBDIR),$(INCLUDEDIR)) >'$(DESTDIR)$(LIBDIR)/pkgconfig/textinv.pc'
	$(if $(MODELS),cd models && find $(MODELS:models/%=%) -type f -exec install -D -m 644 {} '$(DESTDIR)$(DATADIR)/textinv/{}' \;)
	install -m 644 examples/cli/completion.bash '$(DESTDIR)$(DATADIR)/bash-completion/completions/textinv'
	scripts/man.sh $(BUILD)/textinv >'$(DESTDIR)$(DATADIR)/man/man1/textinv.1'
	install -m 644 LICENSE examples/toybox/world/ATTRIBUTION '$(DESTDIR)$(DATADIR)/doc/textinv'
	$(if $(DESTDIR),,@ldconfig 2>/dev/null || true)

uninstall: ## remove what install put there
	rm -f '$(DESTDIR)$(BINDIR)/textinv' '$(DESTDIR)$(LIBDIR)'/libtextinv.so* '$(DESTDIR)$(LIBDIR)/libtextinv-cuda.so' \
	  '$(DESTDIR)$(LIBDIR)/pkgconfig/textinv.pc' '$(DESTDIR)$(DATADIR)/bash-completion/completions/textinv' \
	  '$(DESTDIR)$(DATADIR)/man/man1/textinv.1'
	rm -rf '$(DESTDIR)$(INCLUDEDIR)/textinv' '$(DESTDIR)$(DATADIR)/textinv/toybox' '$(DESTDIR)$(DATADIR)/textinv/toybox-clip' \
	  '$(DESTDIR)$(DATADIR)/textinv/clip-tokenizer' '$(DESTDIR)$(DATADIR)/doc/textinv'
	rmdir '$(DESTDIR)$(DATADIR)/textinv' 2>/dev/null || true

clean: ## remove what was built
	rm -rf $(BUILD) $(patsubst %/flags,%,$(wildcard build/*/flags)) build/demo build/ci $(CUDA_BUILD) $(EMULATE_BUILD) $(EMULATE_SAN_BUILD) $(BUNDLE) \
	  $(BUNDLE_BUILD) lib/libtextinv.so* lib/libtextinv-cuda.so

-include $(OBJECTS:.o=.d) $(BENCH:%=%.d) $(BUILD)/tests/bench/plan_ops.d $(TESTLIB:.o=.d) $(CLI:%.c=$(BUILD)/%.d) $(TESTS:%.c=$(BUILD)/%.d) $(EXAMPLES:%=%.d)
.SECONDARY:
