/*
 * Matrix products through cuBLASLt, with bias and residual in the same kernel. What it refuses
 * after all is left to the own kernel.
 *
 * The library is opened at run time, in the version that this file was compiled with, so that the
 * plug-in loads without it. Its heuristics choose an algorithm from the shape alone, once a record:
 * the same shape on the same device gives the same bits.
 *
 * It counts columns first: y^T[n, m] = w a^T. A bias must have the type of y there.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.cuh"
#include "cublas.h"

#if !defined(TI_EMULATE) && __has_include(<cublasLt.h>)

#include <cublasLt.h>

#include "library.h"

enum { WORKSPACE = 32 << 20, ALIGNMENT = 16, WORKSPACE_ALIGNMENT = 256 };

struct ti_cublas {
  void *library;
  cublasLtHandle_t handle;
  decltype(&cublasLtCreate) create;
  decltype(&cublasLtDestroy) destroy;
  decltype(&cublasLtMatmulDescInit_internal) operation_init;
  decltype(&cublasLtMatmulDescSetAttribute) operation_set;
  decltype(&cublasLtMatrixLayoutInit_internal) layout_init;
  decltype(&cublasLtMatmulPreferenceInit_internal) preference_init;
  decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic;
  decltype(&cublasLtMatmul) multiply;
};

struct prepared_product {
  const void *w;
  int backward, has_bias;
  size_t workspace;
  cublasLtMatrixLayoutOpaque_t w_layout, a_layout, y_layout;
  cublasLtMatmulDescOpaque_t operation;
  cublasLtMatmulAlgo_t algorithm;
};

// ------------------------------------------------------------------ the library

static void close_library(ti_cublas *b)
{
  if (b->handle)
    (void)b->destroy(b->handle);
  dlclose(b->library);
  free(b);
}

static ti_cublas *open_library()
{
  void *library = dlopen("libcublasLt.so." TI_NUMBER_TEXT(CUBLAS_VER_MAJOR), RTLD_NOW | RTLD_LOCAL);
  ti_cublas *b = library ? (ti_cublas *)calloc(1, sizeof(*b)) : NULL;

  if (!b) {
    if (library)
      dlclose(library);
    return NULL;
  }
  b->library = library;
  if (ti_find(library, "cublasLtCreate", &b->create) &&
      ti_find(library, "cublasLtDestroy", &b->destroy) &&
      ti_find(library, "cublasLtMatmulDescInit_internal", &b->operation_init) &&
      ti_find(library, "cublasLtMatmulDescSetAttribute", &b->operation_set) &&
      ti_find(library, "cublasLtMatrixLayoutInit_internal", &b->layout_init) &&
      ti_find(library, "cublasLtMatmulPreferenceInit_internal", &b->preference_init) &&
      ti_find(library, "cublasLtMatmulPreferenceSetAttribute", &b->preference_set) &&
      ti_find(library, "cublasLtMatmulAlgoGetHeuristic", &b->heuristic) &&
      ti_find(library, "cublasLtMatmul", &b->multiply) &&
      b->create(&b->handle) == CUBLAS_STATUS_SUCCESS)
    return b;
  b->handle = NULL;
  close_library(b);
  return NULL;
}

int ti_cublas_is_on(ti_cuda *c)
{
  if (!c->cublas_tried) {
    c->cublas_tried = 1;
    c->cublas = open_library();
  }
  return c->cublas && !c->cublas_off;
}

void ti_cublas_close(ti_cuda *c)
{
  if (c->cublas)
    close_library(c->cublas);
  c->cublas = NULL;
}

// ------------------------------------------------------------------ products

/* the fastest algorithm, by the library's own judgement; false: there is none */
static bool choose(ti_cublas *b, prepared_product *p)
{
  const uint64_t workspace = WORKSPACE;
  /* splits of k are added as floats */
  const uint32_t alignment = ALIGNMENT, reduction = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
  const cublasLtMatmulPreferenceAttributes_t aligned[] = {
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES
  };
  cublasLtMatmulPreferenceOpaque_t preference;
  cublasLtMatmulHeuristicResult_t result;
  int found = 0;

  if (b->preference_init(&preference, sizeof(preference)) != CUBLAS_STATUS_SUCCESS ||
      b->preference_set(&preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace,
                        sizeof(workspace)) != CUBLAS_STATUS_SUCCESS ||
      b->preference_set(&preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &reduction,
                        sizeof(reduction)) != CUBLAS_STATUS_SUCCESS)
    return false;
  for (cublasLtMatmulPreferenceAttributes_t a : aligned) {
    if (b->preference_set(&preference, a, &alignment, sizeof(alignment)) != CUBLAS_STATUS_SUCCESS)
      return false;
  }
  if (b->heuristic(b->handle, &p->operation, &p->w_layout, &p->a_layout, &p->y_layout,
                   &p->y_layout, &preference, 1, &result, &found) != CUBLAS_STATUS_SUCCESS ||
      found < 1 || result.state != CUBLAS_STATUS_SUCCESS)
    return false;
  p->algorithm = result.algo;
  p->workspace = ti_ceil_div(result.workspaceSize, WORKSPACE_ALIGNMENT) * WORKSPACE_ALIGNMENT;
  return true;
}

static bool describe(ti_cublas *b, prepared_product *p, ti_dtype dtype, const void *bias,
                     const gemm_problem *g, int backward)
{
  const cudaDataType_t type = dtype == TI_F16 ? CUDA_R_16F : CUDA_R_16BF;
  const cublasOperation_t transposed = backward ? CUBLAS_OP_N : CUBLAS_OP_T;
  const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
  const uint64_t n = (uint64_t)g->n, k = (uint64_t)g->k, m = (uint64_t)g->m;

  if (b->layout_init(&p->w_layout, sizeof(p->w_layout), type, backward ? n : k, backward ? k : n,
                     (int64_t)(backward ? n : k)) != CUBLAS_STATUS_SUCCESS ||
      b->layout_init(&p->a_layout, sizeof(p->a_layout), type, k, m, (int64_t)k) !=
          CUBLAS_STATUS_SUCCESS ||
      b->layout_init(&p->y_layout, sizeof(p->y_layout), type, n, m, (int64_t)n) !=
          CUBLAS_STATUS_SUCCESS ||
      b->operation_init(&p->operation, sizeof(p->operation), CUBLAS_COMPUTE_32F, CUDA_R_32F) !=
          CUBLAS_STATUS_SUCCESS ||
      b->operation_set(&p->operation, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                       sizeof(transposed)) != CUBLAS_STATUS_SUCCESS)
    return false;
  return !bias ||
         (b->operation_set(&p->operation, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue,
                           sizeof(epilogue)) == CUBLAS_STATUS_SUCCESS &&
          b->operation_set(&p->operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias,
                           sizeof(bias)) == CUBLAS_STATUS_SUCCESS);
}

textinv_status ti_cublas_prepare(ti_exec *e, ti_dtype dtype, void **out, size_t *scratch_bytes,
                                 const void *w, const void *bias, const gemm_problem *g,
                                 int backward)
{
  ti_cuda *c = (ti_cuda *)e->device;
  prepared_product *p;

  *out = NULL;
  if (dtype == TI_F32 || g->n % 8 || g->k % 8 || !ti_cublas_is_on(c))
    return TEXTINV_OK;
  p = (prepared_product *)calloc(1, sizeof(*p));
  if (!p)
    return ti_fail_nomem(e->error, sizeof(*p), "a matrix product");
  p->w = w;
  p->backward = backward;
  p->has_bias = bias != NULL;
  if (!describe(c->cublas, p, dtype, bias, g, backward) || !choose(c->cublas, p)) {
    free(p);
    return TEXTINV_OK;
  }
  /* the workspace begins at a multiple of 256 */
  const size_t product = WORKSPACE_ALIGNMENT + p->workspace;
  const size_t own = ti_cuda_gemm_scratch(e, dtype, g), scratch = product > own ? product : own;

  if (scratch > *scratch_bytes)
    *scratch_bytes = scratch;
  *out = p;
  return TEXTINV_OK;
}

/* TEXTINV_CUDA=log: what the library would not do */
static void tell(const ti_exec *e, const char *name, ti_dtype dtype, const gemm_buffers *io,
                 const gemm_problem *g, const prepared_product *p, int code)
{
  const char *log = getenv("TEXTINV_CUDA");

  if (log && !strcmp(log, "log"))
    fprintf(stderr,
            "%s: cuBLASLt returns %d: m %d n %d k %d dtype %d; w %p a %p y %p bias %p residual %p; "
            "workspace %zu, scratch %p of %zu\n",
            name, code, g->m, g->n, g->k, (int)dtype, p->w, io->a, io->y, (const void *)io->bias,
            io->residual, p->workspace, e->scratch, e->scratch_bytes);
}

textinv_status ti_cublas_run(ti_exec *e, const char *name, ti_dtype dtype, const gemm_buffers *io,
                             const gemm_problem *g)
{
  ti_cublas *b = ((ti_cuda *)e->device)->cublas;
  prepared_product p = *(const prepared_product *)e->prepared; /* the library takes no const */
  const float one = 1.0f, beta = io->residual ? 1.0f : 0.0f;
  /* scratch is a multiple of 64, and the library refuses a workspace that is none of 256 */
  char *workspace = (char *)e->scratch + (-(uintptr_t)e->scratch & (WORKSPACE_ALIGNMENT - 1));

  assert(p.has_bias == (io->bias != NULL));
  assert(ti_aligned(io->a, ALIGNMENT) && ti_aligned(io->y, ALIGNMENT) &&
         ti_aligned(io->residual, ALIGNMENT));

  const cublasStatus_t code = b->multiply(
      b->handle, &p.operation, &one, p.w, &p.w_layout, io->a, &p.a_layout, &beta,
      io->residual ? io->residual : io->y, &p.y_layout, io->y, &p.y_layout, &p.algorithm, workspace,
      p.workspace, (cudaStream_t)e->stream);

  if (code != CUBLAS_STATUS_SUCCESS)
    tell(e, name, dtype, io, g, &p, (int)code);
  if (code == CUBLAS_STATUS_INVALID_VALUE || code == CUBLAS_STATUS_NOT_SUPPORTED) {
    gemm_buffers own = *io;

    own.b = p.w;
    return ti_cuda_gemm(e, name, dtype, own, *g, p.backward);
  }
  if (code != CUBLAS_STATUS_SUCCESS)
    return ti_fail(e->error, TEXTINV_E_BACKEND, "%s: cuBLASLt returns %d", name, (int)code);
  return ti_cuda_check(e, name);
}

#else

int ti_cublas_is_on(ti_cuda *)
{
  return 0;
}

void ti_cublas_close(ti_cuda *)
{
}

textinv_status ti_cublas_prepare(ti_exec *, ti_dtype, void **out, size_t *, const void *,
                                 const void *, const gemm_problem *, int)
{
  *out = NULL;
  return TEXTINV_OK;
}

textinv_status ti_cublas_run(ti_exec *e, const char *name, ti_dtype, const gemm_buffers *,
                             const gemm_problem *)
{
  return ti_fail(e->error, TEXTINV_E_UNSUPPORTED, "%s: built without cuBLASLt", name);
}

#endif
