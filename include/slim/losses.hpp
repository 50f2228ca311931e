// Losses, added to a model as parts of its type:
//
//   model<vgg_16, input<8, 224, 224, 3>, labels<8>, sparse_softmax_cross_entropy<>>
//
// Each takes the network's output, or the end point its `logits` (or `predictions`) names, and the
// input or end point its `labels_from` names ("labels"). Losses of any shape are reduced as TF-Slim
// does: sum(weights * losses) / number of losses whose weight is not 0. Constant weights are given
// by `loss_weight`, others by the input or end point that `weights_from` names.
//
// Without a network: losses/on_spans.hpp.
#pragma once

#include "losses/cross_entropy.hpp"
#include "losses/distances.hpp"
#include "losses/elementwise.hpp"
#include "losses/from_end_points.hpp"
