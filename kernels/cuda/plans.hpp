// Which of several ways to do a contraction is fastest here: each is timed when a shape is first
// met, and the choice is kept.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "stream.hpp"

namespace slim::cuda {

// Words of keys.
inline std::string text_of(number n) { return n == number::bf16 ? "bf16" : "f32"; }
inline std::string text_of(math m) {
  return m == math::bf16 ? "bf16" : m == math::tf32 ? "tf32" : "float";
}

/// The arrays of one contraction.
struct operands {
  array x, w, bias, residual, saved, y;
  function f = function::identity;
};

/// One way to do it, in `workspace` bytes of scratch memory. Once it has run it can be recorded: it
/// allocates nothing and waits for nothing.
struct candidate {
  std::string name;
  std::size_t workspace = 0;
  std::function<void(const operands&, void* workspace)> run;
};

/// Names of the ways that were chosen, for all streams of a model, and the file that keeps them.
/// What a way's name means is the device's matter and the libraries': in the file, choices stand
/// behind a line that names those, and only those of the same are taken.
class kept_choices {
 public:
  explicit kept_choices(std::string made_for) : made_for_(std::move(made_for)) {}

  /// Takes the choices of a file, if there is one, and adds those still to be made to it.
  void keep_in(const std::string& file);
  std::optional<std::string> find(const std::string& key) const;
  /// Keeps a choice, in place of one that is no longer there, unless another stream has made it
  /// meanwhile; the one that holds.
  std::string settle(const std::string& key, const std::string& name, double milliseconds,
                     const std::optional<std::string>& in_place_of);

 private:
  std::string made_for_;
  mutable std::mutex mutex_;
  std::map<std::string, std::string> names_;
  std::string file_;
  bool headed_ = false;  // the file ends with choices made for the same
};

/// The ways that were found fastest, by a text that names op, types and shape.
class plan_book {
 public:
  explicit plan_book(const std::string& device);
  ~plan_book();

  /// Runs the chosen way; the first time makes the candidates and times them on these operands,
  /// whose outputs they overwrite.
  void run(stream& s, const std::string& key, const operands& o,
           const std::function<std::vector<candidate>()>& make);

  void keep_in(const std::string& file) { kept_->keep_in(file); }
  /// Makes the same choices as another book, whichever comes first to each.
  void share(const plan_book& other) { kept_ = other.kept_; }
  /// A line a choice: what, which way, milliseconds.
  std::string report() const;

  void* cudnn = nullptr;  ///< its handle, where there is cuDNN

 private:
  struct choice {
    candidate way;
    double milliseconds = 0;
  };
  choice fastest(stream& s, const std::string& key, const operands& o,
                 std::vector<candidate> candidates);

  std::map<std::string, choice> chosen_;
  std::shared_ptr<kept_choices> kept_;
};

/// Candidates of cuDNN's, none where it is not there. `fused`: bias, residual and ReLU inside.
std::vector<candidate> cudnn_forward(stream& s, const convolution_shape& c, const operands& o,
                                     bool fused);
std::vector<candidate> cudnn_backward_data(stream& s, const convolution_shape& c, const operands& o,
                                           bool masked);
std::vector<candidate> cudnn_backward_filter(stream& s, const convolution_shape& c,
                                             const operands& o);
/// cuDNN's handle, or null in a library built without it. Throws where cuDNN cannot be used.
void* make_cudnn(stream& s);
void destroy_cudnn(void* handle) noexcept;
long cudnn_version();  ///< 0: built without

/// Candidates of own kernels for tensor cores; pooled, o.y is the pooled output and o.saved its
/// winners.
std::vector<candidate> own_forward(stream& s, const convolution_shape& c, const operands& o);
std::vector<candidate> own_forward_pooled(stream& s, const convolution_shape& c, const operands& o);
std::vector<candidate> own_backward_data(stream& s, const convolution_shape& c, const operands& o);
std::vector<candidate> own_backward_filter(stream& s, const convolution_shape& c,
                                           const operands& o);
/// Both gradients of a first layer in one pass, if there is a kernel that makes them.
bool own_stem_gradients(stream& s, const convolution_shape& c, array x, array dy, array dw,
                        array db);

/// A row-major product y [m, n] = op(a) [m, k] op(b) [k, n] (+ y if `accumulate`), with bias and
/// ReLU of y's columns if `epilogue`.
struct product {
  long m, n, k;
  bool a_turned = false, b_turned = false, accumulate = false;
};
void multiply(stream& s, const product& p, array a, array b, array y, array bias = {},
              function f = function::identity);
/// Whether `multiply` can add this bias and apply f.
bool fuses(array bias, function f, array y);

/// patches [pixels, taps c] of images [first, first + count), and back: dx gathers what its pixels
/// gave.
void gather_patches(stream& s, const convolution_shape& c, array x, int first, int count,
                    array patches);
void gather_gradients(stream& s, const convolution_shape& c, array patches, int first, int count,
                      array dx);

/// y [rows, k] = f(x [rows, c] w [c, k] + bias + residual) for few rows, where reading w is all.
inline constexpr int most_vector_rows = 4;
void multiply_vectors(stream& s, const dense_shape& d, const operands& o, void* workspace);
std::size_t vectors_workspace(const stream& s, const dense_shape& d);

}  // namespace slim::cuda
