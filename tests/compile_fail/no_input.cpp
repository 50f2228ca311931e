// first error: the network has no input
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny", flatten<>, fully_connected<10>> {};

static_assert(network<tiny>::output_shape == shape{2, 10});
