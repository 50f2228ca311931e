// Writes files for records.py, which has TensorFlow read them: records in each compression, and
// Examples.
//
//   records_run FOLDER

#include <iostream>

#include <slim/data/example.hpp>
#include <slim/data/tfrecord.hpp>
#include <slim/image_encode.hpp>

#include "../golden.hpp"

namespace {

using namespace slim;

std::string noise(const std::string& name, std::size_t size) {
  std::string bytes(size, '\0');
  const std::uint64_t seed = slim_test::fnv1a64(name);
  for (std::size_t i = 0; i < size; ++i)
    bytes[i] = static_cast<char>(slim_test::hash_at(seed, i) & 0xFF);
  return bytes;
}

/// Record i has i cubed bytes, the last one more than zlib's and our buffers hold.
void write_records(const std::string& path, data::compression packing) {
  data::record_writer writer(path, packing);
  for (std::size_t i = 0; i < 70; ++i) {
    writer.write(noise("record" + std::to_string(i), i * i * i));
    if (i == 35) writer.flush();
  }
  writer.close();
}

data::example example() {
  const std::string grey = noise("grey", 7 * 9), colours = noise("colours", 7 * 9 * 3);
  const auto pixels = [](const std::string& s) {
    return std::span(reinterpret_cast<const std::uint8_t*>(s.data()), s.size());
  };
  data::int64_list powers;
  for (int i = 0; i < 64; ++i) powers.push_back(static_cast<std::int64_t>(std::uint64_t{1} << i));
  data::example e;
  e.features["bytes"] = data::bytes_list{"", noise("bytes", 300)};
  e.features["floats"] = slim_test::uniform("floats", 1000);
  e.features["int64s"] = powers;
  e.features["none"];
  e.features["no floats"] = data::float_list{};
  e.features["\xc3\xbc"] = data::int64_list{-1};  // a name that is not ASCII
  e.features["png"] = data::bytes_list{encode_png(pixels(colours), 7, 9, 3)};
  e.features["grey png"] = data::bytes_list{encode_png(pixels(grey), 7, 9, 1)};
  e.features["jpeg"] = data::bytes_list{encode_jpeg(pixels(colours), 7, 9, 3, 95)};
  return e;
}

data::sequence_example sequence() {
  data::sequence_example s;
  s.context["id"] = data::bytes_list{"a sequence"};
  s.lists["ragged"] = {data::float_list{1, 2}, data::float_list{}, data::float_list{3}};
  s.lists["even"] = {data::int64_list{1, -2}, data::int64_list{3, -4}};
  s.lists["no steps"];
  return s;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const std::string folder = std::string(argv[1]) + "/";
  try {
    write_records(folder + "none", data::compression::none);
    write_records(folder + "gzip", data::compression::gzip);
    write_records(folder + "zlib", data::compression::zlib);
    data::record_writer writer(folder + "examples");
    writer.write(example().serialize());
    writer.write(sequence().serialize());
    writer.close();
  } catch (const std::exception& e) {
    std::cerr << e.what() << "\n";
    return 1;
  }
}
