// Which kernel each op runs on the CPU: the ones of this folder, else the Eigen expression.
#pragma once

#include "../eigen/all.hpp"
#include "batch_norm.hpp"
#include "concat.hpp"
#include "contraction.hpp"
#include "convolution_transpose.hpp"
#include "depthwise_convolution.hpp"
#include "elementwise.hpp"
#include "losses.hpp"
#include "normalize.hpp"
#include "one_hot.hpp"
#include "pool.hpp"
#include "softmax.hpp"

namespace slim {

/// An op without a kernel here runs on its reference.
template <class Op, class T>
struct kernel_of<Op, T, backend::cpu> : kernel_of<Op, T, backend::eigen> {};

}  // namespace slim
