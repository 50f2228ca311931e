// A profile names every step that ran, with its work; its trace is well-formed JSON; a model
// without a profiler runs as if there were none.

#include <catch2/catch.hpp>

#include <map>

#include <slim/profile.hpp>

#include "small_net.hpp"

using namespace slim_test;

namespace {

/// Occurrences of a piece of text.
int count(const std::string& text, const std::string& piece) {
  int found = 0;
  for (auto at = text.find(piece); at != text.npos; at = text.find(piece, at + 1)) ++found;
  return found;
}

/// Whether the text is one JSON value, as far as strings, brackets and commas go.
bool balanced_json(const std::string& text) {
  std::string open;
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\') ++i;
      if (c == '"') quoted = false;
      if (static_cast<unsigned char>(c) < 0x20) return false;
    } else if (c == '"') {
      quoted = true;
    } else if (c == '{' || c == '[') {
      open += c;
    } else if (c == '}' || c == ']') {
      if (open.empty() || open.back() != (c == '}' ? '{' : '[')) return false;
      open.pop_back();
    }
  }
  return open.empty() && !quoted;
}

struct normalized_net : arg_scope<on<ops::conv2d>, with<normalizer_fn{ops::batch_norm{}}>,
                                  net<"a \"net\"\\", conv2d<16, kernel_size{3}, scope{"conv"}>,
                                      flatten<>, fully_connected<classes, activation_fn{none}>>> {};
using normalized =
    model<normalized_net, input<batch, 16, 16, 3>, labels<batch>, sparse_softmax_cross_entropy<>>;

}  // namespace

TEST_CASE("a profile of forward passes has every step, and what it did") {
  cpu_device device(2);
  float_trainer m(device);
  m.initialize(1);
  const auto x = images<float>(batch);
  const auto expected = copied(m.forward(x));
  profiler p = profile_forward(m, 3, x);
  CHECK(same_bits(copied(m.output()), expected));

  const program forward = float_trainer::inference_program();
  const std::vector<profile_row> rows = p.rows();
  // The pass before the first that is recorded has prepared the weights.
  REQUIRE(rows.size() == static_cast<std::size_t>(forward.steps.size() - forward.first_run));
  double share = 0;
  long operations = 0, written = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const step_row& s = forward.steps[forward.first_run + static_cast<int>(i)];
    CHECK(rows[i].runs == 3);
    CHECK(rows[i].op == s.op);
    CHECK(rows[i].kernel == s.kernel);
    CHECK(rows[i].kind == step_kind::forward);
    CHECK(rows[i].seconds > 0);
    CHECK(rows[i].bytes_read > 0);
    share += rows[i].share, operations += static_cast<long>(rows[i].operations);
    written += rows[i].bytes_written;
  }
  CHECK(share == Approx(1));
  CHECK(operations == 2 * float_trainer::multiply_adds);
  long planned = 0;
  for (const step_row& s : forward.steps)
    if (!s.prepare) planned += slim::detail::bytes_written(forward, s);
  CHECK(written == planned);

  const std::string table = p.table();
  for (const profile_row& row : rows)
    for (const std::string& word : {row.scope, row.op, row.kernel})
      CHECK(table.find(word) != table.npos);
  for (const char* word : {"GFLOP/s", "% peak", "GB/s", "total forward", "measured peak"})
    CHECK(table.find(word) != table.npos);
  p.clear();
  CHECK(p.rows().empty());
}

TEST_CASE("fewer images are less work") {
  cpu_device device(1);
  float_trainer m(device);
  m.initialize(1);
  const auto all = profile_forward(m, 1, images<float>(batch)).rows();
  const auto one = profile_forward(m, 1, images<float>(1)).rows();
  REQUIRE(all.size() == one.size());
  for (std::size_t i = 0; i < all.size(); ++i) {
    CHECK(all[i].operations == batch * one[i].operations);
    CHECK(all[i].bytes_written == batch * one[i].bytes_written);
    CHECK(all[i].bytes_read < batch * one[i].bytes_read + 1);
  }
}

TEST_CASE("training's steps have categories of their own, and preparing too") {
  cpu_device device(1);
  normalized m(device);
  m.initialize(1);
  const auto x = images<float>(batch);
  const auto y = some_labels(batch);
  profiler p;
  m.set_profiler(&p);
  m.forward(x);
  m.forward(x);
  m.backward(x, y);
  m.update(gradient_descent{0.01});
  m.set_profiler(nullptr);
  m.forward(x);  // not recorded

  std::map<step_kind, int> kinds;
  std::map<step_kind, long> runs;
  for (const profile_row& row : p.rows()) ++kinds[row.kind], runs[row.kind] += row.runs;
  const program forward = normalized::inference_program(), both = normalized::training_program();
  CHECK(kinds[step_kind::prepare] == forward.first_run);
  CHECK(runs[step_kind::prepare] == forward.first_run);
  CHECK(kinds[step_kind::update] == both.steps.size() - both.first_update);
  CHECK(kinds[step_kind::update] > 0);
  CHECK(kinds[step_kind::backward] > 0);
  long all = 0;
  for (const auto& [kind, n] : runs) all += n;
  CHECK(all == 2 * forward.steps.size() - forward.first_run + both.steps.size());

  const std::string trace = p.trace();
  CHECK(balanced_json(trace));
  CHECK(count(trace, "\"ph\":\"X\"") == all);
  CHECK(count(trace, "\"cat\":\"backward\"") == runs[step_kind::backward]);
  CHECK(count(trace, "\"cat\":\"update\"") == runs[step_kind::update]);
  CHECK(trace.find("a \\\"net\\\"\\\\/conv") != trace.npos);
  for (const char* total : {"total prepare", "total forward", "total backward", "total update"})
    CHECK(p.table().find(total) != std::string::npos);
}

TEST_CASE("an error while profiling takes the profiler off") {
  cpu_device device(1);
  float_trainer m(device);
  m.initialize(1);
  CHECK_THROWS_AS(profile_forward(m, 1, std::vector<float>(5)), input_error);
  CHECK_NOTHROW(m.forward(images<float>(1)));
}

TEST_CASE("control characters are escaped in JSON") {
  CHECK(slim::detail::json_string("a\"\\\n\x01z") == "\"a\\\"\\\\\\u000a\\u0001z\"");
}
