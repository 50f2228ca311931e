// first error: tiny/norm: unit_norm: dim must lie in [0,4) for [2,8,8,3], not be -1
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  unit_norm<dim{-1}, scope{"norm"}>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
