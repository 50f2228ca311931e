// What inference still reads once it is prepared: the rest of the variables, and of what was
// prepared from them, can be given back as soon as the last step that prepares has read it.
#pragma once

#include "program.hpp"

namespace slim {

/// Bytes of a frozen model that are in use: while it runs, and at most on the way there from the
/// moment its variables were set.
struct frozen_memory {
  long bytes = 0;
  long peak = 0;
};

/// When an inference program reads its variables and prepared values for the last time.
class freeze_plan {
 public:
  static constexpr int never = -1;        ///< nothing reads it
  static constexpr int always = 1 << 30;  ///< the steps of every run do

  constexpr explicit freeze_plan(const program& p)
      : p_(p), variables_(p.variables.size()), prepared_(p.edges.size()) {
    for (int i = 0; i < p.steps.size(); ++i)
      for (int k = 0; k < p.steps[i].inputs; ++k)
        use(p.edges[p.steps[i].first_input + k], i < p.first_run ? i : always);
    // The caller reads these.
    for (int v = 0; v < p.tensors.size(); ++v)
      if (p.tensors[v].fetched || v == p.output) use(v, always);
  }

  /// The number of the last step that prepares from this variable, or `never` or `always`.
  constexpr int last_use(int variable) const { return variables_[variable] - 1; }

  /// Calls f(storage, first, last) for the bytes of each variable and prepared value that step
  /// `step` is the last to read, or with `never` nothing reads.
  template <class F>
  constexpr void for_each_last_read(int step, F f) const {
    for (int v = 0; v < p_.variables.size(); ++v)
      if (last_use(v) == step) f(storage::variable, first_byte(v), first_byte(v) + bytes_of(v));
    for (int i = 0; i < p_.first_run; ++i)
      for (int k = 0; k < p_.steps[i].outputs; ++k) {
        const int edge = p_.steps[i].first_output + k;
        const long first = p_.tensors[p_.edges[edge]].place.offset;
        if (prepared_[edge] - 1 == step && step != never)
          f(storage::prepared, first, first + prepared_bytes(edge));
      }
  }

  constexpr long first_byte(int variable) const {
    return p_.variables[variable].offset * p_.scalar_bytes;
  }
  /// With the padding behind it.
  constexpr long bytes_of(int variable) const {
    return graph_builder::aligned_end(p_.variables[variable].dims.count()) * p_.scalar_bytes;
  }

  /// Variables, prepared values and the arena, when each step that prepares is run once and what it
  /// is the last to read is then given back.
  constexpr frozen_memory memory() const {
    frozen_memory m;
    long held = p_.memory.bytes;
    for (int v = 0; v < p_.variables.size(); ++v) {
      m.peak += bytes_of(v);
      if (last_use(v) != never) held += bytes_of(v);
    }
    for (int i = 0; i < p_.first_run; ++i) {
      for (int k = 0; k < p_.steps[i].outputs; ++k)
        held += prepared_bytes(p_.steps[i].first_output + k);
      if (held > m.peak) m.peak = held;
      for_each_last_read(i, [&](storage, long first, long last) { held -= last - first; });
    }
    m.bytes = held;
    if (held > m.peak) m.peak = held;
    return m;
  }

 private:
  constexpr void use(int value, int at) {
    const placement& place = p_.tensors[value].place;
    if (place.where == storage::variable || place.where == storage::host_variable)
      latest(variables_[place.index], at + 1);
    if (place.where != storage::prepared) return;
    for (int i = 0; i < p_.first_run; ++i)
      for (int k = 0; k < p_.steps[i].outputs; ++k) {
        const int edge = p_.steps[i].first_output + k;
        if (p_.tensors[p_.edges[edge]].place.offset == place.offset)
          latest(prepared_[edge], at + 1);
      }
  }
  static constexpr void latest(int& last, int at) {
    if (last < at) last = at;
  }
  constexpr long prepared_bytes(int edge) const {
    const tensor_row& t = p_.tensors[p_.edges[edge]];
    const long bytes = t.dims.count() * element_bytes(t.type, p_.scalar_bytes);
    return (bytes + buffer_alignment - 1) / buffer_alignment * buffer_alignment;
  }

  const program& p_;
  scratch<int> variables_, prepared_;  // plus one, by variable and by edge of an output; 0: never
};

}  // namespace slim
