// A profile on request: the time, share of peak and bytes of each step of a model's passes, as a
// table and as a trace for Perfetto (ui.perfetto.dev) or chrome://tracing.
//
//   profiler p = profile_forward(m, 20, images);       // 20 passes
//   std::cout << p.table();
//   std::ofstream("trace.json") << p.trace();
//
// or over any calls of the caller's own:
//
//   profiler p;
//   m.set_profiler(&p);                                // nullptr: off
//   m.backward(images, labels);
//
// A model without a profiler pays one test of a pointer a pass.
#pragma once

#include <algorithm>
#include <cstdio>

#include "accelerator.hpp"
#include "peak.hpp"
#include "report.hpp"

namespace slim {

/// Bytes that one step reads and writes when n images run.
inline traffic traffic_of(const program& p, const step_row& s, int n) {
  const auto bytes = [&](int edge) {
    const tensor_row& t = p.tensors[p.edges[edge]];
    const long all = t.dims.count() * element_bytes(t.type, p.scalar_bytes);
    return t.batched ? all / p.batch * n : all;
  };
  traffic sum;
  for (int k = 0; k < s.inputs; ++k) sum.read += bytes(s.first_input + k);
  for (int k = 0; k < s.outputs; ++k) sum.written += bytes(s.first_output + k);
  return sum;
}

/// Floating-point operations of one step on n images: two for each multiply-add of the direct
/// convolution or matrix product, whatever the kernel; 0 for the other ops.
inline double operations_of(const program& p, const step_row& s, int n) {
  bool batched = false;
  for (int k = 0; k < s.inputs; ++k) batched |= p.tensors[p.edges[s.first_input + k]].batched;
  const double all = 2.0 * double(s.multiply_adds);
  return batched ? all * n / p.batch : all;
}

/// What a step does in its program.
enum class step_kind { prepare, forward, backward, update };

constexpr step_kind kind_of(const step_row& s) {
  if (s.prepare) return step_kind::prepare;
  if (s.update) return step_kind::update;
  return s.backward ? step_kind::backward : step_kind::forward;
}
constexpr std::string_view name_of(step_kind kind) {
  constexpr std::string_view names[] = {"prepare", "forward", "backward", "update"};
  return names[static_cast<int>(kind)];
}

namespace detail {

inline std::string decimal(double number, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, number);
  return text;
}

}  // namespace detail

/// One step of a profile: medians over its runs.
struct profile_row {
  step_kind kind = step_kind::forward;
  std::string scope, op, kernel;
  long runs = 0;
  double seconds = 0;
  double operations = 0;                   ///< floating-point, of a run; see operations_of
  long bytes_read = 0, bytes_written = 0;  ///< of a run
  double share = 0;                        ///< of the time of all steps of its pass, 0 to 1
};

/// Times every step of the passes of the models it is set for. It refers to their programs, which
/// are constants of the models' types; one thread at a time may use it.
class profiler : public step_observer {
 public:
  void run(const program& p, const execution& e, int first, int last) override {
    const std::size_t mine = number_of(p);
    for (int i = first; i < last; ++i) {
      const auto before = std::chrono::steady_clock::now();
      if (e.on == nullptr)
        p.steps[i].run(kernel_call(p, p.steps[i], e));
      else
        e.on->run_step(p, e, i), e.on->wait();
      const double seconds = detail::seconds_since(before);
      const double start = std::chrono::duration<double>(before - begin_).count();
      events_.push_back({mine, i, e.n, start, seconds});
    }
  }

  /// Measures the peak that shares refer to, on the device that runs the models. Some 50 ms.
  void measure_peak(cpu_device& device) {
    peak_float_ = peak_gflops<float>(device);
    peak_double_ = peak_gflops<double>(device);
  }

  /// Forgets what was recorded; a measured peak stays.
  void clear() { programs_.clear(), events_.clear(); }

  /// The steps that ran, in the order of their programs.
  std::vector<profile_row> rows() const {
    std::vector<profile_row> all;
    for (std::size_t k = 0; k < programs_.size(); ++k)
      for (profile_row& row : rows_of(k)) all.push_back(std::move(row));
    return all;
  }

  /// The steps as tables, one a program, with totals for each kind of step. Times are medians in
  /// milliseconds; GFLOP/s count the operations of direct convolution, so that Winograd's may
  /// exceed the peak.
  std::string table() const {
    std::string text;
    for (std::size_t k = 0; k < programs_.size(); ++k) text += table_of(k) + "\n";
    if (peak_float_ > 0)
      text += "measured peak: " + detail::decimal(peak_float_, 0) + " GFLOP/s in float, " +
              detail::decimal(peak_double_, 0) + " in double\n";
    return text;
  }

  /// The steps as they ran, as JSON in Chrome's trace event format: one complete event each, in the
  /// category of its kind.
  std::string trace() const;

 private:
  struct event {
    std::size_t program;
    int step, n;
    double start, seconds;
  };
  std::size_t number_of(const program& p) {
    for (std::size_t i = 0; i < programs_.size(); ++i)
      if (programs_[i].steps.begin() == p.steps.begin()) return i;
    programs_.push_back(p);
    return programs_.size() - 1;
  }
  double peak_of(const program& p) const {
    return p.scalar_bytes == 8 ? peak_double_ : peak_float_;
  }
  std::vector<profile_row> rows_of(std::size_t number) const;
  std::string table_of(std::size_t number) const;
  static double median(std::vector<double> v) {
    const auto middle = v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2);
    std::nth_element(v.begin(), middle, v.end());
    return *middle;
  }
  static profile_row describe(const program& p, const step_row& s) {
    profile_row row;
    row.kind = kind_of(s);
    row.scope = detail::path_of(p, s.scope), row.op = s.op, row.kernel = s.kernel;
    return row;
  }

  std::vector<program> programs_;
  std::vector<event> events_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  double peak_float_ = 0, peak_double_ = 0;
};

namespace detail {

inline std::string measured_titles() {
  return "         ms      %  GFLOP/s  % peak    MB read MB written    GB/s\n";
}
/// The columns behind the names, of a step or of a sum of steps.
inline std::string measured_columns(const profile_row& r, double peak) {
  const double gflops = r.seconds > 0 ? r.operations / r.seconds / 1e9 : 0;
  const double bytes = double(r.bytes_read) + double(r.bytes_written);
  const auto column = [](const std::string& s, std::size_t width) {
    return padded(s, width, true);
  };
  return column(decimal(r.seconds * 1e3, 4), 11) + column(decimal(100 * r.share, 1), 7) +
         column(r.operations > 0 ? decimal(gflops, 1) : "", 9) +
         column(r.operations > 0 && peak > 0 ? decimal(100 * gflops / peak, 1) : "", 8) +
         column(decimal(double(r.bytes_read) / 1e6, 3), 11) +
         column(decimal(double(r.bytes_written) / 1e6, 3), 11) +
         column(r.seconds > 0 ? decimal(bytes / r.seconds / 1e9, 1) : "", 8) + "\n";
}

/// Text as a JSON string.
inline std::string json_string(std::string_view s) {
  std::string text = "\"";
  for (const char c : s) {
    if (c == '"' || c == '\\') {
      text += {'\\', c};
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(c));
      text += escape;
    } else {
      text += c;
    }
  }
  return text + "\"";
}

}  // namespace detail

inline std::vector<profile_row> profiler::rows_of(std::size_t number) const {
  const program& p = programs_[number];
  std::vector<std::vector<const event*>> runs(static_cast<std::size_t>(p.steps.size()));
  for (const event& e : events_)
    if (e.program == number) runs[static_cast<std::size_t>(e.step)].push_back(&e);
  std::vector<profile_row> all;
  double prepare = 0, pass = 0;  // preparing is not part of a pass
  for (int i = 0; i < p.steps.size(); ++i) {
    const auto& own = runs[static_cast<std::size_t>(i)];
    if (own.empty()) continue;
    profile_row row = describe(p, p.steps[i]);
    std::vector<double> seconds, images;
    for (const event* e : own) seconds.push_back(e->seconds), images.push_back(e->n);
    const int n = static_cast<int>(median(std::move(images)));
    row.runs = static_cast<long>(own.size());
    row.seconds = median(std::move(seconds));
    row.operations = operations_of(p, p.steps[i], n);
    const traffic bytes = traffic_of(p, p.steps[i], n);
    row.bytes_read = bytes.read, row.bytes_written = bytes.written;
    (row.kind == step_kind::prepare ? prepare : pass) += row.seconds;
    all.push_back(std::move(row));
  }
  for (profile_row& row : all) {
    const double whole = row.kind == step_kind::prepare ? prepare : pass;
    row.share = whole > 0 ? row.seconds / whole : 0;
  }
  return all;
}

inline std::string profiler::table_of(std::size_t number) const {
  using namespace detail;
  const std::vector<profile_row> all = rows_of(number);
  const double peak = peak_of(programs_[number]);
  std::size_t scope = 8, op = 8, kernel = 8;
  for (const profile_row& row : all) {
    scope = std::max(scope, row.scope.size() + 2), op = std::max(op, row.op.size() + 2);
    kernel = std::max(kernel, row.kernel.size() + 2);
  }
  std::string text = padded("layer", scope) + padded("op", op) + padded("kernel", kernel);
  text += padded("runs", 6, true) + measured_titles();
  profile_row sums[4];
  for (const profile_row& row : all) {
    text += padded(row.scope, scope) + padded(row.op, op) + padded(row.kernel, kernel) +
            padded(std::to_string(row.runs), 6, true) + measured_columns(row, peak);
    profile_row& sum = sums[static_cast<int>(row.kind)];
    sum.runs = std::max(sum.runs, row.runs), sum.seconds += row.seconds, sum.share += row.share;
    sum.operations += row.operations, sum.bytes_read += row.bytes_read;
    sum.bytes_written += row.bytes_written;
  }
  for (int kind = 0; kind < 4; ++kind)
    if (sums[kind].runs > 0)
      text += padded("total " + std::string(name_of(step_kind(kind))), scope + op + kernel) +
              padded(std::to_string(sums[kind].runs), 6, true) + measured_columns(sums[kind], peak);
  return text;
}

inline std::string profiler::trace() const {
  using namespace detail;
  std::string text =
      "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n"
      "{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":1,\"args\":{\"name\":\"slim\"}}";
  for (const event& e : events_) {
    const program& p = programs_[e.program];
    const step_row& s = p.steps[e.step];
    const profile_row row = describe(p, s);
    const traffic bytes = traffic_of(p, s, e.n);
    const auto number = [](auto n) { return std::to_string(n); };
    text +=
        ",\n{\"ph\":\"X\",\"pid\":1,\"tid\":1,\"name\":" +
        json_string(row.scope.empty() ? row.op : row.scope + " " + row.op) +
        ",\"cat\":" + json_string(name_of(row.kind)) + ",\"ts\":" + decimal(e.start * 1e6, 3) +
        ",\"dur\":" + decimal(e.seconds * 1e6, 3) +
        ",\"args\":{\"kernel\":" + json_string(row.kernel) +
        ",\"output\":" + json_string(s.outputs > 0 ? shape_text(p, p.edges[s.first_output]) : "") +
        ",\"images\":" + number(e.n) + ",\"operations\":" + decimal(operations_of(p, s, e.n), 0) +
        ",\"bytes read\":" + number(bytes.read) + ",\"bytes written\":" + number(bytes.written) +
        "}}";
  }
  return text + "\n]}\n";
}

namespace detail {

/// One call to warm up, then `rounds` that are recorded.
template <class Model, class Call>
profiler profiled(Model& m, int rounds, Call call) {
  profiler p;
  p.measure_peak(m.device());
  call();
  m.set_profiler(&p);
  try {
    for (int i = 0; i < rounds; ++i) call();
  } catch (...) {
    m.set_profiler(nullptr);
    throw;
  }
  m.set_profiler(nullptr);
  return p;
}

}  // namespace detail

/// A profile of `rounds` forward passes on these inputs, after one to warm up. Throws as
/// Model::forward does. A profiler the model had is taken off.
template <class Model, class... Input>
profiler profile_forward(Model& m, int rounds, const Input&... inputs) {
  return detail::profiled(m, rounds, [&] { m.forward(inputs...); });
}
/// The same of forward and backward, with the update ops (batch norm's moving averages).
template <class Model, class... Input>
profiler profile_backward(Model& m, int rounds, const Input&... inputs) {
  return detail::profiled(m, rounds, [&] { m.backward(inputs...), m.run_update_ops(); });
}

}  // namespace slim
