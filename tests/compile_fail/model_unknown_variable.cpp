// first error: there is no variable named tiny/fc/bias; the closest is tiny/fc/biases
// at most 15 lines: clang shows the way from the library to the case
#include <slim/slim.hpp>

using namespace slim;

struct tiny : net<"tiny", flatten<>, fully_connected<10, scope{"fc"}>> {};

int main() {
  model<tiny, input<2, 4>> m;
  m.variable<"tiny/fc/bias">();
}
