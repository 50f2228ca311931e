#pragma once

// The transforms of Winograd's minimal filtering F(M x M, R x R): Lavin & Gray 2015,
// "Fast algorithms for convolutional neural networks", arXiv:1509.09308, section 4:
//   Y = A^T [(G g G^T) * (B^T d B)] A.
// The interpolation points are 0, +-p_1, …, +-p_{size/2 - 1} and infinity, for tiles of
// size = M + R - 1 inputs a side. As they come in pairs, each transform splits into even and odd
// parts. Any points p are right; these were chosen for small rounding errors (in fp32 F(4, 3) errs
// half as much as with the usual 1 and 2).

#include <slim/kernels/cpu/simd.hpp>

namespace slim::cpu {

template <int Size>
inline constexpr double winograd_points[Size / 2 - 1] = {};
template <>
inline constexpr double winograd_points<4>[1] = {1};
template <>
inline constexpr double winograd_points<6>[2] = {0.625, 1.25};
template <>
inline constexpr double winograd_points<8>[3] = {0.5, 1, 1.5};

/// F(M x M, R x R): the one-dimensional transforms as functions on arrays of registers.
template <int M, int R = 3>
struct winograd {
  static constexpr int outputs = M, taps = R;
  static constexpr int size = M + R - 1;      // inputs a side of a tile
  static constexpr int planes = size * size;  // products a tile
  static constexpr int pairs = size / 2 - 1;
  static_assert(M >= 2 && R >= 2 && (size == 4 || size == 6 || size == 8),
                "slim: Winograd tiles have 4, 6 or 8 inputs a side");

  /// Coefficients, by powers of x^2, of the product of (x^2 - p_j^2) over all pairs j but
  /// `without`.
  struct polynomial {
    double of[pairs + 1] = {};
  };
  static constexpr polynomial product_without(int without) {
    polynomial q;
    q.of[0] = 1;
    for (int j = 0; j < pairs; ++j) {
      if (j == without) continue;
      for (int l = pairs; l >= 0; --l) {
        q.of[l] = (l > 0 ? q.of[l - 1] : 0) - square(j) * q.of[l];
      }
    }
    return q;
  }
  static constexpr double point(int j) { return winograd_points<size>[j]; }
  static constexpr double square(int j) { return point(j) * point(j); }
  static constexpr double power(int j, int exponent) {
    return exponent == 0 ? 1 : point(j) * power(j, exponent - 1);
  }
  /// 1 / the product of the differences of +-p_j (or of 0, for j = pairs) to all other points.
  static constexpr double weight(int j) {
    double product = j == pairs ? 1 : 2 * square(j);
    for (int l = 0; l < pairs; ++l) {
      if (l != j) product *= j == pairs ? -square(l) : square(j) - square(l);
    }
    return 1 / product;
  }

  /// to = B^T from.
  struct input {
    static constexpr int from = size, to = size;
    template <class T>
    [[gnu::always_inline]] static void apply(const vec<T> (&d)[size], vec<T> (&v)[size]) {
      static constexpr polynomial whole = product_without(pairs);
      v[0] = dot<T, pairs + 1, 2>(whole, d);
      v[size - 1] = dot<T, pairs + 1, 2>(whole, d + 1);
      unroll<pairs>([&](auto j) {
        static constexpr polynomial q = product_without(j);
        const vec<T> even = dot<T, pairs, 2>(q, d + 2), odd = dot<T, pairs, 2>(q, d + 1);
        v[1 + 2 * j] = multiply_add(odd, vec<T>(T(point(j))), even);
        v[2 + 2 * j] = multiply_add(odd, vec<T>(T(-point(j))), even);
      });
    }
  };

  /// to = A^T from.
  struct output {
    static constexpr int from = size, to = M;
    template <class T>
    [[gnu::always_inline]] static void apply(const vec<T> (&m)[size], vec<T> (&y)[M]) {
      vec<T> sum[2][pairs];
      unroll<pairs>([&](auto j) {
        sum[0][j] = m[1 + 2 * j] + m[2 + 2 * j];
        sum[1][j] = m[1 + 2 * j] - m[2 + 2 * j];
      });
      unroll<M>([&](auto i) {
        y[i] = sum[i % 2][0] * vec<T>(T(power(0, i)));
        unroll<pairs - 1>([&](auto j) {
          y[i] = multiply_add(sum[i % 2][j + 1], vec<T>(T(power(j + 1, i))), y[i]);
        });
      });
      y[0] += m[0];
      y[M - 1] += m[size - 1];
    }
  };

  /// to = A from: the output transform's transpose, for gradients.
  struct output_gradient {
    static constexpr int from = M, to = size;
    template <class T>
    [[gnu::always_inline]] static void apply(const vec<T> (&y)[M], vec<T> (&z)[size]) {
      z[0] = y[0];
      z[size - 1] = y[M - 1];
      unroll<pairs>([&](auto j) {
        vec<T> even = y[0], odd = y[1] * vec<T>(T(point(j)));
        unroll<M - 2>([&](auto l) {
          vec<T>& sum = l % 2 == 0 ? even : odd;
          sum = multiply_add(y[l + 2], vec<T>(T(power(j, l + 2))), sum);
        });
        z[1 + 2 * j] = even + odd;
        z[2 + 2 * j] = even - odd;
      });
    }
  };

  /// to = G from.
  struct filter {
    static constexpr int from = R, to = size;
    template <class T>
    [[gnu::always_inline]] static void apply(const vec<T> (&g)[R], vec<T> (&u)[size]) {
      u[0] = g[0] * vec<T>(T(weight(pairs)));
      u[size - 1] = g[R - 1];
      unroll<pairs>([&](auto j) {
        vec<T> even = g[0] * vec<T>(T(weight(j)));
        vec<T> odd = g[1] * vec<T>(T(weight(j) * point(j)));
        unroll<R - 2>([&](auto l) {
          vec<T>& sum = l % 2 == 0 ? even : odd;
          sum = multiply_add(g[l + 2], vec<T>(T(weight(j) * power(j, l + 2))), sum);
        });
        u[1 + 2 * j] = even + odd;
        u[2 + 2 * j] = even - odd;
      });
    }
  };

  /// to = G^T from: the filter transform's transpose, for gradients.
  struct filter_gradient {
    static constexpr int from = size, to = R;
    template <class T>
    [[gnu::always_inline]] static void apply(const vec<T> (&u)[size], vec<T> (&g)[R]) {
      unroll<R>([&](auto l) { g[l] = vec<T>::zero(); });
      g[0] = u[0] * vec<T>(T(weight(pairs)));
      g[R - 1] += u[size - 1];
      unroll<pairs>([&](auto j) {
        const vec<T> even = u[1 + 2 * j] + u[2 + 2 * j], odd = u[1 + 2 * j] - u[2 + 2 * j];
        unroll<R>([&](auto l) {
          g[l] = multiply_add(l % 2 == 0 ? even : odd, vec<T>(T(weight(j) * power(j, l))), g[l]);
        });
      });
    }
  };

 private:
  template <class T, int terms, int step>
  [[gnu::always_inline]] static vec<T> dot(const polynomial& q, const vec<T>* d) {
    vec<T> sum = d[0] * vec<T>(T(q.of[0]));
    unroll<terms - 1>(
        [&](auto l) { sum = multiply_add(d[(l + 1) * step], vec<T>(T(q.of[l + 1])), sum); });
    return sum;
  }
};

/// Applies a one-dimensional transform to the columns, then to the rows of a square:
/// load(i, j) yields its elements, emit(i, row) receives the rows of the result.
template <class Transform, class T, class Load, class Emit>
[[gnu::always_inline]] inline void transform_square(Load&& load, Emit&& emit) {
  constexpr int from = Transform::from, to = Transform::to;
  vec<T> middle[to][from];
  for (int j = 0; j < from; ++j) {
    vec<T> in[from], out[to];
    unroll<from>([&](auto i) { in[i] = load(i, j); });
    Transform::apply(in, out);
    unroll<to>([&](auto i) { middle[i][j] = out[i]; });
  }
  for (int i = 0; i < to; ++i) {
    vec<T> in[from], out[to];
    unroll<from>([&](auto j) { in[j] = middle[i][j]; });
    Transform::apply(in, out);
    emit(i, out);
  }
}

}  // namespace slim::cpu
