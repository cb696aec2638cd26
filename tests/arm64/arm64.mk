# `make check-arm64`: the library on a 64-bit ARM that qemu stands in for. It needs gcc-aarch64-linux-gnu,
# libc6-dev-arm64-cross and qemu-user-static, and fetches the libraries into build/arm64-root. Such a
# processor takes ten to a hundred times as long, so tests of whole runs and of many failures are left out.

ARM64_CC       ?= aarch64-linux-gnu-gcc
ARM64_EMULATOR ?= qemu-aarch64-static
ARM64_ROOT     ?= build/arm64-root
ARM64_TESTS    := $(filter-out tests/io/memory_test,$(patsubst %.c,%,$(sort \
  $(wildcard $(patsubst %,tests/%_test.c,base/* diffusion/* io/* kernels/* nets/* tape/* text/* api/embeddings api/host api/model)))))

build/arm64-root/ready: tests/arm64/root.sh
	tests/arm64/root.sh $(@D)
	@touch $@

# a root of one's own is taken as it is
check-arm64: $(filter build/arm64-root/ready,$(ARM64_ROOT)/ready) ## most unit tests on 64-bit ARM, under qemu
	$(Q)PKG_CONFIG_SYSROOT_DIR='$(abspath $(ARM64_ROOT))' \
	  PKG_CONFIG_LIBDIR='$(abspath $(ARM64_ROOT)/usr/lib/aarch64-linux-gnu/pkgconfig)' \
	  $(MAKE) CC='$(ARM64_CC) --sysroot=$(abspath $(ARM64_ROOT))' BUILD=build/arm64 check-arm64-run
check-arm64-run: $(BUILD)/textinv $(ARM64_TESTS:%=$(BUILD)/%)
	@BUILD=$(BUILD) EMULATOR='$(ARM64_EMULATOR) -L $(ARM64_ROOT)' TEST_TIMEOUT=3600 tests/run.sh $(ARM64_TESTS:%=$(BUILD)/%)
.PHONY: check-arm64 check-arm64-run
