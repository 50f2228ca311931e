// What callers lend to a model and get from it: inputs that are checked against a program before
// anything runs, and views of tensors.
#pragma once

#include <concepts>
#include <span>
#include <string>
#include <vector>

#include "error.hpp"
#include "graph/program.hpp"

namespace slim {

/// An input that does not fit the model: too many images, a wrong label.
struct input_error : error {
  using error::error;
};

/// Elements in memory that belongs to a model, with their shape.
template <class T>
struct tensor_view {
  T* data = nullptr;
  shape dims{};

  std::span<T> span() const { return {data, static_cast<std::size_t>(dims.count())}; }
  T* begin() const { return data; }
  T* end() const { return data + dims.count(); }
  T& operator[](long i) const { return data[i]; }
};

/// Elements in the memory of the accelerator that runs a model, as an input of it: written there
/// before the call, for the model waits for no other stream, and unchanged until it was waited for.
template <class T>
struct device_view {
  const T* data = nullptr;
  shape dims{};
};

/// The same as memory for an output.
template <class T>
struct device_span {
  T* data = nullptr;
  shape dims{};
};

namespace detail {

/// Whether a container of Eigen's, or one like it, keeps its elements in another order than a row-
/// major tensor of its extents.
template <class Container>
constexpr bool column_major = [] {
  if constexpr (requires { Container::NumIndices, Container::Layout; })
    return Container::NumIndices > 1 && Container::Layout == 0;  // Eigen's tensors
  else if constexpr (requires { Container::IsRowMajor, Container::IsVectorAtCompileTime; })
    return !Container::IsRowMajor && !Container::IsVectorAtCompileTime;  // and its matrices
  else
    return false;
}();

/// A container of Ts in one piece: a span, vector, array, map or tensor.
template <class Container, class T>
concept elements_of = requires(const Container& c) {
  { c.data() } -> std::convertible_to<const T*>;
  { c.size() } -> std::convertible_to<std::size_t>;
};

}  // namespace detail

/// Data the caller lends to a model for one call, without a copy: anything with data() and size(),
/// such as a span, a vector or a row-major map or tensor of Eigen's, or a tensor_view, whose shape
/// is checked, too.
template <class T>
class input_data {
 public:
  template <detail::elements_of<T> Container>
  input_data(const Container& c)
      : data_(static_cast<const T*>(c.data())), count_(static_cast<std::size_t>(c.size())) {}
  template <detail::elements_of<int> Container>
  input_data(const Container& c)
      : data_(static_cast<const int*>(c.data())),
        count_(static_cast<std::size_t>(c.size())),
        type_(element::int32) {}
  input_data(const tensor_view<const T>& view)
      : data_(view.data), count_(static_cast<std::size_t>(view.dims.count())), dims_(view.dims) {}
  input_data(const tensor_view<T>& view) : input_data(tensor_view<const T>{view.data, view.dims}) {}
  input_data(const tensor_view<const int>& view)
      : data_(view.data),
        count_(static_cast<std::size_t>(view.dims.count())),
        type_(element::int32),
        dims_(view.dims) {}

  template <class U>
    requires(std::is_same_v<U, T> || std::is_same_v<U, int>)
  input_data(const device_view<U>& view)
      : data_(view.data),
        count_(static_cast<std::size_t>(view.dims.count())),
        type_(std::is_same_v<U, int> ? element::int32 : element::scalar),
        dims_(view.dims),
        on_device_(true) {}

  const void* data() const { return data_; }
  /// Whether that is an accelerator's memory.
  bool on_device() const { return on_device_; }
  long count() const { return static_cast<long>(count_); }
  element type() const { return type_; }
  /// Whether these are examples of an input of this shape, as far as their own shape is known.
  bool fits(const shape& batch) const {
    return dims_.rank == 0 || (dims_.rank == batch.rank && dims_.with(0, batch[0]) == batch);
  }
  const shape& dims() const { return dims_; }

 private:
  const void* data_;
  std::size_t count_;
  element type_ = element::scalar;
  shape dims_{};  // of rank 0 if it is not known
  bool on_device_ = false;
};

/// The same by name.
template <class T>
struct named_tensor {
  std::string name;
  tensor_view<T> values;
};

namespace detail {

/// The inputs of a pass, checked against its program.
template <class T>
class bound_inputs {
 public:
  explicit bound_inputs(int inputs) : data_(static_cast<std::size_t>(inputs)) {}

  /// Takes the inputs of a pass; returns the number of examples. Throws input_error.
  int bind(const program& p, std::initializer_list<input_data<T>> inputs,
           bool accelerated = false) {
    if (static_cast<int>(inputs.size()) > p.inputs.size())
      throw input_error("the model has " + std::to_string(p.inputs.size()) + " inputs, " +
                        std::to_string(inputs.size()) + " were given");
    int i = 0, n = 0;
    for (const input_data<T>& data : inputs) {
      if (data.on_device() && !accelerated)
        throw input_error(named(p, i) + " is in a device's memory: the model runs on the CPU");
      n = examples(p, i, data, n);
      data_[static_cast<std::size_t>(i++)] = data.data();
    }
    for (; i < p.inputs.size(); ++i)
      if (p.inputs[i].needed) throw input_error(named(p, i) + " was not given");
    return n;
  }
  const void* const* data() const { return data_.data(); }

 private:
  /// "input labels": composed for a message only, for it may allocate.
  static std::string named(const program& p, int i) {
    return "input " + std::string(p.inputs[i].name);
  }

  static int examples(const program& p, int i, const input_data<T>& data, int n) {
    const tensor_row& row = p.tensors[p.inputs[i].value];
    if (data.type() != (row.type == element::bfloat16 ? element::scalar : row.type))
      throw input_error(named(p, i) + " must hold " +
                        (row.type == element::int32 ? "ints" : "numbers of the model's type"));
    if (!data.fits(row.dims)) {
      message said;
      said << named(p, i) << " has shape " << data.dims() << ", but " << row.dims << " is needed";
      throw input_error(std::string(said.view()));
    }
    const long each = row.dims.count() / row.dims[0];
    if (data.count() == 0 || data.count() % each != 0)
      throw input_error(named(p, i) + ": " + std::to_string(data.count()) +
                        " elements are not a whole number of examples of " + std::to_string(each));
    const long given = data.count() / each;
    if (given > p.batch)
      throw input_error(named(p, i) + ": " + std::to_string(given) +
                        " examples exceed the batch of " + std::to_string(p.batch));
    if (i > 0 && given != n)
      throw input_error(named(p, i) + " has " + std::to_string(given) + " examples, " +
                        std::string(p.inputs[0].name) + " has " + std::to_string(n));
    if (row.type == element::int32 && !data.on_device()) check_range(p, i, data);
    return static_cast<int>(given);
  }

  static void check_range(const program& p, int i, const input_data<T>& data) {
    const int* values = static_cast<const int*>(data.data());
    const int limit = p.inputs[i].index_limit;
    for (long k = 0; k < data.count() && limit > 0; ++k)
      if (values[k] < 0 || values[k] >= limit)
        throw input_error(named(p, i) + "[" + std::to_string(k) +
                          "] = " + std::to_string(values[k]) + " is not in [0, " +
                          std::to_string(limit) + ")");
  }

  std::vector<const void*> data_;
};

}  // namespace detail

}  // namespace slim
