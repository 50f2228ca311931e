// What a compiler knows of a network: shapes, names, counts. The examples of TF-Slim's README, each
// in every spelling it gives; precedence in arg_scope; default names. The library's own nets are in
// nets_test.cpp.
#include <catch2/catch.hpp>

#include <string>
#include <vector>

#include "lowered.hpp"

using namespace slim_test;

namespace {

/// The end points' names, in order.
template <class Network>
std::vector<std::string> end_points() {
  const graph g = Network::lowered();
  std::vector<std::string> names;
  for (const end_point_row& row : g.end_points)
    names.emplace_back(end_point_name(g, row).view());
  return names;
}

/// Whether two networks are the same but for how they are written: ops with their options and
/// shapes; variables with their names, shapes and initializers; penalties.
constexpr bool same_nodes(const graph& a, const graph& b) {
  if (a.nodes.size() != b.nodes.size() || a.values.size() != b.values.size()) return false;
  for (int i = 0; i < a.nodes.size(); ++i)
    if (a.nodes[i].op->name != b.nodes[i].op->name || !(a.nodes[i].a.win == b.nodes[i].a.win))
      return false;
  for (int i = 0; i < a.values.size(); ++i)
    if (!(a.values[i].dims == b.values[i].dims)) return false;
  return a.regularizers.size() == b.regularizers.size();
}
constexpr bool same_variables(const graph& a, const graph& b) {
  if (a.variables.size() != b.variables.size()) return false;
  for (int i = 0; i < a.variables.size(); ++i) {
    const variable_row &v = a.variables[i], &w = b.variables[i];
    if (scope_path(a, v.scope).view() != scope_path(b, w.scope).view() || v.leaf != w.leaf ||
        !(v.dims == w.dims) || v.hooks->initializer != w.hooks->initializer ||
        v.trainable != w.trainable)
      return false;
  }
  return true;
}
template <class A, class B>
constexpr bool same = same_nodes(A::lowered(), B::lowered()) &&
                      same_variables(A::lowered(), B::lowered());

/// The same down to the numbers in initializers, regularizers and activations, each of which is an
/// object of its own. At run time: g++ compares no addresses in constants under its sanitizers.
template <class A, class B>
bool identical() {
  const graph a = A::lowered(), b = B::lowered();
  if (!same<A, B>) return false;
  for (int i = 0; i < a.nodes.size(); ++i)
    if (a.nodes[i].op != b.nodes[i].op) return false;
  for (int i = 0; i < a.variables.size(); ++i)
    if (a.variables[i].hooks != b.variables[i].hooks) return false;
  return true;
}

/// The window of a network's first convolution or pooling.
template <class Network>
constexpr window first_window() {
  for (const node_row& n : Network::lowered().nodes)
    if (n.a.win.out_h > 0) return n.a.win;
  return {};
}

}  // namespace

// README, "Layers": a convolution is variables, a product, biases and an activation.
struct one_layer : net<"", conv2d<128, kernel_size{3}, scope{"conv1_1"}>> {};
using one_layer_n = network<one_layer, input<2, 28, 28, 64>>;
static_assert(one_layer_n::output_shape == shape{2, 28, 28, 128});
static_assert(one_layer_n::parameter_count == 3 * 3 * 64 * 128 + 128);
static_assert(one_layer_n::variable_shape<"conv1_1/weights">() == shape{3, 3, 64, 128});
static_assert(nodes_of<one_layer_n>("convolution") == 1);
static_assert(nodes_of<one_layer_n>("bias_add") == 1 && nodes_of<one_layer_n>("relu") == 1);

// README, "Layers": three convolutions of the VGG network and a pool, written out and by repeat.
// repeat opens a scope around them, so `conv3_1` becomes `conv3/conv3_1`.
struct conv3_verbose : net<"",
  conv2d<256, kernel_size{3, 3}, scope{"conv3_1"}>,
  conv2d<256, kernel_size{3, 3}, scope{"conv3_2"}>,
  conv2d<256, kernel_size{3, 3}, scope{"conv3_3"}>,
  max_pool2d<kernel_size{2, 2}, scope{"pool2"}>> {};
struct conv3_in_a_scope : net<"",
  variable_scope<"conv3",
    conv2d<256, kernel_size{3}, scope{"conv3_1"}>,
    conv2d<256, kernel_size{3}, scope{"conv3_2"}>,
    conv2d<256, kernel_size{3}, scope{"conv3_3"}>>,
  max_pool2d<kernel_size{2}, scope{"pool2"}>> {};
struct conv3_repeat : net<"",
  repeat<3, conv2d<256, kernel_size{3, 3}>, "conv3">,
  max_pool2d<kernel_size{2, 2}, scope{"pool2"}>> {};

using conv3_images = input<4, 56, 56, 128>;
using verbose_n = network<conv3_verbose, conv3_images>;
using in_a_scope_n = network<conv3_in_a_scope, conv3_images>;
using repeat_n = network<conv3_repeat, conv3_images>;
static_assert(repeat_n::output_shape == shape{4, 28, 28, 256});
static_assert(same<repeat_n, in_a_scope_n>);
static_assert(same_nodes(repeat_n::lowered(), verbose_n::lowered()));
static_assert(repeat_n::variable_shape<"conv3/conv3_1/weights">() == shape{3, 3, 128, 256});
static_assert(repeat_n::end_point<"conv3/conv3_3">() == shape{4, 56, 56, 256});
static_assert(repeat_n::end_point<"pool2">() == shape{4, 28, 28, 256});
static_assert(repeat_n::parameter_count == verbose_n::parameter_count);

TEST_CASE("repeat unrolls the scopes of the layer it repeats") {
  CHECK(variable_names<verbose_n>() ==
        std::vector<std::string>{"conv3_1/weights", "conv3_1/biases", "conv3_2/weights",
                                 "conv3_2/biases", "conv3_3/weights", "conv3_3/biases"});
  CHECK(end_points<repeat_n>() ==
        std::vector<std::string>{"conv3/conv3_1", "conv3/conv3_2", "conv3/conv3_3", "pool2"});
  CHECK(variable_names<repeat_n>()[5] == "conv3/conv3_3/biases");
}

// README, "Layers": a multi-layer perceptron, verbose and by stack.
struct mlp_verbose : net<"",
  fully_connected<32, scope{"fc/fc_1"}>,
  fully_connected<64, scope{"fc/fc_2"}>,
  fully_connected<128, scope{"fc/fc_3"}>> {};
struct mlp_stack : net<"", stack<ops::fully_connected, "fc", args<32>, args<64>, args<128>>> {};
using mlp_verbose_n = network<mlp_verbose, input<7, 20>>;
using mlp_stack_n = network<mlp_stack, input<7, 20>>;
static_assert(same<mlp_verbose_n, mlp_stack_n>);
static_assert(mlp_stack_n::output_shape == shape{7, 128});
static_assert(mlp_stack_n::end_point<"fc/fc_2">() == shape{7, 64});
static_assert(mlp_stack_n::parameter_count == 21 * 32 + 33 * 64 + 65 * 128);

// README, "Layers": a tower of convolutions, verbose and by stack.
struct core_verbose : net<"",
  conv2d<32, kernel_size{3, 3}, scope{"core/core_1"}>,
  conv2d<32, kernel_size{1, 1}, scope{"core/core_2"}>,
  conv2d<64, kernel_size{3, 3}, scope{"core/core_3"}>,
  conv2d<64, kernel_size{1, 1}, scope{"core/core_4"}>> {};
// nvcc 13.0 loses a layer that only a stack has named when a net, vgg16 below, spells it out.
using named_before_the_stack = conv2d<64, kernel_size{3}>;
struct core_stack : net<"",
  stack<ops::conv2d, "core", args<32, kernel_size{3, 3}>, args<32, kernel_size{1, 1}>,
                             args<64, kernel_size{3, 3}>, args<64, kernel_size{1, 1}>>> {};
using core_verbose_n = network<core_verbose, input<2, 9, 9, 3>>;
using core_stack_n = network<core_stack, input<2, 9, 9, 3>>;
static_assert(same<core_verbose_n, core_stack_n>);
static_assert(core_stack_n::variable_shape<"core/core_4/weights">() == shape{1, 1, 64, 64});

TEST_CASE("a stack is what it abbreviates") {
  CHECK(identical<mlp_verbose_n, mlp_stack_n>());
  CHECK(identical<core_verbose_n, core_stack_n>());
  CHECK(variable_names<mlp_verbose_n>() == variable_names<mlp_stack_n>());
  CHECK(variable_names<core_verbose_n>() == variable_names<core_stack_n>());
  CHECK(end_points<core_stack_n>() ==
        std::vector<std::string>{"core/core_1", "core/core_2", "core/core_3", "core/core_4"});
  // A scope written with a slash has the name that nested scopes have.
  CHECK(end_points<core_verbose_n>() == end_points<core_stack_n>());
}

// README, "Scopes": three convolutions that share their arguments, written out; with the values
// named; and by arg_scope, where the second overrides the padding.
struct written_out : net<"",
  conv2d<64, kernel_size{11}, stride{4}, padding::same,
         weights_initializer{truncated_normal{0, 0.01}},
         weights_regularizer{l2_regularizer{0.0005}}, scope{"conv1"}>,
  conv2d<128, kernel_size{11}, padding::valid, weights_initializer{truncated_normal{0, 0.01}},
         weights_regularizer{l2_regularizer{0.0005}}, scope{"conv2"}>,
  conv2d<256, kernel_size{11}, padding::same, weights_initializer{truncated_normal{0, 0.01}},
         weights_regularizer{l2_regularizer{0.0005}}, scope{"conv3"}>> {};

constexpr auto same_padding = padding::same;
constexpr auto initializer_value = weights_initializer{truncated_normal{0, 0.01}};
constexpr auto regularizer_value = weights_regularizer{l2_regularizer{0.0005}};
struct with_values : net<"",
  conv2d<64, kernel_size{11}, stride{4}, same_padding, initializer_value, regularizer_value,
         scope{"conv1"}>,
  conv2d<128, kernel_size{11}, padding::valid, initializer_value, regularizer_value,
         scope{"conv2"}>,
  conv2d<256, kernel_size{11}, same_padding, initializer_value, regularizer_value,
         scope{"conv3"}>> {};

struct with_arg_scope : net<"",
  arg_scope<on<ops::conv2d>,
            with<padding::same, weights_initializer{truncated_normal{0, 0.01}},
                 weights_regularizer{l2_regularizer{0.0005}}>,
    conv2d<64, kernel_size{11}, stride{4}, scope{"conv1"}>,
    conv2d<128, kernel_size{11}, padding::valid, scope{"conv2"}>,
    conv2d<256, kernel_size{11}, scope{"conv3"}>>> {};

using written_out_n = network<written_out, input<2, 64, 64, 3>>;
using with_values_n = network<with_values, input<2, 64, 64, 3>>;
using with_arg_scope_n = network<with_arg_scope, input<2, 64, 64, 3>>;
static_assert(same<written_out_n, with_values_n> && same<written_out_n, with_arg_scope_n>);
static_assert(with_arg_scope_n::end_point<"conv1">() == shape{2, 16, 16, 64});
static_assert(with_arg_scope_n::end_point<"conv2">() == shape{2, 6, 6, 128});
static_assert(with_arg_scope_n::end_point<"conv3">() == shape{2, 6, 6, 256});
static_assert(penalties<with_arg_scope_n> == 3);

// README, "Scopes": nested, for several ops, with local overrides. The stride of 1 in the scope
// gives way to the 4 at conv1 (in TF-Slim itself that line is a TypeError).
struct nested : net<"",
  arg_scope<on<ops::conv2d, ops::fully_connected>,
            with<activation_fn{relu}, weights_initializer{truncated_normal{0, 0.01}},
                 weights_regularizer{l2_regularizer{0.0005}}>,
    arg_scope<on<ops::conv2d>, with<stride{1}, padding::same>,
      conv2d<64, kernel_size{11}, stride{4}, padding::valid, scope{"conv1"}>,
      conv2d<256, kernel_size{5}, weights_initializer{truncated_normal{0, 0.03}},
             scope{"conv2"}>,
      fully_connected<1000, activation_fn{none}, scope{"fc"}>>>> {};
struct nested_written_out : net<"",
  conv2d<64, kernel_size{11}, stride{4}, padding::valid, activation_fn{relu},
         weights_initializer{truncated_normal{0, 0.01}},
         weights_regularizer{l2_regularizer{0.0005}}, scope{"conv1"}>,
  conv2d<256, kernel_size{5}, stride{1}, padding::same, activation_fn{relu},
         weights_initializer{truncated_normal{0, 0.03}},
         weights_regularizer{l2_regularizer{0.0005}}, scope{"conv2"}>,
  fully_connected<1000, activation_fn{none}, weights_initializer{truncated_normal{0, 0.01}},
                  weights_regularizer{l2_regularizer{0.0005}}, scope{"fc"}>> {};
using nested_n = network<nested, input<2, 64, 64, 3>>;
using nested_written_out_n = network<nested_written_out, input<2, 64, 64, 3>>;
static_assert(same<nested_n, nested_written_out_n>);
static_assert(nested_n::end_point<"conv1">() == shape{2, 14, 14, 64});
static_assert(nested_n::end_point<"conv2">() == shape{2, 14, 14, 256});
static_assert(nested_n::output_shape == shape{2, 14, 14, 1000});
static_assert(nodes_of<nested_n>("relu") == 2 && penalties<nested_n> == 3);

TEST_CASE("arg_scope gives each layer what was written out") {
  CHECK(identical<written_out_n, with_values_n>());
  CHECK(identical<written_out_n, with_arg_scope_n>());
  CHECK(identical<nested_n, nested_written_out_n>());
  // conv2's own initializer is not the scope's.
  const graph g = nested_n::lowered();
  CHECK(g.variables[0].hooks != g.variables[2].hooks);
  CHECK(g.variables[0].hooks == g.variables[4].hooks);
  CHECK_FALSE(same<nested_n, written_out_n>);
}

// README, "Working Example: Specifying the VGG16 Layers", as it stands: with fully_connected, which
// does not flatten, so this is not the published VGG-16.
struct vgg16 : net<"",
  arg_scope<on<ops::conv2d, ops::fully_connected>,
            with<activation_fn{relu}, weights_initializer{truncated_normal{0.0, 0.01}},
                 weights_regularizer{l2_regularizer{0.0005}}>,
    repeat<2, conv2d<64, kernel_size{3, 3}>, "conv1">,
    max_pool2d<kernel_size{2, 2}, scope{"pool1"}>,
    repeat<2, conv2d<128, kernel_size{3, 3}>, "conv2">,
    max_pool2d<kernel_size{2, 2}, scope{"pool2"}>,
    repeat<3, conv2d<256, kernel_size{3, 3}>, "conv3">,
    max_pool2d<kernel_size{2, 2}, scope{"pool3"}>,
    repeat<3, conv2d<512, kernel_size{3, 3}>, "conv4">,
    max_pool2d<kernel_size{2, 2}, scope{"pool4"}>,
    repeat<3, conv2d<512, kernel_size{3, 3}>, "conv5">,
    max_pool2d<kernel_size{2, 2}, scope{"pool5"}>,
    fully_connected<4096, scope{"fc6"}>,
    dropout<keep_prob{0.5}, scope{"dropout6"}>,
    fully_connected<4096, scope{"fc7"}>,
    dropout<keep_prob{0.5}, scope{"dropout7"}>,
    fully_connected<1000, activation_fn{none}, scope{"fc8"}>>> {};
using vgg16_n = network<vgg16, input<8, 224, 224, 3>>;
static_assert(vgg16_n::parameter_count == 37'694'248);
static_assert(vgg16_n::output_shape == shape{8, 7, 7, 1000});
static_assert(vgg16_n::variable_count == 32 && penalties<vgg16_n> == 16);
static_assert(vgg16_n::variable_shape<"fc6/weights">() == shape{512, 4096});
static_assert(vgg16_n::end_point<"conv5/conv5_3">() == shape{8, 14, 14, 512});

// Precedence. What a layer is given beats every scope.
template <class... Layer>
using small = network<net<"n", Layer...>, input<2, 12, 12, 4>>;

using call_beats_scope = small<
  arg_scope<on<ops::conv2d>, with<padding::valid, stride{3}, activation_fn{slim::tanh}>,
    conv2d<5, kernel_size{3}, stride{2}, activation_fn{relu}>>>;
static_assert(first_window<call_beats_scope>().stride_h == 2);
static_assert(first_window<call_beats_scope>().pad == padding::valid);
static_assert(nodes_of<call_beats_scope>("relu") == 1);
static_assert(nodes_of<call_beats_scope>("tanh") == 0);

// The inner scope beats the outer one, argument by argument; behind it the outer one holds again.
using inner_beats_outer = small<
  arg_scope<on<ops::conv2d>, with<padding::valid, kernel_size{5}>,
    arg_scope<on<ops::conv2d>, with<kernel_size{3}>, conv2d<5, scope{"inner"}>>,
    conv2d<5, scope{"outer"}>>>;
static_assert(inner_beats_outer::end_point<"n/inner">() == shape{2, 10, 10, 5});
static_assert(inner_beats_outer::end_point<"n/outer">() == shape{2, 6, 6, 5});
static_assert(inner_beats_outer::variable_shape<"n/inner/weights">() == shape{3, 3, 4, 5});

// An explicit none is a value: it beats a scoped activation, regularizer and initializer ...
using none_beats_scope = small<
  arg_scope<on<ops::conv2d>, with<activation_fn{slim::tanh}, biases_initializer{ones{}},
                                  weights_regularizer{l2_regularizer{0.1}},
                                  biases_regularizer{l1_regularizer{0.1}}>,
    conv2d<5, kernel_size{1}, activation_fn{none}, weights_regularizer{none},
           biases_initializer{none}>>>;
static_assert(none_beats_scope::variable_count == 1 && penalties<none_beats_scope> == 0);
static_assert(nodes_of<none_beats_scope>("tanh") == 0);
static_assert(nodes_of<none_beats_scope>("bias_add") == 0);
// ... and given by an inner scope it beats the outer one's, until a layer says otherwise.
using none_in_scope = small<
  arg_scope<on<ops::conv2d>, with<activation_fn{slim::tanh}>,
    arg_scope<on<ops::conv2d>, with<activation_fn{none}>,
      conv2d<5, kernel_size{1}>, conv2d<5, kernel_size{1}, activation_fn{relu}>>>>;
static_assert(nodes_of<none_in_scope>("tanh") == 0 && nodes_of<none_in_scope>("relu") == 1);

// A scope speaks to all the ops it names, and to no other.
using several_ops = small<
  arg_scope<on<ops::conv2d, ops::fully_connected>, with<activation_fn{slim::tanh}>,
    conv2d<5, kernel_size{1}>, fully_connected<6>>>;
static_assert(nodes_of<several_ops>("tanh") == 2);
using one_op = small<
  arg_scope<on<ops::fully_connected>, with<activation_fn{slim::tanh}>,
    conv2d<5, kernel_size{1}>, fully_connected<6>>>;
static_assert(nodes_of<one_op>("tanh") == 1 && nodes_of<one_op>("relu") == 1);
using pool_scope = small<
  arg_scope<on<ops::max_pool2d, ops::conv2d>, with<kernel_size{3}, padding::same, stride{1}>,
    max_pool2d<scope{"pool"}>, conv2d<5, scope{"conv"}>>>;
static_assert(pool_scope::end_point<"n/pool">() == shape{2, 12, 12, 4});
static_assert(pool_scope::variable_shape<"n/conv/weights">() == shape{3, 3, 4, 5});

// Scopes reach into repeat, stack, nested nets and variable_scope.
using through_everything = small<
  arg_scope<on<ops::conv2d>, with<kernel_size{3}, activation_fn{slim::tanh}>,
    repeat<2, conv2d<5>>, stack<ops::conv2d, "tower", args<6>, args<7, kernel_size{1}>>,
    net<"inner", conv2d<8>>, variable_scope<"block", conv2d<9>>>>;
static_assert(nodes_of<through_everything>("tanh") == 6);
static_assert(through_everything::variable_shape<"n/tower/tower_2/weights">() ==
              shape{1, 1, 6, 7});
static_assert(through_everything::variable_shape<"n/inner/Conv/weights">() == shape{3, 3, 7, 8});
static_assert(through_everything::variable_shape<"n/block/Conv/biases">() == shape{9});

// Default names: TF-Slim's.
using default_names = small<
  conv2d<3, kernel_size{1}>, conv2d<3, kernel_size{1}>, conv2d<3, kernel_size{1}>,
  max_pool2d<kernel_size{1}, stride{1}>, max_pool2d<kernel_size{1}, stride{1}>,
  avg_pool2d<kernel_size{1}, stride{1}>, bias_add<>, dropout<>, flatten<>,
  fully_connected<4>, fully_connected<4>, softmax<>>;
using default_repeats = small<
  repeat<2, conv2d<3, kernel_size{1}>>, repeat<1, max_pool2d<kernel_size{1}, stride{1}>>,
  flatten<>, stack<ops::fully_connected, "", args<3>, args<4>>,
  stack<ops::fully_connected, "", args<5>>, repeat<2, fully_connected<6>>>;

TEST_CASE("layers without a scope have TF-Slim's names") {
  CHECK(end_points<default_names>() ==
        std::vector<std::string>{"n/Conv", "n/Conv_1", "n/Conv_2", "n/MaxPool2D", "n/MaxPool2D_1",
                                 "n/AvgPool2D", "n/BiasAdd", "n/Dropout", "n/Flatten",
                                 "n/fully_connected", "n/fully_connected_1", "n/softmax"});
  CHECK(end_points<default_repeats>() ==
        std::vector<std::string>{
            "n/Repeat/convolution2d_1", "n/Repeat/convolution2d_2", "n/Repeat_1/max_pool2d_1",
            "n/Flatten", "n/Stack/fully_connected_1", "n/Stack/fully_connected_2",
            "n/Stack_1/fully_connected_1", "n/Repeat_2/fully_connected_1",
            "n/Repeat_2/fully_connected_2"});
}

// A default name keeps clear of names that are given.
using names_kept_clear = small<
  conv2d<3, kernel_size{1}, scope{"Conv"}>, conv2d<3, kernel_size{1}, scope{"Conv_1"}>,
  conv2d<3, kernel_size{1}>>;

// Nets within nets, and one net twice under two scopes.
struct block : net<"block", conv2d<4, kernel_size{3}>, max_pool2d<kernel_size{2}>> {};
struct blocks : net<"blocks",
  variable_scope<"left", block>, variable_scope<"right", block>, flatten<>> {};
using blocks_n = network<blocks, input<3, 8, 8, 4>>;
static_assert(blocks_n::output_shape == shape{3, 16});
static_assert(blocks_n::end_point<"blocks/left/block/MaxPool2D">() == shape{3, 4, 4, 4});
static_assert(blocks_n::variable_shape<"blocks/right/block/Conv/weights">() == shape{3, 3, 4, 4});
static_assert(blocks_n::variable_count == 4);

TEST_CASE("default names keep clear of given ones; nets nest") {
  CHECK(end_points<names_kept_clear>() ==
        std::vector<std::string>{"n/Conv", "n/Conv_1", "n/Conv_2"});
  CHECK(variable_names<blocks_n>() ==
        std::vector<std::string>{"blocks/left/block/Conv/weights", "blocks/left/block/Conv/biases",
                                 "blocks/right/block/Conv/weights",
                                 "blocks/right/block/Conv/biases"});
}

// Nothing repeated is nothing at all; neither is an empty stack, sequence or scope.
using nothing = small<repeat<0, conv2d<3, kernel_size{1}>, "conv">, stack<ops::conv2d, "core">,
                      sequence<>, arg_scope<on<ops::conv2d>, with<stride{1}>>>;
static_assert(nothing::output_shape == shape{2, 12, 12, 4});
static_assert(nothing::variable_count == 0 && nothing::lowered().nodes.size() == 0);

// What repeat would name but opens no scope leaves no name behind.
using nameless = small<repeat<2, sequence<>, "none">, conv2d<3, kernel_size{1}>>;
static_assert(nameless::variable_shape<"n/Conv/weights">() == shape{1, 1, 4, 3});

// Variables that are not trained, and biases that are not there.
using frozen = small<conv2d<3, kernel_size{1}, trainable{false}>, fully_connected<2>>;
static_assert(frozen::parameter_count == 4 * 3 + 3 + 3 * 2 + 2);
static_assert(frozen::trainable_parameter_count == 3 * 2 + 2);
static_assert(frozen::variable_count == 4);
using no_biases = small<
  arg_scope<on<ops::conv2d, ops::fully_connected>, with<biases_initializer{none}>,
    conv2d<3, kernel_size{1}>, fully_connected<2>,
    fully_connected<5, biases_initializer{ones{}}>>>;
static_assert(no_biases::variable_count == 4);
static_assert(no_biases::parameter_count == 4 * 3 + 3 * 2 + 2 * 5 + 5);
static_assert(initializer_of<no_biases>(3) == "ones" && initializer_of<no_biases>(0) == "xavier");
static_assert(initializer_of<small<conv2d<3, kernel_size{1}>>>(1) == "zeros");

// A scale of 0 is no penalty; each variable with a penalty counts.
using penalised = small<
  conv2d<3, kernel_size{1}, weights_regularizer{l2_regularizer{0.0}}>,
  conv2d<3, kernel_size{1}, weights_regularizer{l1_regularizer{0.1}},
         biases_regularizer{l1_l2_regularizer{0.1, 0.2}}>>;
static_assert(penalties<penalised> == 2);

// Windows over a grid: SAME covers the input, VALID takes whole windows only.
template <int Extent, int Kernel, int Stride, int Rate, padding Pad>
constexpr bool window_fits() {
  using n = network<net<"", conv2d<1, kernel_size{Kernel, 1}, stride{Stride, 1}, rate{Rate, 1},
                                   Pad>>, input<1, Extent, 5, 1>>;
  constexpr int covered = (Kernel - 1) * Rate + 1;
  constexpr int same = (Extent + Stride - 1) / Stride;
  constexpr int valid = (Extent - covered + Stride) / Stride;  // ceil((in - covered + 1) / stride)
  constexpr int missing = (same - 1) * Stride + covered - Extent;
  constexpr window w = first_window<n>();
  constexpr bool at_same = n::output_shape == shape{1, same, 5, 1} &&
                           w.pad_top == (missing > 0 ? missing / 2 : 0);
  constexpr bool at_valid = n::output_shape == shape{1, valid, 5, 1} && w.pad_top == 0;
  return Pad == padding::same ? at_same : at_valid;
}
template <int Extent, int Kernel>
constexpr bool windows_fit = window_fits<Extent, Kernel, 1, 1, padding::same>() &&
                             window_fits<Extent, Kernel, 1, 1, padding::valid>() &&
                             window_fits<Extent, Kernel, 2, 1, padding::same>() &&
                             window_fits<Extent, Kernel, 3, 1, padding::valid>();
static_assert(windows_fit<7, 1> && windows_fit<7, 2> && windows_fit<7, 3> && windows_fit<7, 7>);
static_assert(windows_fit<8, 1> && windows_fit<8, 2> && windows_fit<8, 3> && windows_fit<8, 5>);
static_assert(window_fits<9, 3, 1, 2, padding::same>());
static_assert(window_fits<9, 3, 1, 2, padding::valid>());
static_assert(window_fits<9, 3, 1, 4, padding::same>());
static_assert(window_fits<9, 3, 1, 4, padding::valid>());

// The inventory's examples of SAME: in 4, kernel 3, stride 2 pads (0, 1); 5, 3, 2 pads (1, 1).
static_assert(slide(4, 3, 2, 1, padding::same).before == 0);
static_assert(slide(5, 3, 2, 1, padding::same).before == 1);
static_assert(slide(4, 2, 1, 1, padding::same).before == 0);

// Pools: stride 2 and VALID unless told otherwise; channels stay.
static_assert(small<max_pool2d<kernel_size{3}>>::output_shape == shape{2, 5, 5, 4});
static_assert(small<avg_pool2d<kernel_size{3}>>::output_shape == shape{2, 5, 5, 4});
static_assert(small<max_pool2d<kernel_size{3}, padding::same>>::output_shape == shape{2, 6, 6, 4});
static_assert(small<avg_pool2d<kernel_size{2, 4}, stride{1, 3}>>::output_shape ==
              shape{2, 11, 3, 4});
static_assert(small<avg_pool2d<kernel_size{12}>>::output_shape == shape{2, 1, 1, 4});

// Ranks: fully_connected and softmax take the last axis; flatten all but the first.
using ranks = network<net<"", fully_connected<6>, softmax<>, bias_add<>, flatten<>>,
                      input<2, 3, 4, 5>>;
static_assert(ranks::end_point<"fully_connected">() == shape{2, 3, 4, 6});
static_assert(ranks::end_point<"BiasAdd">() == shape{2, 3, 4, 6});
static_assert(ranks::output_shape == shape{2, 72});
static_assert(network<net<"", flatten<>>, input<5>>::output_shape == shape{5, 1});

// Inputs, labels and losses.
struct classifier : net<"c", flatten<>, fully_connected<10, activation_fn{none}, scope{"fc"}>> {};
template <class... Part>
using classified = network<classifier, input<4, 3, 3, 2>, Part...>;
using sparse_n = classified<labels<4>, sparse_softmax_cross_entropy<>>;
using one_hot_n = classified<one_hot_labels<4, 10>,
                             softmax_cross_entropy<label_smoothing{0.1}, loss_weight{0.4}>>;
using two_losses_n = classified<
    labels<4>, named_input<"soft", float, 4, 10>,
    named_input<"importance", float, 4>,
    sparse_softmax_cross_entropy<weights_from{"importance"}>,
    softmax_cross_entropy<labels_from{"soft"}, logits{"c/fc"}, loss_weight{0.5}>>;
static_assert(sparse_n::lowered().losses.size() == 1 && sparse_n::lowered().inputs.size() == 2);
static_assert(one_hot_n::lowered().losses.size() == 1);
static_assert(two_losses_n::lowered().losses.size() == 2);
static_assert(two_losses_n::lowered().inputs.size() == 4);
static_assert(two_losses_n::output_shape == shape{4, 10});
static_assert(classified<>::lowered().losses.size() == 0);

TEST_CASE("inputs keep their names, types and shapes; the first one feeds the net") {
  const graph g = two_losses_n::lowered();
  const auto dims = [&](std::string_view name) {
    return g.values[g.inputs[find_input(g, name)].value].dims;
  };
  CHECK(g.inputs[0].name == "inputs");
  CHECK(dims("inputs") == shape{4, 3, 3, 2});
  CHECK(dims("labels") == shape{4});
  CHECK(dims("soft") == shape{4, 10});
  CHECK(dims("importance") == shape{4});
  CHECK(g.values[g.inputs[find_input(g, "labels")].value].type == element::int32);
  CHECK(g.values[g.inputs[find_input(g, "soft")].value].type == element::scalar);
  CHECK(g.inputs[find_input(g, "labels")].index_limit == 10);
  CHECK(g.batch == 4);
}

using fetched_n = classified<fetch<"c/Flatten">>;
using all_fetched_n = classified<fetch_all>;

// What a convolution, its biases and its activation write, before any fusion.
struct counted : net<"counted", conv2d<4, kernel_size{3}, scope{"conv"}>> {};
static_assert(network<counted, input<1, 4, 4, 1>>::activation_count == 3 * 4 * 4 * 4);

TEST_CASE("a fetch marks what it names") {
  const auto fetched = [](const graph& g) {
    int count = 0;
    for (const value_row& v : g.values) count += v.fetched;
    return count;
  };
  CHECK(fetched(classified<>::lowered()) == 0);
  CHECK(fetched(fetched_n::lowered()) == 1);
  CHECK(fetched(all_fetched_n::lowered()) == 2);
}
