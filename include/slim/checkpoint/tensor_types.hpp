// What files of named tensors hold: element types, shapes, and the error of a bad file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "../eigen.hpp"
#include "../error.hpp"

namespace slim {

/// A fault in a file of tensors, or one that does not fit the model: names file, variable and
/// fault.
class checkpoint_error : public error {
 public:
  checkpoint_error(std::string file, std::string variable, std::string fault)
      : error(file + ": " + (variable.empty() ? "" : variable + ": ") + fault),
        file_(std::move(file)),
        variable_(std::move(variable)),
        fault_(std::move(fault)) {}

  const std::string& file() const { return file_; }
  /// Empty if the fault is not one variable's.
  const std::string& variable() const { return variable_; }
  const std::string& fault() const { return fault_; }

 private:
  std::string file_, variable_, fault_;
};

/// Element types by TensorFlow's numbers. A file may hold others: they are listed, and not read.
enum class tensor_type : int {
  unknown = 0,
  float32 = 1,
  float64 = 2,
  int32 = 3,
  uint8 = 4,
  int16 = 5,
  int8 = 6,
  string = 7,
  int64 = 9,
  boolean = 10,
  bfloat16 = 14,
  uint16 = 17,
  float16 = 19,
  uint32 = 22,
  uint64 = 23
};

namespace detail {

/// What is known of an element type.
struct tensor_type_row {
  tensor_type type;
  std::string_view name;
  int bytes;                     // 0: not of a fixed width, or not read
  std::string_view safetensors;  // the format's name, if it has the type
};
inline constexpr tensor_type_row tensor_type_rows[] = {
    {tensor_type::float32, "float32", 4, "F32"},    {tensor_type::float64, "float64", 8, "F64"},
    {tensor_type::float16, "float16", 2, "F16"},    {tensor_type::bfloat16, "bfloat16", 2, "BF16"},
    {tensor_type::int8, "int8", 1, "I8"},           {tensor_type::int16, "int16", 2, "I16"},
    {tensor_type::int32, "int32", 4, "I32"},        {tensor_type::int64, "int64", 8, "I64"},
    {tensor_type::uint8, "uint8", 1, "U8"},         {tensor_type::uint16, "uint16", 2, "U16"},
    {tensor_type::uint32, "uint32", 4, "U32"},      {tensor_type::uint64, "uint64", 8, "U64"},
    {tensor_type::boolean, "bool", 1, "BOOL"},      {tensor_type::string, "string", 0, ""}};

}  // namespace detail

/// Bytes of an element; 0 for strings and for types that are not read.
constexpr int size_of(tensor_type type) {
  for (const detail::tensor_type_row& row : detail::tensor_type_rows)
    if (row.type == type) return row.bytes;
  return 0;
}

inline std::string name_of(tensor_type type) {
  for (const detail::tensor_type_row& row : detail::tensor_type_rows)
    if (row.type == type) return std::string(row.name);
  return "type " + std::to_string(static_cast<int>(type));
}

constexpr bool is_floating(tensor_type type) {
  return type == tensor_type::float32 || type == tensor_type::float64 ||
         type == tensor_type::float16 || type == tensor_type::bfloat16;
}

/// The number of a C++ element type.
template <class T>
constexpr tensor_type type_of() {
  if constexpr (std::is_same_v<T, float>) return tensor_type::float32;
  if constexpr (std::is_same_v<T, double>) return tensor_type::float64;
  if constexpr (std::is_same_v<T, std::int8_t>) return tensor_type::int8;
  if constexpr (std::is_same_v<T, std::int16_t>) return tensor_type::int16;
  if constexpr (std::is_same_v<T, std::int32_t>) return tensor_type::int32;
  if constexpr (std::is_same_v<T, std::int64_t>) return tensor_type::int64;
  if constexpr (std::is_same_v<T, std::uint8_t>) return tensor_type::uint8;
  if constexpr (std::is_same_v<T, std::uint16_t>) return tensor_type::uint16;
  if constexpr (std::is_same_v<T, std::uint32_t>) return tensor_type::uint32;
  if constexpr (std::is_same_v<T, std::uint64_t>) return tensor_type::uint64;
  if constexpr (std::is_same_v<T, bool>) return tensor_type::boolean;
  if constexpr (std::is_same_v<T, Eigen::half>) return tensor_type::float16;
  if constexpr (std::is_same_v<T, Eigen::bfloat16>) return tensor_type::bfloat16;
  return tensor_type::unknown;
}

/// Extents of a tensor in a file: any rank, any size.
using stored_shape = std::vector<std::int64_t>;

/// The number of elements, if the extents are not negative and their product can be told.
inline std::optional<std::int64_t> element_count(const stored_shape& dims) {
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max() / 16;  // bytes fit, too
  bool empty = false;
  for (std::int64_t d : dims) {
    if (d < 0) return std::nullopt;
    empty = empty || d == 0;
  }
  if (empty) return 0;
  std::int64_t product = 1;
  for (std::int64_t d : dims) {
    if (d > most / product) return std::nullopt;
    product *= d;
  }
  return product;
}

/// "[3,3,64,128]"
inline std::string text_of(const stored_shape& dims) {
  std::string out = "[";
  for (std::size_t i = 0; i < dims.size(); ++i) out += (i ? "," : "") + std::to_string(dims[i]);
  return out + "]";
}

/// A tensor in a file.
struct tensor_info {
  std::string name;
  tensor_type type = tensor_type::unknown;
  stored_shape dims;

  std::int64_t count() const { return element_count(dims).value_or(0); }
};

namespace detail {

using byte_span = std::span<const std::byte>;

inline byte_span bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }
inline std::string_view characters(byte_span bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace detail
}  // namespace slim
