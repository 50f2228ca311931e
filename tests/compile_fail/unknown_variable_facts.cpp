// first error: there is no variable named tiny/conv1/weight; the closest is tiny/conv1/weights
#include <slim/variables.hpp>

using namespace slim;

struct tiny : net<"tiny",
  conv2d<8, kernel_size{3}, scope{"conv1"}>, flatten<>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
constexpr variable_facts facts = variable_facts_of<tiny_t, "tiny/conv1/weight">();
