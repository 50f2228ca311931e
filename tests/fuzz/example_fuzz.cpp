// A tf.train.Example, and the same bytes as a SequenceExample; every feature is read as every kind.
#include <slim/data/example.hpp>

#include "fuzz.hpp"

namespace {

using namespace slim::data;

template <class F>
void survive_example(F f) {
  try {
    f();
  } catch (const example_error&) {
  }
}

void read_all(std::span<const feature_view> features) {
  for (const feature_view& f : features) {
    survive_example([&] { f.bytes(); });
    survive_example([&] { f.floats(); });
    survive_example([&] { f.int64s(); });
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  survive_example([&] { read_all(example_view(bytes).all()); });
  survive_example([&] {
    const sequence_example_view s(bytes);
    read_all(s.context().all());
    if (const auto* steps = s.find_list("steps")) read_all(steps->steps());
  });
  return 0;
}
