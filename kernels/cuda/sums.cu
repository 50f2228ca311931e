// Sums of rows.
#include "columns.cuh"

namespace slim::cuda {

namespace {

template <class T>
struct sum_of {
  using way = column_way<>;
  const T* x;
  int c;

  template <int V>
  __device__ no_constants prepare(int, long) const {
    return {};
  }
  template <int V>
  __device__ piece<T, V> fetched(long row, int channel) const {
    return fetch<V>(x + row * c + channel);
  }
  template <int V>
  __device__ void add(no_constants, const piece<T, V>& part, float (&sums)[1][V], long, int) const {
    float values[V];
    widen(part, values);
#pragma unroll
    for (int i = 0; i < V; ++i) sums[0][i] += values[i];
  }
};

}  // namespace

void sum_rows(stream& s, array x, array y) {
  const int c = static_cast<int>(y.count);
  const long rows = x.count / c;
  float* const memory = column_memory<1>(s, c);
  with_type(x.type, [&](auto t) {
    using T = typename decltype(t)::type;
    sum_columns<1>(s, rows, c, sum_of<T>{static_cast<const T*>(x.data), c},
                   put_sum{{}, elements(y)}, memory);
  });
}

}  // namespace slim::cuda
