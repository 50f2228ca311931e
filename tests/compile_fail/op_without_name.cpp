// first error: tiny/Twice: twice: its op lacks a `name`
#include <slim/network.hpp>

using namespace slim;

struct twice_op {
  static constexpr void infer(inference& s) { s.out(s.in(0), s.batched(0)); }
  template <class B>
  static constexpr void gradient(B&, gradient_of& g) {
    g.give(0, g.incoming());
  }
};
struct twice_tag {
  static constexpr std::string_view name = "twice", function = "twice", default_scope = "Twice";
  static constexpr std::string_view options[] = {"stride"};
  template <class O, class B>
  static constexpr int build(B& b, int x) {
    return b.template add<twice_op>({x});
  }
};
struct twice : layer<twice_tag> {};

struct tiny : net<"tiny",
  twice, flatten<>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
