// first error: struct slim::on
// first error: use of class template 'conv2d'
// at most 24 lines: a syntax error to compilers; the op is ops::conv2d
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  arg_scope<on<conv2d>, with<padding::same>, conv2d<8, kernel_size{3}>>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
