// A layer of one's own, from the formula to a trained network, without a change to the library: an
// op with its shape rule, gradient rule and kernels; the layer, with variable, options, initializer
// and regularizer; and beside it an activation and a loss.
//
// The layer is RMSNorm (Zhang and Sennrich, NeurIPS 2019): every pixel's channels x are divided by
// their root mean square and multiplied by learnt gains g,
//
//   y_k = g_k x_k r,  r = (mean(x^2) + epsilon)^(-1/2).
//
// What stands behind it does not see how bright its input is. So the network below, which tells the
// orientation of gratings, is trained at full contrast and still right at a hundredth of it.
#include <algorithm>
#include <cmath>
#include <iomanip>
#include <iostream>

#include <slim/slim.hpp>

namespace mine {

using namespace slim;

// ---- the op: what the compiler has to know ----------------------------------------------------

/// (x [..., c], gains [c], dy) -> dx, dgains.
struct rms_norm_backward_op {
  static constexpr std::string_view name = "rms_norm_backward";
  static constexpr void infer(inference& s) {
    s.out(s.in(0), s.batched(0));
    s.out(s.in(1), false);
  }
};

/// (x [..., c], gains [c]) -> y, of x's shape.
struct rms_norm_op {
  static constexpr std::string_view name = "rms_norm";
  static constexpr void infer(inference& s) {
    if (s.in(1).rank != 1 || s.in(1)[0] != s.in(0).back())
      return s.fail("gains ", s.in(1), " do not fit the channels of ", s.in(0));
    s.out(s.in(0), s.batched(0));  // batched: with fewer images than a full batch it is cut, too
  }
  template <class B>
  static constexpr void gradient(B& b, gradient_of& g) {
    const int dx = b.template add<rms_norm_backward_op>({g.in(0), g.in(1), g.incoming()}, g.node.a);
    if (b.failed()) return;
    const int dgains = b.g.output_of(b.g.nodes[b.g.nodes.size() - 1], 1);
    if (g.wanted(0)) g.give(0, dx);
    if (g.wanted(1)) g.give(1, dgains);
  }
};

// ---- the layer: what its user writes ----------------------------------------------------------

/// An option only this layer has; others, such as epsilon, it shares with the library's.
template <class F>
struct gains_initializer {
  static constexpr std::string_view slot = "gains_initializer";
  F value;
};
template <class F>
gains_initializer(F) -> gains_initializer<F>;
template <class F>
struct gains_regularizer {
  static constexpr std::string_view slot = "gains_regularizer";
  F value;
};
template <class F>
gains_regularizer(F) -> gains_regularizer<F>;

/// Uniform in 1 +- spread.
struct around_one {
  static constexpr std::string_view name = "around_one";
  double spread = 0;
  double operator()(random_stream& r, const fan&) const {
    return 1 + spread * (2 * r.uniform() - 1);
  }
};

/// scale (w - 1)^2 / 2: draws gains towards 1, where the usual L2 would draw them to 0.
struct towards_one {
  static constexpr std::string_view name = "towards_one";
  double scale = 0;
  constexpr bool active() const { return scale != 0; }
  constexpr std::string_view fault() const { return scale < 0 ? "the scale is negative" : ""; }
  template <class T>
  constexpr T operator()(T w) const {
    return T(scale / 2) * (w - T(1)) * (w - T(1));
  }
  template <class T>
  constexpr T gradient(T w) const {
    return T(scale) * (w - T(1));
  }
};

template <auto... Option>
struct rms_norm;

/// What arg_scope, stack and normalizer_fn know the layer by: the library's have theirs in ops.
struct rms_norm_tag {
  static constexpr std::string_view name = "rms_norm", function = "rms_norm";
  static constexpr std::string_view default_scope = "RMSNorm";
  static constexpr std::string_view options[] = {"epsilon", "gains_initializer",
                                                 "gains_regularizer", "trainable", "activation_fn"};
  template <auto... Argument>
  using layer = rms_norm<Argument...>;

  template <class O, class B>
  static constexpr int build(B& b, int x) {
    constexpr auto first = O::template get<"gains_initializer">(gains_initializer{around_one{}});
    constexpr auto penalty = O::template get<"gains_regularizer">(gains_regularizer{none});
    constexpr auto activation = O::template get<"activation_fn">(activation_fn{none});
    constexpr bool trains = O::template get<"trainable">(trainable{true}).value;
    attributes a;
    a.number = O::template get<"epsilon">(epsilon{1e-6}).value;
    const int gains = create_variable(b, "gains", {b.g.values[x].dims.back()},
                                      constant<first.value>{}, constant<penalty.value>{}, trains);
    const int y = b.template add<rms_norm_op>({x, gains}, a);
    return b.failed() ? -1 : activate<constant<activation.value>>(b, y);
  }
};
template <auto... Option>
struct rms_norm : layer<rms_norm_tag, constant<Option>...> {};

// ---- an activation and a loss: plain functions ------------------------------------------------

/// Squareplus (Barron, 2021), y = (x + sqrt(x^2 + 4)) / 2. Its derivative can be had from y: so
/// training needs no x either, and fuses it into the convolution before it.
struct squareplus_fn {
  static constexpr std::string_view name = "squareplus";
  template <std::floating_point T>
  T operator()(T x) const {
    return (x + std::sqrt(x * x + 4)) / 2;
  }
  template <std::floating_point T>
  T gradient(T y) const {
    return y * y / (y * y + 1);
  }
};
inline constexpr squareplus_fn squareplus{};

/// log(cosh(p - y)): a parabola near 0, a line far from it.
struct log_cosh_fn {
  static constexpr std::string_view name = "log_cosh";
  template <std::floating_point T>
  T operator()(T p, T y) const {
    const T d = std::abs(p - y);  // d is taken out, so that exp does not overflow
    return d + std::log1p(std::exp(-2 * d)) - std::log(T(2));
  }
  template <std::floating_point T>
  T gradient(T p, T y) const {
    return std::tanh(p - y);
  }
};
template <auto... Option>
struct log_cosh : elementwise<log_cosh_fn{}, Option...> {};

// ---- kernels: on row-major memory, [pixels, c] ------------------------------------------------

template <class T>
T reciprocal_rms(const T* x, int c, double epsilon) {
  T squares = 0;
  for (int k = 0; k < c; ++k) squares += x[k] * x[k];
  return 1 / std::sqrt(squares / T(c) + T(epsilon));
}

/// Pixels are shared out in shards whose number does not depend on the threads; nor do the bits.
constexpr int shards = 16;
template <class F>
void in_shards(const kernel_call& call, long pixels, F f) {
  call.device().parallel(shards, [&](int shard, int) {
    for (long i = pixels * shard / shards; i < pixels * (shard + 1) / shards; ++i) f(i, shard);
  });
}

template <class T>
void forward(const kernel_call& call) {
  const tensor x = call.in(0);
  const T* gains = call.in(1).as<const T>();
  const int c = x.dims.back();
  T* const out = call.out().as<T>();
  in_shards(call, x.dims.leading(), [&](long pixel, int) {
    const T* in = x.as<const T>() + pixel * c;
    const T r = reciprocal_rms(in, c, call.a().number);
    for (int k = 0; k < c; ++k) out[pixel * c + k] = gains[k] * in[k] * r;
  });
}

/// dx_k = r (g_k dy_k - x_k r^2 mean(g dy x)),  dg_k = sum over the pixels of dy_k x_k r.
template <class T>
void backward(const kernel_call& call) {
  const tensor x = call.in(0), dy = call.in(2), dx = call.out(0);
  const T* gains = call.in(1).as<const T>();
  const int c = x.dims.back();
  T* const sums = call.workspace<T>();  // [shards, c], memory that the planner found
  std::fill_n(sums, shards * c, T(0));
  in_shards(call, x.dims.leading(), [&](long pixel, int shard) {
    const T *in = x.as<const T>() + pixel * c, *slope = dy.as<const T>() + pixel * c;
    const T r = reciprocal_rms(in, c, call.a().number);
    T mean = 0;
    for (int k = 0; k < c; ++k) mean += gains[k] * slope[k] * in[k] / T(c);
    for (int k = 0; k < c; ++k) {
      dx.as<T>()[pixel * c + k] = r * (gains[k] * slope[k] - in[k] * r * r * mean);
      sums[shard * c + k] += slope[k] * in[k] * r;
    }
  });
  T* dgains = call.out(1).as<T>();
  std::fill_n(dgains, c, T(0));
  for (int i = 0; i < shards * c; ++i) dgains[i % c] += sums[i];
}

}  // namespace mine

// The CPU's backend takes the reference's kernel of an op it has none of, so these serve both.
template <class T>
struct slim::kernel_of<mine::rms_norm_op, T, slim::backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"mine", &mine::forward<T>};
  }
};
template <class T>
struct slim::kernel_of<mine::rms_norm_backward_op, T, slim::backend::eigen> {
  static constexpr kernel_choice choose(const graph& g, const node_row& n) {
    const int c = g.input_shape(n, 1)[0];
    return {"mine", &mine::backward<T>, long(sizeof(T)) * mine::shards * c};
  }
};

namespace {

using namespace slim;

// Used like the library's: in an arg_scope, behind a convolution in place of biases, and by itself.
struct orientation : net<"orientation",
  arg_scope<on<mine::rms_norm_tag>,
            with<mine::gains_initializer{mine::around_one{0.1}}, epsilon{1e-9},
                 mine::gains_regularizer{mine::towards_one{1e-3}}>,
    arg_scope<on<ops::conv2d>, with<padding::valid, activation_fn{mine::squareplus}>,
      conv2d<12, kernel_size{5}, normalizer_fn{mine::rms_norm_tag{}}, scope{"conv1"}>,
      conv2d<12, kernel_size{3}, stride{2}, scope{"conv2"}>,
      mine::rms_norm<scope{"norm"}>>,
    avg_pool2d<kernel_size{4}, scope{"pool"}>, flatten<>,
    fully_connected<2, activation_fn{none}, scope{"angle"}>>> {};

constexpr int batch = 16, size = 14;
template <class... Setting>
using model_on = model<orientation, input<batch, size, size, 1>,
                       named_input<"labels", float, batch, 2>, mine::log_cosh<>, Setting...>;
using model_t = model_on<>;

static_assert(model_t::output_shape == shape{batch, 2});
static_assert(model_t::variable_shape<"orientation/conv1/RMSNorm/gains">() == shape{12});
static_assert(model_t::variable_shape<"orientation/norm/gains">() == shape{12});

/// Gratings of any angle, width and phase; the labels are (cos, sin) of twice the angle, since a
/// grating looks the same turned by half a circle.
template <class T>
struct gratings {
  std::vector<T> images, labels;

  gratings(std::uint64_t seed, double contrast, int count = batch) {
    random_stream random(seed);
    for (int i = 0; i < count; ++i) {
      const double angle = 3.14159265 * random.uniform(), phase = 6.28318531 * random.uniform();
      const double frequency = 0.6 + 0.6 * random.uniform();
      for (int at = 0; at < size * size; ++at) {
        const double along = at % size * std::cos(angle) + at / size * std::sin(angle);
        images.push_back(static_cast<T>(contrast * std::sin(frequency * along + phase)));
      }
      labels.push_back(static_cast<T>(std::cos(2 * angle)));
      labels.push_back(static_cast<T>(std::sin(2 * angle)));
    }
  }
};

/// The largest difference between a gradient and the slope of the loss, in double.
double largest_gradient_error() {
  model_on<scalar<double>> m;
  m.initialize(3);
  const gratings<double> g(4, 1, 3);
  double largest = 0;
  for (int v = 0; v < m.variable_count; ++v) {
    m.backward(g.images, g.labels);
    const std::vector<double> gradient(m.gradient(v).begin(), m.gradient(v).end());
    const auto loss_at = [&](std::size_t i, double value) {
      m.variable(v).data[i] = value;
      return m.backward(g.images, g.labels);
    };
    for (std::size_t i = 0; i < gradient.size(); ++i) {
      const double w = m.variable(v).data[i], h = 1e-5;
      const double slope = (loss_at(i, w + h) - loss_at(i, w - h)) / (2 * h);
      m.variable(v).data[i] = w;
      largest = std::max(largest, std::abs(slope - gradient[i]));
    }
  }
  return largest;
}

/// The mean error in degrees over gratings that were not trained on.
double degrees_off(model_t& m, double contrast) {
  double sum = 0;
  for (std::uint64_t i = 0; i < 16; ++i) {
    const gratings<float> g(random_at(2, i), contrast);
    const auto y = m.forward(g.images);
    for (std::size_t k = 0; k < 2 * batch; k += 2) {
      const double cross = double(y.data[k] * g.labels[k + 1] - y.data[k + 1] * g.labels[k]);
      const double dot = double(y.data[k] * g.labels[k] + y.data[k + 1] * g.labels[k + 1]);
      sum += std::abs(std::atan2(cross, dot)) / 2 * 180 / 3.14159265;
    }
  }
  return sum / (16 * batch);
}

/// How many steps of a program run this op.
int steps_of(const program& p, std::string_view op) {
  int count = 0;
  for (const step_row& step : p.steps) count += step.op == op;
  return count;
}

}  // namespace

int main() {
  const program training = model_t::training_program();
  std::cout << report(training) << "\n";
  // Behind conv1's norm squareplus is a step; conv2's became the convolution's epilogue.
  const bool fused = steps_of(training, "rms_norm") == 2 && steps_of(training, "squareplus") == 1;

  const double error = largest_gradient_error();
  std::cout << "gradients and finite differences differ by at most " << error << "\n";

  model_t m;
  m.initialize(1);
  std::cout << std::fixed << std::setprecision(4);
  for (int step = 0; step <= 400; ++step) {
    const gratings<float> g(random_at(1, std::uint64_t(step)), 1);
    m.backward(g.images, g.labels);
    if (step % 100 == 0)
      std::cout << "step " << step << ": log_cosh " << get_total_loss(m, false)
                << ", of the gains' regularizers " << get_total_loss(m) - get_total_loss(m, false)
                << "\n";
    m.update(adam{step < 300 ? 0.01 : 0.002});
  }

  const double bright = degrees_off(m, 1), faint = degrees_off(m, 0.01);
  std::cout << std::setprecision(2) << "mean error at full contrast " << bright
            << " degrees, at a hundredth of it " << faint << " degrees\n";
  return fused && error < 1e-7 && bright < 3 && faint < 3 ? 0 : 1;
}
