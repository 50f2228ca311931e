// spatial_squeeze<scope{"fc8"}>: [n, 1, 1, c] as [n, c], under the name of the layer it follows:
// the end point of that name becomes the squeezed value, as in TF-Slim's nets.
#pragma once

#include "layer.hpp"

namespace slim {

namespace ops {
/// Takes no option but `scope`.
struct spatial_squeeze {
  static constexpr std::string_view options[] = {"scope"};
};
}  // namespace ops

template <auto... Option>
struct spatial_squeeze {
  using own = option_list<constant<Option>...>;
  static constexpr graph_counts needs{.nodes = 1, .values = 1, .edges = 2};

  template <class Context, class B>
  static constexpr int lower(B& b, int x) {
    if (b.failed()) return -1;
    const shape in = b.g.values[x].dims;
    b.layer = -1;
    b.layer_name = "spatial_squeeze";
    constexpr std::string_view unknown = unknown_slot<ops::spatial_squeeze>(own::slots, own::size);
    if (!unknown.empty()) return b.fail("does not take the option ", unknown);
    if (in.rank != 4 || in[1] != 1 || in[2] != 1)
      return b.fail("needs an input [n,1,1,c], not ", in);
    attributes a;
    a.dims = {in[0], in[3]};
    const int y = b.template add<op::reshape>({x}, a);
    b.layer_name = {};
    constexpr std::string_view of = own::template get_text<"scope">();
    if (of.empty() || b.failed()) return y;
    const int named = b.find_scope(b.scope, graph_builder::scope_hash(of, -1));
    const int row = named < 0 ? -1 : b.g.scopes[named].end_point;
    if (row < 0) return b.fail("spatial_squeeze: there is no scope ", of);
    b.g.end_points[row].value = y;
    return y;
  }
};

}  // namespace slim
