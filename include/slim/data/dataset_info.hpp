// The names of a data set's classes: labels.txt, a line "number:name" each, as TF-Slim's data sets
// have it.
#pragma once

#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "record_error.hpp"

namespace slim::data {

using label_map = std::map<std::int64_t, std::string>;

namespace detail {
inline std::string label_path(const std::string& folder, const std::string& file) {
  return (std::filesystem::path(folder) / file).string();
}
}  // namespace detail

inline bool has_labels(const std::string& folder, const std::string& file = "labels.txt") {
  return std::filesystem::exists(detail::label_path(folder, file));
}

/// Throws record_error if the file cannot be written, or a name is no single line.
inline void write_label_file(const label_map& labels, const std::string& folder,
                             const std::string& file = "labels.txt") {
  const std::string path = detail::label_path(folder, file);
  std::ofstream out(path, std::ios::binary);
  for (const auto& [number, name] : labels) {
    if (name.find('\n') != name.npos || name.ends_with('\r'))
      throw record_error(path, "the name of class " + std::to_string(number) + " is no line");
    out << number << ":" << name << "\n";
  }
  out.close();
  if (!out) throw record_error(path, "cannot be written");
}

/// Throws record_error, which names the line, if the file cannot be read or a line is no number, a
/// colon and a name.
inline label_map read_label_file(const std::string& folder,
                                 const std::string& file = "labels.txt") {
  const std::string path = detail::label_path(folder, file);
  std::ifstream in(path, std::ios::binary);
  if (!in) throw record_error(path, "cannot be opened");
  label_map labels;
  int number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    while (line.ends_with('\r')) line.pop_back();  // written by a system that ends lines so
    if (line.empty()) continue;
    const std::size_t colon = line.find(':');
    std::size_t read = 0;
    std::int64_t label = 0;
    try {
      label = std::stoll(line, &read);
    } catch (const std::exception&) {
    }
    if (colon == line.npos || read == 0 || read != colon)
      throw record_error(path, "line " + std::to_string(number) + " is no number, colon and name");
    labels[label] = line.substr(colon + 1);
  }
  if (in.bad()) throw record_error(path, "cannot be read");
  return labels;
}

}  // namespace slim::data
