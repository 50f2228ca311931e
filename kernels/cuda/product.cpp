// Matrix products by cuBLASLt. Its matrices are column-major: it is asked for the transposed
// product.
#include <algorithm>

#include "direct.hpp"
#include "plans.hpp"

namespace slim::cuda {
namespace {

constexpr std::size_t product_workspace = std::size_t{32} << 20;

cudaDataType_t type_of(number n) { return n == number::bf16 ? CUDA_R_16BF : CUDA_R_32F; }

/// Descriptors of one product.
class description {
 public:
  description(const stream& s, const product& p, array a, array b, array y, array bias,
              function f) {
    const auto compute =
        s.precision == math::tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    check(cublasLtMatmulDescCreate(&op, compute, CUDA_R_32F), "cublasLtMatmulDescCreate");
    set(CUBLASLT_MATMUL_DESC_TRANSA, p.b_turned ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_TRANSB, p.a_turned ? CUBLAS_OP_T : CUBLAS_OP_N);
    if (bias || f == function::relu) {
      const bool both = bias && f == function::relu;
      set(CUBLASLT_MATMUL_DESC_EPILOGUE, both   ? CUBLASLT_EPILOGUE_RELU_BIAS
                                         : bias ? CUBLASLT_EPILOGUE_BIAS
                                                : CUBLASLT_EPILOGUE_RELU);
      if (bias) {
        set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias.data);
        set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, type_of(bias.type));
      }
    }
    layout(first, b.type, p.b_turned ? p.k : p.n, p.b_turned ? p.n : p.k);
    layout(second, a.type, p.a_turned ? p.m : p.k, p.a_turned ? p.k : p.m);
    layout(result, y.type, p.n, p.m);
  }
  description(const description&) = delete;
  description& operator=(const description&) = delete;
  ~description() {
    cublasLtMatmulDescDestroy(op);
    for (auto l : {first, second, result}) cublasLtMatrixLayoutDestroy(l);
  }

  cublasLtMatmulDesc_t op = nullptr;
  cublasLtMatrixLayout_t first = nullptr, second = nullptr, result = nullptr;

 private:
  template <class T>
  void set(cublasLtMatmulDescAttributes_t what, T value) {
    check(cublasLtMatmulDescSetAttribute(op, what, &value, sizeof value), "an attribute");
  }
  static void layout(cublasLtMatrixLayout_t& l, number type, long rows, long columns) {
    check(cublasLtMatrixLayoutCreate(&l, type_of(type), static_cast<std::uint64_t>(rows),
                                     static_cast<std::uint64_t>(columns), rows),
          "cublasLtMatrixLayoutCreate");
  }
};

std::vector<cublasLtMatmulHeuristicResult_t> algorithms(const stream& s, const description& d) {
  cublasLtMatmulPreference_t wish;
  check(cublasLtMatmulPreferenceCreate(&wish), "cublasLtMatmulPreferenceCreate");
  cublasLtMatmulPreferenceSetAttribute(wish, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                       &product_workspace, sizeof product_workspace);
  std::vector<cublasLtMatmulHeuristicResult_t> found(8);
  int count = 0;
  const auto status =
      cublasLtMatmulAlgoGetHeuristic(s.blas, d.op, d.first, d.second, d.result, d.result, wish,
                                     static_cast<int>(found.size()), found.data(), &count);
  cublasLtMatmulPreferenceDestroy(wish);
  check(status, "cublasLtMatmulAlgoGetHeuristic");
  found.resize(static_cast<std::size_t>(count));
  return found;
}

std::string key_of(const stream& s, const product& p, const operands& o) {
  std::string key = "product " + text_of(s.precision) + " " + std::to_string(p.m) + "x" +
                    std::to_string(p.k) + (p.a_turned ? "T" : "") + " " + std::to_string(p.n) +
                    (p.b_turned ? "T" : "");
  for (const array& a : {o.x, o.w, o.y}) key += " " + text_of(a.type);
  if (o.bias) key += " bias";
  if (o.f != function::identity) key += " relu";
  if (p.accumulate) key += " accumulate";
  return key;
}

}  // namespace

bool fuses(array bias, function f, array y) {
  return (f == function::identity || f == function::relu) && (!bias || bias.type == y.type);
}

void multiply(stream& s, const product& p, array a, array b, array y, array bias, function f) {
  operands o;
  o.x = a, o.w = b, o.y = y, o.bias = bias, o.f = f;
  const auto make = [&] {
    std::vector<candidate> ways;
    const description d(s, p, a, b, y, bias, f);
    for (const auto& found : algorithms(s, d)) {
      const auto algorithm = found.algo;
      ways.push_back(
          {"cuBLASLt " + std::to_string(ways.size()), 0,
           [&s, p, algorithm](const operands& u, void*) {
             const description now(s, p, u.x, u.w, u.y, u.bias, u.f);
             const float one = 1, old = p.accumulate ? 1 : 0;
             check(cublasLtMatmul(s.blas, now.op, &one, u.w.data, now.first, u.x.data, now.second,
                                  &old, u.y.data, now.result, u.y.data, now.result, &algorithm,
                                  s.product_memory(product_workspace), product_workspace, s.handle),
                   "cublasLtMatmul");
           }});
      // Timing would add to y again and again.
      if (p.accumulate) break;
    }
    // In the memory of products: other work's ways, of which this is a part, have the rest.
    if (direct_serves(s, p, o) && direct_workspace(s, p) <= product_workspace)
      ways.push_back({"direct", 0, [&s, p](const operands& u, void*) {
                        direct_product(s, p, u, s.product_memory(product_workspace));
                      }});
    return ways;
  };
  s.plans->run(s, key_of(s, p, o), o, make);
}

}  // namespace slim::cuda
