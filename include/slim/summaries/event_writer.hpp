// TensorBoard's logs: event files of scalars, histograms and images.
//
//   summaries::event_writer log("logdir");
//   log.add_scalar("losses/total_loss", loss, step);
//   log.add_histogram("conv1/weights", weights, step);
//   log.flush();
//
// An event file is a file of records (data/tfrecord.hpp), each a tensorflow.Event. Needs libpng
// besides what records need.
#pragma once

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <unistd.h>

#include "../data/tfrecord.hpp"
#include "../image_encode.hpp"
#include "histogram.hpp"

namespace slim::summaries {

/// SessionLog's status.
enum class session_status { start = 1, stop = 2, checkpoint = 3 };

namespace detail {

/// The 8-bit pixels of one image as tf.summary.image makes them of floats: without negative values
/// the largest becomes 255, with them zero becomes 128 and the largest magnitude 127 away from it;
/// pixels that are not finite are red, or white where there is no colour.
inline std::vector<std::uint8_t> to_bytes(std::span<const float> pixels, int channels) {
  float least = std::numeric_limits<float>::infinity(), largest = -least;
  const auto n = static_cast<std::size_t>(channels);
  const auto finite = [&](std::size_t first) {
    return std::all_of(pixels.begin() + static_cast<std::ptrdiff_t>(first),
                       pixels.begin() + static_cast<std::ptrdiff_t>(first + n),
                       [](float x) { return std::isfinite(x); });
  };
  for (std::size_t i = 0; i < pixels.size(); i += n)
    if (finite(i))
      for (std::size_t c = 0; c < n; ++c)
        least = std::min(least, pixels[i + c]), largest = std::max(largest, pixels[i + c]);
  constexpr float zero = 1e-6f;
  const float most = std::max(std::abs(least), std::abs(largest));
  const bool negative = least < 0;
  const float range = negative ? 127.0f : 255.0f, reach = negative ? most : largest;
  const float scale = reach < zero ? 0.0f : range / reach, offset = negative ? 128.0f : 0.0f;
  std::vector<std::uint8_t> bytes(pixels.size());
  for (std::size_t i = 0; i < pixels.size(); i += n) {
    const bool good = finite(i);
    for (std::size_t c = 0; c < n; ++c)
      bytes[i + c] = good ? static_cast<std::uint8_t>(pixels[i + c] * scale + offset)
                          : static_cast<std::uint8_t>(c == 0 || c == 3 ? 255 : 0);
  }
  return bytes;
}

}  // namespace detail

/// Appends events to a new file of a log directory, which it makes. Every member throws
/// data::record_error if the file cannot be written. Not for several threads at once.
class event_writer {
  using wire_writer = slim::detail::wire_writer;

 public:
  explicit event_writer(const std::string& logdir, const std::string& suffix = "")
      : records_(new_path(logdir, suffix)) {
    wire_writer e = event(0);
    e.message(3, "brain.Event:2");
    write(e);
    flush();
  }

  void add_scalar(const std::string& tag, double value, std::int64_t step) {
    wire_writer v = summary_value(tag);
    v.fixed_always(2, static_cast<float>(value));
    add_value(v, step);
  }
  /// How values are distributed. Throws std::invalid_argument, which names the tag, where one is
  /// not finite.
  template <class Values>
  void add_histogram(const std::string& tag, const Values& values, std::int64_t step) {
    histogram h;
    h.add_all(values);
    if (h.not_finite() > 0)
      throw std::invalid_argument("histogram " + tag + ": " + std::to_string(h.not_finite()) +
                                  " of its values are not finite");
    wire_writer v = summary_value(tag);
    v.message(5, h.serialize());
    add_value(v, step);
  }
  /// The first max_outputs of n images [n, height, width, channels], of floats of any range. One is
  /// tagged <tag>/image, several <tag>/image/0 and so on. Throws image_error if the pixels are not
  /// as many or channels are not 1, 3 or 4.
  void add_images(const std::string& tag, std::span<const float> pixels, int n, int height,
                  int width, int channels, std::int64_t step, int max_outputs = 3) {
    const std::size_t each = static_cast<std::size_t>(height) * static_cast<std::size_t>(width) *
                             static_cast<std::size_t>(channels);
    if (pixels.size() != static_cast<std::size_t>(n) * each)
      throw image_error("image summary " + tag + ": " + std::to_string(pixels.size()) +
                        " pixels are not " + std::to_string(n) + " images of " +
                        std::to_string(each));
    wire_writer summary;
    for (int i = 0; i < std::min(n, max_outputs); ++i) {
      const auto one = pixels.subspan(static_cast<std::size_t>(i) * each, each);
      wire_writer v =
          summary_value(tag + "/image" + (max_outputs > 1 ? "/" + std::to_string(i) : ""));
      v.message(4, image_message(detail::to_bytes(one, channels), height, width, channels));
      summary.message(1, v.bytes());
    }
    add_summary(summary, step);
  }
  void add_session_log(session_status status, std::int64_t step, const std::string& path = "") {
    wire_writer log, e = event(step);
    log.number(1, static_cast<std::uint64_t>(status));
    if (!path.empty()) log.message(2, path);
    e.message(7, log.bytes());
    write(e);
  }
  /// A serialized tensorflow.GraphDef.
  void add_graph(const std::string& graph_def) {
    wire_writer e = event(0);
    e.message(4, graph_def);
    write(e);
  }

  /// Whoever reads the log now finds every event.
  void flush() { records_.flush(); }
  void close() { records_.close(); }
  const std::string& path() const { return records_.path(); }

 private:
  static std::string new_path(const std::string& logdir, const std::string& suffix) {
    static std::atomic<int> made{0};  // two logs of one second need names of their own
    std::error_code fault;
    std::filesystem::create_directories(logdir, fault);
    char host[256] = "localhost", seconds[32];
    gethostname(host, sizeof host - 1);
    std::snprintf(seconds, sizeof seconds, "%010lld", static_cast<long long>(now()));
    return (std::filesystem::path(logdir) /
            ("events.out.tfevents." + std::string(seconds) + "." + host + "." +
             std::to_string(getpid()) + "." + std::to_string(made++) + suffix))
        .string();
  }
  static double now() {
    return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch())
        .count();
  }

  static wire_writer event(std::int64_t step) {
    wire_writer e;
    e.fixed(1, now());
    e.number(2, static_cast<std::uint64_t>(step));
    return e;
  }
  static wire_writer summary_value(const std::string& tag) {
    wire_writer v;
    v.message(1, tag);
    return v;
  }
  static std::string image_message(const std::vector<std::uint8_t>& pixels, int height, int width,
                                   int channels) {
    wire_writer image;
    image.number(1, static_cast<std::uint64_t>(height));
    image.number(2, static_cast<std::uint64_t>(width));
    image.number(3, static_cast<std::uint64_t>(channels));
    image.message(4, encode_png(pixels, height, width, channels));
    return image.bytes();
  }
  void add_value(const wire_writer& value, std::int64_t step) {
    wire_writer summary;
    summary.message(1, value.bytes());
    add_summary(summary, step);
  }
  void add_summary(const wire_writer& summary, std::int64_t step) {
    wire_writer e = event(step);
    e.message(5, summary.bytes());
    write(e);
  }
  void write(const wire_writer& e) { records_.write(e.bytes()); }

  data::record_writer records_;
};

}  // namespace slim::summaries
