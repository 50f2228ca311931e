// Moving averages of batch norm's statistics.
#include <algorithm>

#include "elements.cuh"

namespace slim::cuda {

namespace {

// So small that most of a moving average's time is that of starting it: they are moved together.

constexpr int most_moved = 32;

struct moved_average {
  elements from, batch, to;
  long count;
  float unbiased, pull;
};
struct moved_averages {
  moved_average each[most_moved];
};

__global__ void move_kernel(const __grid_constant__ moved_averages all) {
  const moved_average& a = all.each[blockIdx.y];
  const long i = long{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= a.count) return;
  const float from = a.from[i];
  a.to.put(i, from - (from - a.batch[i] * a.unbiased) * a.pull);
}

void move_some(stream& s, const stream::motion* some, int count) {
  moved_averages all{};
  long longest = 0;
  for (int i = 0; i < count; ++i) {
    const stream::motion& m = some[i];
    all.each[i] = {elements(m.from), elements(m.batch), elements(m.to),
                   m.to.count,       m.unbiased,        m.pull};
    longest = std::max(longest, m.to.count);
  }
  const auto blocks = static_cast<unsigned>((longest + block_threads - 1) / block_threads);
  launch(s, "moving averages", &move_kernel, dim3(blocks, static_cast<unsigned>(count)),
         block_threads, 0, all);
}

}  // namespace

void moving_average(stream& s, array moving, array batch, float unbiased, float pull, array y) {
  const stream::motion m{moving, batch, y, unbiased, pull};
  s.gathering ? s.gathered_motions.push_back(m) : move_some(s, &m, 1);
}

void stream::move_all() {
  gathering = false;
  const int count = static_cast<int>(gathered_motions.size());
  for (int i = 0; i < count; i += most_moved)
    move_some(*this, gathered_motions.data() + i, std::min(count - i, most_moved));
  gathered_motions.clear();
}

}  // namespace slim::cuda
