// Which kernel a convolution or matrix product runs on the CPU, by shape.
//
// A window that covers its whole input, or a single element at stride 1, makes a convolution a
// matrix product. 3x3 windows at stride 1 over enough channels take Winograd's transform; all
// others gather patches for a packed matrix product.
#pragma once

#include <slim/op/matmul.hpp>

#include "../eigen/contraction.hpp"
#include "convolution_gemm.hpp"
#include "dense.hpp"
#include "winograd.hpp"
#include "winograd_filter.hpp"

namespace slim {
namespace cpu {

/// An activation option as the kernels take it: static functions of single numbers or registers.
template <class A>
struct functor {
  template <class V>
    requires requires(V x) { A::value(x); }
  static V forward(V x) {
    return A::value(x);
  }
  template <class V>
    requires requires(V y) { A::value.gradient(y); }
  static V backward(V dy, V y) {
    return dy * A::value.gradient(y);
  }
};

/// The Winograd tile: F(4, 3) is the largest that keeps float's errors near 1e-5 in all passes.
inline constexpr int winograd_tile = 4;

enum class convolution_kind { dense, winograd, patches };

template <class T>
constexpr convolution_kind kind_of(const convolution_shape& s) {
  const bool covers = s.out_h == 1 && s.out_w == 1 && s.pad_top == 0 && s.pad_left == 0 &&
                      s.kernel_h == s.h && s.kernel_w == s.w && s.rate_h == 1 && s.rate_w == 1;
  const bool pointwise = s.kernel_h == 1 && s.kernel_w == 1 && s.stride_h == 1 && s.stride_w == 1;
  if (covers || pointwise) return convolution_kind::dense;
  return winograd_supports<T>(s) ? convolution_kind::winograd : convolution_kind::patches;
}

constexpr convolution_shape shape_of(const window& w, const shape& x, const shape& weights) {
  return {x[0],     x[1],     x[2],      x[3],       w.kernel_h, w.kernel_w, w.stride_h, w.stride_w,
          w.rate_h, w.rate_w, w.pad_top, w.pad_left, w.out_h,    w.out_w,    weights[3]};
}

/// The matrix product that a dense convolution is: [rows, inner] times [inner, k].
struct dense_shape {
  int rows, inner, k;
};
constexpr dense_shape dense_of(const convolution_shape& s) {
  return {s.output_pixels(), s.kernel_h * s.kernel_w * s.c, s.k};
}
constexpr dense_shape dense_of(const shape& x, const shape& w) {
  return {static_cast<int>(x.leading()), w[0], w[1]};
}

/// The largest workspace, in elements, for any number of images up to the batch: kernels switch
/// algorithms at small row counts.
template <class F>
constexpr std::size_t for_any_batch(convolution_shape s, F workspace) {
  std::size_t largest = 0;
  for (const int n : {1, 16, s.n}) {
    if (n > s.n) continue;
    convolution_shape some = s;
    some.n = n;
    if (const std::size_t size = workspace(some); size > largest) largest = size;
  }
  return largest;
}
template <class F>
constexpr std::size_t for_any_rows(dense_shape d, int batch, F workspace) {
  std::size_t largest = 0;
  for (const int n : {1, 16, batch}) {
    if (n > batch) continue;
    const dense_shape some{d.rows / batch * n, d.inner, d.k};
    if (const std::size_t size = workspace(some); size > largest) largest = size;
  }
  return largest;
}
template <class T>
constexpr kernel_choice choice(std::string_view name, void (*run)(const kernel_call&),
                               std::size_t elements) {
  return {name, run, static_cast<long>(elements * sizeof(T))};
}

// Forward.

template <class A, class T>
void run_dense(const kernel_call& call, const dense_shape& d) {
  const T* bias = call.inputs() > 2 ? call.in(2).as<const T>() : nullptr;
  dense_forward<functor<A>>(d.rows, d.inner, d.k, call.in(0).as<const T>(),
                            call.in(1).as<const T>(), bias, call.out().as<T>(),
                            call.workspace<T>(), call.device());
}
template <class A, class T>
void run_dense_convolution(const kernel_call& call) {
  run_dense<A, T>(call, dense_of(shape_of(call.a().win, call.in(0).dims, call.in(1).dims)));
}
template <class A, class T>
void run_patches(const kernel_call& call) {
  const T* bias = call.inputs() > 2 ? call.in(2).as<const T>() : nullptr;
  gemm_convolution_forward<functor<A>>(
      shape_of(call.a().win, call.in(0).dims, call.in(1).dims), call.in(0).as<const T>(),
      call.in(1).as<const T>(), bias, call.out().as<T>(), call.workspace<T>(), call.device());
}
template <class A, class T>
void run_winograd(const kernel_call& call) {
  const T* bias = call.inputs() > 2 ? call.in(2).as<const T>() : nullptr;
  winograd_forward<winograd_tile, functor<A>>(
      shape_of(call.a().win, call.in(0).dims, call.in(1).dims), call.in(0).as<const T>(),
      call.in(1).as<const T>(), bias, call.out().as<T>(), call.workspace<T>(), call.device());
}
template <class A, class T>
void run_winograd_max_pool(const kernel_call& call) {
  const T* bias = call.inputs() > 2 ? call.in(2).as<const T>() : nullptr;
  std::uint8_t* argmax = call.outputs() > 1 ? call.out(1).as<std::uint8_t>() : nullptr;
  winograd_forward_max_pool<winograd_tile, functor<A>>(
      shape_of(call.a().win, call.in(0).dims, call.in(1).dims), call.in(0).as<const T>(),
      call.in(1).as<const T>(), bias, call.out().as<T>(), argmax, call.workspace<T>(),
      call.device());
}

template <class A, class T>
constexpr kernel_choice choose_convolution(const graph& g, const node_row& n) {
  const convolution_shape s = shape_of(n.a.win, g.input_shape(n, 0), g.input_shape(n, 1));
  const convolution_kind kind = kind_of<T>(s);
  const auto winograd_size = [](const convolution_shape& some) {
    return winograd_forward_workspace<winograd_tile, T>(some);
  };
  if (n.a.integer == 1) {
    if (kind != convolution_kind::winograd) return {};
    return choice<T>("winograd+pool", &run_winograd_max_pool<A, T>,
                     for_any_batch(s, winograd_size));
  }
  if (kind == convolution_kind::winograd)
    return choice<T>("winograd", &run_winograd<A, T>, for_any_batch(s, winograd_size));
  if (kind == convolution_kind::dense)
    return choice<T>("dense", &run_dense_convolution<A, T>,
                     for_any_rows(dense_of(s), s.n, [](const dense_shape& d) {
                       return dense_forward_workspace<T>(d.rows, d.inner, d.k);
                     }));
  return choice<T>("patches", &run_patches<A, T>,
                   for_any_batch(s, gemm_convolution_forward_workspace<T>));
}

// The gradient of the input.

template <class A, class T>
void run_dense_backward_data(const kernel_call& call, const dense_shape& d) {
  const T* saved = call.inputs() > 2 ? call.in(2).as<const T>() : nullptr;
  dense_backward_data<functor<A>>(d.rows, d.inner, d.k, call.in(0).as<const T>(),
                                  call.in(1).as<const T>(), saved, call.out().as<T>(),
                                  call.workspace<T>(), call.device());
}
template <class A, class T>
void run_dense_convolution_backward_data(const kernel_call& call) {
  run_dense_backward_data<A, T>(call,
                                dense_of(shape_of(call.a().win, call.out().dims, call.in(1).dims)));
}
template <class A, class T>
void run_patches_backward_data(const kernel_call& call) {
  const T* saved = call.inputs() > 2 ? call.in(2).as<const T>() : nullptr;
  gemm_convolution_backward_data<functor<A>>(
      shape_of(call.a().win, call.out().dims, call.in(1).dims), call.in(0).as<const T>(),
      call.in(1).as<const T>(), saved, call.out().as<T>(), call.workspace<T>(), call.device());
}
template <class A, class T>
void run_winograd_backward_data(const kernel_call& call) {
  const T* saved = call.inputs() > 2 ? call.in(2).as<const T>() : nullptr;
  winograd_backward_data<winograd_tile, functor<A>>(
      shape_of(call.a().win, call.out().dims, call.in(1).dims), call.in(0).as<const T>(),
      call.in(1).as<const T>(), saved, call.out().as<T>(), call.workspace<T>(), call.device());
}

template <class A, class T>
constexpr kernel_choice choose_backward_data(const graph& g, const node_row& n) {
  const convolution_shape s = shape_of(n.a.win, n.a.dims, g.input_shape(n, 1));
  switch (kind_of<T>(s)) {
    case convolution_kind::winograd:
      return choice<T>("winograd", &run_winograd_backward_data<A, T>,
                       for_any_batch(s, winograd_backward_data_workspace<winograd_tile, T>));
    case convolution_kind::dense:
      return choice<T>("dense", &run_dense_convolution_backward_data<A, T>,
                       for_any_rows(dense_of(s), s.n, [](const dense_shape& d) {
                         return dense_backward_data_workspace<T>(d.rows, d.inner, d.k);
                       }));
    default:
      return choice<T>("patches", &run_patches_backward_data<A, T>,
                       for_any_batch(s, gemm_convolution_backward_data_workspace<T>));
  }
}

// The gradient of the weights and biases.

template <class T>
void run_dense_backward_filter(const kernel_call& call, const dense_shape& d) {
  T* db = call.outputs() > 1 ? call.out(1).as<T>() : nullptr;
  dense_backward_filter(d.rows, d.inner, d.k, call.in(0).as<const T>(), call.in(1).as<const T>(),
                        call.out().as<T>(), db, call.workspace<T>(), call.device());
}
template <class T>
void run_dense_convolution_backward_filter(const kernel_call& call) {
  run_dense_backward_filter<T>(
      call, dense_of(shape_of(call.a().win, call.in(0).dims, call.out().dims)));
}
template <class T>
void run_patches_backward_filter(const kernel_call& call) {
  T* db = call.outputs() > 1 ? call.out(1).as<T>() : nullptr;
  gemm_convolution_backward_filter(shape_of(call.a().win, call.in(0).dims, call.out().dims),
                                   call.in(0).as<const T>(), call.in(1).as<const T>(),
                                   call.out().as<T>(), db, call.workspace<T>(), call.device());
}
template <class T>
void run_winograd_backward_filter(const kernel_call& call) {
  T* db = call.outputs() > 1 ? call.out(1).as<T>() : nullptr;
  winograd_backward_filter<winograd_tile>(
      shape_of(call.a().win, call.in(0).dims, call.out().dims), call.in(0).as<const T>(),
      call.in(1).as<const T>(), call.out().as<T>(), db, call.workspace<T>(), call.device());
}

template <class T>
constexpr kernel_choice choose_backward_filter(const graph& g, const node_row& n) {
  const convolution_shape s = shape_of(n.a.win, g.input_shape(n, 0), n.a.dims);
  switch (kind_of<T>(s)) {
    case convolution_kind::winograd:
      return choice<T>("winograd", &run_winograd_backward_filter<T>,
                       for_any_batch(s, winograd_backward_filter_workspace<winograd_tile, T>));
    case convolution_kind::dense:
      return choice<T>("dense", &run_dense_convolution_backward_filter<T>,
                       for_any_rows(dense_of(s), s.n, [](const dense_shape& d) {
                         return dense_backward_filter_workspace<T>(d.rows, d.inner, d.k);
                       }));
    default:
      return choice<T>("patches", &run_patches_backward_filter<T>,
                       for_any_batch(s, gemm_convolution_backward_filter_workspace<T>));
  }
}

// Matrix products.

template <class A, class T>
void run_matmul(const kernel_call& call) {
  run_dense<A, T>(call, dense_of(call.in(0).dims, call.in(1).dims));
}
template <class A, class T>
void run_matmul_backward_data(const kernel_call& call) {
  run_dense_backward_data<A, T>(call, dense_of(call.out().dims, call.in(1).dims));
}
template <class T>
void run_matmul_backward_filter(const kernel_call& call) {
  run_dense_backward_filter<T>(call, dense_of(call.in(0).dims, call.out().dims));
}
/// F is the kernel's workspace as a function of (rows, inner, k).
template <class T, class F>
constexpr kernel_choice dense_choice(void (*run)(const kernel_call&), const shape& x,
                                     const shape& w, F workspace) {
  return choice<T>("dense", run,
                   for_any_rows(dense_of(x, w), x[0], [&](const dense_shape& d) {
                     return workspace(d.rows, d.inner, d.k);
                   }));
}

}  // namespace cpu

template <class T>
struct kernel_of<op::convolution, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph& g, const node_row& n) {
    return cpu::choose_convolution<no_activation, T>(g, n);
  }
};
template <class A, class T>
struct kernel_of<op::fused_convolution<A>, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph& g, const node_row& n) {
    return cpu::choose_convolution<A, T>(g, n);
  }
};
template <class T>
struct kernel_of<op::convolution_backward_data, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph& g, const node_row& n) {
    return cpu::choose_backward_data<no_activation, T>(g, n);
  }
};
template <class A, class T>
struct kernel_of<op::convolution_backward_data_activation<A>, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph& g, const node_row& n) {
    return cpu::choose_backward_data<A, T>(g, n);
  }
};
template <class T>
struct kernel_of<op::convolution_backward_filter, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph& g, const node_row& n) {
    return cpu::choose_backward_filter<T>(g, n);
  }
};

template <class T>
struct kernel_of<op::matmul, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph& g, const node_row& n) {
    return cpu::dense_choice<T>(&cpu::run_matmul<no_activation, T>, g.input_shape(n, 0),
                                g.input_shape(n, 1), cpu::dense_forward_workspace<T>);
  }
};
template <class A, class T>
struct kernel_of<op::fused_matmul<A>, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph& g, const node_row& n) {
    return cpu::dense_choice<T>(&cpu::run_matmul<A, T>, g.input_shape(n, 0), g.input_shape(n, 1),
                                cpu::dense_forward_workspace<T>);
  }
};
template <class T>
struct kernel_of<op::matmul_backward_data, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph& g, const node_row& n) {
    return cpu::dense_choice<T>(&cpu::run_matmul_backward_data<no_activation, T>, n.a.dims,
                                g.input_shape(n, 1), cpu::dense_backward_data_workspace<T>);
  }
};
template <class A, class T>
struct kernel_of<op::matmul_backward_data_activation<A>, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph& g, const node_row& n) {
    return cpu::dense_choice<T>(&cpu::run_matmul_backward_data<A, T>, n.a.dims,
                                g.input_shape(n, 1), cpu::dense_backward_data_workspace<T>);
  }
};
template <class T>
struct kernel_of<op::matmul_backward_filter, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph& g, const node_row& n) {
    return cpu::dense_choice<T>(&cpu::run_matmul_backward_filter<T>, g.input_shape(n, 0),
                                n.a.dims, cpu::dense_backward_filter_workspace<T>);
  }
};

}  // namespace slim
