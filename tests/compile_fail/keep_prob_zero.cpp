// first error: tiny/dropout: dropout: keep_prob must lie in (0, 1]
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  flatten<>, dropout<keep_prob{0.0}, scope{"dropout"}>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
