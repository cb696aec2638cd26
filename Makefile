# libtextinv. `make help` lists the targets.

# --- version, from the one place for the number
version_part = $(shell sed -n 's/^\#define TEXTINV_VERSION_$(1) //p' include/textinv/version.h)
MAJOR   := $(call version_part,MAJOR)
VERSION := $(MAJOR).$(call version_part,MINOR).$(call version_part,PATCH)

# --- what a user may set
CC         ?= cc
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

# --- how things are built
PKGS     := libpng libjpeg zlib libzip jansson libutf8proc
WARN     := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla $(if $(filter 1,$(WERROR)),-Werror)
SRCDIRS  := src/base src/io src/text src/diffusion src/tape src/nets src/api
INCLUDES := -Iinclude -Ikernels -Ikernels/cpu $(addprefix -I,$(SRCDIRS))
BUILD    ?= build/$(notdir $(firstword $(CC)))$(if $(SANITIZE),-san)$(if $(filter 0,$(ONEDNN)),-ref)
ALL_CFLAGS = -std=c11 -fPIC -fvisibility=hidden -fopenmp -ffp-contract=off -D_GNU_SOURCE -DTEXTINV_BUILD \
  $(if $(SANITIZE),,-DNDEBUG) $(WARN) $(INCLUDES) $(CFLAGS) $(PKG_CFLAGS) $(SAN_FLAGS) \
  -DTI_DATADIR='"$(DATADIR)/textinv"' $(if $(filter 0,$(ONEDNN)),,-DTI_ONEDNN)
SAN_FLAGS := $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=all)
PKG_CFLAGS = $(shell pkg-config --cflags $(PKGS))
LIBS       = $(shell pkg-config --libs $(PKGS)) $(if $(filter 0,$(ONEDNN)),,-ldnnl) -lpthread -ldl -lm
Q := $(if $(filter 0,$(V)),@)

SOURCES := $(sort $(wildcard $(addsuffix /*.c,$(SRCDIRS)) kernels/*.c kernels/cpu/*.c))
OBJECTS := $(SOURCES:%.c=$(BUILD)/%.o)
LIBNAME := libtextinv.so.$(VERSION)
TESTS   := $(sort $(wildcard tests/*/*_test.c))
TESTBIN := $(TESTS:%.c=$(BUILD)/%)
TESTLIB := $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/*.c)) # what tests share

.PHONY: all lib help clean
.DEFAULT_GOAL := all

all: lib $(BUILD)/textinv ## the library and the program

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

lib: lib/libtextinv.so $(BUILD)/libtextinv.a ## lib/libtextinv.so

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(if $(Q),@echo "CC $<")
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/$(LIBNAME): $(OBJECTS) lib/textinv.map
	$(if $(Q),@echo "LD $@")
	$(Q)$(CC) -shared -fopenmp $(SAN_FLAGS) $(LDFLAGS) -Wl,-soname,libtextinv.so.$(MAJOR) $(if $(SANITIZE),,-Wl$(comma)-z$(comma)defs) \
	  -Wl,--version-script=lib/textinv.map -o $@ $(OBJECTS) $(LIBS)
comma := ,

lib/libtextinv.so: $(BUILD)/$(LIBNAME)
	$(Q)cp -f $< lib/$(LIBNAME)
	$(Q)ln -sf $(LIBNAME) lib/libtextinv.so.$(MAJOR)
	$(Q)ln -sf $(LIBNAME) $@

# the same objects for tests, which may look inside
$(BUILD)/libtextinv.a: $(OBJECTS)
	$(Q)rm -f $@; ar rcs $@ $^

CLI := $(sort $(wildcard examples/cli/*.c))
$(BUILD)/textinv: $(CLI:%.c=$(BUILD)/%.o) lib/libtextinv.so
	$(Q)$(CC) $(SAN_FLAGS) $(LDFLAGS) -o $@ $(CLI:%.c=$(BUILD)/%.o) -Llib -ltextinv -Wl,-rpath,'$$ORIGIN/../../lib:$$ORIGIN/../lib' -lm

# --- tests: every tests/*/NAME_test.c is one cmocka program
$(BUILD)/tests/%_test: $(BUILD)/tests/%_test.o $(TESTLIB) $(BUILD)/libtextinv.a
	$(Q)$(CC) -fopenmp $(SAN_FLAGS) $(LDFLAGS) -o $@ $^ $(LIBS) -lcmocka
$(BUILD)/tests/%.o: ALL_CFLAGS += -Itests -Wno-missing-prototypes

clean: ## remove what was built
	rm -rf $(BUILD) lib/libtextinv.so* lib/libtextinv.a

-include $(OBJECTS:.o=.d) $(CLI:%.c=$(BUILD)/%.d) $(TESTS:%.c=$(BUILD)/%.d)
.SECONDARY:
