// Which kernel a convolution or matrix product runs on the CPU, by shape (convolution_cost.hpp): a
// matrix product where it is one, Winograd's minimal filtering where that pays, and otherwise a
// packed product of gathered patches. At inference weights may be brought into a kernel's own form
// beforehand.
#pragma once

#include <slim/op/matmul.hpp>

#include "../eigen/contraction.hpp"
#include "convolution_cost.hpp"
#include "convolution_direct.hpp"
#include "convolution_direct_filter.hpp"
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
  static V forward(V x) { return A::value(x); }
  template <class V>
  requires requires(V y) { A::value.gradient(y); }
  static V backward(V dy, V y) { return dy * A::value.gradient(y); }
};

constexpr convolution_shape shape_of(const window& w, const shape& x, int k) {
  return {x[0],     x[1],     x[2],      x[3],       w.kernel_h, w.kernel_w, w.stride_h, w.stride_w,
          w.rate_h, w.rate_w, w.pad_top, w.pad_left, w.out_h,    w.out_w,    k};
}

/// The matrix product that a dense convolution is: [rows, inner] times [inner, k].
struct dense_shape {
  int rows, inner, k;
};
constexpr dense_shape dense_of(const convolution_shape& s) {
  return {s.output_pixels(), s.kernel_h * s.kernel_w * s.c, s.k};
}
constexpr dense_shape dense_of(const shape& x, int k) {
  return {static_cast<int>(x.leading()), x.back(), k};
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

/// The inputs of a forward contraction: x, weights (perhaps prepared), then those it has of biases
/// and residual.
template <class T>
struct contraction_inputs {
  const T *x, *weights, *prepared, *bias, *residual;  // of the weights one is null

  explicit contraction_inputs(const kernel_call& call) {
    const int added = (call.a().integer & op::fused_parts::residual) != 0;
    x = call.in(0).as<const T>();
    const tensor w = call.in(1);
    const bool ready = w.dims.rank == 1;
    weights = ready ? nullptr : w.as<const T>();
    prepared = ready ? w.as<const T>() : nullptr;
    bias = call.inputs() - added > 2 ? call.in(2).as<const T>() : nullptr;
    residual = added ? call.in(call.inputs() - 1).as<const T>() : nullptr;
  }
};

inline convolution_shape forward_shape(const kernel_call& call) {
  return shape_of(call.a().win, call.in(0).dims, call.out().dims.back());
}

template <class A, class T>
void run_dense(const kernel_call& call, const dense_shape& d) {
  const contraction_inputs<T> in(call);
  dense_forward<functor<A>>(d.rows, d.inner, d.k, in.x, in.weights, in.prepared, in.bias,
                            in.residual, call.out().as<T>(), call.workspace<T>(), call.device(),
                            call.backwards());
}
template <class A, class T>
void run_dense_convolution(const kernel_call& call) {
  run_dense<A, T>(call, dense_of(forward_shape(call)));
}
template <class A, class T>
void run_patches(const kernel_call& call) {
  const contraction_inputs<T> in(call);
  gemm_convolution_forward<functor<A>>(forward_shape(call), in.x, in.weights, in.prepared, in.bias,
                                       in.residual, call.out().as<T>(), call.workspace<T>(),
                                       call.device());
}
template <class A, class T>
void run_direct(const kernel_call& call) {
  const contraction_inputs<T> in(call);
  direct_convolution_forward<functor<A>>(forward_shape(call), in.x, in.weights, in.prepared,
                                         in.bias, in.residual, call.out().as<T>(),
                                         call.workspace<T>(), call.device());
}
template <class W, class A, class T>
void run_winograd(const kernel_call& call) {
  const contraction_inputs<T> in(call);
  winograd_forward<W, functor<A>>(
      forward_shape(call), in.x, winograd_weights<T>{in.weights, in.prepared}, in.bias, in.residual,
      call.out().as<T>(), call.workspace<T>(), call.device());
}
template <class W, class A, class T>
void run_winograd_max_pool(const kernel_call& call) {
  const contraction_inputs<T> in(call);
  std::uint8_t* argmax = call.outputs() > 1 ? call.out(1).as<std::uint8_t>() : nullptr;
  winograd_forward_max_pool<W, functor<A>>(
      forward_shape(call), in.x, winograd_weights<T>{in.weights, in.prepared}, in.bias,
      call.out().as<T>(), argmax, call.workspace<T>(), call.device());
}

// Weights [kernel_h, kernel_w, c, k], or a matrix [inner, k], in a kernel's own form. The shape of
// the images does not matter.

inline convolution_shape weights_shape(const shape& w) {
  convolution_shape s{};
  s.n = s.h = s.w = s.out_h = s.out_w = s.kernel_h = s.kernel_w = 1;
  if (w.rank == 4) s.kernel_h = w[0], s.kernel_w = w[1];
  s.c = w[w.rank - 2], s.k = w.back();
  return s;
}
template <class T>
const T* scale_of(const kernel_call& call) {
  return call.inputs() > 1 ? call.in(1).as<const T>() : nullptr;
}
template <class T>
void prepare_panels(const kernel_call& call) {
  gemm_convolution_prepare(weights_shape(call.in(0).dims), call.in(0).as<const T>(),
                           scale_of<T>(call), call.out().as<T>(), call.device());
}
template <class W, class T>
void prepare_winograd(const kernel_call& call) {
  winograd_prepare<W>(weights_shape(call.in(0).dims), call.in(0).as<const T>(), scale_of<T>(call),
                      call.out().as<T>(), call.device());
}

/// Whether a node's weights are there before it runs, and may be prepared.
constexpr bool has_constant_weights(const graph& g, const node_row& n) {
  const storage where = g.values[g.input(n, 1)].where;
  return g.may_prepare && (where == storage::variable || where == storage::prepared);
}

template <class A, class T>
constexpr kernel_choice choose_winograd(const convolution_shape& s, const convolution_plan& plan,
                                        bool pool) {
  kernel_choice chosen;
  for_each_winograd(s, [&](algorithm kind, auto w) {
    using W = decltype(w);
    if (kind != plan.kind) return;
    const auto size = [&](const convolution_shape& some) {
      return winograd_forward_workspace<W, T>(some, plan.prepared);
    };
    const auto run = pool ? &run_winograd_max_pool<W, A, T> : &run_winograd<W, A, T>;
    chosen = choice<T>(winograd_name<W>(pool), run, for_any_batch(s, size));
    if (plan.prepared)
      chosen.weights = {"winograd", &prepare_winograd<W, T>,
                        static_cast<long>(winograd_prepared_size<W, T>(s))};
  });
  return chosen;
}

/// A dense product's weights are prepared if a second copy of them pays: with few rows, which wait
/// for memory, only where they fit into a cache; with many, unless they are very large.
template <class T>
constexpr bool dense_prepares(const dense_shape& d) {
  const double bytes = double(d.inner) * d.k * sizeof(T);
  return bytes <= (d.rows > dense_stream_rows ? 64 << 20 : 2 << 20);
}
template <class T>
constexpr kernel_choice choose_dense(const graph& g, const node_row& n, const dense_shape& d,
                                     int batch, void (*run)(const kernel_call&)) {
  if (has_constant_weights(g, n) && dense_prepares<T>(d)) {
    kernel_choice chosen = choice<T>("dense", run, 0);
    chosen.weights = {"panels", &prepare_panels<T>,
                      static_cast<long>(gemm_packed_size<T>(d.k, d.inner))};
    return chosen;
  }
  return choice<T>("dense", run, for_any_rows(d, batch, [](const dense_shape& some) {
                     return dense_forward_workspace<T>(some.rows, some.inner, some.k, false);
                   }));
}

template <class A, class T>
constexpr kernel_choice choose_convolution(const graph& g, const node_row& n) {
  const int k = n.outputs > 0 ? g.output_shape(n, 0).back() : g.input_shape(n, 1)[3];
  const convolution_shape s = shape_of(n.a.win, g.input_shape(n, 0), k);
  const bool constant = has_constant_weights(g, n);
  if ((n.a.integer & op::fused_parts::pool) != 0) {
    // The same answer whether weights may be prepared or not: fusion asks before that is known.
    if (!is_winograd(plan_convolution<T>(s, false, g.exact).kind)) return {};
    return choose_winograd<A, T>(s, plan_winograd<T>(s, constant), true);
  }
  const convolution_plan plan = plan_convolution<T>(s, constant, g.exact);
  if (plan.kind == algorithm::dense)
    return choose_dense<T>(g, n, dense_of(s), s.n, &run_dense_convolution<A, T>);
  if (is_winograd(plan.kind)) return choose_winograd<A, T>(s, plan, false);
  const bool direct = plan.kind == algorithm::direct;
  const std::string_view name = direct ? "direct" : "patches";
  kernel_choice chosen = choice<T>(name, direct ? &run_direct<A, T> : &run_patches<A, T>,
                                   gemm_convolution_forward_workspace<T>(s, plan.prepared));
  if (!plan.prepared) return chosen;
  chosen.weights = {"panels", &prepare_panels<T>,
                    static_cast<long>(gemm_convolution_prepared_size<T>(s))};
  return chosen;
}

// The gradient of the input.

template <class A, class T>
void run_dense_backward_data(const kernel_call& call, const dense_shape& d) {
  const T* saved = call.inputs() > 2 ? call.in(2).as<const T>() : nullptr;
  dense_backward_data<functor<A>>(d.rows, d.inner, d.k, call.in(0).as<const T>(),
                                  call.in(1).as<const T>(), saved, call.out().as<T>(),
                                  call.workspace<T>(), call.device());
}
inline convolution_shape backward_data_shape(const kernel_call& call) {
  return shape_of(call.a().win, call.out().dims, call.in(0).dims.back());
}
template <class A, class T>
void run_dense_convolution_backward_data(const kernel_call& call) {
  run_dense_backward_data<A, T>(call, dense_of(backward_data_shape(call)));
}
template <class A, class T>
void run_patches_backward_data(const kernel_call& call) {
  const T* saved = call.inputs() > 2 ? call.in(2).as<const T>() : nullptr;
  gemm_convolution_backward_data<functor<A>>(backward_data_shape(call), call.in(0).as<const T>(),
                                             call.in(1).as<const T>(), saved, call.out().as<T>(),
                                             call.workspace<T>(), call.device());
}
template <class W, class A, class T>
void run_winograd_backward_data(const kernel_call& call) {
  const T* saved = call.inputs() > 2 ? call.in(2).as<const T>() : nullptr;
  winograd_backward_data<W, functor<A>>(backward_data_shape(call), call.in(0).as<const T>(),
                                        call.in(1).as<const T>(), saved, call.out().as<T>(),
                                        call.workspace<T>(), call.device());
}

/// The convolution that the gradient to the input is, for its cost.
constexpr convolution_shape gradient_convolution(const convolution_shape& s) {
  convolution_shape t = s;
  t.h = s.out_h, t.w = s.out_w, t.c = s.k, t.out_h = s.h, t.out_w = s.w, t.k = s.c;
  t.pad_top = (s.kernel_h - 1) * s.rate_h - s.pad_top;
  t.pad_left = (s.kernel_w - 1) * s.rate_w - s.pad_left;
  return t;
}

template <class A, class T>
constexpr kernel_choice choose_backward_data(const graph& g, const node_row& n) {
  const convolution_shape s = shape_of(n.a.win, n.a.dims, g.input_shape(n, 0).back());
  if (is_dense(s))
    return choice<T>("dense", &run_dense_convolution_backward_data<A, T>,
                     for_any_rows(dense_of(s), s.n, [](const dense_shape& d) {
                       return dense_backward_data_workspace<T>(d.rows, d.inner, d.k);
                     }));
  const convolution_plan plan = plan_convolution<T>(gradient_convolution(s), false, g.exact);
  kernel_choice chosen = choice<T>("patches", &run_patches_backward_data<A, T>,
                                   for_any_batch(s, gemm_convolution_backward_data_workspace<T>));
  for_each_winograd(s, [&](algorithm kind, auto w) {
    using W = decltype(w);
    if (kind == plan.kind)
      chosen = choice<T>(winograd_name<W>(false), &run_winograd_backward_data<W, A, T>,
                         for_any_batch(s, winograd_backward_data_workspace<W, T>));
  });
  return chosen;
}

// The gradient of the weights and biases.

template <class T>
void run_dense_backward_filter(const kernel_call& call, const dense_shape& d) {
  T* db = call.outputs() > 1 ? call.out(1).as<T>() : nullptr;
  dense_backward_filter(d.rows, d.inner, d.k, call.in(0).as<const T>(), call.in(1).as<const T>(),
                        call.out().as<T>(), db, call.workspace<T>(), call.device());
}
inline convolution_shape backward_filter_shape(const kernel_call& call) {
  return shape_of(call.a().win, call.in(0).dims, call.in(1).dims.back());
}
template <class T>
void run_dense_convolution_backward_filter(const kernel_call& call) {
  run_dense_backward_filter<T>(call, dense_of(backward_filter_shape(call)));
}
template <class T>
void run_patches_backward_filter(const kernel_call& call) {
  T* db = call.outputs() > 1 ? call.out(1).as<T>() : nullptr;
  gemm_convolution_backward_filter(backward_filter_shape(call), call.in(0).as<const T>(),
                                   call.in(1).as<const T>(), call.out().as<T>(), db,
                                   call.workspace<T>(), call.device());
}
template <class T>
void run_direct_backward_filter(const kernel_call& call) {
  T* db = call.outputs() > 1 ? call.out(1).as<T>() : nullptr;
  direct_backward_filter(backward_filter_shape(call), call.in(0).as<const T>(),
                         call.in(1).as<const T>(), call.out().as<T>(), db, call.workspace<T>(),
                         call.device());
}
template <class W, class T>
void run_winograd_backward_filter(const kernel_call& call) {
  T* db = call.outputs() > 1 ? call.out(1).as<T>() : nullptr;
  winograd_backward_filter<W>(backward_filter_shape(call), call.in(0).as<const T>(),
                              call.in(1).as<const T>(), call.out().as<T>(), db, call.workspace<T>(),
                              call.device());
}

template <class T>
constexpr kernel_choice choose_backward_filter(const graph& g, const node_row& n) {
  const convolution_shape s = shape_of(n.a.win, g.input_shape(n, 0), g.input_shape(n, 1).back());
  const convolution_plan plan = plan_filter_gradient<T>(s, g.exact);
  if (plan.kind == algorithm::dense)
    return choice<T>("dense", &run_dense_convolution_backward_filter<T>,
                     for_any_rows(dense_of(s), s.n, [](const dense_shape& d) {
                       return dense_backward_filter_workspace<T>(d.rows, d.inner, d.k);
                     }));
  if (plan.kind == algorithm::direct)
    return choice<T>("direct", &run_direct_backward_filter<T>,
                     for_any_batch(s, direct_backward_filter_workspace<T>));
  kernel_choice chosen = choice<T>("patches", &run_patches_backward_filter<T>,
                                   for_any_batch(s, gemm_convolution_backward_filter_workspace<T>));
  for_each_winograd(s, [&](algorithm kind, auto w) {
    using W = decltype(w);
    if (kind == plan.kind)
      chosen = choice<T>(winograd_name<W>(false), &run_winograd_backward_filter<W, T>,
                         for_any_batch(s, winograd_backward_filter_workspace<W, T>));
  });
  return chosen;
}

// Matrix products.

template <class A, class T>
void run_matmul(const kernel_call& call) {
  run_dense<A, T>(call, dense_of(call.in(0).dims, call.out().dims.back()));
}
template <class A, class T>
constexpr kernel_choice choose_matmul(const graph& g, const node_row& n) {
  const shape& x = g.input_shape(n, 0);
  const int k = n.outputs > 0 ? g.output_shape(n, 0).back() : g.input_shape(n, 1)[1];
  return choose_dense<T>(g, n, dense_of(x, k), x[0], &run_matmul<A, T>);
}
template <class A, class T>
void run_matmul_backward_data(const kernel_call& call) {
  run_dense_backward_data<A, T>(call, dense_of(call.out().dims, call.in(0).dims.back()));
}
template <class T>
void run_matmul_backward_filter(const kernel_call& call) {
  run_dense_backward_filter<T>(call, dense_of(call.in(0).dims, call.in(1).dims.back()));
}
/// F is the kernel's workspace as a function of (rows, inner, k).
template <class T, class F>
constexpr kernel_choice dense_choice(void (*run)(const kernel_call&), const shape& x, int k,
                                     F workspace) {
  return choice<T>("dense", run, for_any_rows(dense_of(x, k), x[0], [&](const dense_shape& d) {
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
    return cpu::choose_matmul<no_activation, T>(g, n);
  }
};
template <class A, class T>
struct kernel_of<op::fused_matmul<A>, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph& g, const node_row& n) {
    return cpu::choose_matmul<A, T>(g, n);
  }
};
template <class T>
struct kernel_of<op::matmul_backward_data, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph& g, const node_row& n) {
    return cpu::dense_choice<T>(&cpu::run_matmul_backward_data<no_activation, T>, n.a.dims,
                                g.input_shape(n, 0).back(), cpu::dense_backward_data_workspace<T>);
  }
};
template <class A, class T>
struct kernel_of<op::matmul_backward_data_activation<A>, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph& g, const node_row& n) {
    return cpu::dense_choice<T>(&cpu::run_matmul_backward_data<A, T>, n.a.dims,
                                g.input_shape(n, 0).back(), cpu::dense_backward_data_workspace<T>);
  }
};
template <class T>
struct kernel_of<op::matmul_backward_filter, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph& g, const node_row& n) {
    return cpu::dense_choice<T>(&cpu::run_matmul_backward_filter<T>, g.input_shape(n, 0),
                                g.input_shape(n, 1).back(),
                                cpu::dense_backward_filter_workspace<T>);
  }
};

}  // namespace slim
