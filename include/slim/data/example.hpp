// tf.train.Example and tf.train.SequenceExample: read where they lie, and written.
//
//   data::example e;
//   e.features["image/class/label"] = data::int64_list{3};
//   e.features["image/encoded"] = data::bytes_list{png};
//   writer.write(e.serialize());
//
//   data::example_view view(record);
//   const std::int64_t label = view.at("image/class/label").int64s().at(0);
#pragma once

#include <algorithm>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "../checkpoint/wire.hpp"
#include "../checkpoint/wire_writer.hpp"
#include "../error.hpp"

namespace slim::data {

/// A record that is no Example, or lacks what is asked of it; names the feature.
struct example_error : error {
  using error::error;
};

using bytes_list = std::vector<std::string>;
using float_list = std::vector<float>;
using int64_list = std::vector<std::int64_t>;
/// One feature's values; monostate is a feature without a kind.
using feature = std::variant<std::monostate, bytes_list, float_list, int64_list>;

enum class feature_kind { none, bytes, floats, int64s };

constexpr std::string_view name_of(feature_kind kind) {
  constexpr std::string_view names[] = {"no values", "bytes", "floats", "int64s"};
  return names[static_cast<int>(kind)];
}

/// A feature of a message that outlives it.
class feature_view {
  using byte_span = slim::detail::byte_span;

 public:
  feature_view() = default;
  /// Throws example_error, which names the feature, if the bytes are no Feature.
  feature_view(std::string_view name, byte_span feature) : name_(name) {
    slim::detail::wire_message m(feature);
    for (slim::detail::wire_field f; m.next(f);)
      if (f.id >= 1 && f.id <= 3) kind_ = static_cast<feature_kind>(f.id), list_ = f.bytes;
    if (!m.good()) fail("is malformed");
  }

  std::string_view name() const { return name_; }
  feature_kind kind() const { return kind_; }

  /// The values, in the message's memory. A feature without a kind has none of any. Throws
  /// example_error if the feature is of another kind or malformed, as the next two do.
  std::vector<std::string_view> bytes() const {
    std::vector<std::string_view> values;
    for_each(feature_kind::bytes, [&](const slim::detail::wire_field& f) {
      if (!is_bytes(f)) fail("is malformed");
      values.emplace_back(reinterpret_cast<const char*>(f.bytes.data()), f.bytes.size());
    });
    return values;
  }
  float_list floats() const {
    float_list values;
    for_each(feature_kind::floats, [&](const slim::detail::wire_field& f) {
      if (!is_bytes(f)) {
        values.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(f.number)));
        return;
      }
      if (f.bytes.size() % sizeof(float) != 0) fail("is malformed");
      const std::size_t before = values.size();
      values.resize(before + f.bytes.size() / sizeof(float));
      if (!f.bytes.empty()) std::memcpy(values.data() + before, f.bytes.data(), f.bytes.size());
    });
    return values;
  }
  int64_list int64s() const {
    int64_list values;
    for_each(feature_kind::int64s, [&](const slim::detail::wire_field& f) {
      if (!is_bytes(f)) {
        values.push_back(static_cast<std::int64_t>(f.number));
        return;
      }
      slim::detail::wire_stream packed(f.bytes);
      while (packed.good() && !packed.at_end())
        values.push_back(static_cast<std::int64_t>(packed.varint()));
      if (!packed.good()) fail("is malformed");
    });
    return values;
  }

 private:
  /// Not a single number, which is how a list is stored that is not packed.
  static bool is_bytes(const slim::detail::wire_field& f) { return f.bytes.data() != nullptr; }
  [[noreturn]] void fail(const std::string& what) const {
    throw example_error("feature " + std::string(name_) + " " + what);
  }
  template <class F>
  void for_each(feature_kind wanted, F f) const {
    if (kind_ == feature_kind::none) return;
    if (kind_ != wanted)
      fail("holds " + std::string(name_of(kind_)) + ", not " + std::string(name_of(wanted)));
    slim::detail::wire_message m(list_);
    for (slim::detail::wire_field field; m.next(field);)
      if (field.id == 1) f(field);
    if (!m.good()) fail("is malformed");
  }

  std::string_view name_;
  feature_kind kind_ = feature_kind::none;
  byte_span list_{};
};

namespace detail {

using slim::detail::byte_span;

inline byte_span bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

/// Calls f(key, value's bytes) for every entry of a map<string, message> whose field number is 1;
/// false if the map is malformed.
template <class F>
bool for_each_entry(byte_span map, F f) {
  slim::detail::wire_message entries(map);
  for (slim::detail::wire_field e; entries.next(e);) {
    if (e.id != 1) continue;
    byte_span key, value;
    slim::detail::wire_message entry(e.bytes);
    for (slim::detail::wire_field field; entry.next(field);) {
      if (field.id == 1) key = field.bytes;
      if (field.id == 2) value = field.bytes;
    }
    if (!entry.good()) return false;
    f(std::string_view(reinterpret_cast<const char*>(key.data()), key.size()), value);
  }
  return entries.good();
}

/// The value of `name`: of several the last, as protobuf's maps have it.
template <class T>
const T* find_named(const std::vector<T>& all, std::string_view name) {
  const auto at =
      std::find_if(all.rbegin(), all.rend(), [&](const T& x) { return x.name() == name; });
  return at == all.rend() ? nullptr : &*at;
}

}  // namespace detail

/// The features of an Example in memory that outlives it; nothing is copied.
class features_view {
 public:
  features_view() = default;
  /// From the bytes of a Features message. Throws example_error.
  explicit features_view(slim::detail::byte_span features) { add(features); }
  const feature_view* find(std::string_view name) const {
    return detail::find_named(features_, name);
  }
  /// Throws example_error if there is no such feature.
  const feature_view& at(std::string_view name) const {
    if (const feature_view* f = find(name)) return *f;
    throw example_error("there is no feature " + std::string(name));
  }
  std::span<const feature_view> all() const { return features_; }

 protected:
  /// A message that is there more than once is the sum of all, as in protobuf.
  void add(slim::detail::byte_span features) {
    const bool good = detail::for_each_entry(
        features, [&](std::string_view key, auto value) { features_.emplace_back(key, value); });
    if (!good) throw example_error("the features are malformed");
  }

 private:
  std::vector<feature_view> features_;
};

/// A serialized tf.train.Example.
class example_view : public features_view {
 public:
  /// Throws example_error if the record is none.
  explicit example_view(slim::detail::byte_span record) {
    slim::detail::wire_message m(record);
    for (slim::detail::wire_field f; m.next(f);)
      if (f.id == 1) add(f.bytes);
    if (!m.good()) throw example_error("the record is no tf.train.Example");
  }
  explicit example_view(std::string_view record) : example_view(detail::bytes_of(record)) {}
};

/// One feature of a sequence, step by step.
class feature_list_view {
 public:
  feature_list_view(std::string_view name, slim::detail::byte_span list) : name_(name) {
    slim::detail::wire_message m(list);
    for (slim::detail::wire_field f; m.next(f);)
      if (f.id == 1) steps_.emplace_back(name, f.bytes);
    if (!m.good()) throw example_error("feature list " + std::string(name) + " is malformed");
  }
  std::string_view name() const { return name_; }
  std::span<const feature_view> steps() const { return steps_; }

 private:
  std::string_view name_;
  std::vector<feature_view> steps_;
};

/// A serialized tf.train.SequenceExample, in memory that outlives it.
class sequence_example_view {
 public:
  /// Throws example_error if the record is none.
  explicit sequence_example_view(slim::detail::byte_span record) {
    slim::detail::wire_message m(record);
    bool good = true;
    for (slim::detail::wire_field f; m.next(f);) {
      if (f.id == 1) context_ = features_view(f.bytes);
      if (f.id == 2)
        good = good && detail::for_each_entry(f.bytes, [&](std::string_view key, auto value) {
                 lists_.emplace_back(key, value);
               });
    }
    if (!good || !m.good()) throw example_error("the record is no tf.train.SequenceExample");
  }
  explicit sequence_example_view(std::string_view record)
      : sequence_example_view(detail::bytes_of(record)) {}

  const features_view& context() const { return context_; }
  const feature_list_view* find_list(std::string_view name) const {
    return detail::find_named(lists_, name);
  }

 private:
  features_view context_;
  std::vector<feature_list_view> lists_;
};

namespace detail {

inline std::string serialized(const feature& f) {
  slim::detail::wire_writer list, out;
  if (const auto* bytes = std::get_if<bytes_list>(&f))
    for (const std::string& b : *bytes) list.message(1, b);
  if (const auto* floats = std::get_if<float_list>(&f)) list.packed_fixed<float>(1, *floats);
  if (const auto* numbers = std::get_if<int64_list>(&f)) list.packed_varints(1, *numbers);
  if (f.index() > 0) out.message(static_cast<int>(f.index()), list.bytes());
  return out.bytes();
}

/// map<string, T> as field 1, in the order of keys.
template <class T>
std::string serialized(const std::map<std::string, T>& all);

/// FeatureList.
inline std::string serialized(const std::vector<feature>& steps) {
  slim::detail::wire_writer out;
  for (const feature& f : steps) out.message(1, serialized(f));
  return out.bytes();
}

template <class T>
std::string serialized(const std::map<std::string, T>& all) {
  slim::detail::wire_writer out;
  for (const auto& [key, value] : all) {
    slim::detail::wire_writer entry;
    entry.message(1, key);
    entry.message(2, serialized(value));
    out.message(1, entry.bytes());
  }
  return out.bytes();
}

}  // namespace detail

/// A tf.train.Example to be written. Equal examples give equal bytes.
struct example {
  std::map<std::string, feature> features{};

  std::string serialize() const {
    slim::detail::wire_writer out;
    out.message(1, detail::serialized(features));
    return out.bytes();
  }
};

/// A tf.train.SequenceExample to be written.
struct sequence_example {
  std::map<std::string, feature> context{};
  std::map<std::string, std::vector<feature>> lists{};

  std::string serialize() const {
    slim::detail::wire_writer out;
    out.message(1, detail::serialized(context));
    out.message(2, detail::serialized(lists));
    return out.bytes();
  }
};

}  // namespace slim::data
