// Variables by name, at compile time and at run time, as TF-Slim finds them; and models on memory
// that the caller owns.
#include <catch2/catch.hpp>

#include <slim/slim.hpp>
#include <slim/variables.hpp>
#ifdef SLIM_WITH_DLPACK
#include <slim/dlpack.hpp>
#endif

#include <boost/hana/for_each.hpp>
#include <boost/hana/length.hpp>

namespace {

using namespace slim;

struct some_net : net<"net",
  conv2d<4, kernel_size{3}, weights_regularizer{l2_regularizer{0.1}}, scope{"conv1"}>,
  conv2d<4, kernel_size{3}, trainable{false}, scope{"conv10"}>,
  variable<"table", shape{2, 3}, initializer{ones{}}, regularizer{l1_regularizer{0.5}},
           on_device{"/cpu:0"}>,
  model_variable<"weights", shape{4}, trainable{false}>,
  local_variable<"seen", shape{1}, initializer{zeros{}}>,
  flatten<>,
  fully_connected<3, activation_fn{none}, variables_collections{"heads"}, scope{"logits"}>> {};

using model_t = model<some_net, input<4, 5, 6, 2>>;
using trainer_t = model<some_net, input<4, 5, 6, 2>, labels<4>, sparse_softmax_cross_entropy<>>;

template <class Variables>
std::vector<std::string> names(const Variables& variables) {
  std::vector<std::string> all;
  for (const auto& v : variables) all.push_back(v.name);
  return all;
}
using strings = std::vector<std::string>;

// ---- compile time --------------------------------------------------------------------------------

constexpr variable_facts table = variable_facts_of<model_t, "net/table">();
static_assert(table.dims == shape{2, 3} && table.initializer == "ones");
static_assert(table.regularizer == "l1_regularizer" && table.device == "/cpu:0");
static_assert(table.trainable && !table.model_variable && !table.local_variable);
constexpr variable_facts seen = variable_facts_of<model_t, "net/seen">();
static_assert(seen.local_variable && !seen.trainable && seen.initializer == "zeros");
constexpr variable_facts frozen = variable_facts_of<model_t, "net/conv10/weights">();
static_assert(!frozen.trainable && frozen.model_variable && frozen.initializer == "xavier");
static_assert(variable_facts_of<model_t, "net/logits/biases">().collection == "heads");
static_assert(decltype(hana::length(variables_with_prefix<model_t, "net/conv1/">()))::value == 2);
static_assert(decltype(hana::length(variables_with_prefix<model_t, "net/">()))::value == 9);
static_assert(decltype(hana::length(variables_with_prefix<model_t, "other/">()))::value == 0);

}  // namespace

TEST_CASE("variables with a prefix are a list of constants") {
  strings found;
  hana::for_each(variables_with_prefix<model_t, "net/conv">(), [&](auto number) {
    constexpr variable_facts facts = variable_facts_at<model_t>(decltype(number)::value);
    static_assert(facts.dims.rank == 4 || facts.dims == shape{4});
    found.emplace_back(facts.name.view());
  });
  CHECK(found == strings{"net/conv1/weights", "net/conv1/biases", "net/conv10/weights",
                         "net/conv10/biases"});
}

TEST_CASE("scopes are regular expressions, anchored at the start of names that end in :0") {
  model_t m;
  CHECK(names(get_variables(m, "net/conv1")).size() == 4);  // conv10, too
  CHECK(names(get_variables(m, "net/conv1/")) == strings{"net/conv1/weights", "net/conv1/biases"});
  CHECK(names(get_variables(m, "conv1")).empty());
  CHECK(names(get_variables(m, ".*conv10/b")) == strings{"net/conv10/biases"});
  CHECK(names(get_variables(m, "", "weights")).size() == 4);
  CHECK(names(get_variables_by_suffix(m, "biases", "net/conv")).size() == 2);
  CHECK(names(get_variables(m, "net/table$")).empty());
  CHECK(names(get_variables(m, "net/table:0$")) == strings{"net/table"});
  CHECK_THROWS_WITH(get_variables(m, "net/("),
                    Catch::Contains("\"net/(\" is no regular expression"));
}

TEST_CASE("collections hold what TF-Slim puts there") {
  trainer_t m;
  CHECK(names(get_variables(m)).size() == 8);  // all but the local one
  CHECK(names(get_model_variables(m)).size() == 7);
  CHECK(names(get_trainable_variables(m)).size() == 5);
  CHECK(names(get_local_variables(m)) == strings{"net/seen"});
  CHECK(names(get_collection(m, "heads")) == strings{"net/logits/weights", "net/logits/biases"});
  CHECK(variable_names(m) == names(get_variables(m)));
  m.initialize(1);
  for (const float x : m.variable<"net/table">()) CHECK(x == 1);
  m.backward(std::vector<float>(120), std::vector<int>{1, 2});
  CHECK(m.regularization_losses().size() == 2);
  CHECK(m.regularization_losses()[1] == Approx(0.5 * 6));  // |1| six times
  CHECK(get_total_loss(m) - get_total_loss(m, false) ==
        Approx(m.regularization_losses()[0] + m.regularization_losses()[1]));
}

TEST_CASE("variables by name, suffix, and in full") {
  model_t m;
  CHECK(names(get_variables_by_name(m, "table")) == strings{"net/table"});
  CHECK(names(get_variables_by_name(m, "weights", "net/conv")).size() == 2);
  CHECK(names(get_variables_by_name(m, "eights")).empty());
  CHECK(get_unique_variable(m, "net/table").values.dims == shape{2, 3});
  CHECK_THROWS_WITH(get_unique_variable(m, "net/tab"), Catch::Contains("no variable named net/tab"));
}

TEST_CASE("what is restored: included scopes without excluded ones") {
  model_t m;
  CHECK(get_variables_to_restore(m) == names(get_variables(m)));
  CHECK(get_variables_to_restore(m, {}, {"net/logits", "net/table"}).size() == 5);
  CHECK(get_variables_to_restore(m, {}, {"logits"}).size() == 8);  // anchored: excludes nothing
  CHECK(get_variables_to_restore(m, {"net/conv1/", "net/conv1/w"}) ==
        strings{"net/conv1/weights", "net/conv1/biases", "net/conv1/weights"});
  const auto all = get_variables(m);
  CHECK(names(filter_variables(all, {"conv1/"})).size() == 2);
  CHECK(names(filter_variables(all, {}, {"weights"})).size() == 4);
  CHECK(names(filter_variables(all, {"conv1/"}, {}, false)).empty());
  CHECK(names(filter_variables(all, {"table$"})).empty());  // the name goes on with :0
}

TEST_CASE("the global step counts updates") {
  trainer_t m;
  m.initialize(1);
  CHECK(m.global_step() == 0);
  for (int i = 0; i < 3; ++i) {
    m.backward(std::vector<float>(60), std::vector<int>{1});
    m.update(adam{});
  }
  CHECK(m.global_step() == 3);
  m.set_global_step(100);
  m.update(gradient_descent{});
  CHECK(m.global_step() == 101);
}

// ---- memory of the caller's ----------------------------------------------------------------------

namespace {

template <class T>
std::vector<T> ramp(std::size_t count) {
  std::vector<T> x(count);
  for (std::size_t i = 0; i < count; ++i) x[i] = T(i % 17) / T(8) - T(1);
  return x;
}

struct one_layer : net<"one", conv2d<7, kernel_size{3}, scope{"conv"}>> {};

/// Layers whose last op differs, as memory for the output is handed to every kind of kernel.
template <class Net>
void check_placed_output() {
  using m_t = model<Net, input<3, 8, 8, 4>>;
  m_t m;
  m.initialize(2);
  const auto x = ramp<float>(3 * 8 * 8 * 4);
  const long each = m_t::output_shape.count() / 3;
  for (const int n : {1, 3})
    for (const int offset : {0, 1, 5}) {  // of any alignment
      const std::span<const float> images(x.data(), std::size_t(n) * 256);
      const auto want = m.forward(images);
      const std::vector<float> expected(want.begin(), want.end());
      std::vector<float> memory(std::size_t(n * each + offset + 3), -7.0f);
      m.forward_into(std::span(memory).subspan(std::size_t(offset), std::size_t(n * each)), images);
      CHECK(std::equal(expected.begin(), expected.end(), memory.begin() + offset));
      for (int i = 0; i < offset; ++i) CHECK(memory[std::size_t(i)] == -7.0f);
      for (int i = 0; i < 3; ++i) CHECK(memory[memory.size() - 1 - std::size_t(i)] == -7.0f);
    }
}

}  // namespace

TEST_CASE("a layer or a net writes its output to the caller's memory") {
  check_placed_output<one_layer>();
  check_placed_output<conv2d<32, kernel_size{3}>>();  // Winograd
  check_placed_output<sequence<conv2d<32, kernel_size{3}>, max_pool2d<kernel_size{2}>>>();
  check_placed_output<sequence<conv2d<16, kernel_size{1}>, batch_norm<>, apply<relu>>>();
  check_placed_output<sequence<flatten<>, fully_connected<9>>>();
  check_placed_output<sequence<flatten<>, fully_connected<9>, softmax<>>>();
  check_placed_output<avg_pool2d<kernel_size{3}>>();
  check_placed_output<concat<conv2d<3, kernel_size{1}>, identity>>();
  check_placed_output<sum<identity, separable_conv2d<4, kernel_size{3}>>>();
  check_placed_output<sequence<conv2d_transpose<5, kernel_size{2}, stride{2}>, flatten<>>>();
}

TEST_CASE("Eigen's maps, arrays and spans go in and out without a copy") {
  using m_t = model<sequence<flatten<>, fully_connected<3, activation_fn{none}>>, input<2, 4, 5>>;
  m_t m;
  m.initialize(2);
  const auto x = ramp<float>(40);
  const auto want = m.forward(x);
  const std::vector<float> expected(want.begin(), want.end());
  const Eigen::Map<const Eigen::Matrix<float, 2, 20, Eigen::RowMajor>> matrix(x.data());
  const Eigen::TensorMap<Eigen::Tensor<const float, 3, Eigen::RowMajor>> tensor(x.data(), 2, 4, 5);
  Eigen::Matrix<float, 2, 3, Eigen::RowMajor> out;
  m.forward_into(out, matrix);
  CHECK(std::equal(expected.begin(), expected.end(), out.data()));
  std::array<float, 6> other{};
  m.forward_into(other, tensor);
  CHECK(std::equal(expected.begin(), expected.end(), other.begin()));
  m.forward_into(other, tensor_view<const float>{x.data(), shape{2, 4, 5}});
  CHECK(std::equal(expected.begin(), expected.end(), other.begin()));
}

TEST_CASE("memory that does not fit is refused, and nothing is written") {
  using m_t = model<sequence<flatten<>, fully_connected<3>>, input<2, 4, 5>>;
  m_t m;
  m.initialize(2);
  const auto x = ramp<float>(40);
  std::vector<float> out(5, -7.0f);
  CHECK_THROWS_WITH(m.forward_into(out, x),
                    "the memory for the output holds 5 elements, the output of 2 examples has 6");
  CHECK(out == std::vector<float>(5, -7.0f));
  CHECK_THROWS_WITH(m.forward(tensor_view<const float>{x.data(), shape{2, 5, 4}}),
                    "input inputs has shape [2,5,4], but [2,4,5] is needed");
  using nothing = model<identity, input<2, 4>>;
  nothing n;
  std::vector<float> four(4);
  CHECK_THROWS_WITH(n.forward_into(four, four), Catch::Contains("it has no memory to place"));
}

#ifdef SLIM_WITH_DLPACK
namespace {

DLTensor dlpack_of(float* data, std::int64_t* extents, int rank) {
  return {data, {kDLCPU, 0}, rank, {kDLFloat, 32, 1}, extents, nullptr, 0};
}

}  // namespace

TEST_CASE("DLPack tensors go in and out without a copy") {
  using m_t = model<sequence<flatten<>, fully_connected<3, scope{"fc"}>>, input<2, 4, 5>>;
  m_t m;
  m.initialize(2);
  auto x = ramp<float>(41);
  std::int64_t dims[] = {2, 4, 5}, strides[] = {20, 5, 1}, out_dims[] = {2, 3};
  DLTensor in = dlpack_of(x.data(), dims, 3);
  std::vector<float> memory(6);
  const DLTensor out = dlpack_of(memory.data(), out_dims, 2);
  const auto want = m.forward(std::span(x).first(40));
  const std::vector<float> expected(want.begin(), want.end());
  m.forward_into(dlpack_span<float>(out), dlpack_input<float>(in));
  CHECK(memory == expected);
  in.strides = strides;
  m.forward_into(dlpack_span<float>(out), dlpack_input<float>(in));
  CHECK(memory == expected);
  in.byte_offset = 4;
  CHECK(dlpack_span<float>(in).data() == x.data() + 1);

  DLManagedTensor* weights = to_dlpack(m.variable<"fc/weights">());
  CHECK(weights->dl_tensor.ndim == 2);
  CHECK(weights->dl_tensor.shape[0] == 20);
  CHECK(weights->dl_tensor.data == m.variable<"fc/weights">().data);
  CHECK(dlpack_span<float>(weights->dl_tensor).size() == 60);
  weights->deleter(weights);
}

TEST_CASE("DLPack tensors that cannot be read in place are refused") {
  std::vector<float> x(40);
  std::int64_t dims[] = {2, 4, 5}, strides[] = {1, 2, 8}, many[] = {1, 1, 1, 1, 1, 1, 1};
  const auto refused = [&](auto change, const char* why) {
    DLTensor t = dlpack_of(x.data(), dims, 3);
    change(t);
    CHECK_THROWS_WITH(dlpack_input<float>(t), Catch::Contains(why));
  };
  refused([](DLTensor& t) { t.device.device_type = kDLCUDA; }, "not in CPU memory");
  refused([](DLTensor& t) { t.dtype.bits = 64; }, "holds float 64 bits, not float 32 bits");
  refused([](DLTensor& t) { t.dtype.code = kDLInt; }, "holds int 32 bits");
  refused([&](DLTensor& t) { t.strides = strides; }, "axis 2 has stride 8, not 1");
  refused([&](DLTensor& t) { t.shape = many, t.ndim = 7; }, "has 7 axes, at most 6");
}

TEST_CASE("DLPack tensors on a GPU are inputs of models there, and of no other") {
  std::vector<float> x(40);
  std::int64_t dims[] = {2, 4, 5};
  DLTensor t = dlpack_of(x.data(), dims, 3);
  CHECK_THROWS_WITH(dlpack_device_input<float>(t), Catch::Contains("not in a CUDA device's memory"));
  t.device.device_type = kDLCUDA;
  CHECK(dlpack_device_input<float>(t).data == x.data());
  CHECK(dlpack_device_input<float>(t).dims == shape{2, 4, 5});
  CHECK_THROWS_WITH(dlpack_device_input<int>(t), Catch::Contains("holds float 32 bits"));
  model<sequence<flatten<>, fully_connected<3, scope{"fc"}>>, input<2, 4, 5>> m;
  CHECK_THROWS_WITH(m.forward(dlpack_device_input<float>(t)), Catch::Contains("device's memory"));
  CHECK(dlpack_device_span<float>(t).data == x.data());
  DLManagedTensor* there = to_dlpack(dlpack_device_input<float>(t));
  CHECK(there->dl_tensor.device.device_type == kDLCUDA);
  CHECK(dlpack_device_input<float>(there->dl_tensor).dims == shape{2, 4, 5});
  there->deleter(there);
}
#endif
