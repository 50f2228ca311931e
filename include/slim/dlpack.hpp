// Tensors of other libraries, without a copy, through DLPack (https://dmlc.github.io/dlpack):
// theirs as inputs and outputs of models, a model's variables, gradients and outputs as theirs.
//
//   m.forward_into(dlpack_span<float>(out->dl_tensor), dlpack_input<float>(in->dl_tensor));
#pragma once

#include <dlpack/dlpack.h>

#include <memory>
#include <string>

#include "runner.hpp"

namespace slim {

namespace detail {

template <class T>
constexpr DLDataType dlpack_type() {
  const std::uint8_t code = std::is_floating_point_v<T> ? kDLFloat : kDLInt;
  return {code, static_cast<std::uint8_t>(8 * sizeof(T)), 1};
}

inline std::string dlpack_type_name(const DLDataType& t) {
  const char* kind = t.code == kDLFloat ? "float" : t.code == kDLInt ? "int" : "another kind of";
  return std::string(kind) + " " + std::to_string(t.bits) + " bits" +
         (t.lanes > 1 ? " x " + std::to_string(t.lanes) : "");
}

/// Refuses what cannot be read in place as rows of Ts, in this kind of device's memory.
template <class T>
void check_dlpack(const DLTensor& t, DLDeviceType where = kDLCPU) {
  const DLDataType wanted = dlpack_type<std::remove_const_t<T>>();
  if (t.device.device_type != where)
    throw input_error(where == kDLCPU ? "the DLPack tensor is not in CPU memory"
                                      : "the DLPack tensor is not in a CUDA device's memory");
  if (t.dtype.code != wanted.code || t.dtype.bits != wanted.bits || t.dtype.lanes != 1)
    throw input_error("the DLPack tensor holds " + dlpack_type_name(t.dtype) + ", not " +
                      dlpack_type_name(wanted));
  if (t.ndim > shape::max_rank)
    throw input_error("the DLPack tensor has " + std::to_string(t.ndim) + " axes, at most " +
                      std::to_string(shape::max_rank) + " can be");
  std::int64_t step = 1;
  for (int i = t.ndim - 1; i >= 0; --i) {
    if (t.strides != nullptr && t.shape[i] > 1 && t.strides[i] != step)
      throw input_error("the DLPack tensor is not row-major: axis " + std::to_string(i) +
                        " has stride " + std::to_string(t.strides[i]) + ", not " +
                        std::to_string(step));
    step *= t.shape[i];
  }
}

}  // namespace detail

/// The elements of a tensor in CPU memory, row-major, of exactly this type: float, double or int.
/// Throws input_error that says what another tensor is.
template <class T>
std::span<T> dlpack_span(const DLTensor& t) {
  detail::check_dlpack<T>(t);
  std::size_t count = 1;
  for (int i = 0; i < t.ndim; ++i) count *= static_cast<std::size_t>(t.shape[i]);
  return {reinterpret_cast<T*>(static_cast<std::byte*>(t.data) + t.byte_offset), count};
}

namespace detail {

inline shape dlpack_shape(const DLTensor& t) {
  shape dims;
  for (int i = 0; i < t.ndim; ++i) dims.extents[dims.rank++] = static_cast<int>(t.shape[i]);
  return dims;
}

}  // namespace detail

/// A tensor as an input of a model, which checks its shape besides its size.
template <class T>
tensor_view<const T> dlpack_input(const DLTensor& t) {
  return {dlpack_span<const T>(t).data(), detail::dlpack_shape(t)};
}

/// A tensor in a CUDA device's memory as an input of a model on that GPU, float or int: read when
/// the pass runs, so whoever writes it must be done. Throws input_error that says what another
/// tensor is.
template <class T>
device_view<T> dlpack_device_input(const DLTensor& t) {
  detail::check_dlpack<T>(t, kDLCUDA);
  const auto* bytes = static_cast<const std::byte*>(t.data) + t.byte_offset;
  return {reinterpret_cast<const T*>(bytes), detail::dlpack_shape(t)};
}

/// The same as memory for the output of a model on that GPU: float.
template <class T>
device_span<T> dlpack_device_span(const DLTensor& t) {
  const device_view<T> view = dlpack_device_input<T>(t);
  return {const_cast<T*>(view.data), view.dims};
}

namespace detail {

template <class T>
DLManagedTensor* managed_tensor(const T* data, const shape& dims, DLDevice where) {
  struct managed : DLManagedTensor {
    std::int64_t extents[shape::max_rank];
  };
  auto made = std::make_unique<managed>();
  for (int i = 0; i < dims.rank; ++i) made->extents[i] = dims[i];
  made->dl_tensor = {const_cast<std::remove_const_t<T>*>(data),
                     where,
                     dims.rank,
                     dlpack_type<std::remove_const_t<T>>(),
                     made->extents,
                     nullptr,
                     0};
  made->manager_ctx = nullptr;
  made->deleter = [](DLManagedTensor* self) { delete static_cast<managed*>(self); };
  return made.release();
}

}  // namespace detail

/// A view as a DLPack tensor, which does not own the elements: they belong to the model. Whoever
/// takes it calls its deleter.
template <class T>
DLManagedTensor* to_dlpack(const tensor_view<T>& view) {
  return detail::managed_tensor(view.data, view.dims, {kDLCPU, 0});
}
/// The same of what lies in a CUDA device's memory.
template <class T>
DLManagedTensor* to_dlpack(const device_view<T>& view) {
  return detail::managed_tensor(view.data, view.dims, {kDLCUDA, 0});
}

}  // namespace slim
