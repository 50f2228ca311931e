// Models and checkpoints: saving, restoring whole and in part, TF-Slim's rules for it, and that a
// model is as it was after whatever could not be restored.

#include <catch2/catch.hpp>

#include <slim/checkpoint.hpp>
#include <slim/safetensors.hpp>

#include "files.hpp"
#include "small_net.hpp"

namespace {

using namespace slim;
using namespace slim_test;
using Catch::Contains;
using Catch::Equals;

const std::vector<std::string> conv1{"small/conv1/weights", "small/conv1/biases"};

/// A trainer, its initial values, and a checkpoint of another one's.
struct restoring {
  temporary_folder out;
  std::string prefix = out / "model.ckpt-3";
  cpu_device device{2};
  float_trainer saved{device}, m{device};
  std::vector<float> before;

  restoring() {
    saved.initialize(7);
    m.initialize(1);
    save_checkpoint(saved, prefix);
    before = variables_of(m);
  }
  bool unchanged() { return same_bits(variables_of(m), before); }
  bool restored(int v) { return same_bits(copied(m.variable(v)), copied(saved.variable(v))); }
};

}  // namespace

TEST_CASE_METHOD(restoring, "a model is saved and restored") {
  const restore_report report = restore(m, prefix);
  CHECK(same_bits(variables_of(m), variables_of(saved)));
  CHECK(report.restored == variable_names(m));
  CHECK(report.missing.empty());
  CHECK(same_bits(copied(m.forward(images<float>(2))), copied(saved.forward(images<float>(2)))));

  double_trainer wide(device);
  restore(wide, prefix);  // floats become the model's own
  for (int v = 0; v < float_trainer::variable_count; ++v)
    for (long i = 0; i < wide.variable(v).dims.count(); ++i)
      REQUIRE(wide.variable(v)[i] == static_cast<double>(saved.variable(v)[i]));
}

TEST_CASE_METHOD(restoring, "the same bits whatever the number of threads") {
  cpu_device one(1), five(5);
  float_trainer a(one), b(five);
  restore(a, prefix), restore(b, prefix);
  CHECK(same_bits(variables_of(a), variables_of(b)));
}

TEST_CASE_METHOD(restoring, "part of a model is restored by names") {
  const restore_report report = assign_from_checkpoint(m, prefix, conv1);
  CHECK_THAT(report.restored, Equals(conv1));
  for (int v = 0; v < float_trainer::variable_count; ++v)
    CHECK(restored(v) == m.variable_name(v).starts_with("small/conv1/"));
}

TEST_CASE_METHOD(restoring, "names are mapped by a dictionary or a function") {
  SECTION("a dictionary, one source for two variables") {
    float_trainer twice(device);
    const std::multimap<std::string, std::string> map{{"small/conv2/biases", "small/conv1/biases"},
                                                      {"small/conv2/biases", "small/conv2/biases"}};
    restore(m, checkpoint_reader(prefix), map);
    CHECK(same_bits(copied(m.variable<"small/conv1/biases">()),
                    copied(saved.variable<"small/conv2/biases">())));
    CHECK(same_bits(copied(m.variable<"small/conv2/biases">()),
                    copied(saved.variable<"small/conv2/biases">())));
  }
  SECTION("a function") {
    checkpoint_writer renamed(out / "renamed");
    for (const auto& v : get_model_variables(saved))
      renamed.add<float>("tower_0/" + v.name, stored_shape_of(v.values.dims), v.values.span());
    renamed.finish();
    const auto stored_name = [](const std::string& name) {
      return name.ends_with("weights") ? "tower_0/" + name : "";
    };
    restore(m, checkpoint_reader(out / "renamed"), {variable_names(m), stored_name});
    for (int v = 0; v < float_trainer::variable_count; ++v)
      CHECK(restored(v) == m.variable_name(v).ends_with("weights"));
  }
}

TEST_CASE_METHOD(restoring, "assign_from_checkpoint_fn has TF-Slim's rules") {
  const std::map<std::string, std::string> absent{{"no/such/weights", "small/conv1/weights"}};
  const std::map<std::string, std::string> half{{"no/such/weights", "small/conv1/weights"},
                                                {"small/conv1/biases", "small/conv1/biases"}};
  using trainer = float_trainer;
  SECTION("an empty list is an error") {
    CHECK_THROWS_AS(assign_from_checkpoint_fn<trainer>(prefix, variable_map{}),
                    std::invalid_argument);
  }
  SECTION("what is missing is an error when the function is called") {
    const auto fn = assign_from_checkpoint_fn<trainer>(prefix, half);
    REQUIRE(fn);
    CHECK_THAT(fault([&] { fn(m); }), Contains("no/such/weights: is not there"));
    CHECK(unchanged());
  }
  SECTION("or is dropped, and said") {
    const auto fn = assign_from_checkpoint_fn<trainer>(prefix, half, {.ignore_missing_vars = true});
    REQUIRE(fn);
    const restore_report report = fn(m);
    CHECK_THAT(report.missing, Equals(std::vector<std::string>{"small/conv1/weights"}));
    CHECK_THAT(report.restored, Equals(std::vector<std::string>{"small/conv1/biases"}));
    CHECK(same_bits(copied(m.variable<"small/conv1/biases">()),
                    copied(saved.variable<"small/conv1/biases">())));
  }
  SECTION("nothing left is no function") {
    CHECK(!assign_from_checkpoint_fn<trainer>(prefix, absent, {.ignore_missing_vars = true}));
  }
  SECTION("another shape is an error, or is reshaped") {
    checkpoint_writer w(out / "flat");
    const auto weights = saved.variable<"small/conv1/weights">();
    w.add<float>("small/conv1/weights", {weights.dims.count()}, weights.span());
    w.finish();
    const variable_map map{"small/conv1/weights"};
    const auto strict = assign_from_checkpoint_fn<trainer>(out / "flat", map);
    CHECK(fault([&] { strict(m); }) == out / "flat" +
                                           ": small/conv1/weights: has shape [864], the model's "
                                           "small/conv1/weights has [3,3,3,32]");
    CHECK(unchanged());
    assign_from_checkpoint_fn<trainer>(out / "flat", map, {.reshape_variables = true})(m);
    CHECK(same_bits(copied(m.variable<"small/conv1/weights">()), copied(weights)));
    const std::map<std::string, std::string> other{{"small/conv1/weights", "small/conv1/biases"}};
    const auto never =
        assign_from_checkpoint_fn<trainer>(out / "flat", other, {.reshape_variables = true});
    CHECK_THAT(fault([&] { never(m); }), Contains("has shape [864]") && Contains("[32]"));
  }
}

TEST_CASE_METHOD(restoring, "whatever cannot be restored changes nothing") {
  const std::string data = prefix + ".data-00000-of-00001", index = prefix + ".index";
  SECTION("a missing file") {
    CHECK_THAT(fault([&] { restore(m, out / "none"); }), Contains("none: there is no such"));
  }
  SECTION("a variable the model lacks") {
    CHECK_THAT(fault([&] { restore(m, checkpoint_reader(prefix), {"small/conv9/weights"}); }),
               Contains("small/conv9/weights: the model has no such variable"));
  }
  SECTION("a flipped bit in any of the variables") {
    const auto good = read_file(data);
    const std::size_t at = GENERATE(as<std::size_t>{}, 0, 5000, 78330 * 4 - 1);
    auto bad = good;
    bad[at] ^= std::byte{16};
    write_file(data, bad);
    CHECK_THAT(fault([&] { restore(m, prefix); }),
               Contains(data) && Contains("small/") && Contains("wrong checksum"));
  }
  SECTION("a truncated file") {
    auto bad = read_file(data);
    bad.resize(bad.size() / 2);
    write_file(data, bad);
    CHECK_THAT(fault([&] { restore(m, prefix); }), Contains(data) && Contains("truncated?"));
  }
  SECTION("a truncated index") {
    auto bad = read_file(index);
    bad.resize(bad.size() - 9);
    write_file(index, bad);
    CHECK_THAT(fault([&] { restore(m, prefix); }), Contains(index + ": damaged table"));
  }
  SECTION("another type") {
    checkpoint_writer w(out / "ints");
    const std::vector<std::int32_t> zeros(32);
    w.add("small/conv1/biases", {32}, std::span<const std::int32_t>(zeros));
    w.finish();
    CHECK_THAT(fault([&] { restore(m, checkpoint_reader(out / "ints"), {"small/conv1/biases"}); }),
               Contains("small/conv1/biases: holds int32, which is not read as float32"));
  }
  CHECK(unchanged());
}

TEST_CASE_METHOD(restoring, "a failed save leaves the last checkpoint as it was") {
  const auto before_index = read_file(prefix + ".index");
  std::filesystem::create_directory(prefix + ".index.tempstate");  // in the way of the new one
  CHECK_THAT(fault([&] { save_checkpoint(m, prefix); }), Contains("cannot be written"));
  CHECK(read_file(prefix + ".index") == before_index);
  restore(m, prefix);
  CHECK(same_bits(variables_of(m), variables_of(saved)));
}

TEST_CASE("safetensors restore a model") {
  temporary_folder out;
  float_trainer saved, m;
  saved.initialize(7);
  // The format is simple enough to be written here, so that this test needs no writer.
  std::string header = "{", body;
  for (const auto& v : get_model_variables(saved)) {
    std::string dims;
    for (int i = 0; i < v.values.dims.rank; ++i)
      dims += (i ? "," : "") + std::to_string(v.values.dims[i]);
    const auto bytes = std::as_bytes(v.values.span());
    header += (body.empty() ? "\"" : ",\"") + v.name + "\":{\"dtype\":\"F32\",\"shape\":[" + dims +
              "],\"data_offsets\":[" + std::to_string(body.size()) + "," +
              std::to_string(body.size() + bytes.size()) + "]}";
    body += slim::detail::characters(bytes);
  }
  header += "}";
  std::vector<std::byte> file(8 + header.size() + body.size());
  const std::uint64_t size = header.size();
  std::memcpy(file.data(), &size, 8);
  std::memcpy(file.data() + 8, header.data(), header.size());
  std::memcpy(file.data() + 8 + header.size(), body.data(), body.size());
  restore(m, safetensors_reader(file));
  CHECK(same_bits(variables_of(m), variables_of(saved)));
}
