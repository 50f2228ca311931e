// first error: tiny: mine: the tag of this layer lacks `options`
#include <slim/network.hpp>

using namespace slim;

struct mine_tag {
  static constexpr std::string_view name = "mine";
  static constexpr std::string_view function = "mine";
  static constexpr std::string_view default_scope = "Mine";
  template <class O, class B>
  static constexpr int build(B&, int x) {
    return x;
  }
};
template <auto... Option>
struct mine : layer<mine_tag, constant<Option>...> {};

struct tiny : net<"tiny",
  mine<>, flatten<>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
