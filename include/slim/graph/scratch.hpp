// Working memory of a pass, as usable in a constant expression as at run time.
#pragma once

namespace slim {

template <class T>
class scratch {
 public:
  constexpr scratch(int size, T value) : rows_(new T[size > 0 ? size : 1]) {
    for (int i = 0; i < size; ++i) rows_[i] = value;
  }
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
