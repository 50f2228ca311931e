// CUDA kernels of convolutions and dense products: weights in the form they want, and which
// function of the library runs.
#pragma once

#include <slim/op/convolution_transpose.hpp>
#include <slim/op/depthwise_convolution.hpp>
#include <slim/op/matmul.hpp>

#include "support.hpp"

namespace slim {
namespace cuda {

inline convolution_shape shape_of(const window& w, const shape& x, int k) {
  return {x[0],     x[1],     x[2],      x[3],       w.kernel_h, w.kernel_w, w.stride_h, w.stride_w,
          w.rate_h, w.rate_w, w.pad_top, w.pad_left, w.out_h,    w.out_w,    k};
}

/// Whether a convolution is one dense product: its window covers the whole image.
constexpr bool covers(const window& w, const shape& x) {
  return w.out_h == 1 && w.out_w == 1 && w.kernel_h == x[1] && w.kernel_w == x[2] &&
         w.rate_h == 1 && w.rate_w == 1 && w.pad_top == 0 && w.pad_left == 0;
}

template <bool Turned>
void prepare(const kernel_call& call) {
  prepare_weights(on(call), in(call, 0), in(call, 1), call.in(0).dims.back(), Turned, out(call));
}

/// How a contraction wants its weights: of the type that it reads besides.
constexpr element weights_type(const graph& g, const node_row& n) {
  return g.values[g.input(n, 0)].type;
}

constexpr bool is_given(const graph& g, int value) {
  const storage where = g.values[value].where;
  return g.may_prepare && (where == storage::variable || where == storage::prepared);
}
constexpr bool has_bias(const node_row& n) {
  return n.inputs > 2 + ((n.a.integer & op::fused_parts::residual) != 0);
}

/// The choice of a contraction whose input 1 are weights and, with `forward`, input 2 biases. What
/// does not follow from variables is prepared in the workspace, on every run.
constexpr kernel_choice contraction(const graph& g, const node_row& n, std::string_view name,
                                    void (*run)(const kernel_call&), bool turned, bool forward,
                                    long workspace) {
  kernel_choice chosen = kernel(name, run, workspace);
  const element type = weights_type(g, n);
  const bool same = !turned && type == element::scalar;
  const auto form = [&](int input, bool turn) {
    return weights_form{turn ? "turned" : "cast", turn ? &prepare<true> : &prepare<false>,
                        g.input_shape(n, input).count(), type, true};
  };
  if (!same && is_given(g, g.input(n, 1))) chosen.weights = form(1, turned);
  if (!same && !is_given(g, g.input(n, 1)))
    chosen.workspace_bytes += g.input_shape(n, 1).count() * 4 + buffer_alignment;
  // A kernel of our own, which takes floats, convolves images as VGG does.
  const bool stem = g.input_shape(n, 0).back() == 3 && n.a.win.kernel_h == 3;
  if (forward && has_bias(n) && type != element::scalar && !stem && is_given(g, g.input(n, 2)))
    chosen.biases = form(2, false);
  return chosen;
}

/// The weights of a call in their form: prepared, or made now behind `offset` bytes of workspace.
inline array weights_in(const kernel_call& call, number type, bool turned, long offset = 0) {
  const tensor w = call.in(1);
  if (w.dims.rank == 1 || (!turned && static_cast<number>(w.type) == type)) return array_of(w);
  const array made{call.workspace<std::byte>() + offset, type, w.dims.count()};
  prepare_weights(on(call), array_of(w), {}, w.dims.back(), turned, made);
  return made;
}
inline number activations_of(const kernel_call& call, int i) {
  return static_cast<number>(call.in(i).type);
}

struct added {
  array bias, residual;
  explicit added(const kernel_call& call) {
    const bool with = (call.a().integer & op::fused_parts::residual) != 0;
    if (with) residual = in(call, call.inputs() - 1);
    if (call.inputs() - with > 2) bias = in(call, 2);
  }
};

template <class A>
void run_convolution(const kernel_call& call) {
  const convolution_shape s = shape_of(call.a().win, call.in(0).dims, call.out().dims.back());
  const added a(call);
  convolution(on(call), s, in(call, 0), weights_in(call, activations_of(call, 0), true), a.bias,
              a.residual, function_of<A>, out(call));
}
/// Bytes of the output before pooling, with which the workspace begins.
constexpr long whole_bytes(int n, const window& w, int k, element type) {
  const long bytes = long{n} * w.out_h * w.out_w * k * element_bytes(type, 4);
  return (bytes + buffer_alignment - 1) / buffer_alignment * buffer_alignment;
}
template <class A>
void run_convolution_max_pool(const kernel_call& call) {
  const convolution_shape s = shape_of(call.a().win, call.in(0).dims, call.out().dims.back());
  const array x = in(call, 0);
  const array whole{call.workspace<void>(), x.type, long{s.n} * s.out_h * s.out_w * s.k};
  const long bytes = whole_bytes(s.n, call.a().win, s.k, call.in(0).type);
  convolution_max_pool(on(call), s, x, weights_in(call, x.type, true, bytes), added(call).bias,
                       function_of<A>, whole, out(call), out(call, 1));
}
inline dense_shape dense_of(const shape& x, int k) {
  return {static_cast<int>(x.count() / (x.count() / x[0])), static_cast<int>(x.count() / x[0]), k};
}
inline dense_shape rows_of(const shape& x, int k) {
  return {static_cast<int>(x.leading()), x.back(), k};
}
template <class A, bool Covering>
void run_dense(const kernel_call& call) {
  const shape x = call.in(0).dims;
  const int k = call.out().dims.back();
  const added a(call);
  dense(on(call), Covering ? dense_of(x, k) : rows_of(x, k), in(call, 0),
        weights_in(call, activations_of(call, 0), false), a.bias, a.residual, function_of<A>,
        out(call));
}

template <class A>
constexpr kernel_choice choose_convolution(const graph& g, const node_row& n) {
  if (number_of<A> < 0) return {};
  const int k = g.input_shape(n, 1).back();
  if ((n.a.integer & op::fused_parts::pool) != 0)
    return contraction(g, n, "convolution, pooled", &run_convolution_max_pool<A>, true, true,
                       whole_bytes(g.input_shape(n, 0)[0], n.a.win, k, weights_type(g, n)));
  if (covers(n.a.win, g.input_shape(n, 0)))
    return contraction(g, n, "product", &run_dense<A, true>, false, true, 0);
  return contraction(g, n, "convolution", &run_convolution<A>, true, true, 0);
}

template <class A>
void run_backward_data(const kernel_call& call) {
  const convolution_shape s = shape_of(call.a().win, call.out().dims, call.in(0).dims.back());
  convolution_backward_data(on(call), s, in(call, 0),
                            weights_in(call, activations_of(call, 0), true), in(call, 2),
                            function_of<A>, out(call));
}
template <class A, bool Covering>
void run_dense_backward_data(const kernel_call& call) {
  const shape dx = call.out().dims;
  const int k = call.in(0).dims.back();
  dense_backward_data(on(call), Covering ? dense_of(dx, k) : rows_of(dx, k), in(call, 0),
                      weights_in(call, activations_of(call, 0), false), in(call, 2), function_of<A>,
                      out(call));
}
template <class A>
constexpr kernel_choice choose_backward_data(const graph& g, const node_row& n) {
  if (number_of<A> < 0) return {};
  if (covers(n.a.win, n.a.dims))
    return contraction(g, n, "product", &run_dense_backward_data<A, true>, false, false, 0);
  return contraction(g, n, "convolution", &run_backward_data<A>, true, false, 0);
}

inline void run_backward_filter(const kernel_call& call) {
  const convolution_shape s = shape_of(call.a().win, call.in(0).dims, call.in(1).dims.back());
  if (covers(call.a().win, call.in(0).dims))
    return dense_backward_filter(on(call), dense_of(call.in(0).dims, s.k), in(call, 0), in(call, 1),
                                 out(call), out(call, 1));
  convolution_backward_filter(on(call), s, in(call, 0), in(call, 1), out(call), out(call, 1));
}
inline void run_dense_backward_filter(const kernel_call& call) {
  dense_backward_filter(on(call), rows_of(call.in(0).dims, call.in(1).dims.back()), in(call, 0),
                        in(call, 1), out(call), out(call, 1));
}

}  // namespace cuda

template <class P>
struct kernel_of<op::convolution, float, backend::gpu<P>> {
  static constexpr kernel_choice choose(const graph& g, const node_row& n) {
    return cuda::choose_convolution<no_activation>(g, n);
  }
};
template <class A, class P>
struct kernel_of<op::fused_convolution<A>, float, backend::gpu<P>> {
  static constexpr kernel_choice choose(const graph& g, const node_row& n) {
    return cuda::choose_convolution<A>(g, n);
  }
};
template <class P>
struct kernel_of<op::convolution_backward_data, float, backend::gpu<P>> {
  static constexpr kernel_choice choose(const graph& g, const node_row& n) {
    return cuda::choose_backward_data<no_activation>(g, n);
  }
};
template <class A, class P>
struct kernel_of<op::convolution_backward_data_activation<A>, float, backend::gpu<P>> {
  static constexpr kernel_choice choose(const graph& g, const node_row& n) {
    return cuda::choose_backward_data<A>(g, n);
  }
};
/// The data gradient of the convolution it is the adjoint of.
template <class P>
struct kernel_of<op::convolution_transpose, float, backend::gpu<P>> {
  static constexpr kernel_choice choose(const graph& g, const node_row& n) {
    return cuda::choose_backward_data<no_activation>(g, n);
  }
};
template <class P>
struct kernel_of<op::convolution_backward_filter, float, backend::gpu<P>> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return cuda::kernel("convolution", &cuda::run_backward_filter);
  }
};
template <class P>
struct kernel_of<op::matmul, float, backend::gpu<P>> {
  static constexpr kernel_choice choose(const graph& g, const node_row& n) {
    return cuda::contraction(g, n, "product", &cuda::run_dense<no_activation, false>, false, true,
                             0);
  }
};
template <class A, class P>
struct kernel_of<op::fused_matmul<A>, float, backend::gpu<P>> {
  static constexpr kernel_choice choose(const graph& g, const node_row& n) {
    if (cuda::number_of<A> < 0) return {};
    return cuda::contraction(g, n, "product", &cuda::run_dense<A, false>, false, true, 0);
  }
};
template <class P>
struct kernel_of<op::matmul_backward_data, float, backend::gpu<P>> {
  static constexpr kernel_choice choose(const graph& g, const node_row& n) {
    return cuda::contraction(g, n, "product", &cuda::run_dense_backward_data<no_activation, false>,
                             false, false, 0);
  }
};
template <class A, class P>
struct kernel_of<op::matmul_backward_data_activation<A>, float, backend::gpu<P>> {
  static constexpr kernel_choice choose(const graph& g, const node_row& n) {
    if (cuda::number_of<A> < 0) return {};
    return cuda::contraction(g, n, "product", &cuda::run_dense_backward_data<A, false>, false,
                             false, 0);
  }
};
template <class P>
struct kernel_of<op::matmul_backward_filter, float, backend::gpu<P>> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return cuda::kernel("product", &cuda::run_dense_backward_filter);
  }
};
SLIM_CUDA_KERNEL(depthwise_convolution,
                 depthwise(on(call),
                           shape_of(call.a().win, call.in(0).dims, call.out().dims.back()),
                           in(call, 0), in(call, 1), out(call)))
SLIM_CUDA_KERNEL(depthwise_convolution_backward_data,
                 depthwise_backward_data(on(call),
                                         shape_of(call.a().win, call.out().dims,
                                                  call.in(0).dims.back()),
                                         in(call, 0), in(call, 1), out(call)))
SLIM_CUDA_KERNEL(depthwise_convolution_backward_filter,
                 depthwise_backward_filter(on(call),
                                           shape_of(call.a().win, call.in(0).dims,
                                                    call.in(1).dims.back()),
                                           in(call, 0), in(call, 1), out(call)))

}  // namespace slim
