// The emulation has no tensor cores: these convolutions go the way of all others.
#include "stem_convolution.hpp"

#include <cstdlib>

namespace slim::cuda {

bool stem_serves(int, int, int, int, int, int, int, int, int, int) { return false; }
void stem_forward(const void*, const void*, const float*, void*, images, bool, CUstream_st*) {
  std::abort();
}
long stem_filter_workspace(images) { return 0; }
void stem_backward_filter(const void*, const void*, float*, float*, void*, images, CUstream_st*) {
  std::abort();
}

}  // namespace slim::cuda
