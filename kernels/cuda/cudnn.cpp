// Convolutions by cuDNN's graph API, through its C++ frontend.
#include "plans.hpp"

#ifdef SLIM_WITH_CUDNN

#include <cudnn_frontend.h>

#include <algorithm>
#include <atomic>
#include <thread>

namespace slim::cuda {
namespace {

namespace fe = cudnn_frontend;
using tensor_ptr = std::shared_ptr<fe::graph::Tensor_attributes>;

enum uid : std::int64_t { x_uid = 1, w_uid, y_uid, bias_uid, other_uid };

constexpr std::int64_t most_workspace = std::int64_t{256} << 20;

fe::DataType_t type_of(number n) {
  return n == number::bf16 ? fe::DataType_t::BFLOAT16 : fe::DataType_t::FLOAT;
}

using extents = std::vector<std::int64_t>;

/// Dimensions in cuDNN's order, n c h w, of elements in ours.
extents strides_of(const extents& dims) {
  return {dims[1] * dims[2] * dims[3], 1, dims[3] * dims[1], dims[1]};
}
tensor_ptr tensor(fe::graph::Graph& g, uid id, number type, const extents& dims) {
  return g.tensor(fe::graph::Tensor_attributes()
                      .set_uid(id)
                      .set_dim(dims)
                      .set_stride(strides_of(dims))
                      .set_data_type(type_of(type)));
}
void output(const tensor_ptr& t, uid id, number type, const extents& dims) {
  t->set_output(true)
      .set_uid(id)
      .set_dim(dims)
      .set_stride(strides_of(dims))
      .set_data_type(type_of(type));
}

extents input_dims(const convolution_shape& c) { return {c.n, c.c, c.h, c.w}; }
extents output_dims(const convolution_shape& c) { return {c.n, c.k, c.out_h, c.out_w}; }
extents weight_dims(const convolution_shape& c) { return {c.k, c.c, c.kernel_h, c.kernel_w}; }

/// Padding behind: as much as before where that gives the same outputs, else what they need.
int padding_behind(int in, int before, int kernel, int stride, int rate, int out) {
  const int covered = (kernel - 1) * rate + 1;
  if (in + 2 * before >= covered && (in + 2 * before - covered) / stride + 1 == out) return before;
  const int missing = (out - 1) * stride + covered - in - before;
  return missing > 0 ? missing : 0;
}

/// Whether cuDNN is asked. Where the padding behind is not that before, a wrong weight gradient was
/// seen (float, cuDNN 9.19): there the patches do it.
bool is_symmetric(const convolution_shape& c) {
  return padding_behind(c.h, c.pad_top, c.kernel_h, c.stride_h, c.rate_h, c.out_h) == c.pad_top &&
         padding_behind(c.w, c.pad_left, c.kernel_w, c.stride_w, c.rate_w, c.out_w) == c.pad_left;
}

template <class Attributes>
Attributes attributes_of(const convolution_shape& c) {
  return Attributes()
      .set_padding({c.pad_top, c.pad_left})
      .set_stride({c.stride_h, c.stride_w})
      .set_dilation({c.rate_h, c.rate_w});
}

std::shared_ptr<fe::graph::Graph> new_graph() {
  auto g = std::make_shared<fe::graph::Graph>();
  g->set_intermediate_data_type(fe::DataType_t::FLOAT).set_compute_data_type(fe::DataType_t::FLOAT);
  return g;
}

tensor_ptr pointwise(fe::graph::Graph& g, fe::PointwiseMode_t mode, tensor_ptr a,
                     tensor_ptr b = nullptr) {
  auto attributes = fe::graph::Pointwise_attributes().set_mode(mode);
  return b == nullptr ? g.pointwise(a, attributes) : g.pointwise(a, b, attributes);
}

/// Builds the plans of a graph, many at once, for some are compiled now: which of them were. (The
/// frontend has no call for this. Plans lie apart; what the calls share are flags of plans that
/// were refused before, of which they write those of more that are.)
std::vector<char> build_all(const stream& s, fe::graph::Graph& g) {
  const std::int64_t count = g.get_execution_plan_count();
  std::vector<char> built(static_cast<std::size_t>(count));
  std::atomic<std::int64_t> next = 0;
  const auto work = [&] {
    cudaSetDevice(s.device);
    for (std::int64_t i; (i = next++) < count;)
      built[static_cast<std::size_t>(i)] = g.build_plan_at_index(i).is_good();
  };
  std::vector<std::jthread> threads;
  const auto most = static_cast<std::int64_t>(std::max(1u, std::thread::hardware_concurrency()));
  for (std::int64_t i = 1; i < std::min(count, most); ++i) threads.emplace_back(work);
  work();
  threads.clear();
  return built;
}

/// Every plan of a graph that is deterministic and as exact as the policy wants.
std::vector<candidate> plans_of(stream& s, std::shared_ptr<fe::graph::Graph> g, const char* kind) {
  const auto handle = static_cast<cudnnHandle_t>(s.plans->cudnn);
  std::vector<fe::NumericalNote_t> refused{fe::NumericalNote_t::NONDETERMINISTIC,
                                           fe::NumericalNote_t::REDUCED_PRECISION_REDUCTION};
  if (s.precision == math::exact)
    refused.insert(refused.end(),
                   {fe::NumericalNote_t::TENSOR_CORE, fe::NumericalNote_t::DOWN_CONVERT_INPUTS,
                    fe::NumericalNote_t::FFT, fe::NumericalNote_t::WINOGRAD,
                    fe::NumericalNote_t::WINOGRAD_TILE_4x4, fe::NumericalNote_t::WINOGRAD_TILE_6x6,
                    fe::NumericalNote_t::WINOGRAD_TILE_13x13});
  if (g->validate().is_bad() || g->build_operation_graph(handle).is_bad()) return {};
  if (g->create_execution_plans({fe::HeurMode_t::A}).is_bad()) return {};
  g->deselect_numeric_notes(refused);
  g->deselect_workspace_greater_than(most_workspace);
  if (g->check_support(handle).is_bad()) return {};
  const std::vector<char> built = build_all(s, *g);

  std::vector<candidate> all;
  for (std::int64_t i = 0; i < g->get_execution_plan_count(); ++i) {
    std::string name;
    std::int64_t workspace = 0;
    if (!built[static_cast<std::size_t>(i)]) continue;
    if (g->get_plan_name_at_index(i, name).is_bad()) continue;
    if (g->get_workspace_size_plan_at_index(i, workspace).is_bad()) continue;
    if (workspace < 0 || workspace > most_workspace) continue;
    candidate way{
        std::string("cuDNN ") + kind + " " + name, static_cast<std::size_t>(workspace), {}};
    way.run = [g, i, handle](const operands& o, void* memory) {
      std::unordered_map<std::int64_t, void*> pointers{
          {x_uid, o.x.data}, {w_uid, o.w.data}, {y_uid, o.y.data}};
      if (o.bias) pointers[bias_uid] = o.bias.data;
      if (o.residual) pointers[other_uid] = o.residual.data;
      if (o.saved) pointers[other_uid] = o.saved.data;
      auto done = g->execute_plan_at_index(handle, pointers, memory, i);
      if (done.is_bad()) throw error("cuDNN: " + done.get_message());
    };
    all.push_back(std::move(way));
  }
  return all;
}

}  // namespace

void* make_cudnn(stream& s) {
  cudnnHandle_t handle = nullptr;
  cudnnStatus_t done = cudnnCreate(&handle);
  if (done == CUDNN_STATUS_SUCCESS) done = cudnnSetStream(handle, s.handle);
  if (done == CUDNN_STATUS_SUCCESS) return handle;
  destroy_cudnn(handle);
  throw error(std::string("cuDNN cannot be used: ") + cudnnGetErrorString(done));
}
long cudnn_version() { return static_cast<long>(cudnnGetVersion()); }
void destroy_cudnn(void* handle) noexcept {
  if (handle != nullptr) cudnnDestroy(static_cast<cudnnHandle_t>(handle));
}

std::vector<candidate> cudnn_forward(stream& s, const convolution_shape& c, const operands& o,
                                     bool fused) {
  if (s.plans->cudnn == nullptr || !is_symmetric(c)) return {};
  auto g = new_graph();
  auto y = g->conv_fprop(tensor(*g, x_uid, o.x.type, input_dims(c)),
                         tensor(*g, w_uid, o.w.type, weight_dims(c)),
                         attributes_of<fe::graph::Conv_fprop_attributes>(c));
  if (fused) {
    if (o.bias)
      y = pointwise(*g, fe::PointwiseMode_t::ADD, y,
                    tensor(*g, bias_uid, o.bias.type, {1, c.k, 1, 1}));
    if (o.residual)
      y = pointwise(*g, fe::PointwiseMode_t::ADD, y,
                    tensor(*g, other_uid, o.residual.type, output_dims(c)));
    if (o.f == function::relu) y = pointwise(*g, fe::PointwiseMode_t::RELU_FWD, y);
  }
  output(y, y_uid, o.y.type, output_dims(c));
  return plans_of(s, g, fused ? "fused" : "plain");
}

std::vector<candidate> cudnn_backward_data(stream& s, const convolution_shape& c, const operands& o,
                                           bool masked) {
  if (s.plans->cudnn == nullptr || !is_symmetric(c)) return {};
  auto g = new_graph();
  auto dx = g->conv_dgrad(tensor(*g, x_uid, o.x.type, output_dims(c)),
                          tensor(*g, w_uid, o.w.type, weight_dims(c)),
                          attributes_of<fe::graph::Conv_dgrad_attributes>(c));
  dx->set_dim(input_dims(c));
  if (masked)
    dx = pointwise(*g, fe::PointwiseMode_t::RELU_BWD, dx,
                   tensor(*g, other_uid, o.saved.type, input_dims(c)));
  output(dx, y_uid, o.y.type, input_dims(c));
  return plans_of(s, g, masked ? "masked" : "plain");
}

std::vector<candidate> cudnn_backward_filter(stream& s, const convolution_shape& c,
                                             const operands& o) {
  if (s.plans->cudnn == nullptr || !is_symmetric(c)) return {};
  auto g = new_graph();
  auto dw = g->conv_wgrad(tensor(*g, w_uid, o.w.type, output_dims(c)),
                          tensor(*g, x_uid, o.x.type, input_dims(c)),
                          attributes_of<fe::graph::Conv_wgrad_attributes>(c));
  output(dw, y_uid, o.x.type, weight_dims(c));
  return plans_of(s, g, "plain");
}

}  // namespace slim::cuda

#else

namespace slim::cuda {

void* make_cudnn(stream&) { return nullptr; }
long cudnn_version() { return 0; }
void destroy_cudnn(void*) noexcept {}
std::vector<candidate> cudnn_forward(stream&, const convolution_shape&, const operands&, bool) {
  return {};
}
std::vector<candidate> cudnn_backward_data(stream&, const convolution_shape&, const operands&,
                                           bool) {
  return {};
}
std::vector<candidate> cudnn_backward_filter(stream&, const convolution_shape&, const operands&) {
  return {};
}

}  // namespace slim::cuda

#endif
