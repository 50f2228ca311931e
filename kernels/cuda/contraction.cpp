// Convolutions and dense products: the ways there are to do each, of which the fastest is taken.
#include <algorithm>

#include "direct.hpp"
#include "plans.hpp"

namespace slim::cuda {
namespace {

/// "forward bf16 n32 56x56x64 k64 3x3/1x1 rate1x1 pad1,1 to 56x56 bias relu".
std::string key_of(const char* op, const stream& s, const convolution_shape& c, const operands& o) {
  const auto by = [](int a, int b) { return std::to_string(a) + "x" + std::to_string(b); };
  std::string key = std::string(op) + " " + text_of(s.precision) + " " + text_of(o.x.type) + " n" +
                    std::to_string(c.n) + " " + by(c.h, c.w) + "x" + std::to_string(c.c) + " k" +
                    std::to_string(c.k) + " " + by(c.kernel_h, c.kernel_w) + "/" +
                    by(c.stride_h, c.stride_w) + " rate" + by(c.rate_h, c.rate_w) + " pad" +
                    by(c.pad_top, c.pad_left) + " to " + by(c.out_h, c.out_w);
  const std::pair<const char*, array> others[] = {
      {" w ", o.w}, {" added ", o.residual}, {" masked by ", o.saved}, {" y ", o.y}};
  for (const auto& [name, a] : others)
    if (a && a.type != o.x.type) key += name + text_of(a.type);
  if (o.bias) key += " bias " + text_of(o.bias.type);
  if (o.residual) key += " residual";
  if (o.saved) key += " saved";
  if (o.f != function::identity) key += " f" + std::to_string(int(o.f));
  return key;
}

void append(std::vector<candidate>& to, std::vector<candidate> more) {
  for (candidate& c : more) to.push_back(std::move(c));
}

/// The output pixels are the input pixels: the convolution is a product.
bool is_product(const convolution_shape& c) {
  return c.kernel_h == 1 && c.kernel_w == 1 && c.stride_h == 1 && c.stride_w == 1 &&
         c.pad_top == 0 && c.pad_left == 0 && c.out_h == c.h && c.out_w == c.w;
}

/// How many images' patches are made at once: what fits into a cache-friendly piece of memory.
int images_at_once(const convolution_shape& c, number type) {
  const double each = double(c.out_h) * c.out_w * c.patch() * double(bytes_of(type));
  const double fit = double(std::size_t{192} << 20) / each;
  return std::clamp(static_cast<int>(fit), 1, c.n);
}
std::size_t patches_bytes(const convolution_shape& c, number type) {
  return std::size_t(images_at_once(c, type)) * std::size_t(c.out_h) * std::size_t(c.out_w) *
         std::size_t(c.patch()) * bytes_of(type);
}
array part_of(array a, long first, long count) {
  return {static_cast<std::byte*>(a.data) + std::size_t(first) * bytes_of(a.type), a.type, count};
}

/// Calls f(first image, images, patches) for pieces of the batch.
template <class F>
void in_pieces(const convolution_shape& c, number type, void* memory, F f) {
  const int step = images_at_once(c, type);
  for (int first = 0; first < c.n; first += step) {
    const int count = std::min(step, c.n - first);
    f(first, count, array{memory, type, long{count} * c.out_h * c.out_w * c.patch()});
  }
}

void finish(stream& s, const operands& o) {
  if (o.bias || o.residual || o.f != function::identity)
    add_bias(s, o.y, o.bias, o.residual, o.f, o.y);
}
operands bare(operands o) {
  o.bias = o.residual = o.saved = {};
  o.f = function::identity;
  return o;
}

candidate product_forward(stream& s, const convolution_shape& c) {
  return {"product", 0, [&s, c](const operands& o, void*) {
            const product p{long{c.n} * c.h * c.w, c.k, c.c, false, true};
            if (!o.residual && fuses(o.bias, o.f, o.y))
              return multiply(s, p, o.x, o.w, o.y, o.bias, o.f);
            multiply(s, p, o.x, o.w, o.y);
            finish(s, o);
          }};
}
candidate patches_forward(stream& s, const convolution_shape& c, number type) {
  return {"patches", patches_bytes(c, type), [&s, c, type](const operands& o, void* memory) {
            const long each = long{c.out_h} * c.out_w;
            in_pieces(c, type, memory, [&](int first, int count, array patches) {
              gather_patches(s, c, o.x, first, count, patches);
              multiply(s, {count * each, c.k, c.patch(), false, true}, patches, o.w,
                       part_of(o.y, first * each * c.k, count * each * c.k));
            });
            finish(s, o);
          }};
}

std::vector<candidate> forward_ways(stream& s, const convolution_shape& c, const operands& o) {
  std::vector<candidate> ways;
  if (o.f == function::identity || o.f == function::relu)
    append(ways, cudnn_forward(s, c, o, true));
  if (ways.empty())
    for (candidate& plain : cudnn_forward(s, c, bare(o), false))
      ways.push_back({plain.name + " then the rest", plain.workspace,
                      [&s, run = plain.run](const operands& a, void* memory) {
                        run(bare(a), memory);
                        finish(s, a);
                      }});
  if (is_product(c)) ways.push_back(product_forward(s, c));
  if (ways.empty() || s.precision == math::exact) ways.push_back(patches_forward(s, c, o.x.type));
  append(ways, own_forward(s, c, o));
  if (s.precision != math::bf16 && !o.residual && direct_serves(c, o))
    ways.push_back({"direct", 0, [&s, c](const operands& a, void*) {
                      if (a.f == function::identity || a.f == function::relu)
                        return direct_forward(s, c, a);
                      direct_forward(s, c, bare(a));
                      finish(s, a);
                    }});
  return ways;
}

std::vector<candidate> backward_data_ways(stream& s, const convolution_shape& c,
                                          const operands& o) {
  std::vector<candidate> ways;
  const auto then_mask = [&](candidate plain) {
    ways.push_back({plain.name, plain.workspace, [&s, run = plain.run](const operands& a, void* m) {
                      run(bare(a), m);
                      if (a.saved) activate_backward(s, a.saved, a.y, a.f, a.y);
                    }});
  };
  if (o.saved && o.f == function::relu) append(ways, cudnn_backward_data(s, c, o, true));
  for (candidate& plain : cudnn_backward_data(s, c, bare(o), false)) then_mask(std::move(plain));
  if (is_product(c))
    then_mask({"product", 0, [&s, c](const operands& a, void*) {
                 multiply(s, {long{c.n} * c.h * c.w, c.c, c.k}, a.x, a.w, a.y);
               }});
  if (ways.empty() || s.precision == math::exact)
    then_mask({"patches", patches_bytes(c, o.x.type), [&s, c](const operands& a, void* memory) {
                 const long each = long{c.out_h} * c.out_w;
                 in_pieces(c, a.x.type, memory, [&](int first, int count, array patches) {
                   multiply(s, {count * each, c.patch(), c.k},
                            part_of(a.x, first * each * c.k, count * each * c.k), a.w, patches);
                   gather_gradients(s, c, patches, first, count, a.y);
                 });
               }});
  append(ways, own_backward_data(s, c, o));
  if (s.precision != math::bf16 && c.stride_h == 1 && c.stride_w == 1 && direct_serves(c, o)) {
    candidate direct{"direct", 0,
                     [&s, c](const operands& a, void*) { direct_backward_data(s, c, a); }};
    if (!o.saved || o.f == function::relu)
      ways.push_back(std::move(direct));
    else
      then_mask(std::move(direct));
  }
  return ways;
}

/// x: the images, w: the output's gradient, y: the weights' gradient, of float.
std::vector<candidate> backward_filter_ways(stream& s, const convolution_shape& c,
                                            const operands& o) {
  std::vector<candidate> ways;
  const std::size_t whole = (c.weights() * bytes_of(o.x.type) + 255) / 256 * 256;
  for (candidate& plain : cudnn_backward_filter(s, c, o))
    ways.push_back({plain.name, plain.workspace + whole,
                    [&s, c, whole, run = plain.run](const operands& a, void* memory) {
                      operands turned = a;
                      turned.y = {memory, a.x.type, long(c.weights())};
                      run(turned, static_cast<std::byte*>(memory) + whole);
                      prepare_weights(s, turned.y, {}, c.patch(), true, a.y);
                    }});
  if (is_product(c))
    ways.push_back({"product", 0, [&s, c](const operands& a, void*) {
                      multiply(s, {c.c, c.k, long{c.n} * c.h * c.w, true, false}, a.x, a.w, a.y);
                    }});
  if (ways.empty() || s.precision == math::exact)
    ways.push_back(
        {"patches", patches_bytes(c, o.x.type), [&s, c](const operands& a, void* memory) {
           const long each = long{c.out_h} * c.out_w;
           in_pieces(c, a.x.type, memory, [&](int first, int count, array patches) {
             gather_patches(s, c, a.x, first, count, patches);
             multiply(s, {c.patch(), c.k, count * each, true, false, first > 0}, patches,
                      part_of(a.w, first * each * c.k, count * each * c.k), a.y);
           });
         }});
  append(ways, own_backward_filter(s, c, o));
  if (s.precision != math::bf16 && direct_serves(c, o))
    ways.push_back({"direct", direct_filter_workspace(s, c),
                    [&s, c](const operands& a, void* m) { direct_backward_filter(s, c, a, m); }});
  return ways;
}

}  // namespace

void convolution(stream& s, const convolution_shape& c, array x, array w, array bias,
                 array residual, function f, array y) {
  operands o;
  o.x = x, o.w = w, o.bias = bias, o.residual = residual, o.f = f, o.y = y;
  s.plans->run(s, key_of("forward", s, c, o), o, [&] { return forward_ways(s, c, o); });
}

namespace {

/// A convolution and the pool behind it, so many images at a time: what lies between is then small
/// enough to stay in the second level's cache, whose lines the next images' overwrite.
void pool_in_pieces(stream& s, const convolution_shape& c, const operands& o, array whole,
                    array winners, int images) {
  const long in = long{c.h} * c.w * c.c, out = long{c.out_h} * c.out_w * c.k;
  const long pooled = long{c.out_h / 2} * (c.out_w / 2) * c.k;
  for (int first = 0; first < c.n; first += images) {
    convolution_shape piece = c;
    piece.n = std::min(images, c.n - first);
    const array part{whole.data, whole.type, piece.n * out};
    convolution(s, piece, part_of(o.x, first * in, piece.n * in), o.w, o.bias, {}, o.f, part);
    const convolution_shape pool{piece.n, c.out_h, c.out_w, c.k, 2,           2,           2,  2,
                                 1,       1,       0,       0,   c.out_h / 2, c.out_w / 2, c.k};
    max_pool(s, pool, part, part_of(o.y, first * pooled, piece.n * pooled),
             winners ? part_of(winners, first * pooled, piece.n * pooled) : array{});
  }
}

/// Pieces that are worth trying: where all of it is far larger than a cache, such that fit in.
std::vector<int> pieces_to_try(const convolution_shape& c, number type) {
  constexpr double megabyte = 1 << 20;
  const double each = double(c.out_h) * c.out_w * c.k * double(bytes_of(type)) / megabyte;
  std::vector<int> images;
  for (int n = 1; n < c.n && each * c.n > 64 && each * n <= 32; n *= 2)
    if (each * n >= 8) images.push_back(n);
  return images;
}

}  // namespace

void convolution_max_pool(stream& s, const convolution_shape& c, array x, array w, array bias,
                          function f, array whole, array y, array winners) {
  operands o;
  o.x = x, o.w = w, o.bias = bias, o.f = f, o.y = y;
  const std::vector<int> pieces = pieces_to_try(c, x.type);
  if (pieces.empty() && own_forward_pooled(s, c, o).empty())
    return pool_in_pieces(s, c, o, whole, winners, c.n);
  o.residual = whole, o.saved = winners;  // as operands, for the ways that are kept
  const auto way = [&](const std::string& name, int images) {
    return candidate{name, 0, [&s, c, images](const operands& a, void*) {
                       pool_in_pieces(s, c, a, a.residual, a.saved, images);
                     }};
  };
  s.plans->run(s, key_of("forward, pooled", s, c, o), o, [&] {
    std::vector<candidate> ways{way("at once", c.n)};
    for (const int n : pieces) ways.push_back(way("by " + std::to_string(n) + " images", n));
    append(ways, own_forward_pooled(s, c, o));
    return ways;
  });
}

void convolution_backward_data(stream& s, const convolution_shape& c, array dy, array w,
                               array saved, function f, array dx) {
  operands o;
  o.x = dy, o.w = w, o.saved = saved, o.f = f, o.y = dx;
  s.plans->run(s, key_of("data gradient", s, c, o), o, [&] { return backward_data_ways(s, c, o); });
}

void convolution_backward_filter(stream& s, const convolution_shape& c, array x, array dy, array dw,
                                 array db) {
  operands o;
  o.x = x, o.w = dy, o.y = dw;
  if (own_stem_gradients(s, c, x, dy, dw, db)) return;
  s.plans->run(s, key_of("weight gradient", s, c, o), o,
               [&] { return backward_filter_ways(s, c, o); });
  if (db) sum_rows(s, dy, db);
}

void dense(stream& s, dense_shape d, array x, array w, array bias, array residual, function f,
           array y) {
  operands o;
  o.x = x, o.w = w, o.bias = bias, o.residual = residual, o.f = f, o.y = y;
  if (d.rows <= most_vector_rows && d.k % 8 == 0)
    return multiply_vectors(s, d, o, s.scratch(vectors_workspace(s, d)));
  const product p{d.rows, d.k, d.c};
  if (!residual && fuses(bias, f, y)) return multiply(s, p, x, w, y, bias, f);
  multiply(s, p, x, w, y);
  finish(s, o);
}
void dense_backward_data(stream& s, dense_shape d, array dy, array w, array saved, function f,
                         array dx) {
  multiply(s, {d.rows, d.c, d.k, false, true}, dy, w, dx);
  if (saved) activate_backward(s, saved, dx, f, dx);
}
void dense_backward_filter(stream& s, dense_shape d, array x, array dy, array dw, array db) {
  multiply(s, {d.c, d.k, d.rows, true, false}, x, dy, dw);
  if (db) sum_rows(s, dy, db);
}

}  // namespace slim::cuda
