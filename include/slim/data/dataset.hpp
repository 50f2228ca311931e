// TF-Slim's Dataset and DatasetDataProvider: where records are, what they hold, and the samples one
// after the other.
//
//   data::dataset flowers{data::get_data_files({"flowers_train-*"}), {}, decoder, 3320,
//                         {{"image", "A colour image."}, {"label", "0 to 4."}}};
//   data::dataset_data_provider provider(flowers, {.seed = 1, .num_epochs = 1});
//   while (provider.next()) {
//     auto items = provider.get({"image", "label", "record_key"});
//     ...
//   }
//
// For many threads, give provider.records() to a data::pipeline, which decodes by the same decoder.
#pragma once

#include <memory>

#include "example_order.hpp"
#include "item.hpp"
#include "record_set.hpp"

namespace slim::data {

/// Makes items of records: any object with list_items() and decode(record, items), such as a
/// tfexample_decoder.
class data_decoder {
 public:
  using items = std::map<std::string, item>;

  template <class Decoder>
  requires(!std::is_same_v<Decoder, data_decoder>) data_decoder(Decoder decoder)
      : decoder_(std::make_shared<const model<Decoder>>(std::move(decoder))) {}

  std::vector<std::string> list_items() const { return decoder_->list_items(); }
  items decode(std::span<const std::byte> record,
               const std::vector<std::string>& wanted = {}) const {
    return decoder_->decode(record, wanted);
  }

 private:
  struct interface {
    virtual ~interface() = default;
    virtual std::vector<std::string> list_items() const = 0;
    virtual items decode(std::span<const std::byte>, const std::vector<std::string>&) const = 0;
  };
  template <class Decoder>
  struct model final : interface {
    explicit model(Decoder d) : decoder(std::move(d)) {}
    std::vector<std::string> list_items() const override { return decoder.list_items(); }
    items decode(std::span<const std::byte> record,
                 const std::vector<std::string>& wanted) const override {
      return decoder.decode(record, wanted);
    }
    Decoder decoder;
  };
  std::shared_ptr<const interface> decoder_;
};

/// What a data set is. What else is known of one (num_classes, say) are members of a struct of its
/// own that derives from this.
struct dataset {
  std::vector<std::string> data_sources;  ///< files and patterns
  record_options reader{};
  data_decoder decoder;
  std::int64_t num_samples = 0;
  std::map<std::string, std::string> items_to_descriptions{};
};

struct provider_options {
  bool shuffle = true;  ///< every epoch in another order; else as the files have them
  std::uint64_t seed = 1;
  std::optional<std::int64_t> num_epochs{};  ///< endless if there is none
  int shard = 0, num_shards = 1;             ///< this reader's part of the records
  std::string record_key = "record_key";     ///< the item that is "<file>:<byte>" of the record
};

/// The samples of a data set one after the other, in an order that follows from the seed alone: a
/// data::pipeline of the same options gives the same.
class dataset_data_provider {
 public:
  /// Throws what get_data_files and record_set throw, and std::invalid_argument if record_key is an
  /// item of the data set, or there are no records.
  explicit dataset_data_provider(dataset d, const provider_options& options = {})
      : dataset_(std::move(d)),
        options_(options),
        records_(get_data_files(dataset_.data_sources), dataset_.reader),
        order_(records_.size(), options.shuffle, options.seed, options.shard, options.num_shards) {
    for (const std::string& name : dataset_.decoder.list_items())
      if (name == options_.record_key)
        throw std::invalid_argument("record_key " + name + " is an item of the data set");
    if (options_.num_shards < 1 || options_.shard < 0 || options_.shard >= options_.num_shards)
      throw std::invalid_argument("shard " + std::to_string(options_.shard) + " of " +
                                  std::to_string(options_.num_shards));
    if (order_.epoch_size() < 1)
      throw std::invalid_argument("there are " + std::to_string(records_.size()) +
                                  " records, too few for this reader");
  }

  /// The items of the data set, and record_key.
  std::vector<std::string> list_items() const {
    std::vector<std::string> names = dataset_.decoder.list_items();
    names.push_back(options_.record_key);
    return names;
  }
  /// What the data set says; records() knows how many records there are.
  std::int64_t num_samples() const { return dataset_.num_samples; }
  const record_set& records() const { return records_; }
  const data_decoder& decoder() const { return dataset_.decoder; }

  /// Goes to the next sample; false after the last epoch's last.
  bool next() {
    if (options_.num_epochs && position_ >= *options_.num_epochs * order_.epoch_size())
      return false;
    ++position_;
    return true;
  }
  /// Those items of the sample, in that order. Throws std::invalid_argument at an item that there
  /// is not, std::logic_error before the first sample, and what the decoder throws.
  std::vector<item> get(const std::vector<std::string>& items) const {
    if (position_ == 0) throw std::logic_error("dataset_data_provider: get() comes after next()");
    const std::int64_t record = order_.record_of(position_ - 1);
    std::vector<std::string> wanted;
    for (const std::string& name : items)
      if (name != options_.record_key) wanted.push_back(name);
    check(wanted);
    data_decoder::items made;
    if (!wanted.empty()) made = dataset_.decoder.decode(records_.record(record), wanted);
    made[options_.record_key] = {bytes_list{records_.key(record)}, {}};
    std::vector<item> all;
    for (const std::string& name : items) all.push_back(made.at(name));
    return all;
  }

  /// Samples that were gone to; seek(position()) in another provider of the same goes on from here.
  std::int64_t position() const { return position_; }
  void seek(std::int64_t position) { position_ = position; }

 private:
  void check(const std::vector<std::string>& wanted) const {
    const std::vector<std::string> known = list_items();
    for (const std::string& name : wanted) {
      if (std::find(known.begin(), known.end(), name) != known.end()) continue;
      std::string valid;
      for (const std::string& k : known) valid += (valid.empty() ? "" : ", ") + k;
      throw std::invalid_argument("item " + name + " is none of " + valid);
    }
  }

  dataset dataset_;
  provider_options options_;
  record_set records_;
  example_order order_;
  std::int64_t position_ = 0;
};

/// The records of some files once, in order, one in memory at a time.
class single_pass_reader {
 public:
  struct keyed_record {
    std::string key;         ///< "<file>:<byte>"
    std::string_view value;  ///< until the next call
  };

  /// Throws std::invalid_argument as get_data_files does.
  explicit single_pass_reader(const std::vector<std::string>& data_sources,
                              compression packing = compression::none)
      : files_(get_data_files(data_sources)), packing_(packing) {}

  /// Throws record_error at a file that cannot be read and at a corrupt record.
  std::optional<keyed_record> next() {
    for (; file_ < files_.size(); ++file_, reader_.reset()) {
      if (!reader_) reader_ = std::make_unique<record_reader>(files_[file_], packing_);
      if (const auto record = reader_->next())
        return keyed_record{files_[file_] + ":" + std::to_string(reader_->offset()), *record};
    }
    return std::nullopt;
  }

 private:
  std::vector<std::string> files_;
  compression packing_;
  std::size_t file_ = 0;
  std::unique_ptr<record_reader> reader_{};
};

/// TF-Slim's name.
inline single_pass_reader single_pass_read(const std::vector<std::string>& data_sources,
                                           compression packing = compression::none) {
  return single_pass_reader(data_sources, packing);
}

}  // namespace slim::data
