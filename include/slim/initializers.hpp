// Initial values of variables. An initializer is a value with
// `double operator()(random_stream&, const fan&) const`, called once an element; a user's own is
// written the same way.
#pragma once

#include <concepts>
#include <span>
#include <string>

#include "error.hpp"
#include "random.hpp"
#include "shape.hpp"

namespace slim {

/// What a variable's shape says of its connections, by TF-Slim's rule.
struct fan {
  double in = 1;
  double out = 1;

  constexpr explicit fan(const shape& s) {
    double receptive = 1;
    for (int i = 0; i + 2 < s.rank; ++i) receptive *= s[i];
    if (s.rank > 0) {
      in = s.rank > 1 ? s[s.rank - 2] * receptive : s[0];
      out = s.back() * receptive;
    }
  }
};

struct zeros {
  static constexpr std::string_view name = "zeros";
  double operator()(random_stream&, const fan&) const { return 0; }
};
struct ones {
  static constexpr std::string_view name = "ones";
  double operator()(random_stream&, const fan&) const { return 1; }
};
struct constant_initializer {
  static constexpr std::string_view name = "constant";
  double value = 0;
  double operator()(random_stream&, const fan&) const { return value; }
};

/// Normal with values beyond two standard deviations drawn again.
struct truncated_normal {
  static constexpr std::string_view name = "truncated_normal";
  double mean = 0, stddev = 1;
  double operator()(random_stream& r, const fan&) const {
    return mean + stddev * r.truncated_normal();
  }
};
struct random_normal {
  static constexpr std::string_view name = "random_normal";
  double mean = 0, stddev = 1;
  double operator()(random_stream& r, const fan&) const { return mean + stddev * r.normal(); }
};

enum class fan_mode { fan_in, fan_out, fan_avg };

/// Variance factor / n (He et al., ICCV 2015), n by the mode; the normal is truncated, and 1.3
/// restores its variance, as in TF-Slim.
struct variance_scaling_initializer {
  static constexpr std::string_view name = "variance_scaling";
  double factor = 2.0;
  fan_mode mode = fan_mode::fan_in;
  bool uniform = false;

  double operator()(random_stream& r, const fan& f) const {
    const double n = mode == fan_mode::fan_in    ? f.in
                     : mode == fan_mode::fan_out ? f.out
                                                 : (f.in + f.out) / 2;
    if (uniform) return std::sqrt(3.0 * factor / n) * (2 * r.uniform() - 1);
    return std::sqrt(1.3 * factor / n) * r.truncated_normal();
  }
};

/// Glorot and Bengio (AISTATS 2010): uniform in +- sqrt(6 / (in + out)), or a normal.
struct xavier_initializer {
  static constexpr std::string_view name = "xavier";
  bool uniform = true;
  double operator()(random_stream& r, const fan& f) const {
    return variance_scaling_initializer{1.0, fan_mode::fan_avg, uniform}(r, f);
  }
};

/// Whether a type is one.
template <class F>
constexpr bool is_initializer = requires(const F& f, random_stream& r, const fan& dims) {
  F::name;
  static_cast<double>(f(r, dims));
};

/// What the run time needs of a variable's initializer: `fill` sets elements [first, last).
struct variable_hooks {
  std::string_view initializer;
  void (*fill)(void* data, long first, long last, const shape& dims, std::uint64_t key);
};

namespace detail {

template <class T, class F>
void fill_elements(T* elements, long first, long last, const shape& dims, const F& initializer,
                   std::uint64_t key) {
  const fan f(dims);
  for (long i = first; i < last; ++i) {
    random_stream r(random_at(key, static_cast<std::uint64_t>(i)));
    elements[i] = static_cast<T>(initializer(r, f));
  }
}
template <class T, class Initializer>
void fill(void* data, long first, long last, const shape& dims, std::uint64_t key) {
  fill_elements(static_cast<T*>(data), first, last, dims, Initializer::value, key);
}

}  // namespace detail

/// One row a type and initializer; `Initializer` is a `constant`.
template <class T, class Initializer>
inline constexpr variable_hooks variable_hooks_of{Initializer::value.name,
                                                  &detail::fill<T, Initializer>};

/// Sets the elements of a tensor of shape `dims` without a model: to what initialize(seed) gives
/// the variable `name`. Throws slim::error if the sizes differ.
template <std::floating_point T, class Initializer>
void fill(std::span<T> elements, const shape& dims, const Initializer& initializer,
          std::uint64_t seed, std::string_view name = {}) {
  const long count = static_cast<long>(elements.size());
  if (count != dims.count())
    throw error("fill: " + std::to_string(count) + " elements, but " +
                std::to_string(dims.count()) + " in the shape");
  detail::fill_elements(elements.data(), 0, count, dims, initializer,
                        random_at(seed, hash_text(name)));
}

}  // namespace slim
