// Concatenation on the CPU: copies of rows.
#pragma once

#include "../eigen/concat.hpp"
#include "simd.hpp"

namespace slim {
namespace cpu {

/// Copies `count` elements a row, rows [first, last).
template <class T>
void copy_rows(const T* from, long from_step, T* to, long to_step, long count, long first,
               long last) {
  for (long r = first; r < last; ++r)
    std::copy_n(from + r * from_step, count, to + r * to_step);
}

template <class T>
void concat(const kernel_call& call) {
  const tensor y = call.out();
  const long c = y.dims.back();
  reference::in_ranges(call.device(), y.dims.leading(), reference::elements_a_shard / c + 1,
                       [&](long first, long last) {
                         T* to = y.as<T>();
                         for (int i = 0; i < call.inputs(); ++i) {
                           const tensor x = call.in(i);
                           const long own = x.dims.back();
                           copy_rows(x.as<const T>(), own, to, c, own, first, last);
                           to += own;
                         }
                       });
}

template <class T>
void channel_slice(const kernel_call& call) {
  const tensor dy = call.in(0), dx = call.out();
  const long c = dy.dims.back(), own = dx.dims.back();
  reference::in_ranges(call.device(), dx.dims.leading(), reference::elements_a_shard / own + 1,
                       [&](long first, long last) {
                         copy_rows(dy.as<const T>() + call.a().integer, c, dx.as<T>(), own, own,
                                   first, last);
                       });
}

}  // namespace cpu

template <class T>
struct kernel_of<op::concat, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"copy", &cpu::concat<T>, 0};
  }
};
template <class T>
struct kernel_of<op::channel_slice, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"copy", &cpu::channel_slice<T>, 0};
  }
};

}  // namespace slim
