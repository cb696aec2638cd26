/* The kernel table of CUDA. */
#include <string.h>

#include "cuda_kernels.h"

extern "C" void ti_kernels_init_cuda(ti_kernels *k)
{
  memset(k, 0, sizeof(*k));
  k->conv2d_prepare = ti_cuda_conv2d_prepare;
  k->linear_prepare = ti_cuda_linear_prepare;
  k->release = ti_cuda_release;
  k->weight_plain = ti_cuda_weight_plain;
  k->groupnorm_scratch = ti_cuda_groupnorm_scratch;
  k->attention_scratch = ti_cuda_attention_scratch;
  k->conv2d_fwd = ti_cuda_conv2d_fwd;
  k->conv2d_bwd = ti_cuda_conv2d_bwd;
  k->linear_fwd = ti_cuda_linear_fwd;
  k->linear_bwd = ti_cuda_linear_bwd;
  k->groupnorm_fwd = ti_cuda_groupnorm_fwd;
  k->groupnorm_bwd = ti_cuda_groupnorm_bwd;
  k->layernorm_fwd = ti_cuda_layernorm_fwd;
  k->layernorm_bwd = ti_cuda_layernorm_bwd;
  k->attention_fwd = ti_cuda_attention_fwd;
  k->attention_bwd = ti_cuda_attention_bwd;
  k->activation_fwd = ti_cuda_activation_fwd;
  k->activation_bwd = ti_cuda_activation_bwd;
  k->geglu_fwd = ti_cuda_geglu_fwd;
  k->geglu_bwd = ti_cuda_geglu_bwd;
  k->add = ti_cuda_add;
  k->sum_pixels = ti_cuda_sum_pixels;
  k->copy_columns = ti_cuda_copy_columns;
  k->upsample_fwd = ti_cuda_upsample_fwd;
  k->upsample_bwd = ti_cuda_upsample_bwd;
  k->timestep_fwd = ti_cuda_timestep_fwd;
  k->embedding_fwd = ti_cuda_embedding_fwd;
  k->embedding_bwd = ti_cuda_embedding_bwd;
  k->gather_fwd = ti_cuda_gather_fwd;
  k->gather_bwd = ti_cuda_gather_bwd;
  k->mse_fwd = ti_cuda_mse_fwd;
  k->mse_bwd = ti_cuda_mse_bwd;
  k->cast = ti_cuda_cast;
}
