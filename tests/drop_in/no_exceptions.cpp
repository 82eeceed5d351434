// Built with -fno-exceptions -fno-rtti: cancellation shows as error codes, and what can't be unwound is dropped.
#include <cstdio>
#include <eventer/eventer.hpp>
#include <memory>

using namespace std::chrono_literals;

namespace {

int failures = 0;
void check(bool good, const char* what) {
  if (good) return;
  std::printf("failed: %s\n", what);
  ++failures;
}

}  // namespace

int main() {
  auto token = std::make_shared<int>(0);
  eventer::run([token] {
    auto acceptor = eventer::tcp_acceptor::listen("127.0.0.1:0");
    check(acceptor.has_value(), "listen");
    auto waiting = eventer::spawn(
        [server = std::move(*acceptor)]() mutable { return server.accept().error() == std::errc::operation_canceled; });
    auto value = eventer::spawn([] {
      eventer::sleep_for(1ms);
      return 5;
    });
    check(*value.try_join() == 5, "try_join gives the value");
    waiting.cancel();
    check(*waiting.try_join(), "a cancelled accept answers operation_canceled");
    auto never = eventer::spawn([] { return 1; });
    never.cancel();
    check(never.try_join().error() == std::errc::operation_canceled, "one that has not begun joins as cancelled");
    auto sleeper = eventer::spawn([] {
      eventer::sleep_for(1h);  // returns at once, as the next one
      eventer::sleep_for(1h);
      return eventer::this_coroutine::cancel_requested();
    });
    check(sleeper.join_for(1ms).error() == std::errc::timed_out, "join_for answers the time limit");
    sleeper.cancel();
    check(sleeper.try_join().value_or(false), "a cancelled coroutine goes on to its end, and gives its result");
    check(!eventer::tcp_stream::connect("nonsense").has_value(), "a bad address is an error");
    (void)eventer::spawn({.name = "for ever"}, [token] {
      for (;;) eventer::sleep_for(1h);
    });
    eventer::yield();
  });
  check(token.use_count() == 1, "every callable is destroyed");
  return failures;
}
