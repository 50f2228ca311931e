// What the library of CUDA kernels offers: functions of plain arrays in device memory. Needs no
// CUDA header, so that programs that use it compile with any C++20 compiler. Each function starts
// work on a stream and returns; the bits are the same every run on one kind of device.
#pragma once

#include <memory>

#include <slim/convolution_shape.hpp>

namespace slim {
class accelerator;
}

namespace slim::cuda {

/// What an element is; numbered as slim::element.
enum class number : unsigned char { f32, i32, u8, bf16 };

/// How contractions compute: in float, with inputs rounded to TF32, or of bfloat16; sums in float.
enum class math : unsigned char { exact, tf32, bf16 };

enum class function : unsigned char { identity, relu, relu6, elu, sigmoid, tanh, softplus };

inline std::size_t bytes_of(number n) { return n == number::bf16 ? 2 : n == number::u8 ? 1 : 4; }

/// `count` elements, 16-byte aligned; null stands for an input that is not there.
struct array {
  void* data = nullptr;
  number type = number::f32;
  long count = 0;

  explicit operator bool() const { return data != nullptr; }
};

/// A stream of one device, with what kernels need to run there.
class stream;

/// Makes the accelerator that runs models: checks that `bytes` of memory are free on the device.
/// Throws slim::error where there is no device, no driver or too little memory.
std::unique_ptr<accelerator> make_accelerator(math precision, long bytes);

// Element by element.

/// y = f(x), y = f(a + b), y = x of another type.
void activate(stream&, array x, function f, array y);
void add(stream&, array a, array b, function f, array y);
/// Of memory of the caller's too, which may be aligned to its elements alone.
void copy(stream&, array x, array y);
/// y = what lies in pinned host memory.
void bring(stream&, const void* host, array y);
void fill(stream&, array y, float value);
/// dx = dy f'(saved): saved is f's output.
void activate_backward(stream&, array saved, array dy, function f, array dx);
/// dx = (a + b) f'(saved).
void add_activate_backward(stream&, array a, array b, array saved, function f, array dx);
/// y = f(x + bias + residual), bias [c] being that of the last axis; either may be missing.
void add_bias(stream&, array x, array bias, array residual, function f, array y);
/// y = f(x scale + shift), both [c].
void scale_shift(stream&, array x, array scale, array shift, function f, array y);
/// y = w scale, scale [k] being that of the last axis.
void scale_columns(stream&, array w, array scale, array y);
/// y = x factor[0].
void scale(stream&, array x, array factor, array y);
/// y = x mask / keep_prob; the mask is a function of the run's key, `salt` and the element, and the
/// same as the CPU's.
void dropout(stream&, array x, int salt, double keep_prob, array y);
/// y [rows, to] gets columns [first_to, first_to + columns) from x [rows, from].
void copy_columns(stream&, array x, int from, int first_from, array y, int to, int first_to,
                  int columns);
/// y [n, k] = on where k is the label, else off.
void one_hot(stream&, array labels, int k, float on, float off, array y);
/// w [taps] -> y [taps, c], and back: the sum over c.
void tile_channels(stream&, array w, int c, array y);
void tile_channels_backward(stream&, array dy, int c, array dw);

/// l1 |w| + l2 w^2 / 2.
struct penalty {
  float l1 = 0, l2 = 0;
};
void regularizer(stream&, array w, penalty p, array sum);
/// dw = running + dloss p'(w); running may be missing.
void regularizer_backward(stream&, array w, array dloss, array running, penalty p, array dw);

/// Weights w [rows, k] times scale [k] (or none), as y's type; y is [k, rows] if `turned`.
void prepare_weights(stream&, array w, array scale, int k, bool turned, array y);

// Sums over all axes but the last.

/// y [c] = the sum over the rows of x [rows, c].
void sum_rows(stream&, array x, array y);

struct batch_norm_arrays {
  array mean, variance, gamma, beta;  ///< each [c]; gamma and beta may be missing
  double epsilon = 0;
};
/// Writes mean and variance of x's rows, then y = f((x - mean) / sqrt(variance + epsilon) gamma +
/// beta).
void batch_norm(stream&, array x, const batch_norm_arrays& b, function f, array y);
/// Mean and variance alone, the latter biased.
void batch_norm_statistics(stream&, array x, array mean, array variance);
/// y = f((x - mean) / sqrt(variance + epsilon) gamma + beta) by the statistics there are.
void normalize(stream&, array x, const batch_norm_arrays& b, function f, array y);
/// The same with `other` added before f.
void normalize_add(stream&, array x, const batch_norm_arrays& b, array other, function f, array y);
/// The same, `other` being normalised, too.
void normalize_both(stream&, array x, const batch_norm_arrays& b, array other,
                    const batch_norm_arrays& of_other, function f, array y);
/// Gradients of f(batch norm of x); dx through the statistics if `through`, without f otherwise.
void batch_norm_backward(stream&, array x, array dy, const batch_norm_arrays& b, function f,
                         bool through, array dx, array dgamma, array dbeta);
/// Gradients of the batch norm by g = (a + b) f'(saved), which it writes; b may be missing.
void activation_batch_norm_backward(stream&, array a, array b, array saved, function f, array x,
                                    const batch_norm_arrays& norm, array g, array dx, array dgamma,
                                    array dbeta);
/// gamma / sqrt(variance + epsilon), and beta + (bias - mean) scale.
void batch_norm_scale(stream&, array variance, array gamma, double epsilon, array y);
void batch_norm_shift(stream&, array mean, array scale, array beta, array bias, array y);
/// y = moving - (moving - batch unbiased) pull.
void moving_average(stream&, array moving, array batch, float unbiased, float pull, array y);

// Pooling; k and k.k are c and c.

/// Winners (may be missing) number each window's first maximum in row-major order.
void max_pool(stream&, const convolution_shape& s, array x, array y, array winners);
/// dx = where the winners are dy, else 0; plus `running`; times f'(saved), saved being f's output
/// of dx's shape. Both may be missing.
void max_pool_backward(stream&, const convolution_shape& s, array winners, array dy, array saved,
                       function f, array running, array dx);
/// The same of an activation whose output was pooled to y by 2x2 windows, and dx's sums db over all
/// but its last axis, which may be missing.
void max_pool_activation_backward(stream&, const convolution_shape& s, array y, array winners,
                                  array dy, function f, array dx, array db);
/// For windows of any size: finds the winners again.
void max_pool_search_backward(stream&, const convolution_shape& s, array x, array dy, array dx);
void avg_pool(stream&, const convolution_shape& s, array x, array y);
void avg_pool_backward(stream&, const convolution_shape& s, array dy, array dx);

// Contractions. Weights are [k, kernel_h, kernel_w, c] ("turned") of the images' type.

/// y = f(convolution(x, w) + bias + residual).
void convolution(stream&, const convolution_shape& s, array x, array w, array bias, array residual,
                 function f, array y);
/// The same, max-pooled 2x2; `whole` is memory for the output before.
void convolution_max_pool(stream&, const convolution_shape& s, array x, array w, array bias,
                          function f, array whole, array y, array winners);
/// dx, times f'(saved) unless that is missing.
void convolution_backward_data(stream&, const convolution_shape& s, array dy, array w, array saved,
                               function f, array dx);
/// dw [kernel_h, kernel_w, c, k] and, unless missing, db [k], of float.
void convolution_backward_filter(stream&, const convolution_shape& s, array x, array dy, array dw,
                                 array db);

/// y [rows, k] = f(x [rows, c] w [c, k] + bias + residual).
struct dense_shape {
  int rows, c, k;
};
void dense(stream&, dense_shape s, array x, array w, array bias, array residual, function f,
           array y);
void dense_backward_data(stream&, dense_shape s, array dy, array w, array saved, function f,
                         array dx);
void dense_backward_filter(stream&, dense_shape s, array x, array dy, array dw, array db);

/// Depthwise: weights [kernel_h, kernel_w, c, multiplier] of float, s.k = c multiplier.
void depthwise(stream&, const convolution_shape& s, array x, array w, array y);
void depthwise_backward_data(stream&, const convolution_shape& s, array dy, array w, array dx);
void depthwise_backward_filter(stream&, const convolution_shape& s, array x, array dy, array dw);

// Rows [n, k].

void softmax(stream&, array x, int k, array y);
void log_softmax(stream&, array x, int k, array y);
void softmax_backward(stream&, array y, array dy, int k, array dx);
void log_softmax_backward(stream&, array y, array dy, int k, array dx);
/// Labels: ints [n], or a distribution [n, k], which is smoothed.
void cross_entropy_rows(stream&, array log_p, array labels, int k, float smoothing, array losses);
void cross_entropy_rows_backward(stream&, array labels, array drows, int k, float smoothing,
                                 array dx);
/// The weighted mean of the cross entropy of logits and, unless missing, its gradient. `rows` is
/// memory for n floats.
void softmax_cross_entropy(stream&, array logits, array labels, array weights, int k,
                           float smoothing, float factor, array rows, array loss, array gradient);

/// Weights of losses: `factor`, times weights[i / (losses / weights)] if there are any. A mean over
/// those that are not 0, or a `sum`.
struct reduction {
  array weights;
  double factor = 1;
  bool sum = false;
};
void weighted_mean(stream&, array losses, const reduction& r, array loss);
void weighted_mean_backward(stream&, array dloss, const reduction& r, array dlosses);
void weighted_mean_weights_backward(stream&, array losses, array dloss, const reduction& r,
                                    array dweights);

enum class loss_function : unsigned char {
  absolute_difference,
  squared_error,
  log_loss,
  sigmoid_cross_entropy,
  hinge
};
/// One of them with its number: epsilon or label smoothing.
struct elementwise_loss {
  loss_function f;
  float number = 0;
};
void losses(stream&, elementwise_loss l, array p, array y, array out);
/// By the predictions, or by the labels.
void losses_backward(stream&, elementwise_loss l, array p, array y, array dlosses, bool by_labels,
                     array dx);

/// Around an axis: [outer, extent, inner].
struct axis {
  long outer, extent, inner;
};
void cosine_distance(stream&, axis a, array p, array y, array out);
void cosine_distance_backward(stream&, axis a, array factor, array dlosses, array dx);
void unit_norm(stream&, axis a, array x, float epsilon, array y);
void unit_norm_backward(stream&, axis a, array x, array dy, float epsilon, array dx);
void pairwise_squared_error(stream&, array p, array y, int n, array out);
void pairwise_squared_error_backward(stream&, array p, array y, array dlosses, int n, array dx);

struct response {
  int depth_radius;
  float bias, alpha, beta;
};
void local_response_normalization(stream&, response r, array x, int c, array y);
void local_response_normalization_backward(stream&, response r, array x, array dy, int c, array dx);

}  // namespace slim::cuda
