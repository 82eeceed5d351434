// metric_text: numbers in Prometheus' text exposition format, version 0.0.4.
//
//   metric_text text;
//   text.family("jobs_queued", metric_kind::gauge, "Jobs that wait for a thread.");
//   text.add(metric_text::label("queue", name), queued);
//
// What must not be broken: whatever stands in a label or a help text, it stays there; and the program's locale changes
// nothing.
#pragma once

#include <charconv>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "eventer/base/histogram.hpp"

namespace eventer::inline EVENTER_ABI {

// A gauge goes up and down; a counter only up, and its name ends in _total.
enum class metric_kind : std::uint8_t { gauge, counter, summary, histogram };

class metric_text {
 public:
  static constexpr const char* content_type = "text/plain; version=0.0.4; charset=utf-8";

  // Letters, digits, '_' and ':', and no digit first; labels have no ':'.
  static bool is_name(std::string_view name) noexcept {
    const auto fits = [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == ':';
    };
    if (name.empty() || (name[0] >= '0' && name[0] <= '9')) return false;
    for (const char each : name)
      if (!fits(each)) return false;
    return true;
  }
  // name="value"; several are joined with commas. Requires: a name.
  static std::string label(std::string_view name, std::string_view value) {
    std::string result(name);
    result.append("=\"");
    append_escaped(result, value, true);
    return result.append("\"");
  }

  // What is added next belongs to it. All of one name must follow each other. Requires: is_name(name).
  void family(std::string_view name, metric_kind kind, std::string_view help) {
    static constexpr const char* kinds[] = {"gauge", "counter", "summary", "histogram"};
    name_ = name;
    text_.append("# HELP ").append(name).append(" ");
    append_escaped(text_, help, false);
    text_.append("\n# TYPE ").append(name).append(" ").append(kinds[static_cast<unsigned>(kind)]).append("\n");
  }
  template <class Number>
  requires std::integral<Number> || std::floating_point<Number>
  void add(std::string_view labels, Number value) { sample("", labels, value); }
  void add(std::string_view labels, duration value) { sample("", labels, seconds(value)); }

  // Of a summary: these quantiles, the sum and the count.
  void add_summary(std::string_view labels, const duration_histogram& times) {
    for (const auto& [share, name] : {std::pair(0.5, "0.5"), {0.9, "0.9"}, {0.99, "0.99"}})
      sample("", joined(labels, label("quantile", name)), seconds(times.quantile(share)));
    add_totals(labels, times);
  }
  // Of a histogram: how many took less than about 1 us, 4 us, ... 17 s, the sum and the count.
  void add_histogram(std::string_view labels, const duration_histogram& times) {
    for (unsigned power = 10; power <= 34; power += 2)
      sample("_bucket", joined(labels, label("le", text_of(std::ldexp(1e-9, static_cast<int>(power))))),
             times.count_below_power(power));
    sample("_bucket", joined(labels, label("le", "+Inf")), times.count());
    add_totals(labels, times);
  }

  // The families of another one behind these.
  void append(const metric_text& more) { text_.append(more.text_); }

  const std::string& text() const noexcept { return text_; }
  std::string take() noexcept { return std::move(text_); }

 private:
  static double seconds(duration time) noexcept { return std::chrono::duration<double>(time).count(); }
  static std::string joined(std::string_view labels, std::string_view more) {
    return std::string(labels).append(labels.empty() ? "" : ",").append(more);
  }
  static std::string text_of(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
    char digits[32];
    return {digits, std::to_chars(digits, digits + sizeof digits, value).ptr};
  }
  static std::string text_of(std::integral auto value) {
    if constexpr (std::same_as<decltype(value), bool>)
      return value ? "1" : "0";
    else
      return std::to_string(value);
  }
  // A carriage return would be an end of line for some readers, and has no escape of its own.
  static void append_escaped(std::string& to, std::string_view text, bool quotes) {
    for (const char each : text) {
      if (each == '\\' || (each == '"' && quotes)) to += '\\';
      if (each == '\n')
        to.append("\\n");
      else
        to += each == '\r' || each == '\0' ? ' ' : each;
    }
  }
  template <class Number>
  void sample(std::string_view suffix, std::string_view labels, Number value) {
    text_.append(name_).append(suffix);
    if (!labels.empty()) text_.append("{").append(labels).append("}");
    if constexpr (std::floating_point<Number>)
      text_.append(" ").append(text_of(static_cast<double>(value))).append("\n");
    else
      text_.append(" ").append(text_of(value)).append("\n");
  }
  void add_totals(std::string_view labels, const duration_histogram& times) {
    sample("_sum", labels, seconds(times.sum()));
    sample("_count", labels, times.count());
  }

  std::string text_, name_;
};

}  // namespace eventer::inline EVENTER_ABI
