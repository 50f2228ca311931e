// first error: tiny/Twice: twice: has no kernel on this backend for [2,4]: kernel_of must name one
#include <slim/slim.hpp>

using namespace slim;

struct twice_op {
  static constexpr std::string_view name = "twice";
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
  twice, fully_connected<3, scope{"fc"}>> {};

int main() {
  model<tiny, input<2, 4>, backend::eigen> m;
  m.initialize(1);
}
