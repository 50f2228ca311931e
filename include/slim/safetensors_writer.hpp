// Writes safetensors: the variables of a model, or any tensors. Needs nlohmann/json, as reading
// them (safetensors.hpp).
//
//   save_safetensors(m, "lenet.safetensors");
#pragma once

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>

#include <nlohmann/json.hpp>

#include "checkpoint/sync.hpp"
#include "restore.hpp"

namespace slim {

/// A tensor to be written: numbers in memory of the caller's, row-major.
struct safetensors_tensor {
  template <class T>
  safetensors_tensor(const stored_shape& shape, std::span<const T> elements)
      : type(type_of<T>()), dims(shape), bytes(std::as_bytes(elements)) {}
  safetensors_tensor(tensor_type t, const stored_shape& shape, std::span<const std::byte> elements)
      : type(t), dims(shape), bytes(elements) {}

  tensor_type type;
  stored_shape dims;
  std::span<const std::byte> bytes;
};

namespace detail {

inline std::string_view safetensors_name(tensor_type type) {
  for (const tensor_type_row& row : tensor_type_rows)
    if (row.type == type) return row.safetensors;
  return "";
}

/// Names in the order of the file, which is that of the format's own library: wide types first, so
/// that all are aligned.
inline std::vector<std::string> safetensors_order(
    const std::map<std::string, safetensors_tensor>& tensors) {
  std::vector<std::string> names;
  for (const auto& t : tensors) names.push_back(t.first);
  std::stable_sort(names.begin(), names.end(), [&](const auto& a, const auto& b) {
    return size_of(tensors.at(a).type) > size_of(tensors.at(b).type);
  });
  return names;
}

inline std::string safetensors_header_text(const std::map<std::string, safetensors_tensor>& tensors,
                                           const std::vector<std::string>& names,
                                           const std::map<std::string, std::string>& metadata) {
  std::string text = "{";
  if (!metadata.empty()) text += "\"__metadata__\":" + nlohmann::json(metadata).dump();
  std::size_t offset = 0;
  for (const std::string& name : names) {
    const safetensors_tensor& t = tensors.at(name);
    text += (text.size() > 1 ? "," : "") + nlohmann::json(name).dump() + ":{\"dtype\":\"" +
            std::string(safetensors_name(t.type)) + "\",\"shape\":" + text_of(t.dims) +
            ",\"data_offsets\":[" + std::to_string(offset) + "," +
            std::to_string(offset + t.bytes.size()) + "]}";
    offset += t.bytes.size();
  }
  text += "}";
  text.resize((text.size() + 7) / 8 * 8, ' ');  // what follows is aligned
  return text;
}

}  // namespace detail

/// Writes tensors under their names, and what there is to say of them. A kill at any instant leaves
/// the file that was there, or the new one whole. Throws checkpoint_error: elements that are not as
/// many as a shape says, names that are not UTF-8, a file that cannot be written; then the file
/// that was there is untouched.
inline void write_safetensors(const std::string& path,
                              const std::map<std::string, safetensors_tensor>& tensors,
                              const std::map<std::string, std::string>& metadata = {}) {
  namespace fs = std::filesystem;
  for (const auto& [name, t] : tensors) {
    const std::optional<std::int64_t> count = element_count(t.dims);
    if (!count || static_cast<std::size_t>(*count * size_of(t.type)) != t.bytes.size())
      throw checkpoint_error(path, name,
                             std::to_string(t.bytes.size()) + " bytes are no " + name_of(t.type) +
                                 " of shape " + text_of(t.dims));
    if (detail::safetensors_name(t.type).empty() || name == "__metadata__")
      throw checkpoint_error(path, name, "safetensors cannot hold this");
  }
  const std::vector<std::string> names = detail::safetensors_order(tensors);
  std::string header;
  try {
    header = detail::safetensors_header_text(tensors, names, metadata);
  } catch (const nlohmann::json::exception& e) {
    throw checkpoint_error(path, "", std::string("a name is no UTF-8: ") + e.what());
  }
  const std::string temporary = path + ".tempstate";
  std::ofstream file(temporary, std::ios::binary | std::ios::trunc);
  const std::uint64_t size = header.size();
  file.write(reinterpret_cast<const char*>(&size), sizeof size);
  file << header;
  for (const std::string& name : names) {
    const auto bytes = tensors.at(name).bytes;
    file.write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
  }
  file.close();
  std::error_code fault;
  const bool written = file && detail::sync_to_disk(temporary);
  if (written) fs::rename(temporary, path, fault);
  if (written && !fault) return;
  fs::remove(temporary, fault);
  throw checkpoint_error(path, "", "cannot be written");
}

/// Writes every variable of the model under its own name. Throws checkpoint_error.
template <class Model>
void save_safetensors(Model& m, const std::string& path) {
  using T = typename Model::element_type;
  std::map<std::string, safetensors_tensor> tensors;
  for (const auto& v : detail::saved_variables(m))
    tensors.emplace(v.name, safetensors_tensor(stored_shape_of(v.values.dims),
                                               std::span<const T>(v.values.span())));
  write_safetensors(path, tensors);
}

}  // namespace slim
