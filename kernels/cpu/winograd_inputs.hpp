#pragma once

// Winograd's transformed inputs V = B^T d B of a run of tiles in a row of the grid. Neighbouring
// tiles share columns of pixels: each column is transformed once along its height, into a ring of
// as many columns as a tile is wide, and every tile then transforms the ring along its width.

#include <cstddef>

#include <slim/kernels/cpu/winograd_tiles.hpp>

namespace slim::cpu::detail {

template <class W, class T>
class winograd_inputs {
  static constexpr int size = W::size;

 public:
  // Channels that are transformed at a time: the ring should stay in the first-level cache.
  static constexpr int channels = 4 * width<T>;

  winograd_inputs(const convolution_shape& s, const T* x) : s_(s), grid_(s), x_(x) {}

  // The tiles [first, first + count), in one row of the grid, and the channels [channel, channel +
  // number), at most `channels`. Element (plane, tile, c) goes to place(tile)[plane * plane_step +
  // c / width * step + c % width]; a last register is filled up with zeros.
  template <class Place>
  void transform(int first, int count, int channel, int number, std::ptrdiff_t plane_step,
                 std::ptrdiff_t step, const Place& place) {
    const auto at = grid_.at(first);
    const int top = at.row - s_.pad_top, left = at.column - s_.pad_left;
    const T* rows = x_ + (std::ptrdiff_t(at.image) * s_.h + top) * row_step() + channel;
    for (int tile = 0; tile < count; ++tile) {
      const int begin = tile == 0 ? 0 : size - W::outputs;  // of the columns that are new
      for (int j = begin; j < size; ++j) {
        const int column = tile * W::outputs + j;
        transform_column(rows, top, left + column, number, ring_[column % size]);
      }
      transform_tile(tile * W::outputs, number, plane_step, step, place(first + tile));
    }
  }

 private:
  std::ptrdiff_t row_step() const { return std::ptrdiff_t(s_.w) * s_.c; }

  void transform_column(const T* rows, int top, int j, int number, T (&to)[size][channels]) {
    if (j < 0 || j >= s_.w) {
      for (auto& row : to) std::fill(row, row + round_up(number, width<T>), T(0));
      return;
    }
    const T* from = rows + std::ptrdiff_t(j) * s_.c;
    const int first = std::max(0, -top), end = std::min(size, s_.h - top);
    prefetch_column(from, j, number, first, end);
    if (first == 0 && end == size && number % width<T> == 0) {
      transform_registers(number, to,
                          [&](int i, int c) { return vec<T>::loadu(from + i * row_step() + c); });
    } else {
      transform_registers(number, to, [&](int i, int c) {
        return i >= first && i < end ? load_some(from + i * row_step() + c, number - c)
                                     : vec<T>::zero();
      });
    }
  }

  // The same channels a tile further on: too far apart for the hardware to ask for.
  [[gnu::always_inline]] void prefetch_column(const T* from, int j, int number, int first,
                                              int end) const {
    constexpr int ahead = size;
    if (j + ahead >= s_.w) return;
    for (int i = first; i < end; ++i) {
      const T* pixel = from + i * row_step() + ahead * s_.c;
      for (int c = 0; c < number; c += line<T>) __builtin_prefetch(pixel + c, 0, 3);
    }
  }

  template <class Load>
  [[gnu::always_inline]] static void transform_registers(int number, T (&to)[size][channels],
                                                         const Load& load) {
    for (int c = 0; c < number; c += width<T>) {
      vec<T> in[size], out[size];
      unroll<size>([&](auto i) { in[i] = load(i, c); });
      W::input::apply(in, out);
      unroll<size>([&](auto i) { out[i].store(to[i] + c); });
    }
  }

  void transform_tile(int column, int number, std::ptrdiff_t plane_step, std::ptrdiff_t step,
                      T* to) const {
    const T* from[size];
    for (int j = 0; j < size; ++j) from[j] = ring_[(column + j) % size][0];
    for (int c = 0; c < number; c += width<T>, to += step) {
      T* plane = to;
      for (int i = 0; i < size; ++i) {
        vec<T> in[size], out[size];
        unroll<size>([&](auto j) { in[j] = vec<T>::load(from[j] + i * channels + c); });
        W::input::apply(in, out);
        unroll<size>([&](auto j) {
          out[j].storeu(plane);
          plane += plane_step;
        });
      }
    }
  }

  const convolution_shape& s_;
  const tile_grid<W> grid_;
  const T* x_;
  alignas(64) T ring_[size][size][channels];  // [column % size][row][channel]
};

}  // namespace slim::cpu::detail
