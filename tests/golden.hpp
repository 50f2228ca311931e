// Answers of the real TF-Slim, as tests read them (tests/oracle/README.md says how they were made).
//
// Inputs are never stored: uniform(name, count) gives the same floats here and in make_golden.py.
// Answers are stored in full, or, where they are large, as a digest: norm, projections, samples.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <map>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace slim_test {

/// A missing or malformed file, or a record that lacks what a test asks for; names the file.
struct golden_error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// ---- numbers that follow from names -----------------------------------------------------------

/// FNV-1a, 64 bits, of the name's bytes.
constexpr std::uint64_t fnv1a64(std::string_view name) {
  std::uint64_t h = 0xCBF29CE484222325u;
  for (char c : name) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  return h;
}

/// The i-th output of splitmix64 seeded with fnv1a64(name) = `seed`.
constexpr std::uint64_t hash_at(std::uint64_t seed, std::uint64_t i) {
  std::uint64_t z = seed + (i + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

/// The top 24 bits of a hash as a float in [-1, 1): a multiple of 2^-23, hence exact.
constexpr float unit_float(std::uint64_t z) {
  return static_cast<float>(z >> 40) * 0x1p-23f - 1.0f;
}

/// `count` values in [-1, 1); element i belongs to flat row-major index i.
inline std::vector<float> uniform(std::string_view name, std::size_t count) {
  std::vector<float> out(count);
  const std::uint64_t seed = fnv1a64(name);
  for (std::size_t i = 0; i < count; ++i) out[i] = unit_float(hash_at(seed, i));
  return out;
}

/// uniform rounded down to multiples of 0.25, so that values repeat: inputs of records that say
/// quantised=1.
inline std::vector<float> quantised(std::string_view name, std::size_t count) {
  std::vector<float> out = uniform(name, count);
  for (float& v : out) v = std::floor(v * 4.0f) * 0.25f;
  return out;
}

/// Product of extents; 1 for a scalar.
inline std::size_t volume(std::span<const int> dims) {
  std::size_t n = 1;
  for (int d : dims) n *= static_cast<std::size_t>(d);
  return n;
}

/// The value vgg_a.bin gives a network's variable: weights (rank > 1) are uniform(name) times
/// sqrt(6 / fan_in), biases 0.1 uniform(name); every product rounded to float.
inline std::vector<float> variable_value(std::string_view name, std::span<const int> dims) {
  float scale = 0.1f;
  if (dims.size() > 1) {
    const auto fan_in = static_cast<double>(volume(dims.first(dims.size() - 1)));
    scale = static_cast<float>(std::sqrt(6.0 / fan_in));
  }
  std::vector<float> out = uniform(name, volume(dims));
  for (float& v : out) v *= scale;
  return out;
}

// ---- digests ----------------------------------------------------------------------------------

/// What is kept of a large tensor t.  projections[j] = sum_i t[i] * (bit j of z_i ? 1 : -1), where
/// z_i is hash i of the name "projection"; samples[m] = t[(z >> 11) mod size], where z is hash m of
/// the name "samples/<tensor name>".
struct digest {
  double norm = 0;  // 2-norm
  std::array<double, 8> projections{};
  std::array<double, 16> samples{};
};

/// The digest of a tensor (size > 0), summed in double.
template <class T>
digest make_digest(std::string_view name, std::span<const T> t) {
  if (t.empty()) throw golden_error("make_digest: " + std::string(name) + " is empty");
  digest d;
  const std::uint64_t signs = fnv1a64("projection");
  for (std::size_t i = 0; i < t.size(); ++i) {
    const auto v = static_cast<double>(t[i]);
    const std::uint64_t z = hash_at(signs, i);
    d.norm += v * v;
    for (std::size_t j = 0; j < 8; ++j) d.projections[j] += (z >> j & 1) != 0 ? v : -v;
  }
  d.norm = std::sqrt(d.norm);
  const std::uint64_t places = fnv1a64("samples/" + std::string(name));
  for (std::size_t m = 0; m < 16; ++m) {
    d.samples[m] = static_cast<double>(t[(hash_at(places, m) >> 11) % t.size()]);
  }
  return d;
}

/// Estimate of |want - got| / |want| in the 2-norm: a projection of the difference is a sum with
/// random signs, so its mean square is the difference's squared norm (8 of them: within a factor of
/// about 1.5).  Absolute where `want` is zero.
inline double distance(const digest& want, const digest& got) {
  double squares = 0;
  for (std::size_t j = 0; j < 8; ++j) {
    squares += std::pow(want.projections[j] - got.projections[j], 2);
  }
  return std::sqrt(squares / 8) / (want.norm > 0 ? want.norm : 1.0);
}

/// The largest difference of a sample, relative to the largest sample of `want` (absolute if zero).
inline double sample_distance(const digest& want, const digest& got) {
  double difference = 0, largest = 0;
  for (std::size_t m = 0; m < 16; ++m) {
    const double d = std::abs(want.samples[m] - got.samples[m]);
    difference = d <= difference ? difference : d;  // keeps a NaN
    largest = std::max(largest, std::abs(want.samples[m]));
  }
  return largest > 0 ? difference / largest : difference;
}

// ---- records ----------------------------------------------------------------------------------

/// A row-major tensor; dims are empty for a scalar.
struct array {
  std::vector<int> dims;
  std::vector<double> values;
};

/// One record: text attributes and arrays.  Accessors throw golden_error where something is missing
/// or is not a number; the message names file, record and attribute.
struct record {
  std::string file;
  std::map<std::string, std::string> attributes;
  std::map<std::string, array> arrays;

  bool has(const std::string& name) const { return attributes.contains(name); }
  const std::string& text(const std::string& name) const {
    const auto it = attributes.find(name);
    if (it == attributes.end()) fail("has no attribute " + name);
    return it->second;
  }
  int integer(const std::string& name) const { return parse<int>(name, text(name)); }
  double number(const std::string& name) const { return parse<double>(name, text(name)); }

  /// An attribute such as 2x7x9x3; "scalar" is {}.
  std::vector<int> extents(const std::string& name) const {
    std::vector<int> out;
    std::string_view rest = text(name);
    if (rest == "scalar") return out;
    for (;;) {
      const std::size_t x = rest.find('x');
      out.push_back(parse<int>(name, rest.substr(0, x)));
      if (x == rest.npos) return out;
      rest.remove_prefix(x + 1);
    }
  }

  const array& at(const std::string& name) const {
    const auto it = arrays.find(name);
    if (it == arrays.end()) fail("has no array " + name);
    return it->second;
  }

  /// kind and id, for a test's messages.
  std::string title() const {
    std::string out;
    for (const char* key : {"kind", "id", "net", "mode", "precision", "tensor", "name"}) {
      const auto it = attributes.find(key);
      if (it != attributes.end()) out += (out.empty() ? "" : " ") + it->second;
    }
    return out;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw golden_error(file + ": record " + title() + " " + what);
  }
  template <class T>
  T parse(const std::string& name, std::string_view s) const {
    T value{};
    const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), value);
    if (error != std::errc{} || end != s.data() + s.size()) {
      fail("has " + name + "=" + text(name) + ", which is no number");
    }
    return value;
  }
};

/// The digest stored under `name`.
inline digest stored_digest(const record& r, const std::string& name) {
  const array& a = r.at(name);
  if (a.values.size() != 25) throw golden_error(r.file + ": " + name + " is no digest");
  digest d;
  d.norm = a.values[0];
  std::copy_n(a.values.begin() + 1, 8, d.projections.begin());
  std::copy_n(a.values.begin() + 9, 16, d.samples.begin());
  return d;
}

/// |want - got| / |want| in the 2-norm (absolute where want is zero), want being the record's array
/// `name`: exact for stored=full, estimated for stored=digest.  Infinite where sizes differ.
template <class T>
double distance(const record& r, const std::string& name, std::span<const T> got) {
  if (r.has("stored") && r.text("stored") == "digest") {
    return distance(stored_digest(r, name), make_digest(r.text("id") + "/" + name, got));
  }
  const std::vector<double>& want = r.at(name).values;
  if (want.size() != got.size()) return HUGE_VAL;
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    difference += std::pow(want[i] - static_cast<double>(got[i]), 2);
    norm += want[i] * want[i];
  }
  return std::sqrt(difference) / (norm > 0 ? std::sqrt(norm) : 1.0);
}

template <class T>
double distance(const record& r, const std::string& name, const std::vector<T>& got) {
  return distance(r, name, std::span<const T>(got));
}

/// The first record with all these attribute values; golden_error if there is none.
inline const record& find(
    std::span<const record> records,
    std::initializer_list<std::pair<const char*, std::string_view>> attributes) {
  std::string wanted;
  for (const record& r : records) {
    if (std::all_of(attributes.begin(), attributes.end(), [&](const auto& a) {
          return r.has(a.first) && r.text(a.first) == a.second;
        })) {
      return r;
    }
  }
  for (const auto& [key, value] : attributes) {
    wanted.append(" ").append(key).append("=").append(value);
  }
  throw golden_error((records.empty() ? "" : records[0].file) + ": no record with" + wanted);
}

// ---- files ------------------------------------------------------------------------------------

/// Where a file of tests/data lies: in $SLIM_TEST_DATA, else in SLIM_TEST_DATA_DIR (a macro).
inline std::string data_path(const std::string& name) {
  if (const char* folder = std::getenv("SLIM_TEST_DATA")) return std::string(folder) + "/" + name;
#ifdef SLIM_TEST_DATA_DIR
  return std::string(SLIM_TEST_DATA_DIR) + "/" + name;
#else
  throw golden_error(name + ": set SLIM_TEST_DATA to the folder tests/data");
#endif
}

namespace detail {

/// Reads the format's pieces from a file held in memory; every read is checked.
class cursor {
 public:
  cursor(const std::string& file, std::string_view bytes) : file_(file), rest_(bytes) {}

  bool done() const { return rest_.empty(); }

  std::string_view take(std::size_t count) {
    if (count > rest_.size()) throw golden_error(file_ + ": ends early");
    const std::string_view out = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return out;
  }

  std::string_view line() {
    const std::size_t end = rest_.find('\n');
    if (end == rest_.npos) throw golden_error(file_ + ": a line has no end");
    const std::string_view out = take(end + 1);
    return out.substr(0, end);
  }

  /// A little-endian integer of `bytes` bytes.
  std::uint64_t integer(std::size_t bytes) {
    const std::string_view s = take(bytes);
    std::uint64_t value = 0;
    for (std::size_t i = bytes; i-- > 0;) value = value << 8 | static_cast<unsigned char>(s[i]);
    return value;
  }

  std::pair<std::string, array> named_array() {
    std::string name(take(integer(4)));
    array a;
    std::size_t count = 1;
    for (std::uint64_t rank = integer(4); rank-- > 0;) {
      const std::uint64_t extent = integer(4);
      count *= extent;
      // No extent or product can exceed the doubles left, so nothing overflows.
      if (count > rest_.size() / 8) throw golden_error(file_ + ": array " + name + " ends early");
      a.dims.push_back(static_cast<int>(extent));
    }
    a.values.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
      a.values.push_back(std::bit_cast<double>(integer(8)));
    }
    return {std::move(name), std::move(a)};
  }

  record next() {
    record r;
    r.file = file_;
    std::string_view rest = line();
    while (!rest.empty()) {
      const std::string_view pair = rest.substr(0, rest.find(' '));
      rest.remove_prefix(std::min(rest.size(), pair.size() + 1));
      const std::size_t equals = pair.find('=');
      if (equals == pair.npos) throw golden_error(file_ + ": '" + std::string(pair) + "' has no =");
      r.attributes.emplace(pair.substr(0, equals), pair.substr(equals + 1));
    }
    for (int n = r.integer("arrays"); n > 0; --n) r.arrays.insert(named_array());
    return r;
  }

 private:
  std::string file_;
  std::string_view rest_;
};

}  // namespace detail

/// Every record of a file of tests/data, in order.
inline std::vector<record> read(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw golden_error(path + ": cannot be opened");
  const std::string bytes{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  if (in.bad()) throw golden_error(path + ": cannot be read");
  detail::cursor cursor(path, bytes);
  if (cursor.line() != "slim golden 1") throw golden_error(path + ": no golden file");
  std::vector<record> records;
  while (!cursor.done()) records.push_back(cursor.next());
  return records;
}

}  // namespace slim_test
