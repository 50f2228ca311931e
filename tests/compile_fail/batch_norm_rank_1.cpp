// first error: tiny/norm: batch_norm: needs an input of rank 2 or more, not [2]
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  batch_norm<scope{"norm"}>> {};

using tiny_t = network<tiny, input<2>>;
static_assert(tiny_t::output_shape == shape{2, 10});
