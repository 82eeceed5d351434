// stack_report: what the coroutines of a loop cost in stack bytes and in copying, a row per spawn name or entry
// function.
//
// Making one visits every living coroutine; nothing is counted for it while they run, but what a suspension records
// anyway.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <ostream>
#include <string>
#include <vector>

#include "eventer/coro/scheduler.hpp"

namespace eventer::inline EVENTER_ABI {

struct stack_report {
  struct row {
    std::string name;                       // the spawn name, else the entry function's symbol or type
    std::uint64_t spawned = 0;              // so far
    std::size_t alive = 0;                  // now
    std::size_t parked_bytes = 0;           // save stacks in use now (their capacity)
    std::size_t p50 = 0, p99 = 0, max = 0;  // of the bytes live at the last suspension, over those alive
    std::size_t high_water_mark = 0;        // deepest suspension so far
    std::uint64_t swaps = 0;                // how often its bytes were copied out
    std::uint64_t bytes_copied = 0;         // both ways
    std::uint64_t adapted = 0;              // were given stacks of their own by loop_options::adaptive_stacks
    bool copies_much = false;               // so much that this would give them some
  };

  std::vector<row> rows;  // most living coroutines first
  row total;
  stack_stats stacks;  // summed over the shared stacks; `saved_bytes` is what all save stacks take now
  std::size_t shared_stacks = 0;

  std::string to_string() const;
  std::string to_json() const;

  template <class Traits>
  friend std::basic_ostream<char, Traits>& operator<<(std::basic_ostream<char, Traits>& out,
                                                      const stack_report& report) {
    const std::string text = report.to_string();
    return out.write(text.data(), static_cast<std::streamsize>(text.size()));
  }
};

namespace detail {

inline std::size_t quantile(const std::vector<std::size_t>& sorted, std::size_t percent) noexcept {
  return sorted.empty() ? 0 : sorted[std::min(sorted.size() - 1, sorted.size() * percent / 100)];
}

inline std::string json_text(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    if (static_cast<unsigned char>(c) < 0x20) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(c));
      result += escape;
    } else {
      result += c;
    }
  }
  return result += '"';
}

}  // namespace detail

inline stack_report make_stack_report(scheduler& self) {
  stack_report report;
  std::vector<std::vector<std::size_t>> live;
  std::vector<std::size_t> all;
  std::vector<std::size_t> row_of_entry;
  for (const entry_record& record : self.entries()) {
    std::size_t index = 0;
    while (index < report.rows.size() && report.rows[index].name != record.display) ++index;
    if (index == report.rows.size()) {
      report.rows.push_back({});
      report.rows.back().name = record.display;
      live.emplace_back();
    }
    stack_report::row& row = report.rows[index];
    row.spawned += record.spawned;
    row.swaps += record.swaps;
    row.bytes_copied += record.bytes_copied;
    row.adapted += record.adapted;
    row.high_water_mark = std::max<std::size_t>(row.high_water_mark, record.high_water_mark);
    row_of_entry.push_back(index);
  }
  self.for_each_living([&](control_block& block) {
    const std::size_t index = row_of_entry[block.entry];
    stack_report::row& row = report.rows[index];
    ++row.alive;
    row.swaps += block.copies;
    row.bytes_copied += scheduler::bytes_copied(block);
    row.high_water_mark = std::max<std::size_t>(row.high_water_mark, block.high_water_mark);
    if (block.saved != nullptr) row.parked_bytes += save_stack_pool::block_bytes(block.saved, block.saved_class);
    if (block.sp == nullptr || &block == self.running()) return;
    const std::size_t used = block.stack->used_by(block);
    live[index].push_back(used);
    all.push_back(used);
  });
  const auto summarise = [](stack_report::row& row, std::vector<std::size_t>& bytes) {
    std::sort(bytes.begin(), bytes.end());
    row.p50 = detail::quantile(bytes, 50);
    row.p99 = detail::quantile(bytes, 99);
    row.max = bytes.empty() ? 0 : bytes.back();
  };
  report.total.name = "all";
  for (std::size_t i = 0; i < report.rows.size(); ++i) {
    stack_report::row& row = report.rows[i];
    summarise(row, live[i]);
    row.copies_much = entry_record::copies_much(row.spawned, row.bytes_copied);
    report.total.adapted += row.adapted;
    report.total.spawned += row.spawned;
    report.total.alive += row.alive;
    report.total.parked_bytes += row.parked_bytes;
    report.total.swaps += row.swaps;
    report.total.bytes_copied += row.bytes_copied;
    report.total.high_water_mark = std::max(report.total.high_water_mark, row.high_water_mark);
  }
  summarise(report.total, all);
  std::stable_sort(report.rows.begin(), report.rows.end(),
                   [](const stack_report::row& a, const stack_report::row& b) { return a.alive > b.alive; });
  for (const auto& stack : self.stacks_in_use().shared()) {
    const stack_stats one = stack->stats();
    report.stacks.swaps += one.swaps;
    report.stacks.bytes_copied += one.bytes_copied;
    report.stacks.timed_swaps += one.timed_swaps;
    report.stacks.timed_nanoseconds += one.timed_nanoseconds;
    report.stacks.high_water_mark = std::max(report.stacks.high_water_mark, one.high_water_mark);
  }
  report.stacks.saved_bytes = self.saves().bytes_in_use();
  report.shared_stacks = self.stacks_in_use().shared().size();
  return report;
}

inline std::string stack_report::to_string() const {
  char line[512];
  std::string text;
  const auto append = [&](const row& each) {
    std::snprintf(line, sizeof line, "%-32.32s %9zu %9llu %10zu %6zu %6zu %6zu %7zu %11llu %14llu\n", each.name.c_str(),
                  each.alive, static_cast<unsigned long long>(each.spawned), each.parked_bytes, each.p50, each.p99,
                  each.max, each.high_water_mark, static_cast<unsigned long long>(each.swaps),
                  static_cast<unsigned long long>(each.bytes_copied));
    text += line;
  };
  std::snprintf(line, sizeof line, "%-32s %9s %9s %10s %6s %6s %6s %7s %11s %14s\n", "coroutine", "alive", "spawned",
                "parked B", "p50 B", "p99 B", "max B", "mark B", "swaps", "copied B");
  text += line;
  for (const row& each : rows) append(each);
  if (rows.size() > 1) append(total);
  for (const row& each : rows) {
    if (each.adapted > 0)
      std::snprintf(line, sizeof line, "%.32s: %llu were given stacks of their own (adaptive_stacks)\n",
                    each.name.c_str(), static_cast<unsigned long long>(each.adapted));
    else if (each.copies_much)
      std::snprintf(line, sizeof line,
                    "%.32s: copies %llu bytes each; spawn_options{.stack = stack_kind::own} or "
                    "loop_options::adaptive_stacks would save that\n",
                    each.name.c_str(), static_cast<unsigned long long>(each.bytes_copied / each.spawned));
    else
      continue;
    text += line;
  }
  std::snprintf(line, sizeof line, "%zu shared stacks, %llu swaps, %llu bytes copied, %.0f ns a swap\n", shared_stacks,
                static_cast<unsigned long long>(stacks.swaps), static_cast<unsigned long long>(stacks.bytes_copied),
                stacks.nanoseconds_per_swap());
  return text += line;
}

inline std::string stack_report::to_json() const {
  char line[512];
  const auto object = [&](const row& each) {
    std::snprintf(
        line, sizeof line,
        ",\"alive\":%zu,\"spawned\":%llu,\"parked_bytes\":%zu,\"p50\":%zu,\"p99\":%zu,\"max\":%zu,\"high_water_mark\":%zu,"
        "\"swaps\":%llu,\"bytes_copied\":%llu,\"adapted\":%llu,\"copies_much\":%s}",
        each.alive, static_cast<unsigned long long>(each.spawned), each.parked_bytes, each.p50, each.p99, each.max,
        each.high_water_mark, static_cast<unsigned long long>(each.swaps),
        static_cast<unsigned long long>(each.bytes_copied), static_cast<unsigned long long>(each.adapted),
        each.copies_much ? "true" : "false");
    return std::string("{\"name\":").append(detail::json_text(each.name)).append(line);
  };
  std::string text = "{\"rows\":[";
  for (std::size_t i = 0; i < rows.size(); ++i) text.append(i == 0 ? "" : ",").append(object(rows[i]));
  text.append("],\"total\":").append(object(total));
  std::snprintf(
      line, sizeof line,
      ",\"shared_stacks\":%zu,\"swaps\":%llu,\"bytes_copied\":%llu,\"saved_bytes\":%zu,\"nanoseconds_per_swap\":%.1f}",
      shared_stacks, static_cast<unsigned long long>(stacks.swaps),
      static_cast<unsigned long long>(stacks.bytes_copied), stacks.saved_bytes, stacks.nanoseconds_per_swap());
  return text += line;
}

}  // namespace eventer::inline EVENTER_ABI
