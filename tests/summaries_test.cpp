// Event files: the real TensorFlow's are read, and ours hold the same values for the same numbers
// (tests/oracle/make_events.py).

#include <catch2/catch.hpp>

#include <slim/summaries/event_reader.hpp>
#include <slim/summaries/event_writer.hpp>

#include "files.hpp"
#include "golden.hpp"

namespace {

using namespace slim;
using namespace slim_test;
using Catch::Contains;

std::vector<summaries::event> events_of(const std::string& path) {
  summaries::event_reader reader(path);
  std::vector<summaries::event> all;
  while (auto e = reader.next()) all.push_back(std::move(*e));
  return all;
}

std::vector<float> floats(const char* name, std::size_t count) {
  const auto u = uniform(name, count);
  return {u.begin(), u.end()};
}
std::vector<double> some_values() {
  const auto u = uniform("events/values", 1000);
  std::vector<double> v(u.begin(), u.end());
  for (std::size_t i = 0; i < v.size(); i += 3) v[i] = 0;
  return v;
}

image decoded(const std::string& file) { return decode_image(std::as_bytes(std::span(file))); }

}  // namespace

TEST_CASE("summaries are TensorFlow's") {
  temporary_folder tmp;
  std::string path;
  {
    summaries::event_writer log(tmp.path());
    path = log.path();
    log.add_scalar("scalar", 0.25, 7);
    log.add_histogram("histogram", some_values(), 7);
    const auto images = floats("events/images", 2 * 4 * 5 * 3);
    log.add_images("images", images, 2, 4, 5, 3, 7);
    std::vector<float> positive;
    for (std::size_t i = 0; i < images.size(); i += 3) positive.push_back(std::abs(images[i]));
    log.add_images("positive", positive, 2, 4, 5, 1, 7, 1);
    log.close();
  }
  std::vector<summaries::event_value> ours, theirs;
  for (const auto& e : events_of(path))
    for (const auto& v : e.values) {
      ours.push_back(v);
      CHECK(e.step == 7);
    }
  const auto golden = events_of(data_path("events.tfevents"));
  CHECK(golden.at(0).file_version == events_of(path).at(0).file_version);
  for (const auto& e : golden)
    for (const auto& v : e.values) theirs.push_back(v);
  REQUIRE(ours.size() == 5);
  REQUIRE(theirs.size() == 5);
  for (std::size_t i = 0; i < 5; ++i) {
    INFO(theirs[i].tag);
    CHECK(ours[i].tag == theirs[i].tag);
    CHECK(ours[i].scalar == theirs[i].scalar);
    CHECK(ours[i].histogram == theirs[i].histogram);
    REQUIRE(ours[i].image.has_value() == theirs[i].image.has_value());
    if (!ours[i].image) continue;
    CHECK(ours[i].image->height == theirs[i].image->height);
    CHECK(ours[i].image->channels == theirs[i].image->channels);
    CHECK(decoded(ours[i].image->png).pixels == decoded(theirs[i].image->png).pixels);
  }
}

TEST_CASE("a session's log and zero are written, and a log is read while it grows") {
  temporary_folder tmp;
  summaries::event_writer log(tmp / "made/by/it", ".suffix");
  CHECK_THAT(log.path(), Contains("made/by/it/events.out.tfevents.") && Contains(".suffix"));
  summaries::event_reader reader(log.path());
  CHECK(reader.next()->file_version == "brain.Event:2");
  CHECK_FALSE(reader.next());
  log.add_session_log(summaries::session_status::checkpoint, 3, "model.ckpt-3");
  log.add_scalar("zero", 0, 4);
  log.flush();
  CHECK(reader.next()->session_status == 3);
  const auto e = reader.next();
  CHECK(e->values.at(0).scalar == 0.0f);
  CHECK(e->step == 4);
  CHECK(e->wall_time > 1.7e9);
  CHECK_FALSE(reader.next());
}

TEST_CASE("what cannot be summarized says so") {
  temporary_folder tmp;
  summaries::event_writer log(tmp.path());
  const std::vector<float> bad{1, std::numeric_limits<float>::quiet_NaN()};
  CHECK_THROWS_WITH(log.add_histogram("weights", bad, 0),
                    "histogram weights: 1 of its values are not finite");
  CHECK_THROWS_WITH(log.add_images("pictures", bad, 1, 2, 2, 1, 0), Contains("pictures"));
  CHECK_THROWS_WITH(log.add_images("pictures", bad, 1, 1, 1, 2, 0), Contains("1x1x2"));
  CHECK_THROWS_WITH(summaries::event_writer("/dev/null/x"), Contains("cannot be opened"));
}

TEST_CASE("a pixel that is not finite is red") {
  const std::vector<float> p{0.5f, 0.5f, 0.5f, std::numeric_limits<float>::infinity(), 0, 0};
  CHECK(summaries::detail::to_bytes(p, 3) == std::vector<std::uint8_t>{255, 255, 255, 255, 0, 0});
}

TEST_CASE("encoded pictures are decoded to what they were") {
  std::vector<std::uint8_t> grey;
  for (int i = 0; i < 24; ++i) grey.push_back(static_cast<std::uint8_t>(10 * i));
  const image back = decoded(encode_png(grey, 4, 6, 1));
  for (std::size_t i = 0; i < grey.size(); ++i) CHECK(back.pixels[3 * i] == grey[i]);
  const std::vector<std::uint8_t> flat(16 * 16 * 3, 77);
  const image jpeg = decoded(encode_jpeg(flat, 16, 16, 3));
  CHECK(jpeg.height == 16);
  CHECK(std::abs(jpeg.pixels[0] - 77) <= 1);
  CHECK_THROWS_WITH(encode_png(grey, 4, 5, 1), Contains("4x5x1"));
  CHECK_THROWS_WITH(encode_jpeg(grey, 2, 3, 4), Contains("2x3x4"));
}
