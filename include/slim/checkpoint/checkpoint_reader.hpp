// Reads TensorFlow's checkpoints, V2 and V1, from files or from memory.
#pragma once

#include "bundle.hpp"
#include "checkpoint_state.hpp"
#include "mapped_file.hpp"
#include "saved_slices.hpp"

namespace slim {

/// A checkpoint of TensorFlow, open for reading.
///
///   checkpoint_reader reader("vgg_16.ckpt");
///   for (const tensor_info& t : reader.tensors()) ...
///   std::vector<float> biases = reader.read<float>("vgg_16/fc8/biases");
///
/// Files are mapped, and must not shrink while a reader is open. Every byte that is read is
/// verified against its checksum first.
class checkpoint_reader : public tensor_reader {
 public:
  /// What tf.train.Saver calls a checkpoint: the prefix of a V2 one (PREFIX.index and
  /// PREFIX.data-?????-of-?????), a V1 file, the prefix of V1 shards (PREFIX-?????-of-?????), or a
  /// folder whose `checkpoint` file names the latest. Throws checkpoint_error.
  explicit checkpoint_reader(const std::string& path) : tensor_reader(open(path)) {}

  /// A V2 checkpoint in memory that outlives the reader: the bytes of PREFIX.index and of each
  /// shard. `name` stands in messages.
  checkpoint_reader(std::span<const std::byte> index, std::vector<std::span<const std::byte>> data,
                    const std::string& name = "checkpoint in memory")
      : tensor_reader(bundle_in(index, data, name)) {}
  checkpoint_reader(std::span<const std::byte> index, std::span<const std::byte> data,
                    const std::string& name = "checkpoint in memory")
      : checkpoint_reader(index, std::vector{data}, name) {}

  /// A V1 checkpoint in memory that outlives the reader.
  explicit checkpoint_reader(std::span<const std::byte> file,
                             const std::string& name = "checkpoint in memory")
      : tensor_reader(std::make_shared<detail::saved_slices_archive>(
            name, std::vector<detail::saved_slices_archive::source>{{file, name, nullptr}})) {}

 private:
  using archive = std::shared_ptr<const detail::tensor_archive>;

  static archive open(const std::string& path) {
    namespace fs = std::filesystem;
    std::error_code fault;
    if (!fs::is_directory(path, fault) || fs::exists(path + ".index", fault))
      return open_prefix(path);
    const std::optional<std::string> latest = latest_checkpoint(path);
    if (!latest) throw checkpoint_error(path, "", "has no file `checkpoint` that names one");
    return open_prefix(*latest);
  }

  static archive open_prefix(const std::string& path) {
    namespace fs = std::filesystem;
    std::error_code fault;
    if (fs::exists(path + ".index", fault)) return open_bundle(path);
    if (fs::exists(path, fault)) return open_v1({path}, path);
    const std::vector<std::string> shards = v1_shards(path);
    if (!shards.empty()) return open_v1(shards, path);
    throw checkpoint_error(
        path, "",
        "there is no such checkpoint: neither " + path + ".index nor a file of that name");
  }

  /// "-00001-of-00004", as TensorFlow names shards.
  static std::string shard_suffix(std::uint64_t i, std::uint64_t count) {
    char suffix[64];
    std::snprintf(suffix, sizeof suffix, "-%05llu-of-%05llu", static_cast<unsigned long long>(i),
                  static_cast<unsigned long long>(count));
    return suffix;
  }

  static archive open_bundle(const std::string& prefix) {
    const std::string index_path = prefix + ".index";
    detail::bundle_index index(detail::mapped_file(index_path).bytes(), index_path);
    std::vector<detail::bundle_archive::shard> shards;
    for (std::uint64_t i = 0; i < index.shards; ++i) {
      const std::string path = prefix + ".data" + shard_suffix(i, index.shards);
      auto file = std::make_shared<detail::mapped_file>(path);
      shards.push_back({file->bytes(), path, file});
    }
    return std::make_shared<detail::bundle_archive>(std::move(index), prefix, std::move(shards));
  }

  static archive bundle_in(std::span<const std::byte> bytes,
                           const std::vector<std::span<const std::byte>>& data,
                           const std::string& name) {
    detail::bundle_index index(bytes, name);
    if (index.shards != data.size())
      throw checkpoint_error(name, "",
                             "has " + std::to_string(index.shards) + " shards, " +
                                 std::to_string(data.size()) + " were given");
    std::vector<detail::bundle_archive::shard> shards;
    for (const std::span<const std::byte> shard : data) shards.push_back({shard, name, nullptr});
    return std::make_shared<detail::bundle_archive>(std::move(index), name, std::move(shards));
  }

  static archive open_v1(const std::vector<std::string>& paths, const std::string& name) {
    std::vector<detail::saved_slices_archive::source> sources;
    for (const std::string& path : paths) {
      auto file = std::make_shared<detail::mapped_file>(path);
      if (!detail::sorted_table::is_table(file->bytes()))
        throw checkpoint_error(path, "",
                               "is not a checkpoint, or truncated: it does not end as one does");
      sources.push_back({file->bytes(), path, file});
    }
    return std::make_shared<detail::saved_slices_archive>(name, std::move(sources));
  }

  /// The files of a sharded V1 checkpoint: none unless there is one whose name tells their number.
  static std::vector<std::string> v1_shards(const std::string& prefix) {
    namespace fs = std::filesystem;
    const fs::path path(prefix);
    const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
    const std::string first = path.filename().string() + "-00000-of-";
    std::vector<std::string> shards;
    std::error_code fault;
    for (const fs::directory_entry& e : fs::directory_iterator(folder, fault)) {
      const std::string name = e.path().filename().string();
      if (name.size() != first.size() + 5 || name.compare(0, first.size(), first) != 0) continue;
      const std::string digits = name.substr(first.size());
      if (digits.find_first_not_of("0123456789") != std::string::npos) continue;
      const auto count = static_cast<std::uint64_t>(std::stoul(digits));
      for (std::uint64_t i = 0; i < count; ++i) shards.push_back(prefix + shard_suffix(i, count));
      break;
    }
    return shards;
  }
};

}  // namespace slim
