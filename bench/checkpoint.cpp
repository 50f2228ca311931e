// How long until a VGG-16 is ready: its checkpoint of 553 MB restored into a new model, beside
// reading the same bytes into memory. Both from files that the system has cached, in turn, in one
// run. Prints medians, and the ratio.
//
//   checkpoint [repetitions]
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <vector>

#include <slim/checkpoint.hpp>
#include <slim/slim.hpp>

namespace {

using namespace slim;
using model_t = model<nets::vgg_arg_scope<nets::vgg_16<>>, input<1, 224, 224, 3>>;

class stopwatch {
 public:
  double milliseconds() const {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start_)
        .count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// A folder for the checkpoint, removed at the end.
struct checkpoint_folder {
  std::filesystem::path folder;

  checkpoint_folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "slim-bench-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw error("no temporary folder");
    folder = pattern;
  }
  ~checkpoint_folder() { std::filesystem::remove_all(folder); }
};

void read_to(int file, std::byte* to, std::size_t size) {
  for (std::size_t done = 0; done < size;) {
    const ssize_t n = read(file, to + done, size - done);
    if (n <= 0) throw error("cannot read the checkpoint");
    done += static_cast<std::size_t>(n);
  }
}

/// Milliseconds to read a file into memory: fresh from malloc, or in huge pages as an arena.
template <class Memory>
double time_reading(const std::string& path, std::size_t size, Memory memory) {
  const stopwatch watch;
  const int file = open(path.c_str(), O_RDONLY);
  {
    auto room = memory(size);
    read_to(file, room.get(), size);
  }
  close(file);
  return watch.milliseconds();
}

struct release_malloc {
  void operator()(std::byte* p) const { std::free(p); }
};
auto from_malloc(std::size_t size) {
  return std::unique_ptr<std::byte, release_malloc>(static_cast<std::byte*>(std::malloc(size)));
}
struct arena {
  aligned_buffer buffer;
  std::byte* get() { return buffer.data(); }
};

double time_restoring(const std::string& prefix, cpu_device& device) {
  const stopwatch watch;
  model_t m(device);
  restore(m, prefix);
  return watch.milliseconds();  // without the time to give the memory back
}

double time_saving(model_t& m, const std::string& prefix) {
  const stopwatch watch;
  save_checkpoint(m, prefix);
  return watch.milliseconds();
}

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  const int repetitions = argc > 1 ? std::atoi(argv[1]) : 15;
  const checkpoint_folder s;
  const std::string prefix = (s.folder / "vgg_16.ckpt").string();
  const std::string data = prefix + ".data-00000-of-00001";
  cpu_device two(2), one(1);
  std::vector<double> save;
  {
    model_t m(two);
    m.initialize(1);
    for (int i = 0; i < 3; ++i) save.push_back(time_saving(m, prefix));
  }
  const std::size_t size = std::filesystem::file_size(data);
  std::vector<double> fresh, huge, restored_2, restored_1;
  for (int i = 0; i <= repetitions; ++i) {
    const double times[] = {
        time_reading(data, size, from_malloc),
        time_reading(data, size, [](std::size_t n) { return arena{aligned_buffer(n)}; }),
        time_restoring(prefix, two), time_restoring(prefix, one)};
    if (i == 0) continue;  // warms the cache up
    fresh.push_back(times[0]), huge.push_back(times[1]);
    restored_2.push_back(times[2]), restored_1.push_back(times[3]);
  }
  std::printf("VGG-16's checkpoint, %.1f MB, medians of %d in turn, ms\n", double(size) / 1e6,
              repetitions);
  std::printf("  read into memory from malloc           %7.1f\n", median(fresh));
  std::printf("  read into an arena of huge pages       %7.1f\n", median(huge));
  std::printf("  model made and restored, 2 threads     %7.1f  %.2f x malloc, %.2f x huge pages\n",
              median(restored_2), median(restored_2) / median(fresh),
              median(restored_2) / median(huge));
  std::printf("  model made and restored, 1 thread      %7.1f  %.2f x malloc, %.2f x huge pages\n",
              median(restored_1), median(restored_1) / median(fresh),
              median(restored_1) / median(huge));
  std::printf("  saved, with the disk's confirmation    %7.1f\n", median(save));
}
