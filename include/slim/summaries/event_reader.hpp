// Reads event files: what training wrote, or TensorFlow.
//
//   summaries::event_reader events(path);
//   while (auto e = events.next())
//     for (const auto& v : e->values) if (v.scalar) use(e->step, v.tag, *v.scalar);
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "../checkpoint/wire.hpp"
#include "../data/tfrecord.hpp"

namespace slim::summaries {

/// A picture as a PNG file.
struct event_picture {
  int height = 0, width = 0, channels = 0;
  std::string png{};
};

/// One value of a summary, by kind.
struct event_value {
  std::string tag;
  std::optional<float> scalar{};
  std::optional<std::string> histogram{};  ///< a serialized HistogramProto
  std::optional<event_picture> image{};
};

struct event {
  double wall_time = 0;  ///< seconds since 1970
  std::int64_t step = 0;
  std::string file_version{};         ///< of the first event alone
  std::string graph{};                ///< a serialized GraphDef
  int session_status = 0;             ///< 1 start, 2 stop, 3 checkpoint; 0: none
  std::vector<event_value> values{};  ///< of a summary
};

/// The events of a file in their order. An incomplete last one is not there yet: next() finds
/// nothing, and can be asked again.
class event_reader {
 public:
  /// Throws data::record_error, as next() does.
  explicit event_reader(const std::string& path)
      : path_(path), records_(path, data::compression::none, data::record_tail::growing) {}

  std::optional<event> next() {
    const auto record = records_.next();
    if (!record) return std::nullopt;
    event e;
    wire_message m(bytes(*record));
    bool good = true;
    for (wire_field f; m.next(f);) {
      if (f.id == 1) e.wall_time = std::bit_cast<double>(f.number);
      if (f.id == 2) e.step = static_cast<std::int64_t>(f.number);
      if (f.id == 3) e.file_version = text(f);
      if (f.id == 4) e.graph = text(f);
      if (f.id == 5) good = good && parse_summary(f, e);
      if (f.id == 7) good = good && parse_session(f, e);
    }
    if (!good || !m.good())
      throw data::record_error(path_, records_.offset(), "the record is no event");
    return e;
  }

 private:
  using wire_message = slim::detail::wire_message;
  using wire_field = slim::detail::wire_field;

  static slim::detail::byte_span bytes(std::string_view s) { return std::as_bytes(std::span(s)); }
  static std::string text(const wire_field& f) {
    return {reinterpret_cast<const char*>(f.bytes.data()), f.bytes.size()};
  }
  static bool parse_session(const wire_field& log, event& e) {
    wire_message m(log.bytes);
    for (wire_field f; m.next(f);)
      if (f.id == 1) e.session_status = static_cast<int>(f.number);
    return m.good();
  }
  static bool parse_summary(const wire_field& summary, event& e) {
    wire_message m(summary.bytes);
    for (wire_field f; m.next(f);)
      if (f.id == 1 && !parse_value(f, e.values.emplace_back())) return false;
    return m.good();
  }
  static bool parse_value(const wire_field& value, event_value& v) {
    wire_message m(value.bytes);
    for (wire_field f; m.next(f);) {
      if (f.id == 1) v.tag = text(f);
      if (f.id == 2) v.scalar = std::bit_cast<float>(static_cast<std::uint32_t>(f.number));
      if (f.id == 5) v.histogram = text(f);
      if (f.id == 4 && !parse_image(f, v.image.emplace())) return false;
    }
    return m.good();
  }
  static bool parse_image(const wire_field& image, event_picture& p) {
    wire_message m(image.bytes);
    for (wire_field f; m.next(f);) {
      if (f.id == 1) p.height = static_cast<int>(f.number);
      if (f.id == 2) p.width = static_cast<int>(f.number);
      if (f.id == 3) p.channels = static_cast<int>(f.number);
      if (f.id == 4) p.png = text(f);
    }
    return m.good();
  }

  std::string path_;
  data::record_reader records_;
};

}  // namespace slim::summaries
