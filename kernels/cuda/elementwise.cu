// Element-wise ops: one pass over memory each.
#include <slim/random.hpp>

#include "elements.cuh"

namespace slim::cuda {

void activate(stream& s, array x, function f, array y) {
  map(s, y, [f] __device__(float v, long) { return apply(f, v); }, x);
}
void add(stream& s, array a, array b, function f, array y) {
  map(s, y, [f] __device__(float v, float w, long) { return apply(f, v + w); }, a, b);
}
void copy(stream& s, array x, array y) {
  const auto address = [](const array& a) { return reinterpret_cast<std::uintptr_t>(a.data); };
  if ((address(x) | address(y)) % (lanes * sizeof(__nv_bfloat16)) != 0) {
    const elements from(x), to(y);
    return for_each(s, y.count, [=] __device__(long i) { to.put(i, from[i]); });
  }
  map(s, y, [] __device__(float v, long) { return v; }, x);
}
void fill(stream& s, array y, float value) {
  map(s, y, [value] __device__(long) { return value; });
}
void activate_backward(stream& s, array saved, array dy, function f, array dx) {
  map(s, dx, [f] __device__(float y, float g, long) { return g * slope(f, y); }, saved, dy);
}
void scale(stream& s, array x, array factor, array y) {
  const elements by(factor);
  map(s, y, [by] __device__(float v, long) { return v * by[0]; }, x);
}

void add_bias(stream& s, array x, array bias, array residual, function f, array y) {
  const elements biases(bias);
  const int c = bias ? static_cast<int>(bias.count) : 1;
  const auto sum = [=] __device__(float v, long i) {
    return biases.there() ? v + biases[i % c] : v;
  };
  if (residual)
    map(
        s, y, [=] __device__(float v, float r, long i) { return apply(f, sum(v, i) + r); }, x,
        residual);
  else
    map(s, y, [=] __device__(float v, long i) { return apply(f, sum(v, i)); }, x);
}
void scale_columns(stream& s, array w, array scale, array y) {
  const elements factors(scale);
  const int k = static_cast<int>(scale.count);
  map(s, y, [=] __device__(float v, long i) { return v * factors[i % k]; }, w);
}
void scale_shift(stream& s, array x, array scale, array shift, function f, array y) {
  const elements factors(scale), added(shift);
  const int c = static_cast<int>(scale.count);
  map(
      s, y,
      [=] __device__(float v, long i) {
        const int channel = static_cast<int>(i % c);
        return apply(f, v * factors[channel] + added[channel]);
      },
      x);
}

void dropout(stream& s, array x, int salt, double keep_prob, array y) {
  const unsigned long long* run = s.random_key;
  const auto kept = static_cast<unsigned long long>(ceil(keep_prob * 0x1.0p53));
  const float factor = static_cast<float>(1 / keep_prob);
  map(
      s, y,
      [=] __device__(float v, long i) {
        const auto key = mix(random_at(*run, static_cast<std::uint64_t>(salt)));
        const std::uint64_t bits = random_of_mixed(key, static_cast<std::uint64_t>(i));
        return (bits >> 11) < kept ? v * factor : 0.0f;
      },
      x);
}

namespace {

struct columns {
  int from, first_from, to, first_to, count;
};
template <int V>
void copy_columns_by(stream& s, const elements& x, long rows, columns k, const elements& y) {
  const int pieces = k.count / V;
  for_each(s, rows * pieces, [=] __device__(long i) {
    const long row = i / pieces, at = (i - row * pieces) * V;
    float values[lanes];
    x.load_from(row * k.from + k.first_from + at, V, values);
    y.store_to(row * k.to + k.first_to + at, V, values);
  });
}

}  // namespace

void copy_columns(stream& s, array x, int from, int first_from, array y, int to, int first_to,
                  int count) {
  const columns k{from, first_from, to, first_to, count};
  const bool aligned = from % lanes == 0 && first_from % lanes == 0 && to % lanes == 0 &&
                       first_to % lanes == 0 && count % lanes == 0;
  const auto copy = aligned ? &copy_columns_by<lanes> : &copy_columns_by<1>;
  copy(s, elements(x), x.count / from, k, elements(y));
}

void one_hot(stream& s, array labels, int k, float on, float off, array y) {
  const int* label = static_cast<const int*>(labels.data);
  map(s, y, [=] __device__(long i) { return label[i / k] == i % k ? on : off; });
}

void tile_channels(stream& s, array w, int c, array y) {
  const elements from(w);
  map(s, y, [=] __device__(long i) { return from[i / c]; });
}
void tile_channels_backward(stream& s, array dy, int c, array dw) {
  const elements from(dy);
  map(s, dw, [=] __device__(long i) {
    double sum = 0;
    for (int k = 0; k < c; ++k) sum += double(from[i * c + k]);
    return static_cast<float>(sum);
  });
}

void regularizer_backward(stream& s, array w, array dloss, array running, penalty p, array dw) {
  const elements by(dloss);
  const auto part = [=] __device__(float v) {
    return by[0] * (p.l2 * v + p.l1 * float((v > 0) - (v < 0)));
  };
  if (running)
    map(s, dw, [=] __device__(float v, float g, long) { return g + part(v); }, w, running);
  else
    map(s, dw, [=] __device__(float v, long) { return part(v); }, w);
}

namespace {

// Weights change their form in tiles of 32 x 32, through shared memory where they are turned;
// blocks of one launch share out the tiles of many weights.

inline constexpr int tile = 32, most_together = 48;

struct prepared_tiles {
  elements from, scale, to;
  long rows;
  int k, row_tiles;
  bool turned;
};
struct preparations {
  prepared_tiles each[most_together];
  long first[most_together + 1];  // tile
  int count;
};

__device__ inline void turn_tile(const prepared_tiles& p, long at) {
  __shared__ float part[tile][tile + 1];
  const long row = at % p.row_tiles * tile;
  const int column = static_cast<int>(at / p.row_tiles) * tile;
  for (int i = threadIdx.y; i < tile; i += blockDim.y) {
    const int k = column + threadIdx.x;
    if (row + i < p.rows && k < p.k) {
      const float v = p.from[(row + i) * p.k + k];
      part[i][threadIdx.x] = p.scale.there() ? v * p.scale[k] : v;
    }
  }
  __syncthreads();
  for (int i = threadIdx.y; i < tile; i += blockDim.y)
    if (column + i < p.k && row + threadIdx.x < p.rows)
      p.to.put(long{column + i} * p.rows + row + threadIdx.x, part[threadIdx.x][i]);
}

/// A tile of weights that keep their order: as many elements, whatever their rows.
inline constexpr long piece = 8192;
__device__ inline void cast_piece(const prepared_tiles& p, long at) {
  const long count = p.rows * p.k, last = (at + 1) * piece < count ? (at + 1) * piece : count;
  for (long i = at * piece + (threadIdx.y * tile + threadIdx.x) * lanes; i < last;
       i += long{blockDim.x} * blockDim.y * lanes) {
    const int n = last - i < lanes ? static_cast<int>(last - i) : lanes;
    float values[lanes];
    p.from.load_from(i, n, values);
    if (p.scale.there())
      for (int e = 0; e < n; ++e) values[e] *= p.scale[(i + e) % p.k];
    p.to.store_to(i, n, values);
  }
}

__global__ void prepare_kernel(const __grid_constant__ preparations all) {
  int mine = 0;
  while (mine + 1 < all.count && all.first[mine + 1] <= blockIdx.x) ++mine;
  const prepared_tiles& p = all.each[mine];
  const long at = blockIdx.x - all.first[mine];
  p.turned ? turn_tile(p, at) : cast_piece(p, at);
}

void prepare_some(stream& s, const stream::preparation* some, int count) {
  preparations all{};
  all.count = count;
  for (int i = 0; i < count; ++i) {
    const stream::preparation& p = some[i];
    const long rows = p.from.count / p.k;
    const int row_tiles = static_cast<int>((rows + tile - 1) / tile);
    all.each[i] = {elements(p.from), elements(p.scale), elements(p.to), rows, p.k,
                   row_tiles,        p.turned};
    const long tiles =
        p.turned ? long{row_tiles} * ((p.k + tile - 1) / tile) : (p.from.count + piece - 1) / piece;
    all.first[i + 1] = all.first[i] + tiles;
  }
  launch(s, "preparing weights", &prepare_kernel, static_cast<unsigned>(all.first[count]),
         dim3(tile, 8), 0, all);
}

}  // namespace

void prepare_weights(stream& s, array w, array scale, int k, bool turned, array y) {
  const stream::preparation p{w, scale, y, k, turned};
  s.gathering ? s.gathered.push_back(p) : prepare_some(s, &p, 1);
}

void stream::prepare_all() {
  gathering = false;
  const int count = static_cast<int>(gathered.size());
  for (int i = 0; i < count; i += most_together)
    prepare_some(*this, gathered.data() + i, count - i < most_together ? count - i : most_together);
  gathered.clear();
}

}  // namespace slim::cuda
