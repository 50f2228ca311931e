// TF-Slim's tfexample_decoder: which features an Example has, and the items that handlers make of
// them.
//
//   data::tfexample_decoder decoder(
//       {{"image/encoded", data::fixed_len_feature{{}, data::feature_kind::bytes}},
//        {"image/format", data::fixed_len_feature{{}, data::feature_kind::bytes,
//                                                 data::bytes_list{"jpeg"}}},
//        {"image/class/label", data::fixed_len_feature{{}, data::feature_kind::int64s}}},
//       {{"image", data::handlers::image{}},
//        {"label", data::handlers::tensor{"image/class/label"}}});
//   auto items = decoder.decode(record);      // by name
#pragma once

#include "image_handler.hpp"
#include "sequence_handlers.hpp"

namespace slim::data {

using items_to_handlers = std::map<std::string, item_handler>;
using items_by_name = std::map<std::string, item>;

namespace detail {

/// The items that handlers make.
class item_decoder {
 public:
  std::vector<std::string> list_items() const {
    std::vector<std::string> names;
    for (const auto& [name, handler] : handlers_) names.push_back(name);
    return names;
  }

 protected:
  /// Throws std::invalid_argument if a handler reads a feature that is not listed.
  template <class Listed>
  item_decoder(items_to_handlers handlers, Listed is_listed) : handlers_(std::move(handlers)) {
    for (const auto& [name, handler] : handlers_)
      for (const std::string& key : handler.keys())
        if (!is_listed(key))
          throw std::invalid_argument("item " + name + " reads feature " + key +
                                      ", which is not listed");
  }
  items_by_name made_of(const parsed_features& parsed,
                        const std::vector<std::string>& items) const {
    items_by_name made;
    for (const std::string& name : items.empty() ? list_items() : items) {
      const auto handler = handlers_.find(name);
      if (handler == handlers_.end()) throw std::invalid_argument("there is no item " + name);
      made.emplace(name, handler->second(parsed));
    }
    return made;
  }

 private:
  items_to_handlers handlers_;
};

}  // namespace detail

/// Items by name, from records of tf.train.Examples. Decoding is safe from many threads at once if
/// the handlers are, as the library's are.
class tfexample_decoder : public detail::item_decoder {
 public:
  /// Throws std::invalid_argument if a handler reads a feature that is not listed.
  tfexample_decoder(keys_to_features features, items_to_handlers handlers)
      : item_decoder(std::move(handlers), [&](auto& key) { return features.contains(key); }),
        features_(std::move(features)) {}

  /// Those items of a record; all if none are named. Throws example_error and image_error where the
  /// record does not hold them, std::invalid_argument at an item that there is not.
  items_by_name decode(slim::detail::byte_span record,
                       const std::vector<std::string>& items = {}) const {
    return made_of(parse(example_view(record), features_), items);
  }

 private:
  keys_to_features features_;
};

/// Items by name, from records of tf.train.SequenceExamples.
class tfsequence_example_decoder : public detail::item_decoder {
 public:
  /// Throws std::invalid_argument if a handler reads a feature that is not listed, or one is listed
  /// both for the context and for steps.
  tfsequence_example_decoder(keys_to_features context, keys_to_sequence_features steps,
                             items_to_handlers handlers)
      : item_decoder(std::move(handlers),
                     [&](auto& key) { return context.contains(key) || steps.contains(key); }),
        context_(std::move(context)),
        steps_(std::move(steps)) {
    for (const auto& [name, spec] : steps_)
      if (context_.contains(name))
        throw std::invalid_argument("feature " + name + " is listed for the context and for steps");
  }

  /// As tfexample_decoder's.
  items_by_name decode(slim::detail::byte_span record,
                       const std::vector<std::string>& items = {}) const {
    return made_of(parse(sequence_example_view(record), context_, steps_), items);
  }

 private:
  keys_to_features context_;
  keys_to_sequence_features steps_;
};

}  // namespace slim::data
