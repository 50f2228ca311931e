// first error: tiny/hot: one_hot_encoding: needs labels of type int, [n], not scalar [2,8]
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  one_hot_encoding<10, scope{"hot"}>> {};

using tiny_t = network<tiny, input<2, 8>>;
static_assert(tiny_t::output_shape == shape{2, 10});
