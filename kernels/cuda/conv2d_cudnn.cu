/*
 * Convolutions through cuDNN, with bias and residual in the same kernel. What it has no kernel for
 * is left to the own ones.
 *
 * The library is opened at run time, in the version that this file was compiled with, so that the
 * plug-in loads without it. Its heuristics choose an engine from the shape alone, and only engines
 * are taken whose sums have a fixed order and that compile nothing: the same shape on the same
 * device gives the same bits.
 *
 * Its kernels that are there ready made know y = conv(x) [+ residual] [+ bias], added in that
 * order, and dx = conv^T(dy) [+ dx].
 */
#include <stdlib.h>
#include <string.h>

#include "conv2d_cudnn.h"

#if !defined(TI_EMULATE) && __has_include(<cudnn.h>)

#include <cudnn.h>

#include "library.h"

enum {
  ALIGNMENT = 16,
  WORKSPACE_ALIGNMENT = 256,
  WORKSPACE = 64 << 20, /* at most */
  TRIES = 8,            /* configurations, the fastest by the library's own judgement first */
  DESCRIPTORS = 32,
  NOTES = 16
};

/* tensors of a plan */
enum { IN = 1, WEIGHTS, OUT, RESIDUAL, BIAS, SUM_A, SUM_B };

typedef cudnnBackendDescriptor_t descriptor;

struct cudnn_key {
  ti_conv2d_shape shape;
  int dtype, backward, has_bias, has_residual;
};

struct ti_cudnn_plan {
  ti_cudnn_plan *next;
  ti_cudnn *library;
  cudnn_key key;
  bool failed; /* sticky while it is built; then: there is no kernel */
  size_t workspace, copied; /* bytes; copied: of a residual that the output begins with */
  descriptor execution;
  descriptor made[DESCRIPTORS]; /* all that it consists of */
  int count;
};

struct ti_cudnn {
  void *library;
  cudnnHandle_t handle;
  descriptor device; /* for a device that is not there, in place of the handle */
  ti_cudnn_plan *plans;
  decltype(&cudnnCreate) create;
  decltype(&cudnnDestroy) destroy;
  decltype(&cudnnSetStream) set_stream;
  decltype(&cudnnBackendCreateDescriptor) new_descriptor;
  decltype(&cudnnBackendDestroyDescriptor) free_descriptor;
  decltype(&cudnnBackendSetAttribute) set;
  decltype(&cudnnBackendGetAttribute) get;
  decltype(&cudnnBackendFinalize) finalize;
  decltype(&cudnnBackendExecute) execute;
};

// ------------------------------------------------------------------ the library

static ti_cudnn *open_library()
{
  void *library = dlopen("libcudnn.so." TI_NUMBER_TEXT(CUDNN_MAJOR), RTLD_NOW | RTLD_LOCAL);
  ti_cudnn *b = library ? (ti_cudnn *)calloc(1, sizeof(*b)) : NULL;

  if (b && ti_find(library, "cudnnCreate", &b->create) &&
      ti_find(library, "cudnnDestroy", &b->destroy) &&
      ti_find(library, "cudnnSetStream", &b->set_stream) &&
      ti_find(library, "cudnnBackendCreateDescriptor", &b->new_descriptor) &&
      ti_find(library, "cudnnBackendDestroyDescriptor", &b->free_descriptor) &&
      ti_find(library, "cudnnBackendSetAttribute", &b->set) &&
      ti_find(library, "cudnnBackendGetAttribute", &b->get) &&
      ti_find(library, "cudnnBackendFinalize", &b->finalize) &&
      ti_find(library, "cudnnBackendExecute", &b->execute)) {
    b->library = library;
    return b;
  }
  free(b);
  if (library)
    dlclose(library);
  return NULL;
}

static void drop_descriptors(ti_cudnn_plan *p)
{
  while (p->count > 0)
    (void)p->library->free_descriptor(p->made[--p->count]);
}

static void close_library(ti_cudnn *b)
{
  while (b->plans) {
    ti_cudnn_plan *p = b->plans;

    b->plans = p->next;
    drop_descriptors(p);
    free(p);
  }
  if (b->handle)
    (void)b->destroy(b->handle);
  dlclose(b->library);
  free(b);
}

/* with a handle for the current context */
static ti_cudnn *open_for_device()
{
  ti_cudnn *b = open_library();

  if (b && b->create(&b->handle) != CUDNN_STATUS_SUCCESS) {
    b->handle = NULL;
    close_library(b);
    return NULL;
  }
  return b;
}

int ti_cudnn_is_on(ti_cuda *c)
{
  if (c->cudnn_on && !c->cudnn_tried) {
    c->cudnn_tried = 1;
    c->cudnn = open_for_device();
  }
  return c->cudnn_on && c->cudnn;
}

void ti_cudnn_close(ti_cuda *c)
{
  if (c->cudnn)
    close_library(c->cudnn);
  c->cudnn = NULL;
}

// ------------------------------------------------------------------ descriptors

static descriptor make(ti_cudnn_plan *p, cudnnBackendDescriptorType_t type)
{
  descriptor d = NULL;

  p->failed |= p->count == DESCRIPTORS ||
               p->library->new_descriptor(type, &d) != CUDNN_STATUS_SUCCESS;
  if (p->failed)
    return NULL;
  return p->made[p->count++] = d;
}

static void set(ti_cudnn_plan *p, descriptor d, cudnnBackendAttributeName_t name,
                cudnnBackendAttributeType_t type, int64_t count, const void *values)
{
  p->failed |= p->failed || p->library->set(d, name, type, count, values) != CUDNN_STATUS_SUCCESS;
}

static void set_descriptor(ti_cudnn_plan *p, descriptor d, cudnnBackendAttributeName_t name,
                           descriptor value)
{
  set(p, d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

static void set_type(ti_cudnn_plan *p, descriptor d, cudnnBackendAttributeName_t name,
                     cudnnDataType_t type)
{
  set(p, d, name, CUDNN_TYPE_DATA_TYPE, 1, &type);
}

static void set_longs(ti_cudnn_plan *p, descriptor d, cudnnBackendAttributeName_t name, int count,
                      const int64_t *values)
{
  set(p, d, name, CUDNN_TYPE_INT64, count, values);
}

static void finish(ti_cudnn_plan *p, descriptor d)
{
  p->failed |= p->failed || p->library->finalize(d) != CUDNN_STATUS_SUCCESS;
}

/* a tensor [n, c, h, w] whose channels lie last; virtual: never in memory */
static descriptor tensor(ti_cudnn_plan *p, int64_t id, cudnnDataType_t type, int n, int c, int h,
                         int w, bool is_virtual)
{
  const int64_t dims[4] = { n, c, h, w };
  const int64_t strides[4] = { (int64_t)h * w * c, 1, (int64_t)w * c, c }, alignment = ALIGNMENT;
  descriptor d = make(p, CUDNN_BACKEND_TENSOR_DESCRIPTOR);

  set_longs(p, d, CUDNN_ATTR_TENSOR_UNIQUE_ID, 1, &id);
  set_type(p, d, CUDNN_ATTR_TENSOR_DATA_TYPE, type);
  set_longs(p, d, CUDNN_ATTR_TENSOR_DIMENSIONS, 4, dims);
  set_longs(p, d, CUDNN_ATTR_TENSOR_STRIDES, 4, strides);
  set_longs(p, d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, 1, &alignment);
  set(p, d, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &is_virtual);
  finish(p, d);
  return d;
}

static descriptor convolution(ti_cudnn_plan *p)
{
  const ti_conv2d_shape *s = &p->key.shape;
  const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
  const int64_t dims = 2, dilations[2] = { 1, 1 }, strides[2] = { s->stride, s->stride };
  const int64_t before[2] = { s->pad_top, s->pad_left };
  const int64_t after[2] = { s->pad_bottom, s->pad_right };
  descriptor d = make(p, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);

  set_type(p, d, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_DATA_FLOAT);
  set(p, d, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
  set_longs(p, d, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, 1, &dims);
  set_longs(p, d, CUDNN_ATTR_CONVOLUTION_DILATIONS, 2, dilations);
  set_longs(p, d, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, 2, strides);
  set_longs(p, d, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, 2, before);
  set_longs(p, d, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, 2, after);
  finish(p, d);
  return d;
}

/* the library's names for a convolution in one direction */
struct direction {
  cudnnBackendDescriptorType_t type;
  cudnnBackendAttributeName_t convolution, in, weights, out, alpha, beta;
};

static const direction forward = { CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
                                   CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                                   CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                                   CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                                   CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
                                   CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                                   CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA };
static const direction backward = { CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
                                    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                                    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
                                    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                                    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
                                    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                                    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA };

/* out = the convolution of in, and what out holds already where beta is 1 */
static descriptor product(ti_cudnn_plan *p, const direction &a, descriptor in, descriptor w,
                          descriptor out, float beta)
{
  const float one = 1.0f;
  descriptor d = make(p, a.type);

  set_descriptor(p, d, a.convolution, convolution(p));
  set_descriptor(p, d, a.in, in);
  set_descriptor(p, d, a.weights, w);
  set_descriptor(p, d, a.out, out);
  set(p, d, a.alpha, CUDNN_TYPE_FLOAT, 1, &one);
  set(p, d, a.beta, CUDNN_TYPE_FLOAT, 1, &beta);
  finish(p, d);
  return d;
}

/* y = x + b */
static descriptor sum(ti_cudnn_plan *p, descriptor x, descriptor b, descriptor y)
{
  const cudnnPointwiseMode_t mode = CUDNN_POINTWISE_ADD;
  descriptor add = make(p, CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  descriptor d = make(p, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);

  set(p, add, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
  set_type(p, add, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_DATA_FLOAT);
  finish(p, add);
  set_descriptor(p, d, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, add);
  set_descriptor(p, d, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
  set_descriptor(p, d, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, b);
  set_descriptor(p, d, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
  finish(p, d);
  return d;
}

static descriptor operations(ti_cudnn_plan *p)
{
  const cudnn_key *k = &p->key;
  const ti_conv2d_shape *s = &k->shape;
  const cudnnDataType_t type = k->dtype == TI_F16 ? CUDNN_DATA_HALF : CUDNN_DATA_BFLOAT16;
  const bool residual = k->has_residual && !k->backward, bias = k->has_bias && !k->backward;
  descriptor x = tensor(p, k->backward ? OUT : IN, type, s->n, s->cin, s->h, s->w, false);
  descriptor w = tensor(p, WEIGHTS, type, s->cout, s->cin, s->kh, s->kw, false);
  descriptor graph = make(p, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR), all[3];
  int count = 0;

  if (k->backward) {
    descriptor dy = tensor(p, IN, type, s->n, s->cout, s->oh, s->ow, false);

    all[count++] = product(p, backward, dy, w, x, k->has_residual ? 1.0f : 0.0f);
  } else {
    auto y = [&](int id, bool is_last) {
      return tensor(p, is_last ? OUT : id, is_last ? type : CUDNN_DATA_FLOAT, s->n, s->cout, s->oh,
                    s->ow, !is_last);
    };
    descriptor last = y(SUM_A, !residual && !bias), next;

    all[count++] = product(p, forward, x, w, last, 0.0f);
    if (residual) {
      next = y(SUM_B, !bias);
      all[count++] = sum(p, last, tensor(p, RESIDUAL, type, s->n, s->cout, s->oh, s->ow, false),
                         next);
      last = next;
    }
    if (bias)
      all[count++] = sum(p, last, tensor(p, BIAS, type, 1, s->cout, 1, 1, false), y(OUT, true));
  }
  if (p->library->handle)
    set(p, graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &p->library->handle);
  set(p, graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, count, all);
  finish(p, graph);
  return graph;
}

// ------------------------------------------------------------------ plans

/* whether the engine of a configuration sums in a fixed order, in float, and is compiled */
static bool is_exact(ti_cudnn *b, descriptor configuration)
{
  cudnnBackendNumericalNote_t notes[NOTES];
  cudnnBackendBehaviorNote_t manners[NOTES];
  descriptor engine = NULL;
  int64_t count = 0, num_notes = 0, num_manners = 0;
  bool exact = b->new_descriptor(CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine) ==
                 CUDNN_STATUS_SUCCESS &&
               b->get(configuration, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                      &count, &engine) == CUDNN_STATUS_SUCCESS &&
               b->get(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, NOTES,
                      &num_notes, notes) == CUDNN_STATUS_SUCCESS &&
               b->get(engine, CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, CUDNN_TYPE_BEHAVIOR_NOTE, NOTES,
                      &num_manners, manners) == CUDNN_STATUS_SUCCESS;

  for (int i = 0; i < num_notes && exact; i++)
    exact = notes[i] == CUDNN_NUMERICAL_NOTE_TENSOR_CORE ||
            notes[i] == CUDNN_NUMERICAL_NOTE_STRICT_NAN_PROP;
  for (int i = 0; i < num_manners && exact; i++)
    exact = manners[i] != CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION;
  if (engine)
    (void)b->free_descriptor(engine);
  return exact;
}

/* p->execution of one configuration; false: the device has not what it needs */
static bool take(ti_cudnn_plan *p, descriptor configuration)
{
  ti_cudnn *b = p->library;
  descriptor plan = NULL;
  int64_t count, workspace = WORKSPACE + 1;

  if (!is_exact(b, configuration) ||
      b->new_descriptor(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, &plan) != CUDNN_STATUS_SUCCESS)
    return false;
  if ((b->handle ? b->set(plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &b->handle)
                 : b->set(plan, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                          1, &b->device)) != CUDNN_STATUS_SUCCESS ||
      b->set(plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
             &configuration) != CUDNN_STATUS_SUCCESS ||
      b->finalize(plan) != CUDNN_STATUS_SUCCESS ||
      b->get(plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &count,
             &workspace) != CUDNN_STATUS_SUCCESS ||
      workspace > WORKSPACE) {
    (void)b->free_descriptor(plan);
    return false;
  }
  p->workspace = (size_t)workspace;
  p->made[p->count++] = p->execution = plan;
  return true;
}

/* p->failed afterwards: the library has no such kernel */
static void build(ti_cudnn_plan *p)
{
  ti_cudnn *b = p->library;
  const cudnnBackendHeurMode_t mode = CUDNN_HEUR_MODE_A;
  descriptor graph = operations(p), choice = make(p, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  descriptor configurations[TRIES] = {};
  int64_t count = 0;

  set_descriptor(p, choice, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
  set(p, choice, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
  if (b->device)
    set_descriptor(p, choice, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, b->device);
  finish(p, choice);
  for (descriptor &c : configurations)
    c = make(p, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
  p->failed |= p->failed || p->count == DESCRIPTORS ||
               b->get(choice, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, TRIES,
                      &count, configurations) != CUDNN_STATUS_SUCCESS;
  for (int i = 0; i < count && i < TRIES && !p->failed && !p->execution; i++)
    (void)take(p, configurations[i]);
  p->failed |= !p->execution;
  if (p->failed)
    drop_descriptors(p);
}

/* the plan for key, which may have failed; NULL: out of memory */
static ti_cudnn_plan *plan_of(ti_cudnn *b, const cudnn_key *key)
{
  ti_cudnn_plan *p;

  for (p = b->plans; p; p = p->next) {
    if (!memcmp(&p->key, key, sizeof(*key)))
      return p;
  }
  p = (ti_cudnn_plan *)calloc(1, sizeof(*p));
  if (!p)
    return NULL;
  p->library = b;
  p->key = *key;
  if (key->backward && key->has_residual)
    p->copied = (size_t)key->shape.n * key->shape.h * key->shape.w * key->shape.cin *
                ti_dtype_size((ti_dtype)key->dtype);
  build(p);
  p->next = b->plans;
  b->plans = p;
  return p;
}

textinv_status ti_cudnn_prepare(ti_exec *e, ti_dtype dtype, const ti_cudnn_plan **out,
                                size_t *scratch_bytes, const ti_conv2d_shape *s, int has_bias,
                                int has_residual, int backward)
{
  cudnn_key key = {};
  ti_cudnn_plan *p;

  key.shape = *s;
  key.dtype = dtype;
  key.backward = backward;
  key.has_bias = has_bias;
  key.has_residual = has_residual;
  *out = NULL;
  p = plan_of(((ti_cuda *)e->device)->cudnn, &key);
  if (!p)
    return ti_fail_nomem(e->error, sizeof(*p), "a convolution of cuDNN");
  if (p->failed)
    return TEXTINV_OK;
  if (p->workspace + WORKSPACE_ALIGNMENT > *scratch_bytes)
    *scratch_bytes = p->workspace + WORKSPACE_ALIGNMENT;
  *out = p;
  return TEXTINV_OK;
}

textinv_status ti_cudnn_run(ti_exec *e, const char *name, const ti_cudnn_plan *p,
                            const gemm_buffers *io, const void *bias)
{
  ti_cudnn *b = p->library;
  const int64_t ids[] = { IN, WEIGHTS, OUT, RESIDUAL, BIAS };
  const void *all[] = { io->a, io->b, io->y, p->copied ? NULL : io->residual, bias };
  /* scratch is a multiple of 64 */
  const void *workspace = (char *)e->scratch + (-(uintptr_t)e->scratch & (WORKSPACE_ALIGNMENT - 1));
  int64_t given[5];
  const void *pointers[5];
  int count = 0;
  descriptor pack = NULL;
  cudnnStatus_t code;

  for (int i = 0; i < 5; i++) {
    if (all[i]) {
      given[count] = ids[i];
      pointers[count++] = all[i];
    }
  }
  if (p->copied && io->residual != io->y) {
    const cudaError_t copied = cudaMemcpyAsync(io->y, io->residual, p->copied,
                                               cudaMemcpyDeviceToDevice, (cudaStream_t)e->stream);

    if (copied != cudaSuccess)
      return ti_cuda_failed(e, (int)copied, name);
  }
  code = b->new_descriptor(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &pack);
  if (code == CUDNN_STATUS_SUCCESS)
    code = b->set(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, count, given);
  if (code == CUDNN_STATUS_SUCCESS)
    code = b->set(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, count,
                  pointers);
  if (code == CUDNN_STATUS_SUCCESS)
    code = b->set(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace);
  if (code == CUDNN_STATUS_SUCCESS)
    code = b->finalize(pack);
  if (code == CUDNN_STATUS_SUCCESS)
    code = b->set_stream(b->handle, (cudaStream_t)e->stream);
  if (code == CUDNN_STATUS_SUCCESS)
    code = b->execute(b->handle, p->execution, pack);
  if (pack)
    (void)b->free_descriptor(pack);
  if (code != CUDNN_STATUS_SUCCESS)
    return ti_fail(e->error, TEXTINV_E_BACKEND, "%s: cuDNN returns %d", name, (int)code);
  return ti_cuda_check(e, name);
}

#else

int ti_cudnn_is_on(ti_cuda *)
{
  return 0;
}

void ti_cudnn_close(ti_cuda *)
{
}

textinv_status ti_cudnn_prepare(ti_exec *, ti_dtype, const ti_cudnn_plan **out, size_t *,
                                const ti_conv2d_shape *, int, int, int)
{
  *out = NULL;
  return TEXTINV_OK;
}

textinv_status ti_cudnn_run(ti_exec *e, const char *name, const ti_cudnn_plan *,
                            const gemm_buffers *, const void *)
{
  return ti_fail(e->error, TEXTINV_E_UNSUPPORTED, "%s: built without cuDNN", name);
}

#endif
