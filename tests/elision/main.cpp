// Without a test framework, so that it compiles quickly at each level of optimisation: see scripts/check-elision.
#include <cstdio>
#include <cstdlib>

#include "../child.hpp"
#include "../coro/frame_places.hpp"

int main() {
  bool good = true;
  const auto complain = [&good](const char* way, const std::string& what) {
    std::printf("%s: %s\n", way, what.c_str());
    std::fflush(stdout);
    good = false;
  };
  for (const auto& each : frame_places::awaited) {
    frame_places::misplaced.clear();
    if (!frame_places::is_right(each)) complain(each.name, "the wrong result");
    for (const auto& who : frame_places::misplaced) complain(each.name, who + " lies on a shared stack");
  }
  int refused = 0;
  for (const auto& each : frame_places::started_by_hand) {
    const auto result = run_in_child([&each] {
      const bool right = frame_places::is_right(each);
      std::_Exit(right && frame_places::misplaced.empty() ? 0 : 1);
    });
    if (result.signal == SIGABRT && contains(result.output, frame_places::sentence))
      ++refused;
    else if (result.exit_status != 0)
      complain(each.name, "neither right nor refused: " + result.output);
  }
  std::printf("%d of %zu that are started by hand were put onto a shared stack, and refused\n", refused,
              std::size(frame_places::started_by_hand));
  return good ? 0 : 1;
}
