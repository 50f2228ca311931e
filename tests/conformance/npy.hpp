// Arrays in .npy files, as the probe's inputs are: little-endian, C order, versions 1 to 3 of
// numpy.lib.format. (xtensor reads them too, but clang 19 does not compile Debian's.)
#pragma once

#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <regex>
#include <string>
#include <vector>

#include <slim/error.hpp>

namespace slim_probe {

template <class T>
struct npy_array {
  std::vector<std::size_t> shape;
  std::vector<T> values;
};

namespace detail {

/// Takes the shape out of the text of a header, "(2, 224, 224, 3)" or "(2,)"; false if it is too
/// large to be in a file of this size.
inline bool parse_extents(const std::string& text, std::size_t limit,
                          std::vector<std::size_t>& shape, std::size_t& count) {
  static const std::regex number("[0-9]+");
  count = 1;
  for (std::sregex_iterator i(text.begin(), text.end(), number), end; i != end; ++i) {
    if (i->str().size() > 9) return false;
    shape.push_back(std::stoul(i->str()));
    count *= shape.back();
    if (count > limit) return false;
  }
  return true;
}

}  // namespace detail

/// The array in a file. Throws slim::error, which names the file, if it is not a whole array of
/// elements that NumPy calls `type`: "<f4", "<i4".
template <class T>
npy_array<T> read_npy(const std::string& path, const std::string& type) {
  const auto fail = [&](const std::string& fault) {
    throw slim::error(path + ": is no .npy file of " + type + ": " + fault);
  };
  std::ifstream in(path, std::ios::binary);
  if (!in) fail("cannot be opened");
  const std::string file(std::istreambuf_iterator<char>(in), {});
  const std::size_t version = file.size() < 12 ? 0 : static_cast<unsigned char>(file[6]);
  if (file.compare(0, 6, "\x93NUMPY") != 0 || version < 1 || version > 3) fail("another format");

  std::uint32_t length = 0;  // of 2 bytes in version 1, of 4 thereafter
  const std::size_t width = version == 1 ? 2 : 4, start = 8 + width;
  std::memcpy(&length, file.data() + 8, width);
  if (length > file.size() - start || length > 10000) fail("truncated");
  const std::string header = file.substr(start, length);
  static const std::regex form(
      R"re(\{'descr': '([^']*)', 'fortran_order': (True|False), 'shape': \(([0-9, ]*)\), \}\s*)re");
  std::smatch parts;
  if (!std::regex_match(header, parts, form)) fail("malformed header");
  if (parts[1] != type) fail("it holds " + parts[1].str());
  if (parts[2] == "True") fail("it is in Fortran's order");

  npy_array<T> array;
  std::size_t count = 0;
  const std::size_t bytes = file.size() - start - length;
  if (!detail::parse_extents(parts[3].str(), bytes / sizeof(T), array.shape, count))
    fail("truncated");
  if (count * sizeof(T) != bytes) fail("more bytes than its shape says");
  array.values.resize(count);
  if (count > 0) std::memcpy(array.values.data(), file.data() + start + length, bytes);
  return array;
}

}  // namespace slim_probe
