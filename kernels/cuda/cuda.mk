# The CUDA plug-in, its emulation on the CPU, and what runs on a GPU. Included by the Makefile.
# `make cuda` needs nvcc; `make check-cuda-emulated` needs only a C++ compiler.

NVCC        ?= nvcc
CUDA_ARCHS  ?= 80 86 89 90a
CUDA_PTX    ?= 80
CUDA_BUILD  ?= build/cuda
CUDA_SOURCES := $(sort $(wildcard kernels/cuda/*.cu))
CUDA_HEADERS := $(wildcard kernels/cuda/*.h kernels/cuda/*.cuh kernels/*.h src/base/*.h include/textinv/*.h)
CUDA_INCLUDES := -Iinclude -Ikernels -Ikernels/cuda -Isrc/base
# what the plug-in takes from the library: messages and conversions
CUDA_BASE   := src/base/error.c src/base/format.c src/base/alloc.c kernels/dtype.c
CUDA_OBJECTS := $(CUDA_SOURCES:%.cu=$(CUDA_BUILD)/%.o) $(CUDA_BASE:%.c=$(CUDA_BUILD)/%.o)
NVCCFLAGS   ?= -O3
CUDA_GENCODE = $(foreach a,$(CUDA_ARCHS),-gencode arch=compute_$(a),code=sm_$(a)) \
  $(foreach a,$(CUDA_PTX),-gencode arch=compute_$(a),code=compute_$(a))
CUDA_HOST_FLAGS := -O2 -g -fPIC -fvisibility=hidden -ffp-contract=off -D_GNU_SOURCE -DNDEBUG

.PHONY: cuda cuda-bundle check-cuda check-cuda-emulated bench-cuda

cuda: lib/libtextinv-cuda.so ## the CUDA plug-in, beside the library

$(CUDA_BUILD)/%.o: %.cu $(CUDA_HEADERS) | $(DEPS)
	@mkdir -p $(@D)
	@echo "NVCC $<"
	@$(NVCC) -std=c++17 $(NVCCFLAGS) -DNDEBUG $(CUDA_GENCODE) $(CUDA_INCLUDES) --expt-relaxed-constexpr \
	  -Xcompiler -fPIC,-fvisibility=hidden,-fno-exceptions,-fno-rtti,-fno-threadsafe-statics -c $< -o $@

$(CUDA_BUILD)/%.o: %.c $(CUDA_HEADERS) | $(DEPS)
	@mkdir -p $(@D)
	@$(CC) -std=c11 -fopenmp-simd $(CUDA_HOST_FLAGS) $(CUDA_INCLUDES) -Ikernels/cpu -Isrc/diffusion -c $< -o $@

$(CUDA_BUILD)/%.o: %.cpp $(CUDA_HEADERS) tests/cuda/check.h $(wildcard tests/bench/*.h) | $(DEPS)
	@mkdir -p $(@D)
	@$(CXX) -std=c++17 -fopenmp-simd -Wall -Wextra $(CUDA_HOST_FLAGS) $(CUDA_INCLUDES) -Ikernels/cpu -Isrc/diffusion -Itests/cuda \
	  -c $< -o $@

lib/libtextinv-cuda.so: $(CUDA_OBJECTS) kernels/cuda/plugin.map
	@echo "LD $@"
	@$(NVCC) -shared -cudart static $(CUDA_GENCODE) -Xlinker -z$(comma)defs \
	  -Xlinker --version-script=kernels/cuda/plugin.map -Xlinker -soname=libtextinv-cuda.so -o $@ $(CUDA_OBJECTS)

# --- emulation: the same sources for the CPU. The checks run with the sanitizers; the plug-in, which
# whole sessions of tests/cuda/*_test.c open, is built without them.
EMULATE_BUILD := build/cuda-emulated
EMULATE_SAN_BUILD := build/cuda-emulated-san
EMULATE_SAN   ?= address,undefined
# fmaf() is a call without the instruction
EMULATE_CPU   := $(shell grep -qw fma /proc/cpuinfo 2>/dev/null && echo -mfma)
EMULATE_FLAGS := -DTI_EMULATE -O2 -fno-strict-aliasing $(EMULATE_CPU) -fPIC -fvisibility=hidden -ffp-contract=off -D_GNU_SOURCE -Itests/cuda/emulate \
  -Itests/cuda -Ikernels/cpu -Isrc/diffusion $(CUDA_INCLUDES)
EMULATE_SAN_FLAGS = -O1 -g -fsanitize=$(EMULATE_SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer
EMULATE_CXXFLAGS := -std=c++17 -fopenmp-simd -Wall -Wextra -Wno-unknown-pragmas $(EMULATE_FLAGS)
# what the kernels are compared with
CUDA_REFERENCE := $(patsubst %,src/base/%.c,error format alloc cores team) kernels/dtype.c kernels/weight.c \
  src/diffusion/random.c $(patsubst %,kernels/cpu/%.c,activation add attention conv2d copies cpu embedding \
  geglu groupnorm layernorm linear mse upsample)
CHECK_NAMES   := kernels_check check step_check host_check emulate_check
EMULATE_NAMES := $(CUDA_SOURCES:%.cu=%) $(patsubst %.cpp,%,$(wildcard tests/cuda/emulate/*.cpp))
EMULATE_DEPS  := $(CUDA_HEADERS) tests/cuda/check.h $(wildcard tests/cuda/emulate/*.h kernels/cpu/*.h)

$(EMULATE_BUILD)/%.o: %.cu $(EMULATE_DEPS) | $(DEPS)
	@mkdir -p $(@D)
	@echo "CXX $<"
	@$(CXX) $(EMULATE_CXXFLAGS) -fno-exceptions -fno-rtti -x c++ -c $< -o $@

$(EMULATE_BUILD)/%.o: %.cpp $(EMULATE_DEPS) | $(DEPS)
	@mkdir -p $(@D)
	@$(CXX) $(EMULATE_CXXFLAGS) -c $< -o $@

$(EMULATE_BUILD)/%.o: %.c $(EMULATE_DEPS) | $(DEPS)
	@mkdir -p $(@D)
	@$(CC) -std=c11 $(EMULATE_FLAGS) -c $< -o $@

$(EMULATE_BUILD)/libtextinv-cuda.so: $(EMULATE_NAMES:%=$(EMULATE_BUILD)/%.o) $(CUDA_BASE:%.c=$(EMULATE_BUILD)/%.o)
	@$(CXX) -shared -Wl,-z,defs -Wl,--version-script=kernels/cuda/plugin.map -o $@ $^ -lm

$(EMULATE_SAN_BUILD)/%.o: %.cu $(EMULATE_DEPS) | $(DEPS)
	@mkdir -p $(@D)
	@echo "CXX $<"
	@$(CXX) $(EMULATE_CXXFLAGS) $(EMULATE_SAN_FLAGS) -fno-exceptions -fno-rtti -x c++ -c $< -o $@

$(EMULATE_SAN_BUILD)/%.o: %.cpp $(EMULATE_DEPS) | $(DEPS)
	@mkdir -p $(@D)
	@$(CXX) $(EMULATE_CXXFLAGS) $(EMULATE_SAN_FLAGS) -c $< -o $@

$(EMULATE_SAN_BUILD)/%.o: %.c $(EMULATE_DEPS) | $(DEPS)
	@mkdir -p $(@D)
	@$(CC) -std=c11 -fopenmp-simd $(EMULATE_FLAGS) $(EMULATE_SAN_FLAGS) -c $< -o $@

$(EMULATE_SAN_BUILD)/kernels_emulated: $(EMULATE_NAMES:%=$(EMULATE_SAN_BUILD)/%.o) \
  $(CUDA_REFERENCE:%.c=$(EMULATE_SAN_BUILD)/%.o) $(CHECK_NAMES:%=$(EMULATE_SAN_BUILD)/tests/cuda/%.o)
	@$(CXX) -fsanitize=$(EMULATE_SAN) -o $@ $^ -lm

check-cuda-emulated: $(EMULATE_SAN_BUILD)/kernels_emulated $(EMULATE_BUILD)/libtextinv-cuda.so $(CUDA_BUILD)/cuda_bench ## every CUDA kernel on the CPU against the reference
	$(EMULATE_SAN_BUILD)/kernels_emulated
	tests/bench/check.sh

# whether cuDNN has kernels for what we ask of it, where it is installed beside nvcc
CUDA_ROOT := $(patsubst %/bin/nvcc,%,$(realpath $(shell command -v $(NVCC) 2>/dev/null)))
ifneq ($(wildcard $(CUDA_ROOT)/include/cudnn.h),)
$(CUDA_BUILD)/tests/cuda/cudnn_check.o: CUDA_INCLUDES += -isystem $(CUDA_ROOT)/include
$(CUDA_BUILD)/tests/cuda/cudnn_check.o: kernels/cuda/conv2d_cudnn.cu
$(CUDA_BUILD)/cudnn_check: $(CUDA_BUILD)/tests/cuda/cudnn_check.o $(CUDA_BASE:%.c=$(CUDA_BUILD)/%.o)
	@$(CXX) -Wl,-rpath,$(CUDA_ROOT)/lib64 -o $@ $^ -ldl
TESTBIN += $(CUDA_BUILD)/cudnn_check
check check-san-run: $(CUDA_BUILD)/cudnn_check
endif

# part of make check: the kernels one by one, under the sanitizers as they are; and sessions on the
# emulated device
SANITIZED := $(EMULATE_SAN_BUILD)/kernels_emulated
check check-san-run coverage-run: $(EMULATE_BUILD)/libtextinv-cuda.so
check: $(SANITIZED) $(CUDA_BUILD)/cuda_bench

# --- on a GPU
CHECK_OBJECTS := $(CHECK_NAMES:%=$(CUDA_BUILD)/tests/cuda/%.o) $(CUDA_REFERENCE:%.c=$(CUDA_BUILD)/%.o)
$(CUDA_BUILD)/kernels_check: $(CHECK_OBJECTS)
	@$(CXX) -s -o $@ $^ -ldl -lm

BENCH_OBJECTS := $(patsubst %.cpp,$(CUDA_BUILD)/%.o,$(wildcard tests/bench/cuda_bench*.cpp)) \
  $(patsubst %.c,$(CUDA_BUILD)/%.o,$(CUDA_BASE) kernels/weight.c)
$(CUDA_BUILD)/cuda_bench: $(BENCH_OBJECTS)
	@$(CXX) -s -o $@ $^ -ldl -lpthread -lm

# all that the commands below need, also on a machine that cannot build it: without oneDNN, with the
# libraries that a GPU machine may lack, which are found beside the programs and nowhere else
BUNDLE       := build/cuda-bundle
BUNDLE_BUILD := build/cuda-bundle-objects
BUNDLE_TESTS := $(patsubst %.c,$(BUNDLE_BUILD)/%,$(sort $(wildcard tests/cuda/*_test.c)))
cuda-bundle: lib/libtextinv-cuda.so $(CUDA_BUILD)/kernels_check $(CUDA_BUILD)/cuda_bench
	$(Q)$(MAKE) ONEDNN=0 BUILD=$(BUNDLE_BUILD) LDFLAGS='-s -Wl,--disable-new-dtags,-rpath,\$$$$ORIGIN' \
	  $(BUNDLE_BUILD)/$(LIBNAME) $(BUNDLE_TESTS)
	@rm -rf $(BUNDLE) && mkdir -p $(BUNDLE)
	@cp -f $^ $(BUNDLE_TESTS) $(BUNDLE)
	@cp -f $(BUNDLE_BUILD)/$(LIBNAME) $(BUNDLE)/libtextinv.so
	@ldd $(BUNDLE_TESTS) | awk '$$3 ~ "^/" { print $$3 }' | sort -u | \
	  grep -v -e '/libc\.so' -e '/libm\.so' -e libgomp -e libstdc -e libgcc_s | xargs -I{} cp -fL {} $(BUNDLE)

check-cuda: cuda-bundle ## kernels, networks and inversions on a GPU, with compute-sanitizer where it is there
	@tests/cuda/run.sh check $(CURDIR)/$(BUNDLE)

bench-cuda: cuda-bundle ## every CUDA operation, and whole steps beside PyTorch, on a GPU
	@PYTHON=$${PYTHON:-$(firstword $(wildcard build/venv/bin/python) python3)} tests/cuda/run.sh bench $(CURDIR)/$(BUNDLE)
