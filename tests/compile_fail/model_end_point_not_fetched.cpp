// first error: fetched: name the end point in fetch<...> among the model's parts
#include <slim/slim.hpp>

using namespace slim;

struct tiny : net<"tiny", flatten<>, fully_connected<10, scope{"fc"}>> {};

int main() {
  model<tiny, input<2, 4>> m;
  m.fetched<"tiny/fc">();
}
