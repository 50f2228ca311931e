// A transposed convolution runs what a convolution's data gradient runs.
#pragma once

#include "../eigen/convolution_transpose.hpp"
#include "contraction.hpp"

namespace slim {

template <class T>
struct kernel_of<op::convolution_transpose, T, backend::cpu>
    : kernel_of<op::convolution_backward_data, T, backend::cpu> {};

}  // namespace slim
