// One of two units that share the library's inline definitions; the other is compiled with NDEBUG.
#include <cstdio>
#include <eventer/eventer.hpp>

int run_in_two(int value);      // two.cpp
int run_in_library(int value);  // library.cpp, in a shared library

int main() {
  const int result = eventer::run([] {
    auto here = eventer::spawn([] {
      eventer::yield();
      return 1;
    });
    return here.join() + run_in_two(10) + run_in_library(100);
  });
  if (result != 111) std::printf("expected 111, got %d\n", result);
  return result == 111 ? 0 : 1;
}
