// What the ResNets share: convolutions padded the same way whatever the input, subsampling, and
// TF-Slim's resnet_arg_scope.
#pragma once

#include "classifier.hpp"

namespace slim {

/// TF-Slim's conv2d_same: zero padding of kernel - 1 in all, whatever the extents, so that a stride
/// picks the same pixels as subsampling the output of stride 1 would. (padding::same at stride 2
/// depends on whether the extent is even.)
template <int NumOutputs, auto... Option>
struct conv2d_same : conv2d<NumOutputs, padding::fixed, Option...> {};

/// TF-Slim's subsample: every factor-th pixel; x itself for a factor of 1.
template <int Factor, auto... Option>
struct subsample
    : std::conditional_t<Factor == 1, sequence<>,
                         max_pool2d<kernel_size{1}, stride{Factor}, Option...>> {};

/// spatial_mean: [n, h, w, c] to its mean over the pixels, [n, 1, 1, c].
struct spatial_mean {
  static constexpr std::string_view name = "spatial_mean";
  static constexpr graph_counts needs{.nodes = 1, .values = 1, .edges = 2};

  template <class Context, class B>
  static constexpr int lower(B& b, int x) {
    const slim::detail::named_in_errors here(b, name);
    const shape in = b.g.values[x].dims;
    if (in.rank != 4) return b.fail("needs images [n,h,w,c], not ", in);
    attributes a;
    a.win.kernel_h = in[1], a.win.kernel_w = in[2];
    return b.template add<op::avg_pool>({x}, a);
  }
};

namespace nets {

/// TF-Slim's resnet_arg_scope: L2 on the weights, variance scaling, ReLU, batch norm with gamma in
/// place of biases, pools padded SAME.
template <weight_decay Decay, class... Entry>
struct resnet_arg_scope_of
    : arg_scope<on<ops::conv2d>,
                with<weights_regularizer{l2_regularizer{Decay.value}},
                     weights_initializer{variance_scaling_initializer{}}, activation_fn{relu},
                     normalizer_fn{ops::batch_norm{}}>,
        arg_scope<on<ops::batch_norm>, with<decay{0.997}, epsilon{1e-5}, scale{true}>,
          arg_scope<on<ops::max_pool2d>, with<padding::same>, Entry...>>> {};
template <class... Entry>
struct resnet_arg_scope : resnet_arg_scope_of<weight_decay{0.0001}, Entry...> {};

}  // namespace nets
}  // namespace slim
