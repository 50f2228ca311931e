// Element-wise ops on the CPU. Eigen's expressions on DefaultDevice slices are already one pass
// over memory without allocation, so most ops run on those; what is here is what they miss.
#pragma once

#include "../eigen/elementwise.hpp"
#include "contraction.hpp"

namespace slim {
namespace cpu {

/// dy [rows, c] -> [c]: a fixed number of row shards in the workspace, added up in order.
inline constexpr int bias_shards = 16;

template <class T>
void bias_backward(const kernel_call& call) {
  const tensor dy = call.in(0);
  const int c = dy.dims.back();
  const long rows = dy.dims.leading();
  T* partial = call.workspace<T>();
  call.device().parallel(bias_shards, [&](int shard, int) {
    T* sum = partial + long{shard} * c;
    std::fill_n(sum, c, T(0));
    for (long r = rows * shard / bias_shards; r < rows * (shard + 1) / bias_shards; ++r)
      for_each_vec<T>(c, [&](int i, int count) {
        store_some(load_some(sum + i, count) + load_some(dy.as<const T>() + r * c + i, count),
                   sum + i, count);
      });
  });
  T* db = call.out().as<T>();
  std::copy_n(partial, c, db);
  for (int shard = 1; shard < bias_shards; ++shard)
    for (int i = 0; i < c; ++i) db[i] += partial[long{shard} * c + i];
}

}  // namespace cpu

template <class T>
struct kernel_of<op::bias_backward, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph& g, const node_row& n) {
    return cpu::choice<T>("one pass", &cpu::bias_backward<T>,
                          std::size_t(cpu::bias_shards) * std::size_t(g.input_shape(n, 0).back()));
  }
};

}  // namespace slim
