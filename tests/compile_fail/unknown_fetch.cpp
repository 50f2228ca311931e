// first error: fetch: there is no end point named tiny/Flatten_1; the closest is tiny/Flatten
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  flatten<>, fully_connected<10>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>, fetch<"tiny/Flatten_1">>;
static_assert(tiny_t::output_shape == shape{2, 10});
