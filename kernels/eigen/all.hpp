// Every op by its Eigen Tensor expression.
#pragma once

#include "contraction.hpp"
#include "convolution_transpose.hpp"
#include "depthwise_convolution.hpp"
#include "elementwise.hpp"
#include "normalize.hpp"
#include "one_hot.hpp"
#include "pool.hpp"
#include "softmax.hpp"
