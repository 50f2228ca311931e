// Models on a GPU: the same network types, with gpu<...> among a model's parts.
//
//   model<nets::vgg_16<>, input<256, 224, 224, 3>, gpu<bfloat16>> m;
//
// Needs the library of CUDA kernels (Meson: slim-cuda) and an NVIDIA GPU of compute capability 9.0.
// Everything else is as on the CPU: variables and gradients are copied when they are asked for.
#pragma once

#include "kernels/cuda/all.hpp"
#include "model.hpp"

namespace slim {

/// Runs a model on the GPU. Precision: float (TF32 off), tf32 (contractions' inputs are rounded to
/// 10 bits of mantissa) or bfloat16 (activations and what contractions read; sums, variables,
/// statistics and optimizers stay in float). Making the model throws slim::error where there is no
/// GPU, no driver or too little memory, before anything runs.
template <class Precision = float>
struct gpu {
  static constexpr graph_counts needs{};
  static constexpr bool is_setting = true;
  using as_backend = backend::gpu<Precision>;
};

}  // namespace slim
