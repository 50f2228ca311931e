// Convolutions by kernels of our own for tensor cores, where they serve.
#include <algorithm>

#include "halo_convolution.hpp"
#include "halo_float.hpp"
#include "halo_tf32.hpp"
#include "plans.hpp"
#include "row_convolution.hpp"
#include "stem_convolution.hpp"
#include "stem_tf32.hpp"
#include "strided_stem.hpp"
#include "tf32_filter.hpp"

namespace slim::cuda {
namespace {

bool are(number type, std::initializer_list<array> all) {
  return std::all_of(all.begin(), all.end(), [&](const array& a) { return !a || a.type == type; });
}
bool identity_or_relu(const operands& o) {
  return o.f == function::identity || o.f == function::relu;
}
bool maskable(const operands& o) { return !o.saved || o.f == function::relu; }

/// A convolution's extents as the kernels want them.
images size_of(const convolution_shape& c) { return {c.n, c.h, c.w}; }
halo_channels channels_of(const convolution_shape& c) { return {c.c, c.k}; }

const float* floats(const array& a) { return static_cast<const float*>(a.data); }
float* floats_out(const array& a) { return static_cast<float*>(a.data); }
unsigned char* bytes_out(const array& a) { return static_cast<unsigned char*>(a.data); }

/// A way by run(operands, memory); `what` names it where it cannot be started.
template <class Run>
candidate way(stream& s, const char* name, const char* what, std::size_t workspace, Run run) {
  return {name, workspace, [&s, what, run](const operands& o, void* memory) {
            run(o, memory);
            s.check(what);
          }};
}

bool is_stem(const convolution_shape& c) {
  return stem_serves(c.c, c.k, c.kernel_h, c.kernel_w, c.stride_h, c.stride_w, c.rate_h, c.rate_w,
                     c.pad_top, c.pad_left) &&
         c.out_h == c.h && c.out_w == c.w;
}
/// 3x3 at stride 1, SAME.
bool is_3x3(const convolution_shape& c) {
  return c.kernel_h == 3 && c.kernel_w == 3 && c.stride_h == 1 && c.stride_w == 1 &&
         c.rate_h == 1 && c.rate_w == 1 && c.pad_top == 1 && c.pad_left == 1 && c.out_h == c.h &&
         c.out_w == c.w;
}

/// All cuts of a convolution of few images.
std::vector<candidate> row_ways(stream& s, const convolution_shape& c, bool pooled) {
  std::vector<candidate> ways;
  for (const row_cut cut : row_cuts(size_of(c), channels_of(c), pooled, s.multiprocessors)) {
    const std::string name = "rows " + std::to_string(cut.rows) + "x" +
                             std::to_string(cut.columns) + " of " + std::to_string(cut.pixels) +
                             ", " + std::to_string(cut.blocks) + " blocks";
    ways.push_back({name, 0, [&s, c, cut, pooled](const operands& a, void*) {
                      const bool early = s.settled(a.w) && (!a.bias || s.settled(a.bias));
                      row_forward(
                          a.x.data, a.w.data, a.bias.data, a.y.data, size_of(c), channels_of(c),
                          cut, {a.f == function::relu, pooled, early, s.multiprocessors}, s.handle);
                    }});
  }
  return ways;
}

std::vector<candidate> forward_in_bfloat16(stream& s, const convolution_shape& c,
                                           const operands& o) {
  std::vector<candidate> ways;
  if (!are(number::bf16, {o.x, o.w, o.y}) || o.residual || !identity_or_relu(o)) return ways;
  if (is_stem(c) && are(number::f32, {o.bias}))
    ways.push_back(way(s, "stem", "a stem convolution", 0, [&s, c](const operands& a, void*) {
      stem_forward(a.x.data, a.w.data, floats(a.bias), a.y.data, size_of(c), a.f == function::relu,
                   s.handle);
    }));
  if (strided_stem_serves(c) && are(number::bf16, {o.bias}))
    ways.push_back(
        way(s, "stem", "a stem convolution at stride 2", 0, [&s, c](const operands& a, void*) {
          strided_stem_forward(a.x.data, a.w.data, a.bias.data, a.y.data, c, a.f == function::relu,
                               s.multiprocessors, s.handle);
        }));
  if (is_3x3(c) && halo_serves_forward(channels_of(c)) && are(number::bf16, {o.bias}))
    ways.push_back(
        way(s, "halo", "a convolution of few channels", 0, [&s, c](const operands& a, void*) {
          halo_forward(a.x.data, a.w.data, a.bias.data, a.y.data, size_of(c), channels_of(c),
                       a.f == function::relu, s.multiprocessors, s.handle);
        }));
  if (is_3x3(c) && are(number::bf16, {o.bias}))
    for (candidate& more : row_ways(s, c, false)) ways.push_back(std::move(more));
  return ways;
}

std::vector<candidate> forward_in_tf32(stream& s, const convolution_shape& c, const operands& o) {
  std::vector<candidate> ways;
  if (s.precision != math::tf32 || !are(number::f32, {o.x, o.w, o.y, o.bias}) || o.residual ||
      !identity_or_relu(o))
    return ways;
  if (is_stem(c))
    ways.push_back(
        way(s, "stem", "a stem convolution in TF32", 0, [&s, c](const operands& a, void*) {
          stem_forward_tf32(floats(a.x), floats(a.w), floats(a.bias), floats_out(a.y), size_of(c),
                            a.f == function::relu, s.handle);
        }));
  if (is_3x3(c) && halo_tf32_serves(channels_of(c)))
    ways.push_back(way(
        s, "halo", "a convolution of few channels in TF32", 0, [&s, c](const operands& a, void*) {
          halo_tf32_forward(floats(a.x), floats(a.w), floats(a.bias), floats_out(a.y), size_of(c),
                            a.f == function::relu, s.multiprocessors, s.handle);
        }));
  return ways;
}

}  // namespace

std::vector<candidate> own_forward(stream& s, const convolution_shape& c, const operands& o) {
  std::vector<candidate> ways = forward_in_bfloat16(s, c, o);
  for (candidate& more : forward_in_tf32(s, c, o)) ways.push_back(std::move(more));
  if (s.precision != math::bf16 && halo_float_serves_forward(c, o))
    ways.push_back(
        way(s, "exact halo", "a convolution of floats", halo_float_workspace(c),
            [&s, c](const operands& a, void* memory) { halo_float_forward(s, c, a, memory); }));
  return ways;
}

std::vector<candidate> own_forward_pooled(stream& s, const convolution_shape& c,
                                          const operands& o) {
  std::vector<candidate> ways;
  if (!is_3x3(c) || !identity_or_relu(o)) return ways;
  if (are(number::bf16, {o.x, o.w, o.y, o.bias}) && halo_serves_forward(channels_of(c)))
    ways.push_back(way(s, "halo", "a pooled convolution of few channels", 0,
                       [&s, c](const operands& a, void*) {
                         halo_forward_pooled(a.x.data, a.w.data, a.bias.data, a.y.data,
                                             bytes_out(a.saved), size_of(c), channels_of(c),
                                             a.f == function::relu, s.multiprocessors, s.handle);
                       }));
  if (are(number::bf16, {o.x, o.w, o.y, o.bias}) && !o.saved)
    for (candidate& more : row_ways(s, c, true)) ways.push_back(std::move(more));
  if (s.precision == math::tf32 && are(number::f32, {o.x, o.w, o.y, o.bias}) &&
      halo_tf32_serves(channels_of(c)))
    ways.push_back(way(s, "halo", "a pooled convolution of few channels in TF32", 0,
                       [&s, c](const operands& a, void*) {
                         halo_tf32_forward_pooled(floats(a.x), floats(a.w), floats(a.bias),
                                                  floats_out(a.y), bytes_out(a.saved), size_of(c),
                                                  a.f == function::relu, s.multiprocessors,
                                                  s.handle);
                       }));
  return ways;
}

std::vector<candidate> own_backward_data(stream& s, const convolution_shape& c, const operands& o) {
  std::vector<candidate> ways;
  if (!maskable(o)) return ways;
  if (is_3x3(c) && are(number::bf16, {o.x, o.w, o.y, o.saved}) &&
      halo_serves_backward_data(channels_of(c)))
    ways.push_back(way(s, "halo", "the data gradient of a convolution of few channels", 0,
                       [&s, c](const operands& a, void*) {
                         halo_backward_data(a.x.data, a.w.data, a.saved.data, a.y.data, size_of(c),
                                            channels_of(c), s.multiprocessors, s.handle);
                       }));
  if (is_3x3(c) && s.precision == math::tf32 && are(number::f32, {o.x, o.w, o.y, o.saved}) &&
      halo_tf32_serves(channels_of(c)))
    ways.push_back(way(s, "halo", "the data gradient of a convolution of few channels in TF32", 0,
                       [&s, c](const operands& a, void*) {
                         halo_tf32_backward_data(floats(a.x), floats(a.w), floats(a.saved),
                                                 floats_out(a.y), size_of(c), s.multiprocessors,
                                                 s.handle);
                       }));
  if (s.precision != math::bf16 && halo_float_serves_backward_data(c, o))
    ways.push_back(way(
        s, "exact halo", "the data gradient of a convolution of floats", halo_float_workspace(c),
        [&s, c](const operands& a, void* memory) { halo_float_backward_data(s, c, a, memory); }));
  return ways;
}

std::vector<candidate> own_backward_filter(stream& s, const convolution_shape& c,
                                           const operands& o) {
  std::vector<candidate> ways;
  const auto bytes = [](long b) { return static_cast<std::size_t>(b); };
  if (strided_stem_serves(c) && are(number::bf16, {o.x, o.w}))
    ways.push_back(way(
        s, "stem", "the weight gradient of a stem convolution at stride 2",
        bytes(strided_stem_filter_workspace(c)), [&s, c](const operands& a, void* memory) {
          strided_stem_backward_filter(a.x.data, a.w.data, floats_out(a.y), memory, c, s.handle);
        }));
  if (!is_3x3(c)) return ways;
  if (are(number::bf16, {o.x, o.w}) && halo_serves_backward_filter(channels_of(c)))
    ways.push_back(way(s, "halo", "the weight gradient of a convolution",
                       bytes(halo_filter_workspace(size_of(c), channels_of(c))),
                       [&s, c](const operands& a, void* memory) {
                         halo_backward_filter(a.x.data, a.w.data, floats_out(a.y), memory,
                                              size_of(c), channels_of(c), s.handle);
                       }));
  if (s.precision == math::tf32 && are(number::f32, {o.x, o.w}) &&
      tf32_filter_serves(channels_of(c)))
    ways.push_back(way(s, "halo", "the weight gradient of a convolution in TF32",
                       bytes(tf32_filter_workspace(size_of(c), channels_of(c))),
                       [&s, c](const operands& a, void* memory) {
                         tf32_backward_filter(floats(a.x), floats(a.w), floats_out(a.y), memory,
                                              size_of(c), channels_of(c), s.handle);
                       }));
  return ways;
}

bool own_stem_gradients(stream& s, const convolution_shape& c, array x, array dy, array dw,
                        array db) {
  if (!is_stem(c) || !are(number::bf16, {x, dy})) return false;
  // The biases' gradient comes with it, wanted or not.
  const auto bytes = static_cast<std::size_t>(stem_filter_workspace(size_of(c)));
  auto* workspace = static_cast<std::byte*>(s.scratch(bytes + std::size_t(c.k) * sizeof(float)));
  stem_backward_filter(x.data, dy.data, floats_out(dw),
                       static_cast<float*>(db ? db.data : workspace + bytes), workspace, size_of(c),
                       s.handle);
  s.check("a stem's weight gradient");
  return true;
}

}  // namespace slim::cuda
