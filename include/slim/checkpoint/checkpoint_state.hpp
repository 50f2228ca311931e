// The file `checkpoint` in a folder of checkpoints: which is the latest. TensorFlow's
// CheckpointState as text.
#pragma once

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include "sync.hpp"
#include "tensor_types.hpp"

namespace slim {

/// What the file `checkpoint` says. Paths are those of prefixes, resolved against the file's
/// folder.
struct checkpoint_state {
  std::string model_checkpoint_path;                    ///< the latest
  std::vector<std::string> all_model_checkpoint_paths;  ///< oldest first, the latest included
  std::vector<double> all_model_checkpoint_timestamps;  ///< seconds since 1970; may be empty
  std::optional<double> last_preserved_timestamp;
};

namespace detail {

/// Parses CheckpointState in protobuf's text format, by protobuf's tokenizer.
class checkpoint_state_parser : google::protobuf::io::ErrorCollector {
  using tokenizer = google::protobuf::io::Tokenizer;

 public:
  explicit checkpoint_state_parser(const std::string& text)
      : stream_(text.data(), static_cast<int>(text.size())), tokens_(&stream_, this) {
    tokens_.set_comment_style(tokenizer::SH_COMMENT_STYLE);
    tokens_.set_require_space_after_number(false);
  }

  /// The message; a fault with its line if there is one.
  checkpoint_state parse(std::string& fault) {
    checkpoint_state state;
    tokens_.Next();
    while (fault_.empty() && tokens_.current().type != tokenizer::TYPE_END) field(state);
    fault = fault_;
    return state;
  }

 private:
  void AddError(int line, int, const std::string& message) override { report(line, message); }
  void report(int line, const std::string& message) {
    if (fault_.empty()) fault_ = "line " + std::to_string(line + 1) + ": " + message;
  }

  void field(checkpoint_state& state) {
    const std::string name = tokens_.current().text;
    const bool named = tokens_.current().type == tokenizer::TYPE_IDENTIFIER;
    tokens_.Next();
    if (!named || tokens_.current().text != ":")
      return report(tokens_.current().line, "a field and a colon were expected");
    tokens_.Next();
    if (name == "model_checkpoint_path")
      state.model_checkpoint_path = text();
    else if (name == "all_model_checkpoint_paths")
      state.all_model_checkpoint_paths.push_back(text());
    else if (name == "all_model_checkpoint_timestamps")
      state.all_model_checkpoint_timestamps.push_back(number());
    else if (name == "last_preserved_timestamp")
      state.last_preserved_timestamp = number();
    else
      report(tokens_.current().line, "unknown field " + name);
  }

  std::string text() {
    std::string out;
    if (tokens_.current().type != tokenizer::TYPE_STRING)
      report(tokens_.current().line, "a quoted path was expected");
    while (fault_.empty() && tokens_.current().type == tokenizer::TYPE_STRING) {
      tokenizer::ParseStringAppend(tokens_.current().text, &out);
      tokens_.Next();
    }
    return out;
  }
  double number() {
    const auto& token = tokens_.current();
    if (token.type != tokenizer::TYPE_INTEGER && token.type != tokenizer::TYPE_FLOAT)
      report(token.line, "a number was expected");
    const double value = fault_.empty() ? tokenizer::ParseFloat(token.text) : 0;
    tokens_.Next();
    return value;
  }

  std::string fault_;
  google::protobuf::io::ArrayInputStream stream_;
  tokenizer tokens_;
};

/// A string between quotes, as protobuf's text format reads it back.
inline std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto code = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\', out += c;
    } else if (code < 0x20 || code == 0x7F) {
      char octal[5];
      std::snprintf(octal, sizeof octal, "\\%03o", static_cast<unsigned>(code));
      out += octal;
    } else {
      out += c;
    }
  }
  return out + "\"";
}

inline std::string state_path(const std::string& directory) {
  return (std::filesystem::path(directory) / "checkpoint").string();
}

}  // namespace detail

/// What the folder's `checkpoint` file says; none if there is no such file. Throws checkpoint_error
/// if it is malformed.
inline std::optional<checkpoint_state> get_checkpoint_state(const std::string& directory) {
  namespace fs = std::filesystem;
  const std::string path = detail::state_path(directory);
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  std::ostringstream text;
  text << file.rdbuf();
  std::string fault;
  checkpoint_state state = detail::checkpoint_state_parser(text.str()).parse(fault);
  if (fault.empty() && state.model_checkpoint_path.empty()) fault = "names no checkpoint";
  if (!fault.empty()) throw checkpoint_error(path, "", fault);
  // An absolute path stays as it is when it is joined.
  const auto resolve = [&](std::string& p) { p = (fs::path(directory) / p).string(); };
  resolve(state.model_checkpoint_path);
  for (std::string& p : state.all_model_checkpoint_paths) resolve(p);
  return state;
}

/// The prefix of the latest checkpoint of a folder; none if its `checkpoint` file is missing.
inline std::optional<std::string> latest_checkpoint(const std::string& directory) {
  const std::optional<checkpoint_state> state = get_checkpoint_state(directory);
  return state ? std::optional(state->model_checkpoint_path) : std::nullopt;
}

/// Writes the folder's `checkpoint` file. Paths inside of the folder are written relative to it, so
/// that it can be moved. A kill at any instant, or the loss of power, leaves the old file or the new.
/// Throws checkpoint_error.
inline void update_checkpoint_state(const std::string& directory, const checkpoint_state& state) {
  namespace fs = std::filesystem;
  const auto relative = [&](const std::string& p) {
    const fs::path inside = fs::path(p).lexically_relative(fs::path(directory));
    return inside.empty() || *inside.begin() == ".." ? p : inside.string();
  };
  std::ostringstream text;
  text.precision(17);
  text << "model_checkpoint_path: " << detail::quoted(relative(state.model_checkpoint_path))
       << "\n";
  for (const std::string& p : state.all_model_checkpoint_paths)
    text << "all_model_checkpoint_paths: " << detail::quoted(relative(p)) << "\n";
  for (const double t : state.all_model_checkpoint_timestamps)
    text << "all_model_checkpoint_timestamps: " << t << "\n";
  if (state.last_preserved_timestamp)
    text << "last_preserved_timestamp: " << *state.last_preserved_timestamp << "\n";
  const std::string path = detail::state_path(directory), temporary = path + ".tmp";
  std::ofstream file(temporary, std::ios::binary | std::ios::trunc);
  file << text.str();
  file.close();
  std::error_code fault;
  const bool written = file && detail::sync_to_disk(temporary);
  if (written) fs::rename(temporary, path, fault);
  if (!written || fault) {
    fs::remove(temporary, fault);
    throw checkpoint_error(path, "", "cannot be written");
  }
  detail::sync_to_disk(directory.empty() ? "." : directory);  // not every file system can
}

}  // namespace slim
