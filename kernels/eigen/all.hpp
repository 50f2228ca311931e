// Every op by its Eigen Tensor expression.
#pragma once

#include "contraction.hpp"
#include "elementwise.hpp"
#include "losses.hpp"
#include "pool.hpp"
#include "softmax.hpp"
