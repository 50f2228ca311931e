// first error: tiny/fc: double_difference: trainable layers compute the labels, but it has no label_gradient
#include <slim/network.hpp>

using namespace slim;

struct double_difference_fn {
  static constexpr std::string_view name = "double_difference";
  template <class T>
  constexpr T operator()(T p, T y) const {
    return T(2) * (p - y);
  }
  template <class T>
  constexpr T gradient(T, T) const {
    return T(2);
  }
};
struct tiny : net<"tiny",
  flatten<>, fully_connected<10, scope{"fc"}>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>,
                       elementwise<double_difference_fn{}, labels_from{"tiny/fc"}>>;
static_assert(tiny_t::output_shape == shape{2, 10});
