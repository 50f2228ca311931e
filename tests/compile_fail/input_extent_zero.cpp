// first error: input inputs [2,8,0,3]: extents must be positive
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  flatten<>, fully_connected<10>> {};

using tiny_t = network<tiny, input<2, 8, 0, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
