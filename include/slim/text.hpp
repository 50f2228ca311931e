// Strings at compile time: names spelled as template arguments, and messages built by constexpr
// code.
#pragma once

#include <cstddef>
#include <string_view>

namespace slim {

/// A string as a template argument: `net<"vgg_16", ...>`. N counts the terminating zero.
template <std::size_t N>
struct text {
  char characters[N]{};

  constexpr text(const char (&literal)[N]) {
    for (std::size_t i = 0; i < N; ++i) characters[i] = literal[i];
  }
  constexpr text(const char* first, std::size_t) {
    // The zero too: clang prints only arrays that were written to the end as strings.
    for (std::size_t i = 0; i < N; ++i) characters[i] = i + 1 < N ? first[i] : '\0';
  }
  constexpr std::string_view view() const { return {characters, N - 1}; }
};

/// The characters of a text with a number behind them, for names such as "unit_3".
template <text Base, int N>
constexpr auto numbered() {
  static_assert(N >= 0);
  constexpr int digits = [] {
    int count = 1;
    for (int rest = N; rest >= 10; rest /= 10) ++count;
    return count;
  }();
  char all[sizeof(Base.characters) + digits]{};
  for (std::size_t i = 0; i + 1 < sizeof(Base.characters); ++i) all[i] = Base.characters[i];
  int rest = N;
  for (int i = digits; i > 0; --i, rest /= 10)
    all[sizeof(Base.characters) + i - 2] = static_cast<char>('0' + rest % 10);
  return text(all);
}

/// Static storage for a template argument's characters, so that tables can point at them.
template <text T>
struct static_text {
  static constexpr text value = T;
  static constexpr std::string_view view() { return value.view(); }
};

/// A message of at most `capacity` characters; what does not fit is cut.
class message {
 public:
  static constexpr int capacity = 240;

  constexpr message& operator<<(std::string_view s) {
    for (char c : s)
      if (size_ < capacity) characters_[size_++] = c;
    return *this;
  }
  constexpr message& operator<<(long number) {
    if (number < 0) return *this << "-" << -number;
    if (number >= 10) *this << number / 10;
    const char digit = static_cast<char>('0' + number % 10);
    return *this << std::string_view(&digit, 1);
  }
  constexpr message& operator<<(int number) { return *this << static_cast<long>(number); }

  constexpr std::string_view view() const { return {characters_, static_cast<std::size_t>(size_)}; }
  constexpr bool empty() const { return size_ == 0; }
  constexpr const char* data() const { return characters_; }
  constexpr int size() const { return size_; }

 private:
  char characters_[capacity]{};
  int size_ = 0;
};

/// 64-bit FNV-1a, continued from `hash`.
constexpr unsigned long long hash_text(std::string_view s,
                                       unsigned long long hash = 14695981039346656037ULL) {
  for (char c : s) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  return hash;
}

}  // namespace slim
