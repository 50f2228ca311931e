#pragma once

// Fully connected layers: activations a [m, k], weights w [k, n], outputs c [m, n], all row-major.
// With few rows (m <= dense_stream_rows) the time is that of reading the weights from memory, so
// they are streamed once, without packing (dense_stream.hpp); with more the packed product of
// gemm.hpp is used. Results are the same bits for any number of threads.

#include <cstddef>

#include <slim/device.hpp>
#include <slim/kernels/cpu/convolution_gemm.hpp>
#include <slim/kernels/cpu/dense_stream.hpp>
#include <slim/kernels/cpu/gemm.hpp>

namespace slim::cpu {

/// Elements of T that dense_forward needs as workspace.
template <class T>
constexpr std::size_t dense_forward_workspace(int m, int k, int n, bool prepared) {
  if (prepared) return 0;
  return std::max(detail::stream_workspace(m, k, n),  // a smaller batch may be run with it
                  m <= dense_stream_rows ? 0 : gemm_workspace<T>(m, n, k));
}

/// c = Act(a * w + bias + residual); bias [n] and residual (shaped like c) may be null. With
/// `packed`, the weights as gemm_pack brings them into panels, w is not read, and `backwards`
/// begins with the last of them: turn by turn, weights a little larger than a cache are partly
/// found there.
template <class Act, class T>
void dense_forward(int m, int k, int n, const T* a, const T* w, const T* packed, const T* bias,
                   const T* residual, T* c, T* workspace, cpu_device& device,
                   bool backwards = false) {
  const detail::bias_and_activate<Act, T> finish{bias, residual, c, n};
  const matrix_operand<T> left{a, k, a + std::size_t(m) * k};
  if (packed != nullptr) {
    gemm_packed(m, n, k, left, packed, finish, device, backwards);
  } else if (m <= dense_stream_rows) {
    detail::stream_forward(m, k, n, a, w, finish, workspace, device);
  } else {
    const matrix_operand<T> right{w, n, w + std::size_t(k) * n, detail::packs_as_it_goes(m)};
    gemm(m, n, k, left, right, finish, workspace, device);
  }
}

/// Elements of T that dense_backward_data needs as workspace.
template <class T>
constexpr std::size_t dense_backward_data_workspace(int m, int k, int n) {
  return m <= dense_stream_rows ? 0 : gemm_workspace<T>(m, k, n);
}

/// da [m, k] = dc * transpose(w). If a_activation (shaped like a: the output of the activation Act
/// that made a) is not null, da = Act::backward(da, a_activation).
template <class Act, class T>
void dense_backward_data(int m, int k, int n, const T* dc, const T* w, const T* a_activation, T* da,
                         T* workspace, cpu_device& device) {
  const detail::activation_gradient<Act, T> finish{a_activation, da, k};
  if (m <= dense_stream_rows) {
    detail::stream_backward_data(m, k, n, dc, w, finish, device);
  } else {
    gemm(m, k, n, matrix_operand<T>{dc, n, dc + std::size_t(m) * n}, transposed_operand<T>{w, n},
         finish, workspace, device);
  }
}

/// Elements of T that dense_backward_filter needs as workspace.
template <class T>
constexpr std::size_t dense_backward_filter_workspace(int m, int k, int n) {
  return m <= dense_stream_rows ? 0 : gemm_transposed_workspace<T>(k, n, m);
}

/// dw [k, n] = transpose(a) * dc; db [n] (nullable) = the sum of dc over its rows.
template <class T>
void dense_backward_filter(int m, int k, int n, const T* a, const T* dc, T* dw, T* db, T* workspace,
                           cpu_device& device) {
  if (m <= dense_stream_rows) {
    detail::stream_backward_filter(m, k, n, a, dc, dw, db, device);
  } else {
    gemm_transposed(k, n, m, matrix_operand<T>{a, k, a + std::size_t(m) * k},
                    matrix_operand<T>{dc, n, dc + std::size_t(m) * n}, dw, db, workspace, device);
  }
}

}  // namespace slim::cpu
