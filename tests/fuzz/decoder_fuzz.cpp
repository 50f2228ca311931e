// A tf.train.Example, and the same bytes as a SequenceExample, through every handler: each item
// alone, so that a fault of one does not hide the others.
#include "../decoders.hpp"

namespace {

template <class Decoder>
void decode_each(const Decoder& decoder, std::span<const std::byte> record) {
  for (const std::string& name : decoder.list_items()) {
    try {
      decoder.decode(record, {name});
    } catch (const slim::error&) {
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto examples = slim_test::example_decoder(100'000);
  static const auto sequences = slim_test::sequence_decoder();
  const auto record = std::as_bytes(std::span(data, size));
  decode_each(examples, record);
  decode_each(sequences, record);
  return 0;
}
