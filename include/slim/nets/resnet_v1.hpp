// ResNets (He et al., "Deep Residual Learning for Image Recognition", CVPR 2016): TF-Slim's
// resnet_v1_50, _101, _152 and _200, with their scopes, variables and end points. As there, the
// stride stands in the last unit of a block, on its 3x3 convolution.
//
//   model<nets::resnet_arg_scope<nets::resnet_v1_50<num_classes{1000}>>, input<8, 224, 224, 3>>
//
// Inputs [n, h, w, 3]; logits [n, 1, 1, classes], or without num_classes the pooled features
// [n, 1, 1, 2048]. As in TF-Slim a net does not open its arg_scope. Options: num_classes, is_training,
// global_pool, output_stride.
#pragma once

#include "../network.hpp"  // first: the shortest way to its errors
#include "resnet_utils.hpp"

namespace slim {

/// Whether the features are averaged over the pixels before the logits; default true.
struct global_pool {
  static constexpr std::string_view slot = "global_pool";
  bool value;
};
/// Input pixels to a pixel of the features: 4, 8, 16 or 32 (default). Where the stride would exceed
/// it, units keep theirs at 1 and widen the rate of their filters instead.
struct output_stride {
  static constexpr std::string_view slot = "output_stride";
  int value;
};

namespace nets::detail {

/// What a unit is made of: its outputs, those of its bottleneck, its stride and its rate.
struct resnet_unit {
  int depth, bottleneck, stride, rate;
};

/// The shortcut of a unit: x itself, or its pixels at a stride, where the depth stays; else projected.
template <resnet_unit U, bool SameDepth>
using resnet_v1_shortcut = std::conditional_t<
    SameDepth, subsample<U.stride, scope{"shortcut"}>,
    conv2d<U.depth, kernel_size{1}, stride{U.stride}, activation_fn{none}, scope{"shortcut"}>>;

/// bottleneck_v1 of TF-Slim. Its end point is that of its scope, as with any layer.
template <resnet_unit U, bool SameDepth>
struct resnet_v1_unit : scoped_end_point<"bottleneck_v1",
  sum<resnet_v1_shortcut<U, SameDepth>,
      sequence<conv2d<U.bottleneck, kernel_size{1}, stride{1}, scope{"conv1"}>,
               conv2d_same<U.bottleneck, kernel_size{3}, stride{U.stride}, rate{U.rate},
                           scope{"conv2"}>,
               conv2d<U.depth, kernel_size{1}, stride{1}, activation_fn{none}, scope{"conv3"}>>>,
  apply<relu>> {};

/// The strides and rates of TF-Slim's stack_blocks_dense: `stride` is the one reached so far.
struct resnet_progress {
  int stride, rate;
};
constexpr resnet_progress after(resnet_progress p, int unit_stride, int output_stride) {
  return p.stride == output_stride ? resnet_progress{p.stride, p.rate * unit_stride}
                                   : resnet_progress{p.stride * unit_stride, p.rate};
}
constexpr resnet_unit unit_at(resnet_progress p, int depth, int unit_stride, int output_stride) {
  const bool reached = p.stride == output_stride;
  return {depth, depth / 4, reached ? 1 : unit_stride, reached ? p.rate : 1};
}

/// Block number B: U units of this depth, the last at a stride. `Before` is what is reached before.
template <int B, int U, int Depth, int Stride, resnet_progress Before, int OutputStride,
          int InputDepth>
struct resnet_v1_block {
  template <class Unit>
  struct units;
  template <int... I>
  struct units<std::integer_sequence<int, I...>>
      : sequence<variable_scope<numbered<"unit_", I + 1>(),
                                resnet_v1_unit<unit_at(Before, Depth, I + 1 == U ? Stride : 1,
                                                       OutputStride),
                                               (I > 0 || InputDepth == Depth)>>...> {};
  using type =
      scoped_end_point<numbered<"block", B>(), units<std::make_integer_sequence<int, U>>>;
};

/// The root of the net: [n, h / 4, w / 4, 64].
using resnet_root = sequence<conv2d_same<64, kernel_size{7}, stride{2}, scope{"conv1"}>,
                             max_pool2d<kernel_size{3}, stride{2}, scope{"pool1"}>>;

/// The four blocks, of U1 to U4 units.
template <int U1, int U2, int U3, int U4, int OutputStride>
struct resnet_v1_blocks {
  static constexpr int goal = OutputStride / 4;
  static_assert(OutputStride % 4 == 0 && (goal == 1 || goal == 2 || goal == 4 || goal == 8),
                "output_stride must be 4, 8, 16 or 32");
  static constexpr resnet_progress p1{1, 1}, p2 = after(p1, 2, goal), p3 = after(p2, 2, goal),
                                   p4 = after(p3, 2, goal);
  using type = sequence<typename resnet_v1_block<1, U1, 256, 2, p1, goal, 64>::type,
                        typename resnet_v1_block<2, U2, 512, 2, p2, goal, 256>::type,
                        typename resnet_v1_block<3, U3, 1024, 2, p3, goal, 512>::type,
                        typename resnet_v1_block<4, U4, 2048, 1, p4, goal, 1024>::type>;
};

/// Logits and predictions, if there are classes.
template <int Classes>
struct resnet_head : sequence<
  conv2d<Classes, kernel_size{1}, activation_fn{none}, normalizer_fn{none}, scope{"logits"}>,
  aside<end_point<"predictions", softmax<scope{"predictions"}>>>> {};
template <>
struct resnet_head<0> : sequence<> {};

template <text Name, int U1, int U2, int U3, int U4, class O>
struct resnet_v1 : net<Name,
  arg_scope<on<ops::batch_norm>,
            with<is_training{O::template get<"is_training">(is_training{true}).value}>,
    arg_scope<on<ops::conv2d>, with<outputs_collections{"end_points"}>,
      resnet_root,
      typename resnet_v1_blocks<U1, U2, U3, U4,
          O::template get<"output_stride">(output_stride{32}).value>::type,
      std::conditional_t<O::template get<"global_pool">(global_pool{true}).value, spatial_mean,
                         sequence<>>,
      resnet_head<O::template get<"num_classes">(num_classes{0}).value>>>> {};

}  // namespace nets::detail

namespace nets {

template <auto... Option>
struct resnet_v1_50
    : detail::resnet_v1<"resnet_v1_50", 3, 4, 6, 3, option_list<constant<Option>...>> {};
template <auto... Option>
struct resnet_v1_101
    : detail::resnet_v1<"resnet_v1_101", 3, 4, 23, 3, option_list<constant<Option>...>> {};
template <auto... Option>
struct resnet_v1_152
    : detail::resnet_v1<"resnet_v1_152", 3, 8, 36, 3, option_list<constant<Option>...>> {};
template <auto... Option>
struct resnet_v1_200
    : detail::resnet_v1<"resnet_v1_200", 3, 24, 36, 3, option_list<constant<Option>...>> {};

/// The input size these nets are made for.
inline constexpr int resnet_v1_default_image_size = 224;

}  // namespace nets
}  // namespace slim
