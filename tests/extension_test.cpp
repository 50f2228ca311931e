// A user's own layer, op, activation, initializer, regularizer and loss, all in this file, by the
// means the library uses: with shapes, arg_scope, gradients, fusion, report and errors.
#include <catch2/catch.hpp>

#include <slim/slim.hpp>

namespace mine {

using namespace slim;

/// (x [..., c], gamma [c]) -> x * gamma; its gradient with respect to both.
struct channel_scale_backward {
  static constexpr std::string_view name = "channel_scale_backward";
  static constexpr void infer(inference& s) {
    s.out(s.in(0), s.batched(0));
    s.out(s.in(1), false);
  }
};
struct channel_scale_op {
  static constexpr std::string_view name = "channel_scale";
  static constexpr void infer(inference& s) {
    if (s.in(0).back() != s.in(1)[0]) return s.fail("gamma ", s.in(1), " does not fit ", s.in(0));
    s.out(s.in(0), s.batched(0));
  }
  template <class B>
  static constexpr void gradient(B& b, gradient_of& g) {
    const int dx = b.template add<channel_scale_backward>({g.in(0), g.in(1), g.incoming()});
    const int dgamma = b.g.output_of(b.g.nodes[b.g.nodes.size() - 1], 1);
    if (g.wanted(0)) g.give(0, dx);
    g.give(1, dgamma);
  }
};

/// The option only this layer has.
struct first_value {
  static constexpr std::string_view slot = "first_value";
  double value = 1;
};

/// Initializes to a constant plus a ripple.
struct ripple {
  static constexpr std::string_view name = "ripple";
  double mean = 0;
  double operator()(random_stream& r, const fan&) const { return mean + 0.01 * r.normal(); }
};

template <auto... Option>
struct channel_scale;

struct channel_scale_tag {
  static constexpr std::string_view name = "channel_scale", function = "channel_scale";
  static constexpr std::string_view default_scope = "ChannelScale";
  static constexpr std::string_view options[] = {"first_value", "activation_fn",
                                                 "weights_regularizer"};
  template <auto... Argument>
  using layer = channel_scale<Argument...>;

  template <class O, class B>
  static constexpr int build(B& b, int x) {
    constexpr double first = O::template get<"first_value">(first_value{1}).value;
    constexpr auto penalty = O::template get<"weights_regularizer">(weights_regularizer{none});
    constexpr auto activation = O::template get<"activation_fn">(activation_fn{none});
    const int gamma = create_variable(b, "gamma", {b.g.values[x].dims.back()},
                                      constant<ripple{first}>{}, constant<penalty.value>{}, true);
    const int y = b.template add<channel_scale_op>({x, gamma});
    return b.failed() ? -1 : activate<constant<activation.value>>(b, y);
  }
};
template <auto... Option>
struct channel_scale : layer<channel_scale_tag, constant<Option>...> {};

/// x * sigmoid(x): its derivative needs x.
struct swish_fn {
  static constexpr std::string_view name = "swish";
  static constexpr bool gradient_from_input = true;
  template <std::floating_point T>
  T operator()(T x) const {
    return x / (1 + std::exp(-x));
  }
  template <std::floating_point T>
  T gradient(T x) const {
    const T s = 1 / (1 + std::exp(-x));
    return s * (1 + x * (1 - s));
  }
};
inline constexpr swish_fn swish{};

/// slope * x below 0: its derivative can be had from the output.
struct leaky_relu {
  static constexpr std::string_view name = "leaky_relu";
  double slope = 0.2;
  template <std::floating_point T>
  T operator()(T x) const {
    return x > 0 ? x : T(slope) * x;
  }
  template <std::floating_point T>
  T gradient(T y) const {
    return y > 0 ? T(1) : T(slope);
  }
};

/// scale * w^4.
struct quartic_regularizer {
  static constexpr std::string_view name = "quartic_regularizer";
  double scale = 0;
  constexpr bool active() const { return scale != 0; }
  constexpr std::string_view fault() const { return scale < 0 ? "the scale is negative" : ""; }
  template <class T>
  constexpr T operator()(T w) const {
    return T(scale) * w * w * w * w;
  }
  template <class T>
  constexpr T gradient(T w) const {
    return T(4 * scale) * w * w * w;
  }
};

/// Mean over the batch of a row's sum of squares.
struct square_rows {
  static constexpr std::string_view name = "square_rows";
  static constexpr void infer(inference& s) { s.out(shape{s.in(0)[0]}, true); }
  template <class B>
  static constexpr void gradient(B& b, gradient_of& g);
};
struct square_rows_backward {
  static constexpr std::string_view name = "square_rows_backward";
  static constexpr void infer(inference& s) { s.out(s.in(0), true); }
};
template <class B>
constexpr void square_rows::gradient(B& b, gradient_of& g) {
  g.give(0, b.template add<square_rows_backward>({g.in(0), g.incoming()}));
}
struct smallness_tag {
  static constexpr std::string_view name = "smallness";
  static constexpr std::string_view options[] = {"loss_weight"};
  template <class O, class B>
  static constexpr void build(B& b) {
    const int rows = b.template add<square_rows>({b.g.output});
    if (!b.failed()) collect_loss<O>(b, rows);
  }
};
template <auto... Option>
struct smallness : loss<smallness_tag, constant<Option>...> {};

}  // namespace mine

template <class T>
struct slim::kernel_of<mine::channel_scale_op, T, slim::backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) { return {"mine", &run}; }
  static void run(const kernel_call& call) {
    const tensor x = call.in(0), gamma = call.in(1), y = call.out();
    const long c = gamma.dims[0];
    for (long i = 0; i < y.dims.count(); ++i)
      y.as<T>()[i] = x.as<const T>()[i] * gamma.as<const T>()[i % c];
  }
};
template <class T>
struct slim::kernel_of<mine::channel_scale_backward, T, slim::backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) { return {"mine", &run}; }
  static void run(const kernel_call& call) {
    const tensor x = call.in(0), gamma = call.in(1), dy = call.in(2), dgamma = call.out(1);
    const long c = gamma.dims[0];
    std::fill_n(dgamma.as<T>(), c, T(0));
    for (long i = 0; i < x.dims.count(); ++i) {
      call.out().as<T>()[i] = dy.as<const T>()[i] * gamma.as<const T>()[i % c];
      dgamma.as<T>()[i % c] += dy.as<const T>()[i] * x.as<const T>()[i];
    }
  }
};
template <class T>
struct slim::kernel_of<mine::square_rows, T, slim::backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) { return {"mine", &run}; }
  static void run(const kernel_call& call) {
    const tensor x = call.in(0);
    const long each = x.dims.count() / x.dims[0];
    for (long r = 0; r < x.dims[0]; ++r) {
      T sum = 0;
      for (long i = r * each; i < (r + 1) * each; ++i)
        sum += x.as<const T>()[i] * x.as<const T>()[i];
      call.out().as<T>()[r] = sum;
    }
  }
};
template <class T>
struct slim::kernel_of<mine::square_rows_backward, T, slim::backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) { return {"mine", &run}; }
  static void run(const kernel_call& call) {
    const tensor x = call.in(0), drows = call.in(1);
    const long each = x.dims.count() / x.dims[0];
    for (long i = 0; i < x.dims.count(); ++i)
      call.out().as<T>()[i] = 2 * x.as<const T>()[i] * drows.as<const T>()[i / each];
  }
};

namespace {

using namespace slim;

struct my_net : net<"my_net",
  arg_scope<on<mine::channel_scale_tag, ops::conv2d>,
            with<weights_regularizer{mine::quartic_regularizer{0.01}},
                 activation_fn{mine::leaky_relu{0.3}}>,
    conv2d<4, kernel_size{3}, scope{"conv"}>,
    mine::channel_scale<mine::first_value{1.5}, scope{"scale1"}>,
    conv2d<3, kernel_size{2}, stride{2}, activation_fn{mine::swish}, scope{"conv2"}>,
    mine::channel_scale<activation_fn{none}, weights_regularizer{none}>>> {};

template <class Backend>
using my_model = model<my_net, input<2, 6, 6, 2>, scalar<double>, mine::smallness<loss_weight{0.5}>,
                       Backend>;

std::vector<double> images() {
  std::vector<double> x(2 * 6 * 6 * 2);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = to_uniform(random_at(3, i)) * 2 - 1;
  return x;
}

}  // namespace

static_assert(my_model<backend::cpu>::variable_shape<"my_net/scale1/gamma">() == shape{4});
static_assert(my_model<backend::cpu>::variable_shape<"my_net/ChannelScale/gamma">() == shape{3});
static_assert(my_model<backend::cpu>::output_shape == shape{2, 3, 3, 3});

TEMPLATE_TEST_CASE("a user's own parts work as the library's do", "", backend::eigen,
                   backend::cpu) {
  my_model<TestType> m;
  m.initialize(5);
  const std::vector<double> x = images();
  const double loss = m.backward(x);
  CHECK(m.regularization_losses().size() == 3);  // conv, scale1, conv2: none beats the scope
  CHECK(m.template variable<"my_net/scale1/gamma">()[0] == Approx(1.5).margin(0.1));
  CHECK(loss > 0);
  for (int v = 0; v < my_model<TestType>::variable_count; ++v) {
    m.backward(x);
    const std::vector<double> gradient(m.gradient(v).begin(), m.gradient(v).end());
    for (std::size_t i = 0; i < gradient.size(); ++i) {
      double& w = m.variable(v).data[i];
      const double before = w, step = 1e-5;
      w = before + step;
      const double above = m.backward(x);
      w = before - step;
      const double below = m.backward(x);
      w = before;
      INFO(m.variable_name(v) << "[" << i << "]");
      CHECK(gradient[i] == Approx((above - below) / (2 * step)).epsilon(1e-5).margin(1e-8));
    }
  }
}

TEST_CASE("a user's activation is fused like the library's, and the report shows the rest") {
  const std::string text = report(my_model<backend::cpu>::training_program());
  CHECK(text.find("channel_scale_backward") != std::string::npos);
  CHECK(text.find("mine") != std::string::npos);
  // leaky_relu is the first convolution's epilogue and stays apart behind channel_scale; swish,
  // whose gradient needs its input, is an epilogue at inference only.
  CHECK(text.find("swish") != std::string::npos);
  const std::string forward = report(my_model<backend::cpu>::inference_program());
  CHECK(forward.find("swish") == std::string::npos);
  const auto count = [](const std::string& in, const std::string& word) {
    int found = 0;
    for (std::size_t at = in.find(word); at != in.npos; at = in.find(word, at + 1)) ++found;
    return found;
  };
  CHECK(count(forward, "leaky_relu") == 1);
  CHECK(count(forward, "fused_convolution") == 2);
}
