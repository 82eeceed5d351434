#include <eventer/eventer.hpp>

// In a shared library: sees the executable's loop, and its errors compare equal.
__attribute__((visibility("default"))) int run_in_library(int value) {
  auto handle = eventer::spawn([value] {
    eventer::yield();
    return value;
  });
  if (eventer::make_error_code(eventer::errc::closed) != eventer::errc::closed) return 0;
  return handle.join();
}
