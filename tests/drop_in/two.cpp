#include <eventer/eventer.hpp>

// Spawns on the loop that another unit, built without NDEBUG, has made.
int run_in_two(int value) {
  auto handle = eventer::spawn([value] {
    eventer::sleep_for(std::chrono::milliseconds(1));
    return value;
  });
  return handle.join();
}
