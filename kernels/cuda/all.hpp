// Which function of the library of CUDA kernels each op runs: backend::gpu<P>. Users' own
// activations, regularizers and losses have no kernel here; a specialisation of kernel_of gives
// them one.
#pragma once

#include <slim/accelerator.hpp>
#include <slim/activations.hpp>
#include <slim/compile.hpp>
#include <slim/graph/builder.hpp>
#include <slim/losses/functions.hpp>
#include <slim/op/batch_norm.hpp>
#include <slim/op/concat.hpp>
#include <slim/op/convolution_transpose.hpp>
#include <slim/op/depthwise_convolution.hpp>
#include <slim/op/dropout.hpp>
#include <slim/op/losses.hpp>
#include <slim/op/matmul.hpp>
#include <slim/op/normalize.hpp>
#include <slim/op/one_hot.hpp>
#include <slim/op/pool.hpp>
#include <slim/op/regularizer.hpp>
#include <slim/op/softmax.hpp>
#include <slim/regularizers.hpp>

#include "library.hpp"

namespace slim {

/// Precisions of a model on the GPU, besides float.
struct tf32 {};
struct bfloat16 {};

namespace cuda {

template <class P>
constexpr math math_of() {
  if constexpr (std::is_same_v<P, bfloat16>)
    return math::bf16;
  else
    return std::is_same_v<P, tf32> ? math::tf32 : math::exact;
}

}  // namespace cuda

namespace backend {

/// Kernels of the library of CUDA kernels, in precision P: float, tf32 or bfloat16.
template <class P>
struct gpu {
  static_assert(std::is_same_v<P, float> || std::is_same_v<P, tf32> || std::is_same_v<P, bfloat16>,
                "a GPU model computes in float, tf32 or bfloat16");
  static constexpr graph_counts needs{};
  static constexpr backend_traits traits{.narrow = std::is_same_v<P, bfloat16>,
                                         .prepares_training = true,
                                         .apart = true,
                                         .pools_sum_biases = true};
  static std::unique_ptr<accelerator> make_accelerator(long bytes) {
    return cuda::make_accelerator(cuda::math_of<P>(), bytes);
  }
};

}  // namespace backend

namespace cuda {

static_assert(static_cast<int>(number::i32) == static_cast<int>(element::int32) &&
              static_cast<int>(number::u8) == static_cast<int>(element::byte) &&
              static_cast<int>(number::bf16) == static_cast<int>(element::bfloat16));

// A call's tensors as arrays.

inline array array_of(const tensor& t) {
  return {t.data, static_cast<number>(t.type), t.dims.count()};
}
inline array in(const kernel_call& call, int i) {
  return i >= 0 && i < call.inputs() ? array_of(call.in(i)) : array{};
}
inline array out(const kernel_call& call, int i = 0) {
  return i < call.outputs() ? array_of(call.out(i)) : array{};
}
inline stream& on(const kernel_call& call) { return *static_cast<stream*>(call.stream()); }

/// A kernel_choice of the library.
constexpr kernel_choice kernel(std::string_view name, void (*run)(const kernel_call&),
                               long workspace = 0) {
  return {name, run, workspace};
}

// Functions by their types: -1 where the library has none.

template <class F>
constexpr int function_number() {
  if constexpr (std::is_same_v<F, identity_function>) return int(function::identity);
  if constexpr (std::is_same_v<F, relu_fn>) return int(function::relu);
  if constexpr (std::is_same_v<F, relu6_fn>) return int(function::relu6);
  if constexpr (std::is_same_v<F, elu_fn>) return int(function::elu);
  if constexpr (std::is_same_v<F, sigmoid_fn>) return int(function::sigmoid);
  if constexpr (std::is_same_v<F, tanh_fn>) return int(function::tanh);
  if constexpr (std::is_same_v<F, softplus_fn>) return int(function::softplus);
  return -1;
}
template <class A>
inline constexpr int number_of = function_number<std::remove_cvref_t<decltype(A::value)>>();
template <class A>
inline constexpr function function_of = static_cast<function>(number_of<A> < 0 ? 0 : number_of<A>);

/// What a regularizer comes to; `known` where it is one of the library's.
struct known_penalty {
  penalty p{};
  bool known = true;
};
template <class R>
constexpr known_penalty penalty_of(const R& r) {
  if constexpr (std::is_same_v<R, l1_regularizer>)
    return {{float(r.scale), 0}};
  else if constexpr (std::is_same_v<R, l2_regularizer>)
    return {{0, float(r.scale)}};
  else if constexpr (std::is_same_v<R, l1_l2_regularizer>)
    return {{float(r.scale_l1), float(r.scale_l2)}};
  else if constexpr (requires { r.a, r.b; }) {
    const known_penalty a = penalty_of(r.a), b = penalty_of(r.b);
    return {{a.p.l1 + b.p.l1, a.p.l2 + b.p.l2}, a.known && b.known};
  } else {
    return {{}, false};
  }
}

struct known_loss {
  elementwise_loss l{};
  bool known = true;
};
template <class F>
constexpr known_loss loss_of(const F& f) {
  if constexpr (std::is_same_v<F, absolute_difference_fn>)
    return {{loss_function::absolute_difference}};
  else if constexpr (std::is_same_v<F, squared_error_fn>)
    return {{loss_function::squared_error}};
  else if constexpr (std::is_same_v<F, log_loss_fn>)
    return {{loss_function::log_loss, float(f.epsilon)}};
  else if constexpr (std::is_same_v<F, sigmoid_cross_entropy_fn>)
    return {{loss_function::sigmoid_cross_entropy, float(f.smoothing)}};
  else if constexpr (std::is_same_v<F, hinge_fn>)
    return {{loss_function::hinge}};
  else
    return {{}, false};
}

// Contractions.

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

/// A convolution's window over images as a pool: as many channels out as in.
inline convolution_shape pool_of(const kernel_call& call, const shape& x) {
  return shape_of(call.a().win, x, x[3]);
}

inline batch_norm_arrays norm_of(const kernel_call& call, array mean, array variance, int fixed) {
  using parts = op::batch_norm_parts;
  const int gamma = op::detail::optional_input(call.a(), fixed, parts::gamma);
  const int beta = op::detail::optional_input(call.a(), fixed, parts::beta);
  return {mean, variance, in(call, gamma), in(call, beta), call.a().number};
}

inline reduction reduction_of(const kernel_call& call, int weights) {
  return {in(call, weights), call.a().number, call.a().integer == 1};
}

inline axis axis_of(const shape& s, int at) {
  axis a{1, s[at], 1};
  for (int i = 0; i < at; ++i) a.outer *= s[i];
  for (int i = at + 1; i < s.rank; ++i) a.inner *= s[i];
  return a;
}

/// A kernel of any shape; `Known`: the library has the op's function.
template <void (*Run)(const kernel_call&), bool Known = true>
struct plain {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return Known ? kernel("cuda", Run) : kernel_choice{};
  }
};

}  // namespace cuda

#define SLIM_CUDA_KERNEL(Op, ...)                                \
  namespace cuda {                                               \
  inline void run_##Op(const kernel_call& call) { __VA_ARGS__; } \
  }                                                              \
  template <class P>                                             \
  struct kernel_of<op::Op, float, backend::gpu<P>> : cuda::plain<&cuda::run_##Op> {};
/// The same of an op with an activation A; none where the library does not have A.
#define SLIM_CUDA_KERNEL_WITH(Op, ...)                \
  namespace cuda {                                    \
  template <class A>                                  \
  void run_##Op(const kernel_call& call) {            \
    constexpr function f = function_of<A>;            \
    __VA_ARGS__;                                      \
  }                                                   \
  }                                                   \
  template <class A, class P>                         \
  struct kernel_of<op::Op<A>, float, backend::gpu<P>> \
      : cuda::plain<&cuda::run_##Op<A>, (cuda::number_of<A> >= 0)> {};

// Element by element.
SLIM_CUDA_KERNEL(add, add(on(call), in(call, 0), in(call, 1), function::identity, out(call)))
SLIM_CUDA_KERNEL(bring, bring(on(call), call.in(0).data, out(call)))
SLIM_CUDA_KERNEL(copy, copy(on(call), in(call, 0), out(call)))
SLIM_CUDA_KERNEL(one, fill(on(call), out(call), 1))
SLIM_CUDA_KERNEL(scale, scale(on(call), in(call, 0), in(call, 1), out(call)))
SLIM_CUDA_KERNEL(bias_add,
                 add_bias(on(call), in(call, 0), in(call, 1), {}, function::identity, out(call)))
SLIM_CUDA_KERNEL(bias_backward, sum_rows(on(call), in(call, 0), out(call)))
SLIM_CUDA_KERNEL(dropout,
                 dropout(on(call), in(call, 0), call.a().integer, call.a().number, out(call)))
SLIM_CUDA_KERNEL(dropout_backward,
                 dropout(on(call), in(call, 0), call.a().integer, call.a().number, out(call)))
SLIM_CUDA_KERNEL(one_hot, one_hot(on(call), in(call, 0), call.a().integer, float(call.a().number),
                                  float(call.a().second), out(call)))
SLIM_CUDA_KERNEL_WITH(activation, activate(on(call), in(call, 0), f, out(call)))
SLIM_CUDA_KERNEL_WITH(activation_backward,
                      activate_backward(on(call), in(call, 0), in(call, 1), f, out(call)))
SLIM_CUDA_KERNEL_WITH(fused_add, add(on(call), in(call, 0), in(call, 1), f, out(call)))
SLIM_CUDA_KERNEL_WITH(fused_scale_shift,
                      scale_shift(on(call), in(call, 0), in(call, 1), in(call, 2), f, out(call)))
SLIM_CUDA_KERNEL(scale_shift, scale_shift(on(call), in(call, 0), in(call, 1), in(call, 2),
                                          function::identity, out(call)))
SLIM_CUDA_KERNEL(tile_channels, tile_channels(on(call), in(call, 0), call.a().integer, out(call)))
SLIM_CUDA_KERNEL(tile_channels_backward,
                 tile_channels_backward(on(call), in(call, 0), call.in(0).dims[2], out(call)))

SLIM_CUDA_KERNEL(concat, {
  const int to = call.out().dims.back();
  for (int i = 0, first = 0; i < call.inputs(); ++i) {
    const int from = call.in(i).dims.back();
    copy_columns(on(call), in(call, i), from, 0, out(call), to, first, from);
    first += from;
  }
})
SLIM_CUDA_KERNEL(channel_slice, {
  const int to = call.out().dims.back();
  copy_columns(on(call), in(call, 0), call.in(0).dims.back(), call.a().integer, out(call), to, 0,
               to);
})

template <class R, class P>
struct kernel_of<op::regularizer<R>, float, backend::gpu<P>> {
  static constexpr cuda::known_penalty penalty = cuda::penalty_of(R::value);
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return penalty.known ? cuda::kernel("cuda", &run) : kernel_choice{};
  }
  static void run(const kernel_call& call) {
    cuda::regularizer(cuda::on(call), cuda::in(call, 0), penalty.p, cuda::out(call));
  }
};
template <class R, class P>
struct kernel_of<op::regularizer_backward<R>, float, backend::gpu<P>> {
  static constexpr cuda::known_penalty penalty = cuda::penalty_of(R::value);
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return penalty.known ? cuda::kernel("cuda", &run) : kernel_choice{};
  }
  static void run(const kernel_call& call) {
    cuda::regularizer_backward(cuda::on(call), cuda::in(call, 0), cuda::in(call, 1),
                               cuda::in(call, 2), penalty.p, cuda::out(call));
  }
};

// Contractions.
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

// Pooling.
SLIM_CUDA_KERNEL(max_pool, max_pool(on(call), pool_of(call, call.in(0).dims), in(call, 0),
                                    out(call), out(call, 1)))
SLIM_CUDA_KERNEL(max_pool_backward,
                 max_pool_backward(on(call), pool_of(call, call.out().dims), in(call, 0),
                                   in(call, 1), {}, function::identity, in(call, 2), out(call)))
SLIM_CUDA_KERNEL_WITH(max_pool_backward_activation,
                      max_pool_backward(on(call), pool_of(call, call.out().dims), in(call, 0),
                                        in(call, 1), in(call, 2), f, in(call, 3), out(call)))
SLIM_CUDA_KERNEL(max_pool_search_backward,
                 max_pool_search_backward(on(call), pool_of(call, call.in(0).dims), in(call, 0),
                                          in(call, 1), out(call)))
SLIM_CUDA_KERNEL_WITH(max_pool_activation_backward, {
  const shape x = call.out().dims;
  const convolution_shape s{x[0], x[1], x[2], x[3], 2,        2,        2,   2,
                            1,    1,    0,    0,    x[1] / 2, x[2] / 2, x[3]};
  max_pool_activation_backward(on(call), s, in(call, 0), in(call, 1), in(call, 2), f, out(call),
                               out(call, 1));
})
SLIM_CUDA_KERNEL(avg_pool,
                 avg_pool(on(call), pool_of(call, call.in(0).dims), in(call, 0), out(call)))
SLIM_CUDA_KERNEL(avg_pool_backward, avg_pool_backward(on(call), pool_of(call, call.out().dims),
                                                      in(call, 0), out(call)))

// Batch normalisation.
SLIM_CUDA_KERNEL(batch_norm,
                 batch_norm(on(call), in(call, 0), norm_of(call, out(call, 1), out(call, 2), 3),
                            function::identity, out(call)))
SLIM_CUDA_KERNEL_WITH(fused_batch_norm,
                      batch_norm(on(call), in(call, 0),
                                 norm_of(call, out(call, 1), out(call, 2), 3), f, out(call)))
SLIM_CUDA_KERNEL(batch_norm_inference,
                 normalize(on(call), in(call, 0), norm_of(call, in(call, 1), in(call, 2), 3),
                           function::identity, out(call)))
SLIM_CUDA_KERNEL(batch_norm_backward,
                 batch_norm_backward(on(call), in(call, 0), in(call, 1),
                                     norm_of(call, in(call, 2), in(call, 3), 4), true, out(call),
                                     out(call, 1), out(call, 2)))
SLIM_CUDA_KERNEL(batch_norm_inference_backward,
                 batch_norm_backward(on(call), in(call, 0), in(call, 1),
                                     norm_of(call, in(call, 2), in(call, 3), 4), false, out(call),
                                     out(call, 1), out(call, 2)))
SLIM_CUDA_KERNEL(batch_norm_scale,
                 batch_norm_scale(on(call), in(call, 0),
                                  in(call, op::detail::optional_input(call.a(), 1,
                                                                      op::batch_norm_parts::gamma)),
                                  call.a().number, out(call)))
SLIM_CUDA_KERNEL(batch_norm_shift, {
  using parts = op::batch_norm_parts;
  batch_norm_shift(on(call), in(call, 0), in(call, 1),
                   in(call, op::detail::optional_input(call.a(), 2, parts::beta)),
                   in(call, op::detail::optional_input(call.a(), 2, parts::bias)), out(call));
})
SLIM_CUDA_KERNEL(scale_columns, scale_columns(on(call), in(call, 0), in(call, 1), out(call)))
SLIM_CUDA_KERNEL(update_moving_average, {
  const long count = long{call.n()} * call.a().dims.count();
  const float unbiased =
      call.a().integer == 0 ? 1.0f : float(count) / float(count > 2 ? count - 1 : 1);
  moving_average(on(call), in(call, 0), in(call, 1), unbiased, float(1.0 - call.a().number),
                 out(call));
})

// Rows and losses.
SLIM_CUDA_KERNEL(softmax, softmax(on(call), in(call, 0), call.in(0).dims.back(), out(call)))
SLIM_CUDA_KERNEL(log_softmax, log_softmax(on(call), in(call, 0), call.in(0).dims.back(), out(call)))
SLIM_CUDA_KERNEL(softmax_backward, softmax_backward(on(call), in(call, 0), in(call, 1),
                                                    call.in(0).dims.back(), out(call)))
SLIM_CUDA_KERNEL(log_softmax_backward, log_softmax_backward(on(call), in(call, 0), in(call, 1),
                                                            call.in(0).dims.back(), out(call)))
SLIM_CUDA_KERNEL(cross_entropy_rows,
                 cross_entropy_rows(on(call), in(call, 0), in(call, 1), call.in(0).dims.back(),
                                    float(call.a().number), out(call)))
SLIM_CUDA_KERNEL(cross_entropy_rows_backward,
                 cross_entropy_rows_backward(on(call), in(call, 1), in(call, 2),
                                             call.in(0).dims.back(), float(call.a().number),
                                             out(call)))
namespace cuda {
inline void run_softmax_cross_entropy(const kernel_call& call) {
  softmax_cross_entropy(on(call), in(call, 0), in(call, 1), in(call, 2), call.in(0).dims.back(),
                        float(call.a().number), float(call.a().second),
                        {call.workspace<void>(), number::f32, call.in(0).dims[0]}, out(call),
                        out(call, 1));
}
}  // namespace cuda
template <class P>
struct kernel_of<op::softmax_cross_entropy, float, backend::gpu<P>> {
  static constexpr kernel_choice choose(const graph& g, const node_row& n) {
    return cuda::kernel("cuda", &cuda::run_softmax_cross_entropy, long{g.input_shape(n, 0)[0]} * 4);
  }
};
SLIM_CUDA_KERNEL(weighted_mean,
                 weighted_mean(on(call), in(call, 0), reduction_of(call, 1), out(call)))
SLIM_CUDA_KERNEL(weighted_mean_backward,
                 weighted_mean_backward(on(call), in(call, 1), reduction_of(call, 2), out(call)))
SLIM_CUDA_KERNEL(weighted_mean_weights_backward,
                 weighted_mean_weights_backward(on(call), in(call, 0), in(call, 1),
                                                reduction_of(call, 2), out(call)))
template <class F, class P>
struct kernel_of<op::elementwise_loss<F>, float, backend::gpu<P>> {
  static constexpr cuda::known_loss loss = cuda::loss_of(F::value);
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return loss.known ? cuda::kernel("cuda", &run) : kernel_choice{};
  }
  static void run(const kernel_call& call) {
    cuda::losses(cuda::on(call), loss.l, cuda::in(call, 0), cuda::in(call, 1), cuda::out(call));
  }
};
template <class F, op::wrt By, class P>
struct kernel_of<op::elementwise_loss_backward<F, By>, float, backend::gpu<P>> {
  static constexpr cuda::known_loss loss = cuda::loss_of(F::value);
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return loss.known ? cuda::kernel("cuda", &run) : kernel_choice{};
  }
  static void run(const kernel_call& call) {
    cuda::losses_backward(cuda::on(call), loss.l, cuda::in(call, 0), cuda::in(call, 1),
                          cuda::in(call, 2), By == op::wrt::labels, cuda::out(call));
  }
};
SLIM_CUDA_KERNEL(cosine_distance,
                 cosine_distance(on(call), axis_of(call.in(0).dims, call.a().integer), in(call, 0),
                                 in(call, 1), out(call)))
SLIM_CUDA_KERNEL(cosine_distance_backward,
                 cosine_distance_backward(on(call), axis_of(call.in(0).dims, call.a().integer),
                                          in(call, 0), in(call, 1), out(call)))
SLIM_CUDA_KERNEL(pairwise_squared_error, pairwise_squared_error(on(call), in(call, 0), in(call, 1),
                                                                call.out().dims[0], out(call)))
SLIM_CUDA_KERNEL(pairwise_squared_error_backward,
                 pairwise_squared_error_backward(on(call), in(call, 0), in(call, 1), in(call, 2),
                                                 call.in(2).dims[0], out(call)))

// Normalisation without variables.
SLIM_CUDA_KERNEL(unit_norm, unit_norm(on(call), axis_of(call.in(0).dims, call.a().integer),
                                      in(call, 0), float(call.a().number), out(call)))
SLIM_CUDA_KERNEL(unit_norm_backward,
                 unit_norm_backward(on(call), axis_of(call.in(0).dims, call.a().integer),
                                    in(call, 0), in(call, 1), float(call.a().number), out(call)))
namespace cuda {

template <class R>
constexpr response response_of() {
  constexpr op::response_options o = R::value;
  return {o.depth_radius, float(o.bias), float(o.alpha), float(o.beta)};
}
template <class R>
void run_response(const kernel_call& call) {
  local_response_normalization(on(call), response_of<R>(), in(call, 0), call.in(0).dims.back(),
                               out(call));
}
template <class R>
void run_response_backward(const kernel_call& call) {
  local_response_normalization_backward(on(call), response_of<R>(), in(call, 0), in(call, 1),
                                        call.in(0).dims.back(), out(call));
}

}  // namespace cuda
template <class R, class P>
struct kernel_of<op::local_response_normalization<R>, float, backend::gpu<P>>
    : cuda::plain<&cuda::run_response<R>> {};
template <class R, class P>
struct kernel_of<op::local_response_normalization_backward<R>, float, backend::gpu<P>>
    : cuda::plain<&cuda::run_response_backward<R>> {};

#undef SLIM_CUDA_KERNEL
#undef SLIM_CUDA_KERNEL_WITH

}  // namespace slim
