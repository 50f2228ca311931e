// Optimizers by TensorFlow's formulas: one pass over the variables, their gradients and slots.
//
//   m.backward(images, labels);
//   m.update(momentum{.learning_rate = 0.01, .momentum = 0.9});
//
// Slots (moments, accumulators) lie in the model, laid out as its variables; the first update with
// an optimizer makes and fills them. TensorFlow keeps hyperparameters in float32 whatever the
// variables' type, and so do these.
#pragma once

#include <array>
#include <cmath>
#include <limits>
#include <span>
#include <string_view>
#include "eigen.hpp"

#include "runner.hpp"

namespace slim {

namespace detail {

template <class T>
using update_elements = Eigen::Map<Eigen::Array<T, Eigen::Dynamic, 1>>;

/// A hyperparameter as TensorFlow holds it.
template <class T>
T hyperparameter(double value) {
  // volatile: g++ 12 joins several of these into one vector and loses the rounding on the way.
  const volatile float held = static_cast<float>(value);
  return static_cast<T>(held);
}

/// f(w, g, slot...) on pieces of all trainable variables, small enough for the first cache, so that
/// an update of several expressions is one pass over memory.
template <class T, std::size_t Slots, class F>
void update_each(runner<T>& r, const std::array<std::span<T>, Slots>& slots, F f) {
  constexpr long piece = 2048, shard = 32 * piece;
  const std::span<T> w = r.flat_variables(), g = r.flat_gradients();
  for (const element_range& range : r.trainable_ranges()) {
    const int shards = static_cast<int>((range.last - range.first + shard - 1) / shard);
    r.device().parallel(shards, [&](int task, int) {
      const long end = std::min(range.first + (task + 1) * shard, range.last);
      for (long i = range.first + task * shard; i < end; i += piece) {
        const long n = std::min(piece, end - i);
        const auto at = [&](std::span<T> s) { return update_elements<T>(s.data() + i, n); };
        [&]<std::size_t... S>(std::index_sequence<S...>) {
          f(at(w), at(g), at(slots[S])...);
        }(std::make_index_sequence<Slots>{});
      }
    });
  }
}

}  // namespace detail

/// What an optimizer's slots start from.
class slot_values {
 public:
  template <class... Value>
  constexpr slot_values(Value... values) : values_{values...}, count_(sizeof...(Value)) {}

  constexpr std::span<const double> all() const { return {values_, count_}; }
  template <std::size_t N>
  constexpr std::array<double, N> first() const {
    std::array<double, N> some{};
    for (std::size_t i = 0; i < N; ++i) some[i] = values_[i];
    return some;
  }

 private:
  double values_[3]{};
  std::size_t count_;
};

/// A number that an optimizer keeps besides its slots, under its name in TensorFlow's checkpoints.
struct optimizer_scalar {
  std::string_view name;
  float value;
};

namespace detail {

/// Has an accelerator update by this formula of the optimizer's numbers, if there is one, and the
/// optimizer itself what lies apart from it. The first number is the learning rate, corrected for
/// its bias where the optimizer says so.
template <std::size_t Slots, class T, class Optimizer, class... Number>
bool update_there(runner<T>& r, const Optimizer& optimizer, optimizer_step::formula kind,
                  Number... number) {
  if (r.on() == nullptr || r.is_updating_apart()) return false;
  r.template update_there<Slots>(
      Optimizer::slot_name, optimizer.initial_slots().template first<Slots>(), [&] {
        float rate = static_cast<float>(optimizer.learning_rate);
        if constexpr (requires { optimizer.template rate_at<float>(1); })
          rate = optimizer.template rate_at<float>(r.updates());
        return optimizer_step{kind, {rate, static_cast<float>(number)...}};
      });
  r.update_apart([&] { optimizer.update(r); });
  return true;
}

}  // namespace detail

/// Whether accelerators have an optimizer's update; others run on the CPU.
template <class Optimizer>
constexpr bool is_accelerated = requires { Optimizer::accelerates; };

/// w -= learning_rate * g.
struct gradient_descent {
  double learning_rate = 0.01;

  static constexpr bool accelerates = true;
  static constexpr std::string_view slot_name = "";
  constexpr slot_values initial_slots() const { return {}; }

  template <class T>
  void update(runner<T>& r) const {
    if (detail::update_there<0>(r, *this, optimizer_step::formula::gradient_descent)) return;
    const T rate = detail::hyperparameter<T>(learning_rate);
    detail::update_each<T, 0>(r, {}, [=](auto w, auto g) { w -= rate * g; });
  }
};

/// a = momentum * a + g; w -= learning_rate * a, or of g + momentum * a with Nesterov's (Sutskever
/// et al., ICML 2013). Slot: Momentum.
struct momentum {
  double learning_rate = 0.01;
  double momentum = 0.9;
  bool use_nesterov = false;

  static constexpr bool accelerates = true;
  static constexpr std::string_view slot_name = "Momentum";
  constexpr slot_values initial_slots() const { return {0.0}; }

  template <class T>
  void update(runner<T>& r) const {
    using formula = optimizer_step::formula;
    if (detail::update_there<1>(r, *this, use_nesterov ? formula::nesterov : formula::momentum,
                                momentum))
      return;
    const T rate = detail::hyperparameter<T>(learning_rate);
    const T mu = detail::hyperparameter<T>(momentum);
    const bool nesterov = use_nesterov;
    const auto slots = r.template slots<1>(slot_name, initial_slots().template first<1>());
    detail::update_each(r, slots, [=](auto w, auto g, auto a) {
      a = a * mu + g;
      if (nesterov)
        w -= g * rate + a * (mu * rate);
      else
        w -= a * rate;
    });
  }
};

/// Kingma and Ba, ICLR 2015, with TensorFlow's epsilon outside of the bias correction: m and v are
/// means of g and g^2; w -= rate_t * m / (sqrt(v) + epsilon), rate_t = learning_rate *
/// sqrt(1 - beta2^t) / (1 - beta1^t). Slots: Adam, Adam_1.
struct adam {
  double learning_rate = 0.001;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;

  static constexpr bool accelerates = true;
  static constexpr std::string_view slot_name = "Adam";
  constexpr slot_values initial_slots() const { return {0.0, 0.0}; }

  template <class T>
  void update(runner<T>& r) const {
    if (detail::update_there<2>(r, *this, optimizer_step::formula::adam, beta1, beta2, epsilon))
      return;
    const auto slots = r.template slots<2>(slot_name, initial_slots().template first<2>());
    const T b1 = detail::hyperparameter<T>(beta1), b2 = detail::hyperparameter<T>(beta2);
    const T e = detail::hyperparameter<T>(epsilon);
    const T rate = rate_at<T>(r.updates());
    detail::update_each(r, slots, [=](auto w, auto g, auto m, auto v) {
      m += (g - m) * (T(1) - b1);
      v += (g.square() - v) * (T(1) - b2);
      w -= m * rate / (v.sqrt() + e);
    });
  }

  /// The learning rate of update number t, corrected for the moments' bias.
  template <class T>
  T rate_at(long t) const {
    return detail::hyperparameter<T>(learning_rate) * std::sqrt(T(1) - power(beta2, t)) /
           (T(1) - power(beta1, t));
  }
  /// What TensorFlow's checkpoints hold after so many updates.
  std::array<optimizer_scalar, 2> saved_scalars(long updates) const {
    return {
        {{"beta1_power", power(beta1, updates + 1)}, {"beta2_power", power(beta2, updates + 1)}}};
  }

 private:
  /// beta^t by t - 1 products in float32, as TensorFlow's beta1_power and beta2_power; as there
  /// what is too small to be normal is zero (and rounding would never get it there).
  static float power(double beta, long t) {
    constexpr float least = std::numeric_limits<float>::min();
    float p = static_cast<float>(beta);
    for (long i = 1; i < t && p >= least; ++i) p *= static_cast<float>(beta);
    return p < least ? 0.0f : p;
  }
};

/// Tieleman and Hinton, 2012: s is a mean of g^2 that starts at 1; b = momentum * b +
/// learning_rate * g / sqrt(s + epsilon); w -= b. Slots: RMSProp, RMSProp_1. Centered, with m a
/// mean of g, the root is of s - m^2 + epsilon (Graves, 2013); slots: RMSProp, RMSProp_1 (m),
/// RMSProp_2.
struct rmsprop {
  double learning_rate = 0.01;
  double decay = 0.9;
  double momentum = 0.0;
  double epsilon = 1e-10;
  bool centered = false;

  static constexpr bool accelerates = true;
  static constexpr std::string_view slot_name = "RMSProp";
  constexpr slot_values initial_slots() const {
    return centered ? slot_values{1.0, 0.0, 0.0} : slot_values{1.0, 0.0};
  }

  template <class T>
  void update(runner<T>& r) const {
    using formula = optimizer_step::formula;
    if (centered
            ? detail::update_there<3>(r, *this, formula::centered_rmsprop, decay, momentum, epsilon)
            : detail::update_there<2>(r, *this, formula::rmsprop, decay, momentum, epsilon))
      return;
    const T rate = detail::hyperparameter<T>(learning_rate), rho = detail::hyperparameter<T>(decay);
    const T mu = detail::hyperparameter<T>(momentum), e = detail::hyperparameter<T>(epsilon);
    if (centered) {
      const auto slots = r.template slots<3>(slot_name, initial_slots().template first<3>());
      detail::update_each(r, slots, [=](auto w, auto g, auto s, auto m, auto b) {
        s += (g.square() - s) * (T(1) - rho);
        m += (g - m) * (T(1) - rho);
        b = b * mu + g * rate / (s - m.square() + e).sqrt();
        w -= b;
      });
      return;
    }
    const auto slots = r.template slots<2>(slot_name, initial_slots().template first<2>());
    detail::update_each(r, slots, [=](auto w, auto g, auto s, auto b) {
      s += (g.square() - s) * (T(1) - rho);
      b = b * mu + g * rate / (s + e).sqrt();
      w -= b;
    });
  }
};

/// Duchi et al., JMLR 2011: a += g^2; w -= learning_rate * g / sqrt(a). Slot: Adagrad.
struct adagrad {
  double learning_rate = 0.01;
  double initial_accumulator_value = 0.1;

  static constexpr bool accelerates = true;
  static constexpr std::string_view slot_name = "Adagrad";
  constexpr slot_values initial_slots() const { return {initial_accumulator_value}; }

  template <class T>
  void update(runner<T>& r) const {
    if (detail::update_there<1>(r, *this, optimizer_step::formula::adagrad)) return;
    const T rate = detail::hyperparameter<T>(learning_rate);
    const auto slots = r.template slots<1>(slot_name, initial_slots().template first<1>());
    detail::update_each(r, slots, [=](auto w, auto g, auto a) {
      a += g.square();
      w -= g * rate / a.sqrt();
    });
  }
};

/// Zeiler, 2012: a is a mean of g^2 and d one of u^2, u = sqrt(d + epsilon) / sqrt(a + epsilon) *
/// g; w -= learning_rate * u. Slots: Adadelta, Adadelta_1.
struct adadelta {
  double learning_rate = 0.001;
  double rho = 0.95;
  double epsilon = 1e-8;

  static constexpr bool accelerates = true;
  static constexpr std::string_view slot_name = "Adadelta";
  constexpr slot_values initial_slots() const { return {0.0, 0.0}; }

  template <class T>
  void update(runner<T>& r) const {
    if (detail::update_there<2>(r, *this, optimizer_step::formula::adadelta, rho, epsilon)) return;
    const T rate = detail::hyperparameter<T>(learning_rate), p = detail::hyperparameter<T>(rho);
    const T e = detail::hyperparameter<T>(epsilon);
    const auto slots = r.template slots<2>(slot_name, initial_slots().template first<2>());
    detail::update_each(r, slots, [=](auto w, auto g, auto a, auto d) {
      a = a * p + g.square() * (T(1) - p);
      w -= ((d + e) / (a + e)).sqrt() * g * rate;
      d = d * p + (d + e) / (a + e) * g.square() * (T(1) - p);
    });
  }
};

namespace detail {

/// The proximal step of l1 |w| + l2 / 2 w^2 from u = w - rate * g: where the norms' own steps are
/// taken exactly (Duchi and Singer, JMLR 2009).
template <class T, class W, class G, class R>
void proximal_step(W& w, const G& g, const R& rate, T l1, T l2) {
  w -= g * rate;
  w = w.sign() * (w.abs() - rate * l1).max(T(0)) / (T(1) + rate * l2);
}

}  // namespace detail

/// u = w - learning_rate * g; w = sign(u) max(|u| - learning_rate * l1, 0) / (1 + learning_rate *
/// l2).
struct proximal_gradient_descent {
  double learning_rate = 0.01;
  double l1_regularization_strength = 0.0;
  double l2_regularization_strength = 0.0;

  static constexpr bool accelerates = true;
  static constexpr std::string_view slot_name = "";
  constexpr slot_values initial_slots() const { return {}; }

  template <class T>
  void update(runner<T>& r) const {
    if (detail::update_there<0>(r, *this, optimizer_step::formula::proximal_gradient_descent,
                                l1_regularization_strength, l2_regularization_strength))
      return;
    const T rate = detail::hyperparameter<T>(learning_rate);
    const T l1 = detail::hyperparameter<T>(l1_regularization_strength);
    const T l2 = detail::hyperparameter<T>(l2_regularization_strength);
    detail::update_each<T, 0>(r, {}, [=](auto w, auto g) {
      using constant = Eigen::Array<T, Eigen::Dynamic, 1>;
      detail::proximal_step(w, g, constant::Constant(w.size(), rate), l1, l2);
    });
  }
};

/// a += g^2; the same step with learning_rate / sqrt(a). Slot: ProximalAdagrad.
struct proximal_adagrad {
  double learning_rate = 0.01;
  double initial_accumulator_value = 0.1;
  double l1_regularization_strength = 0.0;
  double l2_regularization_strength = 0.0;

  static constexpr bool accelerates = true;
  static constexpr std::string_view slot_name = "ProximalAdagrad";
  constexpr slot_values initial_slots() const { return {initial_accumulator_value}; }

  template <class T>
  void update(runner<T>& r) const {
    if (detail::update_there<1>(r, *this, optimizer_step::formula::proximal_adagrad,
                                l1_regularization_strength, l2_regularization_strength))
      return;
    const T rate = detail::hyperparameter<T>(learning_rate);
    const T l1 = detail::hyperparameter<T>(l1_regularization_strength);
    const T l2 = detail::hyperparameter<T>(l2_regularization_strength);
    const auto slots = r.template slots<1>(slot_name, initial_slots().template first<1>());
    detail::update_each(r, slots, [=](auto w, auto g, auto a) {
      a += g.square();
      detail::proximal_step(w, g, rate * a.rsqrt(), l1, l2);
    });
  }
};

/// McMahan et al., KDD 2013 (FTRL-proximal), with TensorFlow's extras: n' = n + g^2; z += g +
/// 2 * shrinkage * w - (n'^p - n^p) / learning_rate * w, p = -learning_rate_power; w = (sign(z) l1
/// - z) / (n'^p / learning_rate + 2 l2 + beta / learning_rate) where |z| > l1, else 0. Slots: Ftrl
/// (n), Ftrl_1 (z).
struct ftrl {
  double learning_rate = 0.01;
  double initial_accumulator_value = 0.1;
  double l1_regularization_strength = 0.0;
  double l2_regularization_strength = 0.0;
  double learning_rate_power = -0.5;
  double l2_shrinkage_regularization_strength = 0.0;
  double beta = 0.0;

  static constexpr bool accelerates = true;
  static constexpr std::string_view slot_name = "Ftrl";
  constexpr slot_values initial_slots() const { return {initial_accumulator_value, 0.0}; }

  template <class T>
  void update(runner<T>& r) const {
    if (detail::update_there<2>(r, *this, optimizer_step::formula::ftrl, l1_regularization_strength,
                                l2_regularization_strength + beta / (2 * learning_rate),
                                l2_shrinkage_regularization_strength, -learning_rate_power))
      return;
    const auto slots = r.template slots<2>(slot_name, initial_slots().template first<2>());
    if (learning_rate_power == -0.5)
      step(r, slots, [](const auto& n) { return n.sqrt(); });
    else
      step(r, slots, [p = -detail::hyperparameter<T>(learning_rate_power)](const auto& n) {
        return n.pow(p);
      });
  }

 private:
  template <class T, class Slots, class Power>
  void step(runner<T>& r, const Slots& slots, Power power) const {
    const T rate = detail::hyperparameter<T>(learning_rate);
    const T l1 = detail::hyperparameter<T>(l1_regularization_strength);
    const T l2 = detail::hyperparameter<T>(l2_regularization_strength + beta / (2 * learning_rate));
    const T shrink = detail::hyperparameter<T>(l2_shrinkage_regularization_strength);
    detail::update_each(r, slots, [=](auto w, auto g, auto n, auto z) {
      z += g + T(2) * shrink * w - (power(n + g.square()) - power(n)) / rate * w;
      n += g.square();
      w = (z.abs() > l1).select((z.sign() * l1 - z) / (power(n) / rate + T(2) * l2), T(0));
    });
  }
};

}  // namespace slim
