// cuBLASLt's matrix products for the emulation: every algorithm is Eigen's product, of floats and
// of what bfloat16 stands for.
#include <cublasLt.h>
#include <cuda_bf16.h>

#include <Eigen/Core>
#include <functional>

namespace emulation {
void enqueue(cudaStream_t stream, std::function<void()> work);
}

struct cublasLtContext {};

namespace {

struct layout {
  cudaDataType_t type;
  std::uint64_t rows, columns;
  std::int64_t leading;
};
struct description {
  int turn_a = CUBLAS_OP_N, turn_b = CUBLAS_OP_N;
  int epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  const void* bias = nullptr;
  int bias_type = CUDA_R_32F;
};

// The library's handles point to types of its own; here to those above.
description& held(cublasLtMatmulDesc_t d) { return *reinterpret_cast<description*>(d); }
layout& held(cublasLtMatrixLayout_t l) { return *reinterpret_cast<layout*>(l); }

using matrix = Eigen::MatrixXf;

float element(const void* data, int type, long i) {
  return type == CUDA_R_16BF ? __bfloat162float(static_cast<const __nv_bfloat16*>(data)[i])
                             : static_cast<const float*>(data)[i];
}
matrix read(const void* data, const layout& l, bool turned) {
  matrix m(l.rows, l.columns);
  for (long j = 0; j < m.cols(); ++j)
    for (long i = 0; i < m.rows(); ++i) m(i, j) = element(data, l.type, j * l.leading + i);
  return turned ? matrix(m.transpose()) : m;
}
void write(const matrix& m, void* data, const layout& l) {
  for (long j = 0; j < m.cols(); ++j)
    for (long i = 0; i < m.rows(); ++i) {
      const long at = j * l.leading + i;
      if (l.type == CUDA_R_16BF)
        static_cast<__nv_bfloat16*>(data)[at] = __float2bfloat16_rn(m(i, j));
      else
        static_cast<float*>(data)[at] = m(i, j);
    }
}

}  // namespace

extern "C" {

cublasStatus_t cublasLtCreate(cublasLtHandle_t* made) {
  return *made = new cublasLtContext, CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  return delete handle, CUBLAS_STATUS_SUCCESS;
}
std::size_t cublasLtGetVersion() { return 0; }
const char* cublasLtGetStatusName(cublasStatus_t) { return "an error"; }

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* made, cublasComputeType_t,
                                        cudaDataType_t) {
  *made = reinterpret_cast<cublasLtMatmulDesc_t>(new description);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t d) {
  delete &held(d);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t handle,
                                              cublasLtMatmulDescAttributes_t what,
                                              const void* value, std::size_t) {
  description& d = held(handle);
  const auto as_int = [&] { return *static_cast<const int*>(value); };
  switch (what) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
      d.turn_a = as_int();
      break;
    case CUBLASLT_MATMUL_DESC_TRANSB:
      d.turn_b = as_int();
      break;
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      d.epilogue = as_int();
      break;
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE:
      d.bias_type = as_int();
      break;
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
      d.bias = *static_cast<void* const*>(value);
      break;
    default:
      return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* made, cudaDataType_t type,
                                          std::uint64_t rows, std::uint64_t columns,
                                          std::int64_t leading) {
  *made = reinterpret_cast<cublasLtMatrixLayout_t>(new layout{type, rows, columns, leading});
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l) {
  delete &held(l);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* made) {
  return *made = nullptr, CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t) {
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t,
                                                    cublasLtMatmulPreferenceAttributes_t,
                                                    const void*, std::size_t) {
  return CUBLAS_STATUS_SUCCESS;
}
/// As cuBLASLt: both factors are of one type, and of bfloat16 where the result is.
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t,
                                              cublasLtMatmulPreference_t, int,
                                              cublasLtMatmulHeuristicResult_t* found, int* count) {
  const auto type = [](cublasLtMatrixLayout_t l) { return held(l).type; };
  if (type(a) != type(b) || (type(c) == CUDA_R_16BF && type(a) != CUDA_R_16BF))
    return CUBLAS_STATUS_NOT_SUPPORTED;
  found[0] = found[1] = {};
  return *count = 2, CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t how, const void* alpha,
                              const void* a, cublasLtMatrixLayout_t a_layout, const void* b,
                              cublasLtMatrixLayout_t b_layout, const void* beta, const void* c,
                              cublasLtMatrixLayout_t, void* d, cublasLtMatrixLayout_t d_layout,
                              const cublasLtMatmulAlgo_t*, void*, std::size_t,
                              cudaStream_t stream) {
  const float by = *static_cast<const float*>(alpha), old = *static_cast<const float*>(beta);
  const layout la = held(a_layout), lb = held(b_layout), ld = held(d_layout);
  const description m = held(how);
  emulation::enqueue(stream, [=] {
    matrix y = by * (read(a, la, m.turn_a == CUBLAS_OP_T) * read(b, lb, m.turn_b == CUBLAS_OP_T));
    if (old != 0) y += old * read(c, ld, false);
    const bool biased =
        m.epilogue == CUBLASLT_EPILOGUE_BIAS || m.epilogue == CUBLASLT_EPILOGUE_RELU_BIAS;
    for (long i = 0; biased && i < y.rows(); ++i)
      y.row(i).array() += element(m.bias, m.bias_type, i);
    if (m.epilogue == CUBLASLT_EPILOGUE_RELU || m.epilogue == CUBLASLT_EPILOGUE_RELU_BIAS)
      y = y.cwiseMax(0.0f);
    write(y, d, ld);
  });
  return CUBLAS_STATUS_SUCCESS;
}

}  // extern "C"
