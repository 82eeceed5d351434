// config_error: all that is wrong with a configuration, at once, each with its place.
#pragma once

#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "eventer/base/config.hpp"

namespace eventer::inline EVENTER_ABI {

struct config_problem {
  std::string file;        // as it was named; empty: not from a file
  std::size_t line = 0;    // from 1; 0: not known
  std::size_t column = 0;  // in characters from 1; 0: not known
  std::string key;         // "listener[1].backlog", counted from 0; empty: the file as such, or its syntax
  std::string message;     // what was expected, and what is there

  // service.toml:12:15: listener[1].backlog: expected a whole number from 1 to 65535, got "many"
  std::string to_string() const {
    std::string text = file;
    if (line != 0) text.append(":").append(std::to_string(line));
    if (line != 0 && column != 0) text.append(":").append(std::to_string(column));
    if (!text.empty()) text += ": ";
    if (!key.empty()) text.append(key).append(": ");
    return text.append(message);
  }
};

// what() has a line for each problem.
class EVENTER_API config_error : public std::runtime_error {
 public:
  // More than `most_problems` are cut, and the last one says how many there are beside.
  explicit config_error(std::vector<config_problem> problems) : config_error(shared(std::move(problems))) {}

  // In the order of their places in the file. Valid as long as a copy of this exception.
  const std::vector<config_problem>& errors() const noexcept { return *problems_; }

  static constexpr std::size_t most_problems = 100;

 private:
  using shared_problems = std::shared_ptr<const std::vector<config_problem>>;  // copying an exception must not throw
  explicit config_error(shared_problems problems)
      : runtime_error(lines_of(*problems)), problems_(std::move(problems)) {}

  static shared_problems shared(std::vector<config_problem>&& problems) {
    if (problems.size() > most_problems) {
      const std::size_t beside = problems.size() - most_problems;
      problems.resize(most_problems);
      const std::string file = problems.back().file;
      problems.push_back({file, 0, 0, "", "and " + std::to_string(beside) + " more errors"});
    }
    return std::make_shared<const std::vector<config_problem>>(std::move(problems));
  }
  static std::string lines_of(const std::vector<config_problem>& problems) {
    std::string text;
    for (const config_problem& each : problems) text.append(text.empty() ? "" : "\n").append(each.to_string());
    return text;
  }

  shared_problems problems_;
};

}  // namespace eventer::inline EVENTER_ABI
