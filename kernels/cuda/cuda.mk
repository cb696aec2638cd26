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
comma := ,

.PHONY: cuda check-cuda check-cuda-emulated check-cuda-races bench-cuda

cuda: lib/libtextinv-cuda.so ## the CUDA plug-in, beside the library

$(CUDA_BUILD)/%.o: %.cu $(CUDA_HEADERS)
	@mkdir -p $(@D)
	@echo "NVCC $<"
	@$(NVCC) -std=c++17 $(NVCCFLAGS) $(CUDA_GENCODE) $(CUDA_INCLUDES) --expt-relaxed-constexpr \
	  -Xcompiler -fPIC,-fvisibility=hidden,-fno-exceptions,-fno-rtti,-fno-threadsafe-statics -c $< -o $@

$(CUDA_BUILD)/%.o: %.c $(CUDA_HEADERS)
	@mkdir -p $(@D)
	@$(CC) -std=c11 -O2 -fPIC -fvisibility=hidden -D_GNU_SOURCE -DNDEBUG $(CUDA_INCLUDES) -c $< -o $@

lib/libtextinv-cuda.so: $(CUDA_OBJECTS) kernels/cuda/plugin.map
	@echo "LD $@"
	@$(NVCC) -shared -cudart static $(CUDA_GENCODE) -Xlinker -z$(comma)defs \
	  -Xlinker --version-script=kernels/cuda/plugin.map -Xlinker -soname=libtextinv-cuda.so -o $@ $(CUDA_OBJECTS)

# --- emulation: the same sources for the CPU, always with the sanitizers
EMULATE_BUILD ?= build/cuda-emulated
EMULATE_SAN   ?= address,undefined
EMULATE_FLAGS  = -DTI_EMULATE -g -O1 -fPIC -ffp-contract=off -fsanitize=$(EMULATE_SAN) \
  -fno-sanitize-recover=all -fno-omit-frame-pointer -Itests/cuda/emulate -Itests -Ikernels/cpu $(CUDA_INCLUDES) \
  -Isrc/diffusion -D_GNU_SOURCE
EMULATE_CXXFLAGS = -std=c++17 -Wall -Wextra -Wno-unknown-pragmas $(EMULATE_FLAGS)
EMULATE_OBJECTS := $(CUDA_SOURCES:%.cu=$(EMULATE_BUILD)/%.o) \
  $(patsubst %.cpp,$(EMULATE_BUILD)/%.o,$(wildcard tests/cuda/emulate/*.cpp))
# the reference that they are compared with
EMULATE_C := src/base/error.c src/base/format.c src/base/alloc.c kernels/dtype.c kernels/weight.c \
  src/diffusion/random.c $(filter-out %_onednn.c %onednn.c %avx512.c %_avx512.c,$(wildcard kernels/cpu/*.c))
EMULATE_COBJECTS = $(EMULATE_C:%.c=$(EMULATE_BUILD)/%.o)
EMULATE_DEPS := $(CUDA_HEADERS) $(wildcard tests/cuda/emulate/*.h tests/cuda/*.h kernels/cpu/*.h)

$(EMULATE_BUILD)/%.o: %.cu $(EMULATE_DEPS)
	@mkdir -p $(@D)
	@echo "CXX $<"
	@$(CXX) $(EMULATE_CXXFLAGS) -fno-exceptions -fno-rtti -x c++ -c $< -o $@

$(EMULATE_BUILD)/%.o: %.cpp $(EMULATE_DEPS)
	@mkdir -p $(@D)
	@$(CXX) $(EMULATE_CXXFLAGS) -c $< -o $@

$(EMULATE_BUILD)/%.o: %.c $(EMULATE_DEPS)
	@mkdir -p $(@D)
	@$(CC) -std=c11 -fopenmp $(EMULATE_FLAGS) -c $< -o $@

CHECK_NAMES := kernels_check check step_check host_check
$(EMULATE_BUILD)/kernels_emulated: $(EMULATE_OBJECTS) $(EMULATE_COBJECTS) \
  $(CHECK_NAMES:%=$(EMULATE_BUILD)/tests/cuda/%.o)
	@$(CXX) -fopenmp -fsanitize=$(EMULATE_SAN) -o $@ $^ -lm

check-cuda-emulated: $(EMULATE_BUILD)/kernels_emulated ## every CUDA kernel on the CPU against the reference
	$(EMULATE_BUILD)/kernels_emulated
