// first error: input inputs []: the batch is missing
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  flatten<>, fully_connected<10>> {};

using tiny_t = network<tiny, input<>>;
static_assert(tiny_t::output_shape == shape{2, 10});
