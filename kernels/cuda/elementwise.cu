// Element-wise ops: one pass over memory each.
#include <slim/random.hpp>

#include "channels.cuh"

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
void add_activate_backward(stream& s, array a, array b, array saved, function f, array dx) {
  map(
      s, dx, [f] __device__(float v, float w, float y, long) { return (v + w) * slope(f, y); }, a,
      b, saved);
}
void scale(stream& s, array x, array factor, array y) {
  const elements by(factor);
  map(s, y, [by] __device__(float v, long) { return v * by[0]; }, x);
}

namespace {

/// What is done to each channel, in T or as elements of any type.
struct channel_map {
  elements scale, shift;

  template <int V>
  struct constants {
    float scale[V], shift[V];
  };
  template <int V>
  __device__ constants<V> prepare(int channel) const {
    constants<V> k;
    for (int i = 0; i < V; ++i) {
      k.scale[i] = scale.there() ? scale[channel + i] : 1.0f;
      k.shift[i] = shift.there() ? shift[channel + i] : 0.0f;
    }
    return k;
  }
};

/// y = f(x scale + shift + residual), where there is a residual.
template <bool Residual, class T, class F>
void map_channels_of(stream& s, const T* x, long rows, int c, const channel_map& m,
                     const T* residual, F f, T* y) {
  for_channels<channel_lanes>(
      s, rows, c, [=] __device__(int channel) { return m.prepare<channel_lanes>(channel); },
      [=] __device__(long at) {
        return pair_of_pieces<T, channel_lanes>{
            fetch<channel_lanes>(x + at),
            Residual ? fetch<channel_lanes>(residual + at) : piece<T, channel_lanes>{}};
      },
      [=] __device__(const channel_map::constants<channel_lanes>& k,
                     const pair_of_pieces<T, channel_lanes>& part, long at) {
        float values[channel_lanes], added[channel_lanes];
        widen(part.first, values);
        widen(part.second, added);
#pragma unroll
        for (int i = 0; i < channel_lanes; ++i)
          values[i] = f(values[i] * k.scale[i] + k.shift[i] + (Residual ? added[i] : 0.0f));
        store(values, y + at);
      });
}

/// The same whatever the types are, and the number of channels.
void map_channels(stream& s, array x, array scale, array shift, array residual, function f,
                  array y) {
  const long c = shift ? shift.count : scale ? scale.count : lanes;
  const channel_map m{elements(scale), elements(shift)};
  if (x.type == y.type && (!residual || residual.type == x.type) && c % lanes == 0 &&
      x.count % c == 0)
    return with_type(x.type, [&](auto t) {
      using T = typename decltype(t)::type;
      with_function(f, [&](auto g) {
        const auto* from = static_cast<const T*>(x.data);
        auto* const to = static_cast<T*>(y.data);
        if (residual)
          map_channels_of<true>(s, from, x.count / c, static_cast<int>(c), m,
                                static_cast<const T*>(residual.data), g, to);
        else
          map_channels_of<false>(s, from, x.count / c, static_cast<int>(c), m,
                                 static_cast<const T*>(nullptr), g, to);
      });
    });
  const auto channel = [=] __device__(float v, long i) {
    const long k = i % c;
    return v * (m.scale.there() ? m.scale[k] : 1.0f) + (m.shift.there() ? m.shift[k] : 0.0f);
  };
  if (residual)
    map(
        s, y, [=] __device__(float v, float r, long i) { return apply(f, channel(v, i) + r); }, x,
        residual);
  else
    map(s, y, [=] __device__(float v, long i) { return apply(f, channel(v, i)); }, x);
}

}  // namespace

void add_bias(stream& s, array x, array bias, array residual, function f, array y) {
  map_channels(s, x, {}, bias, residual, f, y);
}
void scale_columns(stream& s, array w, array scale, array y) {
  const elements factors(scale);
  const int k = static_cast<int>(scale.count);
  map(s, y, [=] __device__(float v, long i) { return v * factors[i % k]; }, w);
}
void scale_shift(stream& s, array x, array scale, array shift, function f, array y) {
  map_channels(s, x, scale, shift, {}, f, y);
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
/// Calls f(element of x, element of y) for every piece of `width` columns.
template <class F>
void for_columns(stream& s, long rows, const columns& k, int width, F f) {
  const int pieces = k.count / width;
  for_each(s, rows * pieces, [=] __device__(long i) {
    const long row = i / pieces, at = (i - row * pieces) * width;
    f(row * k.from + k.first_from + at, row * k.to + k.first_to + at);
  });
}

}  // namespace

void copy_columns(stream& s, array x, int from, int first_from, array y, int to, int first_to,
                  int count) {
  const columns k{from, first_from, to, first_to, count};
  const elements source(x), target(y);
  const bool aligned = from % lanes == 0 && first_from % lanes == 0 && to % lanes == 0 &&
                       first_to % lanes == 0 && count % lanes == 0;
  if (aligned)
    for_columns(s, x.count / from, k, lanes, [=] __device__(long i, long j) {
      float values[lanes];
      source.load_from(i, values);
      target.store_to(j, values);
    });
  else
    for_columns(s, x.count / from, k, 1,
                [=] __device__(long i, long j) { target.put(j, source[i]); });
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
    if (last - i < lanes) {
      for (long e = i; e < last; ++e)
        p.to.put(e, p.scale.there() ? p.from[e] * p.scale[e % p.k] : p.from[e]);
      continue;
    }
    float values[lanes];
    p.from.load_from(i, values);
    if (p.scale.there())
      for (int e = 0; e < lanes; ++e) values[e] *= p.scale[(i + e) % p.k];
    p.to.store_to(i, values);
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
