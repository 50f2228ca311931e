// first error: tiny/fc: fused_matmul: a loss is differentiated through the activation square, but it has no gradient(y)
#include <slim/slim.hpp>

using namespace slim;

struct square_fn {
  static constexpr std::string_view name = "square";
  template <std::floating_point T>
  constexpr T operator()(T x) const {
    return x * x;
  }
};
inline constexpr square_fn square{};

struct tiny : net<"tiny",
  fully_connected<3, activation_fn{square}, scope{"fc"}>> {};

int main() {
  model<tiny, input<2, 4>, labels<2>, sparse_softmax_cross_entropy<>> m;
  m.initialize(1);
}
