// first error: mine: the tag of this loss lacks `options`
#include <slim/network.hpp>

using namespace slim;

struct mine_tag {
  static constexpr std::string_view name = "mine";
  template <class O, class B>
  static constexpr void build(B& b) {
    collect_loss<O>(b, b.g.output);
  }
};
template <auto... Option>
struct mine : loss<mine_tag, constant<Option>...> {};

struct tiny : net<"tiny",
  flatten<>, fully_connected<10, scope{"fc"}>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>, mine<>>;
static_assert(tiny_t::output_shape == shape{2, 10});
