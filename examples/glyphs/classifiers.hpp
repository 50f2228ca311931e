// TF-Slim's small nets as classifiers of glyphs, and how well they know those that are held out.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <slim/metrics.hpp>
#include <slim/model.hpp>
#include <slim/nets/cifarnet.hpp>
#include <slim/nets/lenet.hpp>

#include "input.hpp"

namespace glyphs {

inline constexpr int batch = 64, classes = 10;

/// A kind of classifier: its net, the pictures it takes, and how a record becomes one.
struct lenet {
  static constexpr int size = slim::nets::lenet_default_image_size, channels = 1;
  using net = slim::nets::lenet_arg_scope<slim::nets::lenet<slim::num_classes{classes}>>;
  using decode = decode_glyph<size, channels, centred>;
};
struct cifarnet {
  static constexpr int size = slim::nets::cifarnet_default_image_size, channels = 3;
  using net = slim::nets::cifarnet_arg_scope<slim::nets::cifarnet<slim::num_classes{classes}>>;
  using decode = decode_glyph<size, channels, standardized>;
};

template <class Kind>
using pictures = slim::input<batch, Kind::size, Kind::size, Kind::channels>;
/// To be trained, and to classify alone.
template <class Kind, class Device>
using trainer = slim::model<typename Kind::net, pictures<Kind>, slim::labels<batch>,
                            slim::sparse_softmax_cross_entropy<>, Device>;
template <class Kind, class Device>
using classifier = slim::model<typename Kind::net, pictures<Kind>, Device>;

template <class Kind>
using batches = slim::data::pipeline<slim::data::record_set, typename Kind::decode, float, int>;

/// Batches of a split without an end in an order that follows from the seed or, without one, a
/// single pass over all of it.
template <class Kind>
batches<Kind> read_batches(const slim::data::record_set& records, int threads,
                           std::optional<std::uint64_t> seed = {}) {
  slim::data::pipeline_options o{
      .batch_size = batch, .shuffle = seed.has_value(), .threads = threads};
  if (seed)
    o.seed = *seed;
  else
    o.num_epochs = 1, o.allow_smaller_final_batch = true;
  return {records, o, {}, {Kind::size, Kind::size, Kind::channels}, {}};
}

/// The pictures that are held out, pass by pass, and what a model makes of them.
template <class Kind>
class held_out {
 public:
  held_out(const std::string& folder, int threads)
      : records_(read_split(folder, "test")), batches_(read_batches<Kind>(records_, threads)) {}

  /// Begins a pass.
  void reset() {
    batches_.seek(0);
    accuracy_.reset(), among_two_.reset(), confusion_.reset();
  }
  /// How many steps a pass has.
  int steps() const { return static_cast<int>(batches_.batches()); }
  /// Classifies a batch.
  template <class Model>
  void step(Model& m) {
    const auto [images, labels] = batches_.next()->inputs();
    pictures_ = images;
    const auto logits = m.forward(images);
    const std::vector<int> found = slim::metrics::argmax(logits, classes);
    accuracy_.update(found, labels);
    among_two_.update(logits.span(), labels);
    confusion_.update(found, labels);
  }
  template <class Model>
  double accuracy_of(Model& m) {
    reset();
    for (int i = 0; i < steps(); ++i) step(m);
    return accuracy_.value();
  }

  /// What is known of this pass so far, by name.
  std::map<std::string, double> values() const {
    return {{"accuracy", accuracy_.value()}, {"recall_at_2", among_two_.value()}};
  }
  const slim::metrics::confusion_matrix& confusion() const { return confusion_; }
  /// Those that were classified last, until the next step.
  std::span<const float> pictures() const { return pictures_; }

 private:
  slim::data::record_set records_;
  batches<Kind> batches_;
  std::span<const float> pictures_{};
  slim::metrics::streaming_accuracy accuracy_;
  slim::metrics::streaming_recall_at_k among_two_{classes, 2};
  slim::metrics::confusion_matrix confusion_{classes};
};

}  // namespace glyphs
