// compiles: branches, end points, variables and own parts, got right
#include <slim/slim.hpp>
#include <slim/variables.hpp>

using namespace slim;

struct square_fn {  // no gradient: none is needed where nothing is trained
  static constexpr std::string_view name = "square";
  template <std::floating_point T>
  constexpr T operator()(T x) const {
    return x * x;
  }
};
inline constexpr square_fn square{};

struct tiny : net<"tiny",
  variable<"weights", shape{10, 3}, trainable{false}>, add_model_variable<"tiny/weights">,
  conv2d<4, kernel_size{3}, normalizer_fn{ops::batch_norm{}},
         normalizer_params{with<decay{1.0}, epsilon{0.1}>{}}, scope{"conv1"}>,
  sum<identity, conv2d<4, kernel_size{3}, scope{"conv2"}>, from<"conv1">>, apply<relu>,
  concat<identity, from<"conv1">>, apply<square>,
  reuse<variable<"weights", shape{10, 3}>>, flatten<>,
  heads<fully_connected<10, scope{"class"}>, fully_connected<2, scope{"position"}>>> {};

using tiny_t = model<until<"tiny/class", tiny>, input<2, 8, 8, 3>, fetch<"tiny/conv2">>;
static_assert(tiny_t::output_shape == shape{2, 10});
static_assert(variable_facts_of<tiny_t, "tiny/weights">().model_variable);

int main() {
  tiny_t m;
  m.initialize(1);
}
