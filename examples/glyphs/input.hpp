// Glyphs as batches: records of the data set's Examples to floats and labels.
#pragma once

#include <filesystem>
#include <span>
#include <string>

#include <slim/data/example.hpp>
#include <slim/data/pipeline.hpp>
#include <slim/data/record_set.hpp>
#include <slim/image.hpp>

namespace glyphs {

/// All records of one split, "train" or "test", of a data set's folder.
inline slim::data::record_set read_split(const std::string& folder, const std::string& split) {
  const std::filesystem::path all = std::filesystem::path(folder) / ("*_" + split + "_*.tfrecord");
  return slim::data::record_set(slim::data::get_data_files({all.string()}));
}

/// One grey picture as TF-Slim's LeNet takes it, (pixel - 128) / 128, and its label. Throws
/// slim::error where the record is not what make_glyphs writes.
struct decode_grey {
  int size = 28;

  void operator()(std::span<const std::byte> record, slim::random_stream&, std::span<float> pixels,
                  std::span<int> label) const {
    const slim::data::example_view e(record);
    const auto encoded = e.at("image/encoded").bytes().at(0);
    const slim::image picture = slim::decode_image(std::as_bytes(std::span(encoded)));
    if (picture.height != size || picture.width != size)
      throw slim::image_error("is " + std::to_string(picture.height) + "x" +
                              std::to_string(picture.width) + ", not " + std::to_string(size) +
                              "x" + std::to_string(size));
    for (std::size_t i = 0; i < pixels.size(); ++i)
      pixels[i] = (static_cast<float>(picture.pixels[i * slim::image::channels]) - 128.0f) / 128.0f;
    label[0] = static_cast<int>(e.at("image/class/label").int64s().at(0));
  }
};

using grey_batches = slim::data::pipeline<slim::data::record_set, decode_grey, float, int>;

}  // namespace glyphs
