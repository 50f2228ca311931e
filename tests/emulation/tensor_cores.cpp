// The emulation has no tensor cores: convolutions with kernels for those go the way of all others.
#include "plans.hpp"

namespace slim::cuda {

std::vector<candidate> own_forward(stream&, const convolution_shape&, const operands&) {
  return {};
}
std::vector<candidate> own_forward_pooled(stream&, const convolution_shape&, const operands&) {
  return {};
}
std::vector<candidate> own_backward_data(stream&, const convolution_shape&, const operands&) {
  return {};
}
std::vector<candidate> own_backward_filter(stream&, const convolution_shape&, const operands&) {
  return {};
}
bool own_stem_gradients(stream&, const convolution_shape&, array, array, array, array) {
  return false;
}

}  // namespace slim::cuda
