// Working memory of a pass, as usable in a constant expression as at run time.
#pragma once

namespace slim {

/// `size` zeros. Passes that need "none" store numbers plus one: filling is what would count in a
/// constant expression.
template <class T>
class scratch {
 public:
  constexpr explicit scratch(int size) : rows_(new T[size > 0 ? size : 1]{}) {}
  constexpr ~scratch() { delete[] rows_; }
  scratch(const scratch&) = delete;
  scratch& operator=(const scratch&) = delete;

  constexpr T& operator[](int i) { return rows_[i]; }
  constexpr const T& operator[](int i) const { return rows_[i]; }
  constexpr T* data() { return rows_; }

 private:
  T* rows_;
};

}  // namespace slim
