#pragma once

#include <slim/accelerator.hpp>

#include "stream.hpp"

namespace slim::cuda {

/// Updates the variables of these ranges; the formula's numbers lie in device memory, so that
/// recorded work sees others when it is replayed.
void update(stream& s, optimizer_step::formula kind, const float* numbers, const update_memory& m);

}  // namespace slim::cuda
