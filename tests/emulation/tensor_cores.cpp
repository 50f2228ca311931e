// The emulation has no tensor cores: convolutions with kernels for those go the way of all others.
#include <cstdlib>

#include "halo_convolution.hpp"
#include "halo_float.hpp"
#include "halo_tf32.hpp"
#include "stem_convolution.hpp"
#include "stem_tf32.hpp"
#include "tf32_filter.hpp"

namespace slim::cuda {

bool stem_serves(int, int, int, int, int, int, int, int, int, int) { return false; }
void stem_forward(const void*, const void*, const float*, void*, images, bool, CUstream_st*) {
  std::abort();
}
long stem_filter_workspace(images) { return 0; }
void stem_backward_filter(const void*, const void*, float*, float*, void*, images, CUstream_st*) {
  std::abort();
}

void stem_forward_tf32(const float*, const float*, const float*, float*, images, bool,
                       CUstream_st*) {
  std::abort();
}

bool halo_serves_forward(halo_channels) { return false; }
bool halo_serves_backward_data(halo_channels) { return false; }
bool halo_serves_backward_filter(halo_channels) { return false; }
void halo_forward(const void*, const void*, const void*, void*, images, halo_channels, bool, int,
                  CUstream_st*) {
  std::abort();
}
void halo_forward_pooled(const void*, const void*, const void*, void*, unsigned char*, images,
                         halo_channels, bool, int, CUstream_st*) {
  std::abort();
}
void halo_backward_data(const void*, const void*, const void*, void*, images, halo_channels, int,
                        CUstream_st*) {
  std::abort();
}
long halo_filter_workspace(images, halo_channels) { return 0; }
void halo_backward_filter(const void*, const void*, float*, void*, images, halo_channels,
                          CUstream_st*) {
  std::abort();
}

bool tf32_filter_serves(halo_channels) { return false; }
long tf32_filter_workspace(images, halo_channels) { return 0; }
void tf32_backward_filter(const float*, const float*, float*, void*, images, halo_channels,
                          CUstream_st*) {
  std::abort();
}

bool halo_float_serves_forward(const convolution_shape&, const operands&) { return false; }
bool halo_float_serves_backward_data(const convolution_shape&, const operands&) { return false; }
std::size_t halo_float_workspace(const convolution_shape&) { return 0; }
void halo_float_forward(stream&, const convolution_shape&, const operands&, void*) {
  std::abort();
}
void halo_float_backward_data(stream&, const convolution_shape&, const operands&, void*) {
  std::abort();
}

bool halo_tf32_serves(halo_channels) { return false; }
void halo_tf32_forward(const float*, const float*, const float*, float*, images, bool, int,
                       CUstream_st*) {
  std::abort();
}
void halo_tf32_forward_pooled(const float*, const float*, const float*, float*, unsigned char*,
                              images, bool, int, CUstream_st*) {
  std::abort();
}
void halo_tf32_backward_data(const float*, const float*, const float*, float*, images, int,
                             CUstream_st*) {
  std::abort();
}

}  // namespace slim::cuda
