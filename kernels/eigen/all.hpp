// Every op by its Eigen Tensor expression.
#pragma once

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
