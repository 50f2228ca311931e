// A label file; what is read is written and read again.
#include <slim/data/dataset_info.hpp>

#include "../files.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  slim_test::memory_file file({bytes.begin(), bytes.end()});
  try {
    const auto labels = slim::data::read_label_file(file.folder(), file.name());
    file.write({});
    slim::data::write_label_file(labels, file.folder(), file.name());
    if (slim::data::read_label_file(file.folder(), file.name()) != labels) std::abort();
  } catch (const slim::data::record_error&) {
  }
  return 0;
}
