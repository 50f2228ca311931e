// The passes, each as the plain function it is: on small graphs built here, on random ones, and on
// one of 3,000 nodes that a compiler evaluates at its default limits (made_up_graph.hpp).
#include <catch2/catch.hpp>

#include <random>

#include "dynamic.hpp"
#include "made_up_graph.hpp"

using namespace slim;
using slim_test::dynamic_graph;
using target_type = target<float, backend::cpu>;
using builder_type = builder<target_type>;

namespace {

constexpr auto zero_hooks = &variable_hooks_of<float, constant<zeros{}>>;

/// conv(3x3, SAME) + bias + relu on x, under a scope of its own.
int convolution_layer(builder_type& b, int x, std::string_view name, int outputs,
                      bool trainable = true) {
  const int outer = b.scope;
  b.enter(name);
  attributes a;
  a.win.kernel_h = a.win.kernel_w = 3;
  a.win.pad = padding::same;
  const int w = b.add_variable("weights", {3, 3, b.g.values[x].dims[3], outputs}, zero_hooks,
                               trainable);
  const int bias = b.add_variable("biases", {outputs}, zero_hooks, trainable);
  int y = b.add<op::convolution>({x, w}, a);
  y = b.add<op::bias_add>({y, bias});
  y = b.add<op::activation<constant<relu>>>({y});
  b.scope = outer;
  return y;
}

int halving_pool(builder_type& b, int x) {
  attributes a;
  a.win.kernel_h = a.win.kernel_w = a.win.stride_h = a.win.stride_w = 2;
  return b.add<op::max_pool>({x}, a);
}

std::vector<std::string_view> alive(const graph& g) {
  std::vector<std::string_view> names;
  for (const node_row& n : g.nodes)
    if (!n.dead && !n.prepare) names.push_back(n.op->name);
  return names;
}

using names = std::vector<std::string_view>;

}  // namespace

TEST_CASE("windows follow TensorFlow's padding rules") {
  for (int in = 1; in < 30; ++in)
    for (int kernel = 1; kernel < 8; ++kernel)
      for (int stride = 1; stride < 5; ++stride)
        for (int rate = 1; rate < 4; ++rate) {
          const int covered = (kernel - 1) * rate + 1;
          const window_axis same = slide(in, kernel, stride, rate, padding::same);
          CHECK(same.out == (in + stride - 1) / stride);
          CHECK(same.before == std::max((same.out - 1) * stride + covered - in, 0) / 2);
          const window_axis valid = slide(in, kernel, stride, rate, padding::valid);
          int fits = 0;
          while (fits * stride + covered <= in) ++fits;
          CHECK(valid.out == fits);
        }
  static_assert(slide(4, 3, 2, 1, padding::same).before == 0);
  static_assert(slide(5, 3, 2, 1, padding::same).before == 1);
  static_assert(slide(4, 2, 1, 1, padding::same).before == 0);
}

TEST_CASE("scopes are named as TensorFlow names them") {
  dynamic_graph d;
  builder_type b(d.g);
  const auto enter = [&](auto how) {
    const int outer = b.scope;
    const int scope = how();
    b.scope = outer;
    return std::string(scope_path(d.g, scope).view());
  };
  b.enter("net");
  CHECK(enter([&] { return b.enter_unique("Conv"); }) == "net/Conv");
  CHECK(enter([&] { return b.enter_unique("Conv"); }) == "net/Conv_1");
  CHECK(enter([&] { return b.enter("Conv_2"); }) == "net/Conv_2");
  CHECK(enter([&] { return b.enter_unique("Conv"); }) == "net/Conv_3");
  CHECK(enter([&] { return b.enter("conv1", 2); }) == "net/conv1_2");
  const int rows = d.g.scopes.size();
  CHECK(enter([&] { return b.enter("Conv"); }) == "net/Conv");
  CHECK(d.g.scopes.size() == rows);
}

TEST_CASE("a failed graph ignores everything after the first error") {
  dynamic_graph d;
  builder_type b(d.g);
  const int x = b.add_input("x", {2, 4, 4, 3}, element::scalar);
  attributes a;
  a.win.kernel_h = a.win.kernel_w = 7;
  b.enter("fc6");
  const int w = b.add_variable("weights", {7, 7, 3, 8}, zero_hooks, true);
  CHECK(b.add<op::convolution>({x, w}, a) == -1);
  CHECK(d.g.failure.view() == "fc6: 7x7 VALID window exceeds its input 4x4x3");
  b.fail("another");
  CHECK(b.add<op::copy>({x}) == -1);
  CHECK(d.g.failure.view() == "fc6: 7x7 VALID window exceeds its input 4x4x3");
}

TEST_CASE("tables that are full say so") {
  dynamic_graph d(4);
  builder_type b(d.g);
  int x = b.add_input("x", {1, 8}, element::scalar);
  for (int i = 0; i < 5 && x >= 0; ++i) x = b.add<op::copy>({x});
  CHECK(x == -1);
  CHECK(d.g.failure.view().find("more nodes") != std::string_view::npos);
}

TEST_CASE("a residual is added where a contraction is finished") {
  dynamic_graph d;
  builder_type b(d.g);
  const int x = b.add_input("x", {2, 8, 8, 32}, element::scalar);
  const int w = b.add_variable("weights", {1, 1, 32, 32}, zero_hooks, true);
  attributes a;
  a.win.kernel_h = a.win.kernel_w = 1;
  const int sum = b.add<op::add>({x, b.add<op::convolution>({x, w}, a)});
  d.g.output = b.add<op::activation<constant<relu>>>({sum});
  SECTION("at inference") {
    slim_test::compile_for_inference(b);
    REQUIRE(alive(d.g) == names{"fused_convolution"});
    for (const node_row& n : d.g.nodes)
      if (!n.dead && !n.prepare) {
        CHECK(n.a.integer == op::fused_parts::residual);
        CHECK(d.g.input(n, n.inputs - 1) == x);
      }
  }
  SECTION("not where the sum is fetched") {
    d.g.values[sum].fetched = true;
    slim_test::compile_for_inference(b);
    CHECK(alive(d.g) == names{"fused_convolution", "relu"});
  }
}

TEST_CASE("fusion takes convolution, bias, activation and pooling together") {
  dynamic_graph d;
  builder_type b(d.g);
  int x = b.add_input("x", {2, 8, 8, 32}, element::scalar);
  x = convolution_layer(b, x, "conv1", 32);
  const int unpooled = x;
  d.g.output = halving_pool(b, x);
  SECTION("all four") {
    slim_test::compile_for_inference(b);
    CHECK(alive(d.g) == names{"fused_convolution"});
    CHECK(d.g.nodes[3].a.integer == 1);
    const slim_test::dynamic_program p(d.g, 4);
    CHECK(p.p.tensors[unpooled].place.offset == -1);
    CHECK(count_traffic(d.g, 4).written == 2 * 4 * 4 * 32 * 4);
  }
  SECTION("with the weights prepared once") {
    slim_test::compile_for_inference(b);
    const node_row& last = d.g.nodes[d.g.nodes.size() - 1];
    CHECK(last.op->name == "prepared_weights");
    CHECK(last.prepare);
    CHECK(d.g.values[d.g.output_of(last, 0)].where == storage::prepared);
    CHECK(d.g.input(d.g.nodes[3], 1) == d.g.output_of(last, 0));
  }
  SECTION("not across a value that is fetched") {
    d.g.values[unpooled].fetched = true;
    slim_test::compile_for_inference(b);
    CHECK(alive(d.g) == names{"fused_convolution", "max_pool"});
  }
  SECTION("not across a value that is read twice") {
    d.g.output = b.add<op::add>({halving_pool(b, unpooled), d.g.output});
    slim_test::compile_for_inference(b);
    CHECK(alive(d.g) == names{"fused_convolution", "max_pool", "max_pool", "add"});
  }
  SECTION("the Eigen backend keeps pooling apart") {
    dynamic_graph e;
    builder<target<float, backend::eigen>> c(e.g);
    int y = c.add_input("x", {2, 8, 8, 32}, element::scalar);
    c.enter("conv1");
    attributes a;
    a.win.kernel_h = a.win.kernel_w = 3;
    a.win.pad = padding::same;
    const int w = c.add_variable("weights", {3, 3, 32, 32}, zero_hooks, true);
    y = c.add<op::activation<constant<relu>>>({c.add<op::convolution>({y, w}, a)});
    attributes pool;
    pool.win.kernel_h = pool.win.kernel_w = pool.win.stride_h = pool.win.stride_w = 2;
    e.g.output = c.add<op::max_pool>({y}, pool);
    slim_test::compile_for_inference(c);
    CHECK(alive(e.g) == names{"fused_convolution", "max_pool"});
  }
}

TEST_CASE("differentiation appends what the trainable variables need and no more") {
  dynamic_graph d;
  builder_type b(d.g);
  int x = b.add_input("x", {2, 8, 8, 32}, element::scalar);
  x = convolution_layer(b, x, "conv1", 32, false);
  x = convolution_layer(b, x, "conv2", 32, true);
  d.g.output = x;
  const int g = b.add_input("g", d.g.values[x].dims, element::scalar);
  d.g.losses.add(b.add<slim_test::dot_loss>({x, g}));
  slim_test::compile_for_training(b);
  REQUIRE(d.g.failure.empty());
  CHECK(alive(d.g) == names{"fused_convolution", "fused_convolution", "dot_loss", "one",
                            "dot_loss_backward", "activation_backward",
                            "convolution_backward_filter"});
  int gradients = 0;
  for (const value_row& v : d.g.values) gradients += v.where == storage::gradient;
  CHECK(gradients == 2);
}

TEST_CASE("a value read twice gets the sum of two gradients") {
  dynamic_graph d;
  builder_type b(d.g);
  int x = b.add_input("x", {2, 8, 8, 32}, element::scalar);
  x = convolution_layer(b, x, "conv1", 32);
  const int residual = convolution_layer(b, x, "conv2", 32);
  d.g.output = b.add<op::add>({x, residual});
  const int g = b.add_input("g", d.g.values[x].dims, element::scalar);
  d.g.losses.add(b.add<slim_test::dot_loss>({d.g.output, g}));
  slim_test::compile_for_training(b);
  REQUIRE(d.g.failure.empty());
  const names all = alive(d.g);
  CHECK(std::count(all.begin(), all.end(), "add") == 2);  // forward, and of the gradients
}

TEST_CASE("an op without a gradient rule is named when a loss needs it") {
  dynamic_graph d;
  builder_type b(d.g);
  const int x = b.add_input("x", {2, 8}, element::scalar);
  b.enter("layer");
  const int w = b.add_variable("w", {2, 8}, zero_hooks, true);
  const int y = b.add<op::scale>({w, b.add<op::one>({})});
  d.g.losses.add(b.add<slim_test::dot_loss>({y, x}));
  slim_test::compile_for_training(b);
  CHECK(d.g.failure.view() ==
        "layer: scale: has no gradient rule, but a loss is differentiated through it");
}

TEST_CASE("pruning drops what inference does not need") {
  dynamic_graph d;
  builder_type b(d.g);
  int x = b.add_input("x", {2, 8, 8, 32}, element::scalar);
  x = convolution_layer(b, x, "conv1", 32);
  attributes keep;
  keep.number = 0.5;
  const int dropped = b.add<op::dropout>({x}, keep);
  d.g.output = halving_pool(b, dropped);
  const int g = b.add_input("g", d.g.values[d.g.output].dims, element::scalar);
  d.g.losses.add(b.add<slim_test::dot_loss>({d.g.output, g}));
  slim_test::compile_for_inference(b);
  CHECK(alive(d.g) == names{"fused_convolution", "reshape", "max_pool"});  // dropout is a view
}

namespace {

/// A random graph of copies and sums over equal shapes, with some views and fetched values.
void random_graph(builder_type& b, std::mt19937& random, int nodes) {
  std::vector<int> values;
  for (int i = 0; i < 3; ++i) {
    const int rows = 1 + int(random() % 5);
    values.push_back(b.add_input(i == 0 ? "a" : i == 1 ? "b" : "c",
                                 {4, rows * 16}, element::scalar));
  }
  for (int i = 0; i < nodes; ++i) {
    const int first = values[random() % values.size()];
    const int second = values[random() % values.size()];
    attributes a;
    a.dims = {4, b.g.values[first].dims[1] / 2, 2};
    const bool flat = b.g.values[first].dims.rank == 2;
    int y = -1;
    if (random() % 5 == 0 && flat)
      y = b.add<op::reshape>({first}, a);
    else if (b.g.values[first].dims == b.g.values[second].dims && random() % 3 != 0)
      y = b.add<op::add>({first, second});
    else
      y = random() % 2 == 0 ? b.add<op::copy>({first})
                            : b.add<op::activation<constant<relu>>>({first});
    if (random() % 11 == 0) b.g.values[y].fetched = true;
    values.push_back(y);
  }
  b.g.output = values.back();
}

/// The same graph in tables of its own.
void copy_rows(const graph& from, graph& to) {
  copy_living(from, to);
  to.batch = from.batch;
  for (const input_row& row : from.inputs) to.inputs.add(row);
}

struct live_range {
  int root, birth, death;
  long first, last;
};

}  // namespace

TEST_CASE("no two live buffers of a memory plan overlap") {
  std::mt19937 random(11);
  for (int round = 0; round < 300; ++round) {
    dynamic_graph d(128);
    builder_type b(d.g);
    random_graph(b, random, 2 + int(random() % 60));
    drop_unused(d.g, false);
    choose_kernels(b, added_ops_of<builder_type::target_type>.preparing, false);
    REQUIRE(d.g.failure.empty());
    for (int i = 0; i < d.g.nodes.size(); ++i)
      if (random() % 4 == 0) d.g.nodes[i].kernel.workspace_bytes = long(random() % 5000);
    std::vector<placement> places(size_t(d.g.values.size()));
    std::vector<long> workspaces(size_t(d.g.nodes.size()));
    const memory_plan plan = plan_memory(d.g, 4, places.data(), workspaces.data());
    const lifetimes lives(d.g, 4);
    std::vector<live_range> ranges;
    for (int v = 0; v < d.g.values.size(); ++v) {
      if (lives.root(v) != v || places[size_t(v)].offset < 0) continue;
      const long first = places[size_t(v)].offset;
      CHECK(first % buffer_alignment == 0);
      ranges.push_back({v, lives.birth(v), lives.last_use(v), first,
                        first + value_bytes(d.g.values[v], 4)});
    }
    for (int i = 0; i < d.g.nodes.size(); ++i)
      if (workspaces[size_t(i)] >= 0)
        ranges.push_back({-1, i, i, workspaces[size_t(i)],
                          workspaces[size_t(i)] + d.g.nodes[i].kernel.workspace_bytes});
    for (const live_range& r : ranges) {
      CHECK(r.last <= plan.bytes);
      for (const live_range& other : ranges) {
        const bool together = r.birth <= other.death && other.birth <= r.death;
        const bool overlap = r.first < other.last && other.first < r.last;
        if (&r != &other) CHECK_FALSE((together && overlap));
      }
    }
  }
}

TEST_CASE("values that share memory are never needed after they are overwritten") {
  // Runs random graphs on the arena and with a buffer each: equal results.
  std::mt19937 random(5);
  cpu_device device(2);
  for (int round = 0; round < 100; ++round) {
    dynamic_graph d(128);
    builder_type b(d.g);
    random_graph(b, random, 2 + int(random() % 40));
    dynamic_graph kept(128);
    copy_rows(d.g, kept.g);
    for (int v = 0; v < kept.g.values.size(); ++v) kept.g.values[v].fetched = true;
    builder_type c(kept.g);
    slim_test::compile_for_inference(b);
    slim_test::compile_for_inference(c);
    slim_test::dynamic_program shared(d.g, 4), apart(kept.g, 4);
    runner<float> one(&device, shared.p, nullptr), two(&device, apart.p, nullptr);
    std::vector<std::vector<float>> inputs;
    for (int i = 0; i < 3; ++i) {
      inputs.emplace_back(size_t(d.g.values[d.g.inputs[i].value].dims.count()));
      for (float& x : inputs.back()) x = float(int(random() % 2001) - 1000) / 500;
    }
    one.forward({inputs[0], inputs[1], inputs[2]});
    two.forward({inputs[0], inputs[1], inputs[2]});
    for (int v = 0; v < d.g.values.size(); ++v) {
      if (!d.g.values[v].fetched && v != d.g.output) continue;
      if (!one.written(v)) continue;
      const auto got = one.value(v), want = two.value(v);
      REQUIRE(std::equal(got.begin(), got.end(), want.begin()));
    }
  }
}

TEST_CASE("the arena of a chain is two buffers, not the sum") {
  dynamic_graph d;
  builder_type b(d.g);
  int x = b.add_input("x", {4, 1024}, element::scalar);
  for (int i = 0; i < 20; ++i) x = b.add<op::copy>({x});
  d.g.output = x;
  slim_test::compile_for_inference(b);
  const slim_test::dynamic_program p(d.g, 4);
  CHECK(p.p.memory.bytes == 2 * 4 * 1024 * 4);
}

TEST_CASE("3,000 nodes pass through every pass") {
  constexpr slim_test::made_up_facts facts = slim_test::made_up_program();
  CHECK(facts.steps >= 3000);
  CHECK(facts.gradients == facts.variables);
  CHECK(facts.bytes > 0);
}
