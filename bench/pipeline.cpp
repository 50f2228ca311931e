// How many images a second the input pipeline makes: JPEGs in TFRecords, decoded and preprocessed
// as VGG or Inception are trained, in batches of 32.
//
//   ./pipeline make FOLDER           writes 4 shards of 128 photographs-like JPEGs, 500x375
//   ./pipeline run FOLDER vgg|inception THREADS SECONDS
//
// bench/pipeline.py runs it beside tf.data and torchvision on the same files.
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <vector>

#include <slim/data/example.hpp>
#include <slim/data/pipeline.hpp>
#include <slim/data/record_set.hpp>
#include <slim/image_encode.hpp>
#include <slim/preprocessing/inception_preprocessing.hpp>
#include <slim/preprocessing/vgg_preprocessing.hpp>

namespace {

using namespace slim;

constexpr int width = 500, height = 375, shards = 4, each = 128, size = 224;

/// Waves of several lengths and directions, and noise: compresses about as a photograph does.
std::vector<std::uint8_t> picture(std::uint64_t key) {
  random_stream random(key);
  struct wave {
    double x, y, phase, colour[3];
  } waves[12];
  for (int i = 0; i < 12; ++i) {
    const double length = 0.4 / (1 << i / 3);
    waves[i] = {length * random.normal() / 4,
                length * random.normal() / 4,
                6.3 * random.uniform(),
                {random.normal(), random.normal(), random.normal()}};
  }
  std::vector<std::uint8_t> pixels;
  pixels.reserve(width * height * 3);
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) {
      double sum[3] = {128, 128, 128};
      for (const wave& w : waves) {
        const double v = 18 * std::sin(w.x * x + w.y * y + w.phase);
        for (int c = 0; c < 3; ++c) sum[c] += v * w.colour[c];
      }
      for (const double s : sum)
        pixels.push_back(
            static_cast<std::uint8_t>(std::clamp(s + 6 * random.normal(), 0.0, 255.0)));
    }
  return pixels;
}

void make(const std::string& folder) {
  std::filesystem::create_directories(folder);
  for (int shard = 0; shard < shards; ++shard) {
    data::record_writer writer(folder + "/train-" + std::to_string(shard) + ".tfrecord");
    for (int i = 0; i < each; ++i) {
      const auto key = static_cast<std::uint64_t>(shard * each + i);
      data::example e;
      e.features["image/encoded"] =
          data::bytes_list{encode_jpeg(picture(key), height, width, 3, 90)};
      e.features["image/class/label"] = data::int64_list{static_cast<std::int64_t>(key % 1000)};
      writer.write(e.serialize());
    }
    writer.close();
  }
}

void run(const std::string& folder, const std::string& net, int threads, double seconds) {
  const bool inception = net == "inception";
  const data::record_set records(data::get_data_files({folder + "/train-*.tfrecord"}));
  data::pipeline batches(
      records, {.batch_size = 32, .threads = threads},
      [inception](std::span<const std::byte> record, random_stream& random, std::span<float> pixels,
                  std::span<int> label) {
        const data::example_view e(record);
        const auto file = e.at("image/encoded").bytes().at(0);
        encoded_image in(std::as_bytes(std::span(file)));
        if (inception)
          inception_preprocess_for_train(in, size, size, random, pixels);
        else
          vgg_preprocess_for_train(in, size, size, random, pixels);
        label[0] = static_cast<int>(e.at("image/class/label").int64s().at(0));
      },
      data::field<float>{size, size, 3}, data::field<int>{});
  for (int i = 0; i < 4; ++i) batches.next();  // warm
  const auto start = std::chrono::steady_clock::now();
  std::chrono::duration<double> took{};
  long images = 0;
  while (took.count() < seconds) {
    images += batches.next()->size();
    took = std::chrono::steady_clock::now() - start;
  }
  std::printf("%.1f\n", static_cast<double>(images) / took.count());
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 2 ? argv[1] : "";
  try {
    if (what == "make" && argc == 3)
      make(argv[2]);
    else if (what == "run" && argc == 6)
      run(argv[2], argv[3], std::atoi(argv[4]), std::atof(argv[5]));
    else
      return std::cerr
                 << "pipeline make FOLDER | pipeline run FOLDER vgg|inception THREADS SECONDS\n",
             2;
  } catch (const std::exception& e) {
    return std::cerr << e.what() << "\n", 1;
  }
}
