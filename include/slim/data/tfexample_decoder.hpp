// TF-Slim's tfexample_decoder: which features an Example has, and the items that handlers make of
// them.
//
//   data::tfexample_decoder decoder(
//       {{"image/encoded", data::fixed_len_feature{{}, data::feature_kind::bytes}},
//        {"image/class/label", data::fixed_len_feature{{}, data::feature_kind::int64s}}},
//       {{"image", data::handlers::image{}}, {"label",
//       data::handlers::tensor{"image/class/label"}}});
//   auto items = decoder.decode(record);      // by name
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "../image.hpp"
#include "features.hpp"

namespace slim::data {

/// Makes an item of features: any function object with keys() and operator().
class item_handler {
 public:
  template <class Handler>
  requires requires(const Handler& h, const parsed_features& f) {
    { h(f) } -> std::convertible_to<item>;
    { h.keys() } -> std::convertible_to<std::vector<std::string>>;
  }
  item_handler(Handler h) : keys_(h.keys()), make_(std::move(h)) {}

  const std::vector<std::string>& keys() const { return keys_; }
  item operator()(const parsed_features& f) const { return make_(f); }

 private:
  std::vector<std::string> keys_;
  std::function<item(const parsed_features&)> make_;
};

namespace handlers {

namespace detail {

inline std::vector<std::int64_t> shape_from(const parsed_features& f,
                                            const std::vector<std::string>& keys) {
  std::vector<std::int64_t> dims;
  for (const std::string& k : keys)
    for (const std::int64_t d : f.at(k).as<std::int64_t>()) dims.push_back(d);
  return dims;
}
inline void refuse_both(const std::string& what, bool keys, bool shape) {
  if (keys && shape) throw example_error(what + ": shape_keys and shape are both given");
}

}  // namespace detail

/// A feature as it is, with other extents if they are given: literally, or by features.
struct tensor {
  std::string tensor_key;
  std::vector<std::string> shape_keys{};
  std::optional<std::vector<std::int64_t>> shape{};

  std::vector<std::string> keys() const {
    std::vector<std::string> all{tensor_key};
    all.insert(all.end(), shape_keys.begin(), shape_keys.end());
    return all;
  }
  item operator()(const parsed_features& f) const {
    detail::refuse_both(tensor_key, !shape_keys.empty(), shape.has_value());
    item values = f.at(tensor_key);
    if (!shape_keys.empty())
      return reshaped(std::move(values), detail::shape_from(f, shape_keys), tensor_key);
    if (shape) return reshaped(std::move(values), *shape, tensor_key);
    return values;
  }
};

/// Strings looked up in a table of numbers; those that are not there give default_value.
struct lookup_tensor {
  std::string tensor_key;
  std::map<std::string, std::int64_t> table;
  std::int64_t default_value = -1;

  std::vector<std::string> keys() const { return {tensor_key}; }
  item operator()(const parsed_features& f) const {
    const item& names = f.at(tensor_key);
    int64_list numbers;
    for (const std::string& name : names.as<std::string>()) {
      const auto found = table.find(name);
      numbers.push_back(found == table.end() ? default_value : found->second);
    }
    return {std::move(numbers), names.dims};
  }
};

/// An encoded image [height, width, channels], 8 bits. The format says nothing unless it is raw or
/// RAW: then the bytes are the pixels, as they are or of `shape`; else JPEG and PNG are told by
/// their first bytes. With `repeated` there may be several of one size: [n, height, width,
/// channels].
struct image {
  std::string image_key = "image/encoded", format_key = "image/format";
  std::optional<std::vector<std::int64_t>> shape{};
  int channels = 3;
  bool repeated = false;

  std::vector<std::string> keys() const { return {image_key, format_key}; }
  /// Throws image_error, and example_error where channels are neither 1 nor 3.
  item operator()(const parsed_features& f) const {
    const bytes_list& files = f.at(image_key).as<std::string>();
    if (files.empty() || (!repeated && files.size() > 1))
      throw example_error(image_key + ": " + std::to_string(files.size()) + " images");
    const auto format = f.find(format_key);
    const bool raw = format != f.end() && format->second.size() > 0 &&
                     (format->second.as<std::string>()[0] == "raw" ||
                      format->second.as<std::string>()[0] == "RAW");
    item all;
    std::vector<std::uint8_t> pixels;
    for (const std::string& file : files) {
      const item one =
          raw ? item{std::vector<std::uint8_t>(file.begin(), file.end()), {std::ssize(file)}}
              : decoded(file);
      const auto& more = one.as<std::uint8_t>();
      pixels.insert(pixels.end(), more.begin(), more.end());
      all.dims = one.dims;
    }
    all.values = std::move(pixels);
    if (repeated) all.dims.insert(all.dims.begin(), std::ssize(files));
    return shape ? reshaped(std::move(all), *shape, image_key)
                 : reshaped(std::move(all), std::vector(all.dims), image_key);
  }

 private:
  item decoded(const std::string& file) const {
    const slim::image rgb = decode_image(std::as_bytes(std::span(file)), image_key);
    const std::vector<std::int64_t> dims{rgb.height, rgb.width, channels};
    if (channels == 3) return {rgb.pixels, dims};
    if (channels != 1) throw example_error(image_key + ": an image has 1 or 3 channels");
    std::vector<std::uint8_t> grey;
    for (std::size_t i = 0; i < rgb.pixels.size(); i += 3) grey.push_back(rgb.pixels[i]);
    return {std::move(grey), dims};
  }
};

/// Boxes [n, 4] of four features of n floats each, in the order of the keys.
struct bounding_box {
  std::vector<std::string> coordinates{"ymin", "xmin", "ymax", "xmax"};
  std::string prefix{};

  std::vector<std::string> keys() const {
    std::vector<std::string> all;
    for (const std::string& c : coordinates) all.push_back(prefix + c);
    return all;
  }
  /// Throws example_error if there are not four keys, or not as many of each.
  item operator()(const parsed_features& f) const {
    if (coordinates.size() != 4)
      throw example_error("bounding_box: " + std::to_string(coordinates.size()) + " keys, not 4");
    const std::size_t n = f.at(keys()[0]).as<float>().size();
    float_list boxes(4 * n);
    for (std::size_t c = 0; c < 4; ++c) {
      const float_list& values = f.at(keys()[c]).as<float>();
      if (values.size() != n)
        throw example_error(keys()[c] + ": " + std::to_string(values.size()) + " values, " +
                            keys()[0] + " has " + std::to_string(n));
      for (std::size_t i = 0; i < n; ++i) boxes[4 * i + c] = values[i];
    }
    return {std::move(boxes), {static_cast<std::int64_t>(n), 4}};
  }
};

/// A dense tensor [size] of values at indices; the others are default_value.
struct sparse_tensor {
  std::string indices_key = "indices", values_key = "values";
  std::int64_t size = 0;
  float default_value = 0;

  std::vector<std::string> keys() const { return {indices_key, values_key}; }
  /// Throws example_error at an index that is not within the size.
  item operator()(const parsed_features& f) const {
    const int64_list& indices = f.at(indices_key).as<std::int64_t>();
    const float_list& values = f.at(values_key).as<float>();
    if (indices.size() != values.size())
      throw example_error(indices_key + ": " + std::to_string(indices.size()) + " indices of " +
                          std::to_string(values.size()) + " values");
    float_list dense(static_cast<std::size_t>(size), default_value);
    for (std::size_t i = 0; i < indices.size(); ++i) {
      if (indices[i] < 0 || indices[i] >= size)
        throw example_error(indices_key + ": index " + std::to_string(indices[i]) +
                            " is not within " + std::to_string(size));
      dense[static_cast<std::size_t>(indices[i])] = values[i];
    }
    return {std::move(dense), {size}};
  }
};

/// What another handler makes where the first one's item is empty.
struct backup {
  item_handler handler, other;

  std::vector<std::string> keys() const {
    std::vector<std::string> all = handler.keys();
    all.insert(all.end(), other.keys().begin(), other.keys().end());
    return all;
  }
  item operator()(const parsed_features& f) const {
    item made = handler(f);
    return made.size() > 0 ? made : other(f);
  }
};

/// A function of the caller's.
struct callback {
  std::vector<std::string> names;
  std::function<item(const parsed_features&)> function;

  const std::vector<std::string>& keys() const { return names; }
  item operator()(const parsed_features& f) const { return function(f); }
};

}  // namespace handlers

/// Items by name, from records of tf.train.Examples.
class tfexample_decoder {
 public:
  /// Throws example_error if a handler reads a feature that is not listed, but for the optional
  /// format of an image.
  tfexample_decoder(keys_to_features features, std::map<std::string, item_handler> handlers)
      : features_(std::move(features)), handlers_(std::move(handlers)) {
    for (const auto& [name, handler] : handlers_)
      for (const std::string& key : handler.keys())
        if (!features_.contains(key) && !key.ends_with("/format"))
          throw example_error("item " + name + " reads feature " + key + ", which is not listed");
  }

  std::vector<std::string> list_items() const {
    std::vector<std::string> names;
    for (const auto& [name, handler] : handlers_) names.push_back(name);
    return names;
  }
  /// Those items of a record; all if none are named. Throws example_error and image_error.
  std::map<std::string, item> decode(slim::detail::byte_span record,
                                     const std::vector<std::string>& items = {}) const {
    const parsed_features parsed = parse(example_view(record), features_);
    std::map<std::string, item> made;
    for (const std::string& name : items.empty() ? list_items() : items) {
      const auto handler = handlers_.find(name);
      if (handler == handlers_.end()) throw example_error("there is no item " + name);
      made.emplace(name, handler->second(parsed));
    }
    return made;
  }

 private:
  keys_to_features features_;
  std::map<std::string, item_handler> handlers_;
};

}  // namespace slim::data
