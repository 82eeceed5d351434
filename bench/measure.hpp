// What the benchmarks share: pinned, interleaved measuring, medians and their ratios, tables and JSON.
//
// Cases of one table run in turn, round after round, in one process, so that a drift of the machine's clock meets all
// of them; the figure to trust is the median of the ratios within a round.
#pragma once

#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <functional>
#include <string>
#include <system_error>
#include <vector>

namespace bench {

inline double nanoseconds() {
  return static_cast<double>(std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1));
}

// The present thread stays on one core; false where that is not allowed.
inline bool pin_to_core(int core) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(static_cast<unsigned>(core), &one);
  return ::sched_setaffinity(0, sizeof one, &one) == 0;
}

// Bytes of this process that are in memory now.
inline std::size_t resident_bytes() {
  std::size_t kilobytes = 0;
  std::FILE* const file = std::fopen("/proc/self/smaps_rollup", "r");
  if (file == nullptr) throw std::system_error(errno, std::generic_category(), "/proc/self/smaps_rollup");
  char line[256];
  while (std::fgets(line, sizeof line, file) != nullptr)
    if (std::sscanf(line, "Rss: %zu kB", &kilobytes) == 1) break;
  std::fclose(file);
  return kilobytes * 1024;
}

inline double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

struct measurement {
  std::string name;
  std::vector<double> samples;  // one a round

  double minimum() const { return samples.empty() ? 0 : *std::min_element(samples.begin(), samples.end()); }
  double middle() const { return median(samples); }
  // The median of what each round says.
  double ratio_to(const measurement& other) const {
    std::vector<double> ratios;
    for (std::size_t i = 0; i < samples.size() && i < other.samples.size(); ++i)
      ratios.push_back(samples[i] / other.samples[i]);
    return median(ratios);
  }
};

struct measured_case {
  std::string name;
  std::function<double()> run;  // one round: the figure per operation
};

// One unmeasured round, then `rounds`, in each of which every case runs once.
inline std::vector<measurement> interleaved(const std::vector<measured_case>& cases, int rounds) {
  std::vector<measurement> results;
  for (const measured_case& each : cases) {
    each.run();
    results.push_back({each.name, {}});
  }
  for (int round = 0; round < rounds; ++round)
    for (std::size_t i = 0; i < cases.size(); ++i) results[i].samples.push_back(cases[i].run());
  return results;
}

// Nanoseconds per call of `operation`, over `count` calls.
template <class F>
double time_each(long count, F&& operation) {
  const double start = nanoseconds();
  for (long i = 0; i < count; ++i) operation();
  return (nanoseconds() - start) / static_cast<double>(count);
}

// The figures as a JSON file; false, with a message, where it can't be written.
inline bool write_json(const std::string& path, const std::vector<measurement>& results) {
  std::FILE* const file = std::fopen(path.c_str(), "w");
  if (file == nullptr) {
    std::perror(path.c_str());
    return false;
  }
  std::fprintf(file, "{\"unit\":\"ns\",\"cases\":[");
  for (std::size_t i = 0; i < results.size(); ++i)
    std::fprintf(file, "%s{\"name\":\"%s\",\"min\":%.2f,\"median\":%.2f}", i == 0 ? "" : ",", results[i].name.c_str(),
                 results[i].minimum(), results[i].middle());
  std::fprintf(file, "]}\n");
  return std::fclose(file) == 0;
}

// Rows of text in columns as wide as their content; the first is aligned to the left.
class table {
 public:
  explicit table(std::vector<std::string> head) { rows_.push_back(std::move(head)); }
  void row(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  void print() const {
    std::vector<std::size_t> widths;
    for (const auto& cells : rows_) {
      widths.resize(std::max(widths.size(), cells.size()));
      for (std::size_t i = 0; i < cells.size(); ++i) widths[i] = std::max(widths[i], cells[i].size());
    }
    for (std::size_t r = 0; r < rows_.size(); ++r) {
      for (std::size_t i = 0; i < rows_[r].size(); ++i)
        std::printf(i == 0 ? "  %-*s" : "  %*s", static_cast<int>(widths[i]), rows_[r][i].c_str());
      std::printf("\n");
      if (r != 0) continue;
      std::size_t all = 0;
      for (const std::size_t width : widths) all += width + 2;
      std::printf("  %s\n", std::string(all - 2, '-').c_str());
    }
  }

 private:
  std::vector<std::vector<std::string>> rows_;
};

inline std::string number(double value, int digits = 1) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}
inline std::string times(double ratio) { return number(ratio, 2) + "x"; }

// A figure that the library means to reach: printed with what was measured, never a reason to fail.
inline void goal(const char* what, double measured, double wanted, const char* unit) {
  std::printf("  %-64s %8.2f%s  (goal: at most %.2f%s)%s\n", what, measured, unit, wanted, unit,
              measured <= wanted ? "" : "  <- missed");
}

}  // namespace bench
