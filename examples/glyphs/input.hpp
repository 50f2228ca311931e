// Glyphs as batches: records of the data set's Examples to floats and labels.
#pragma once

#include <cmath>
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

/// The picture of a record, and its label. Throws slim::error where the record is not what
/// make_glyphs writes.
inline slim::image read_example(std::span<const std::byte> record, std::span<int> label) {
  const slim::data::example_view e(record);
  const auto labels = e.at("image/class/label").int64s();
  const auto encoded = e.at("image/encoded").bytes();
  if (labels.size() != 1 || encoded.size() != 1)
    throw slim::error("is not one picture with one label");
  label[0] = static_cast<int>(labels[0]);
  return slim::decode_image(std::as_bytes(std::span(encoded[0])));
}

/// Pixels as TF-Slim's LeNet takes them: (pixel - 128) / 128.
inline constexpr auto centred = [](std::span<float> pixels) {
  for (float& p : pixels) p = (p - 128.0f) / 128.0f;
};
/// Pixels as its CifarNet takes them: of mean zero and deviation one.
inline constexpr auto standardized = [](std::span<float> pixels) {
  const auto n = static_cast<double>(pixels.size());
  double sum = 0, squares = 0;
  for (const float p : pixels) sum += p, squares += double(p) * p;
  const double mean = sum / n, variance = std::max(squares / n - mean * mean, 0.0);
  const double deviation = std::max(std::sqrt(variance), 1 / std::sqrt(n));
  for (float& p : pixels) p = static_cast<float>((p - mean) / deviation);
};

/// A pipeline's decode: the picture in the middle of Size x Size pixels of Channels (1: grey, 3:
/// RGB), black around it where it is smaller, then Normalize of all of them.
template <int Size, int Channels, auto Normalize>
struct decode_glyph {
  void operator()(std::span<const std::byte> record, slim::random_stream&, std::span<float> pixels,
                  std::span<int> label) const {
    const slim::image picture = read_example(record, label);
    const int height = picture.height, width = picture.width;
    if (height > Size || width > Size)
      throw slim::image_error("is " + std::to_string(height) + "x" + std::to_string(width) +
                              ", the net takes " + std::to_string(Size) + "x" +
                              std::to_string(Size));
    std::fill(pixels.begin(), pixels.end(), 0.0f);
    const std::uint8_t* from = picture.pixels.data();
    for (int y = 0; y < height; ++y) {
      const int first = (y + (Size - height) / 2) * Size + (Size - width) / 2;
      float* to = pixels.data() + first * Channels;
      for (int x = 0; x < width; ++x, from += slim::image::channels)
        for (int c = 0; c < Channels; ++c) *to++ = from[c];
    }
    Normalize(pixels);
  }
};

}  // namespace glyphs
