// Every op by its Eigen Tensor expression.
#pragma once

#include "batch_norm.hpp"
#include "concat.hpp"
#include "contraction.hpp"
#include "elementwise.hpp"
#include "losses.hpp"
#include "pool.hpp"
#include "softmax.hpp"
