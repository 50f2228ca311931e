// GoogLeNet (Szegedy et al., "Going deeper with convolutions", CVPR 2015) with batch normalisation:
// TF-Slim's inception_v1, with its scopes, variables and end points, irregular names and all.
//
//   model<nets::inception_v1_arg_scope<nets::inception_v1<>>, input<8, 224, 224, 3>>
//
// Inputs [n, 224, 224, 3]; logits [n, classes]. As in TF-Slim a net does not open its arg_scope.
// Options: num_classes, dropout_keep_prob (0.8), squeeze, is_training.
#pragma once

#include "../network.hpp"  // first: the shortest way to its errors
#include "inception_utils.hpp"

namespace slim::nets {

/// TF-Slim's inception_v1_arg_scope.
template <weight_decay Decay, class... Entry>
struct inception_v1_arg_scope_of : detail::inception_arg_scope<Decay, Entry...> {};
template <class... Entry>
struct inception_v1_arg_scope : inception_v1_arg_scope_of<weight_decay{0.00004}, Entry...> {};

namespace detail {

/// One block of branches, by the outputs of their convolutions: a 1x1; a 1x1 and its 3x3, twice; the
/// one behind the pool. `Second` is the scope of the 3x3 that stands for the paper's 5x5.
template <text Name, int Branch0, int Reduce1, int Branch1, int Reduce2, int Branch2, int Branch3,
          text Second = "Conv2d_0b_3x3">
struct inception_v1_block
    : mixed<Name,
  variable_scope<"Branch_0", conv2d<Branch0, kernel_size{1}, scope{"Conv2d_0a_1x1"}>>,
  variable_scope<"Branch_1", conv2d<Reduce1, kernel_size{1}, scope{"Conv2d_0a_1x1"}>,
                             conv2d<Branch1, kernel_size{3}, scope{"Conv2d_0b_3x3"}>>,
  variable_scope<"Branch_2", conv2d<Reduce2, kernel_size{1}, scope{"Conv2d_0a_1x1"}>,
                             named<Second, conv2d<Branch2, kernel_size{3}>>>,
  variable_scope<"Branch_3", max_pool2d<kernel_size{3}, scope{"MaxPool_0a_3x3"}>,
                             conv2d<Branch3, kernel_size{1}, scope{"Conv2d_0b_1x1"}>>> {};

}  // namespace detail

/// The convolutional part, in the scope InceptionV1: [n, 7, 7, 1024] of images of 224. Stop earlier
/// with until<"Mixed_4e", inception_v1_base>.
struct inception_v1_base
    : arg_scope<on<ops::conv2d, ops::fully_connected>,
                with<weights_initializer{truncated_normal{0.0, 0.01}}>,
        arg_scope<on<ops::conv2d, ops::max_pool2d>, with<stride{1}, padding::same>,
  detail::keyed<"Conv2d_1a_7x7", conv2d<64, kernel_size{7}, stride{2}>>,
  detail::keyed<"MaxPool_2a_3x3", max_pool2d<kernel_size{3}, stride{2}>>,
  detail::keyed<"Conv2d_2b_1x1", conv2d<64, kernel_size{1}>>,
  detail::keyed<"Conv2d_2c_3x3", conv2d<192, kernel_size{3}>>,
  detail::keyed<"MaxPool_3a_3x3", max_pool2d<kernel_size{3}, stride{2}>>,
  detail::inception_v1_block<"Mixed_3b", 64, 96, 128, 16, 32, 32>,
  detail::inception_v1_block<"Mixed_3c", 128, 128, 192, 32, 96, 64>,
  detail::keyed<"MaxPool_4a_3x3", max_pool2d<kernel_size{3}, stride{2}>>,
  detail::inception_v1_block<"Mixed_4b", 192, 96, 208, 16, 48, 64>,
  detail::inception_v1_block<"Mixed_4c", 160, 112, 224, 24, 64, 64>,
  detail::inception_v1_block<"Mixed_4d", 128, 128, 256, 24, 64, 64>,
  detail::inception_v1_block<"Mixed_4e", 112, 144, 288, 32, 64, 64>,
  detail::inception_v1_block<"Mixed_4f", 256, 160, 320, 32, 128, 128>,
  detail::keyed<"MaxPool_5a_2x2", max_pool2d<kernel_size{2}, stride{2}>>,
  detail::inception_v1_block<"Mixed_5b", 256, 160, 320, 32, 128, 128, "Conv2d_0a_3x3">,
  detail::inception_v1_block<"Mixed_5c", 384, 192, 384, 48, 128, 128>>> {};

namespace detail {

template <class O>
struct inception_v1 : variable_scope<"InceptionV1",
  arg_scope<on<ops::batch_norm, ops::dropout>,
            with<is_training{O::template get<"is_training">(is_training{true}).value}>,
    inception_v1_base,
    variable_scope<"Logits",
      avg_pool2d<kernel_size{7}, stride{1}, scope{"MaxPool_0a_7x7"}>,
      dropout<keep_prob{O::template get<"dropout_keep_prob">(dropout_keep_prob{0.8}).value},
              scope{"Dropout_0b"}>,
      conv2d<O::template get<"num_classes">(num_classes{1000}).value, kernel_size{1},
             activation_fn{none}, normalizer_fn{none}, scope{"Conv2d_0c_1x1"}>>,
    inception_logits<O>>> {};

}  // namespace detail

template <auto... Option>
struct inception_v1 : detail::inception_v1<option_list<constant<Option>...>> {};

/// The input size this net is made for.
inline constexpr int inception_v1_default_image_size = 224;

}  // namespace slim::nets
