// The examples embed_glib, embed_libuv and embed_asio as their users see them: programs that end by themselves.
#include <unistd.h>

#include <string>

#include "../background.hpp"
#include "../catch.hpp"

namespace {

// Beside this program in the build folder; empty if it is not built.
std::string path_of(const std::string& example) {
  char self[4096];
  const ssize_t length = ::readlink("/proc/self/exe", self, sizeof self);
  std::string path(self, length > 0 ? static_cast<std::size_t>(length) : 0);
  path = path.substr(0, path.rfind('/')) + "/../examples/" + example;
  return ::access(path.c_str(), X_OK) == 0 ? path : std::string();
}

void check_prints(const std::string& path, const std::string& wanted) {
  const auto end = background::program({path}).wait();
  CHECK(end.status == 0);
  CHECK(end.output == wanted);
}

}  // namespace

#define REQUIRE_EXAMPLE(name, package) \
  if (path_of(name).empty()) EVENTER_SKIP("examples/" name " is not built (" package ")")

TEST_CASE("embed_glib runs coroutines in a GLib program") {
  REQUIRE_EXAMPLE("embed_glib", "libglib2.0-dev");
  check_prints(path_of("embed_glib"), "a coroutine asks, another one answers\nGLib's own timer goes on meanwhile\n");
}

TEST_CASE("embed_libuv runs coroutines in a libuv program") {
  REQUIRE_EXAMPLE("embed_libuv", "libuv1-dev");
  check_prints(path_of("embed_libuv"), "tick 1\ntick 2\ntick 3\nlibuv's thread pool says 42\n");
}

TEST_CASE("embed_asio runs coroutines in a Boost.Asio program") {
  REQUIRE_EXAMPLE("embed_asio", "libboost-dev");
  check_prints(path_of("embed_asio"), "a timer of Asio's has woken a coroutine\nand the echo is ours\n");
}
