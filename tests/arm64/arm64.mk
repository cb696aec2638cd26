# `make check-arm64`: the library on a 64-bit ARM that qemu stands in for. It needs gcc-aarch64-linux-gnu,
# libc6-dev-arm64-cross and qemu-user-static, and fetches the libraries into build/arm64-root. Such a
# processor takes ten to a hundred times as long: up to some minutes a test, so what needs longer is a
# goal of its own.

ARM64_CC       ?= aarch64-linux-gnu-gcc
ARM64_EMULATOR ?= qemu-aarch64-static
ARM64_ROOT     ?= build/arm64-root
ARM64_TESTS    := $(filter-out tests/cuda/%,$(TESTS:%.c=%))

build/arm64-root/ready: tests/arm64/root.sh
	tests/arm64/root.sh $(@D)
	@touch $@

ARM64_EMULATE = $(ARM64_EMULATOR) -L $(abspath $(ARM64_ROOT))
ARM64_MAKE = PKG_CONFIG_SYSROOT_DIR='$(abspath $(ARM64_ROOT))' \
  PKG_CONFIG_LIBDIR='$(abspath $(ARM64_ROOT)/usr/lib/aarch64-linux-gnu/pkgconfig)' \
  $(MAKE) CC='$(ARM64_CC) --sysroot=$(abspath $(ARM64_ROOT))' BUILD=build/arm64

# a root of one's own is taken as it is
check-arm64: $(filter build/arm64-root/ready,$(ARM64_ROOT)/ready) ## the unit tests on 64-bit ARM, under qemu
	+$(Q)$(ARM64_MAKE) check-arm64-run
check-arm64-run: $(BUILD)/textinv $(ARM64_TESTS:%=$(BUILD)/%)
	@BUILD=$(BUILD) EMULATOR='$(ARM64_EMULATE)' TEST_TIMEOUT=3600 tests/run.sh $(ARM64_TESTS:%=$(BUILD)/%) tests/abi/check.sh

check-arm64-cli: $(filter build/arm64-root/ready,$(ARM64_ROOT)/ready) ## the program textinv on 64-bit ARM, under qemu
	+$(Q)$(ARM64_MAKE) check-arm64-cli-run
check-arm64-cli-run: $(BUILD)/emulated/textinv
	@BUILD=$(BUILD)/emulated CC='$(CC)' TEST_TIMEOUT=7200 tests/run.sh tests/cli/check.sh
.PHONY: check-arm64 check-arm64-run check-arm64-cli check-arm64-cli-run

# a script that stands for the program, which the system cannot start; its copies have programs of their own
$(BUILD)/emulated/textinv: $(BUILD)/textinv
	@mkdir -p $(@D)
	$(Q)cp -P $(BUILD)/libtextinv.so* $(@D)
	$(Q)cp $< $@.arm64
	$(Q)printf '#!/bin/sh\n[ -e "$$0.arm64" ] || cp "%s" "$$0.arm64"\nexec %s "$$0.arm64" "$$@"\n' \
	  '$(CURDIR)/$<' '$(ARM64_EMULATE)' >$@.new
	$(Q)chmod +x $@.new && mv -f $@.new $@
