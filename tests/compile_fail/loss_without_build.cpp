// first error: mine: the tag of this loss lacks `build<O>(b)`
#include <slim/network.hpp>

using namespace slim;

struct mine_tag {
  static constexpr std::string_view name = "mine";
  static constexpr std::string_view options[] = {"loss_weight"};
};
template <auto... Option>
struct mine : loss<mine_tag, constant<Option>...> {};

struct tiny : net<"tiny",
  flatten<>, fully_connected<10, scope{"fc"}>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>, mine<>>;
static_assert(tiny_t::output_shape == shape{2, 10});
