// SIGPIPE never reaches the program, whatever is written to.
#include "../catch.hpp"
#include "../child.hpp"
#include "../sockets.hpp"
#include "eventer/eventer.hpp"

using namespace std::chrono_literals;

namespace {

struct target {
  const char* name;
  eventer::tcp_stream (*make)();  // its peer has gone
};
const target targets[] = {
    {"socket",
     [] {
       auto pair = connected_pair();
       pair.client.close();
       (void)pair.server.write_all("first");  // this one still goes out, and is answered by a reset
       std::array<char, 8> bytes;
       while (pair.server.read_some(bytes, 1s)) {
       }
       return std::move(pair.server);
     }},
    {"adopted socket", [] { return std::move(adopted_pair().server); }},
    {"pipe", [] { return std::move(adopted_pipe().writer); }},
};

void check_broken(eventer::tcp_stream& stream) {
  if (stream.write_some("x").error() != std::errc::broken_pipe) std::puts("write_some did not say broken pipe");
  if (stream.write_all("x").error() != std::errc::broken_pipe) std::puts("write_all did not say broken pipe");
}

}  // namespace

TEST_CASE("writing to a peer that has gone is an error, not the end of the program") {
  for (const auto& [name, make] : targets) {
    CAPTURE(name);
    const auto result = run_in_child([make = make] {
      ::signal(SIGPIPE, SIG_DFL);
      auto on_thread = make();
      check_broken(on_thread);
      eventer::run([make] {
        auto in_coroutine = make();
        check_broken(in_coroutine);
      });
      std::puts("alive");
    });
    CHECK(result.signal == 0);
    CHECK(result.output == "alive\n");
  }
}

TEST_CASE("a SIGPIPE of the program's own stays pending, and its handler is not called for ours") {
  const auto result = run_in_child([] {
    static int handled = 0;
    ::signal(SIGPIPE, [](int) { ++handled; });
    auto pipe = std::move(adopted_pipe().writer);
    check_broken(pipe);
    if (handled != 0) std::puts("the handler was called");

    sigset_t set, old;
    ::sigemptyset(&set);
    ::sigaddset(&set, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &set, &old);
    ::raise(SIGPIPE);
    check_broken(pipe);
    ::pthread_sigmask(SIG_SETMASK, &old, nullptr);
    std::printf("handled %d\n", handled);

    ::signal(SIGPIPE, SIG_IGN);
    check_broken(pipe);
    ::pthread_sigmask(SIG_BLOCK, nullptr, &set);
    if (::sigismember(&set, SIGPIPE) != 0) std::puts("left blocked");
  });
  CHECK(result.output == "handled 1\n");
}
