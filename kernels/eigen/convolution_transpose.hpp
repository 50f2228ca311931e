// The reference kernel of a transposed convolution is that of a convolution's data gradient.
#pragma once

#include <slim/op/convolution_transpose.hpp>

#include "contraction.hpp"

namespace slim {

template <class T>
struct kernel_of<op::convolution_transpose, T, backend::eigen>
    : kernel_of<op::convolution_backward_data, T, backend::eigen> {};

}  // namespace slim
