// first error: tiny/Twice: twice: has no gradient rule, but a loss is differentiated through it
#include <slim/slim.hpp>

using namespace slim;

struct twice_op {
  static constexpr std::string_view name = "twice";
  static constexpr void infer(inference& s) { s.out(s.in(0), s.batched(0)); }
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

template <class T>
struct slim::kernel_of<twice_op, T, slim::backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) { return {"twice", &run}; }
  static void run(const kernel_call&) {}
};

struct tiny : net<"tiny",
  flatten<>, fully_connected<3, scope{"fc"}>, twice> {};

int main() {
  model<tiny, input<2, 4>, labels<2>, sparse_softmax_cross_entropy<>> m;
  m.initialize(1);
}
