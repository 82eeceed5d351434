// Every system call of a TLS client and server fails once, in turn, with every errno that a kernel may have in store:
// nothing hangs, no byte is wrong, no descriptor stays open; and sends that take one byte each lose nothing.
#include "../catch.hpp"
#include "../one_fault.hpp"
#include "../plain_descriptors.hpp"
#include "../virtual_run.hpp"
#include "tls_pairs.hpp"

using namespace std::chrono_literals;
using call = eventer::syscalls::call;

namespace {

// Talks over TLS; "ok", "failed", or what is wrong.
std::string talk_once(tcp_pair streams, const tls::context& server, const tls::context& client) {
  const auto pair = shake_hands(std::move(streams.server), std::move(streams.client), server, client, "localhost", 1s);
  if (!pair.connected()) return "failed";
  auto echoing = eventer::spawn([server_side = pair.server] {
    while (const auto got = server_side->read_borrowed(1s))
      if (!server_side->write_all({got->data(), got->size()}, 1s)) break;
    server_side->close();
  });
  const auto text = std::make_shared<std::string>(pattern(40'000));
  auto writer = eventer::spawn([to = pair.client, text] { (void)to->write_all(*text, 1s); });
  std::string back(text->size(), ' ');
  std::size_t done = 0;
  const bool whole = pair.client->read_exact(back, done, 1s).has_value();
  writer.join();
  (void)pair.client->shutdown_write();
  if (whole) (void)read_text(*pair.client, 1s);
  pair.client->close();
  echoing.join();
  if (back.substr(0, done) != text->substr(0, done)) return "other bytes";
  return whole ? "ok" : "failed";
}

}  // namespace

TEST_CASE("TLS: any system call may fail: nothing hangs, nothing is wrong, and the next connection works") {
  run_virtually([] {  // what is never announced again waits for its time limit
    const auto server = test_certificates().server();
    const auto client = test_certificates().client({.resume = false});
    REQUIRE(talk_once(connected_pair(), server, client) == "ok");
    const auto open_before = open_descriptors();
    for (const call which : {call::recv, call::send, call::epoll_ctl})
      for (const int error : {EINTR, EAGAIN, ECONNRESET, EPIPE, ENOMEM})
        for (int nth = 1; nth <= 12; ++nth) {
          CAPTURE(static_cast<int>(which), error, nth);
          auto streams = connected_pair();
          const one_fault fault(which, error, nth);
          const std::string result = talk_once(std::move(streams), server, client);
          CHECK(result != "other bytes");
          if ((error == EINTR && which != call::epoll_ctl) || !fault.happened()) CHECK(result == "ok");
        }
    CHECK(talk_once(connected_pair(), server, client) == "ok");
    CHECK(open_descriptors() == open_before);
  });
}

TEST_CASE("TLS: interrupted all the time, it loses nothing") {
  eventer::run([] {
    const auto server = test_certificates().server();
    const auto client = test_certificates().client({.resume = false});
    for (const call which : {call::recv, call::send}) {
      auto streams = connected_pair();
      const one_fault fault = one_fault::every(2, which, EINTR);
      CHECK(talk_once(std::move(streams), server, client) == "ok");
      CHECK(fault.happened());
    }
  });
}

TEST_CASE("TLS: with the least room for what is sent, records go in pieces and arrive whole") {
  eventer::run([] {
    auto streams = connected_pair();
    const int small = 1;  // the kernel takes its least
    for (const auto* each : {&streams.server, &streams.client})
      ::setsockopt(each->native_handle(), SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    const auto pair = shake_hands(std::move(streams.server), std::move(streams.client), test_certificates().server(),
                                  test_certificates().client());
    REQUIRE(pair.connected());
    auto echoing = eventer::spawn([server = pair.server] { echo_all(server); });
    const auto text = std::make_shared<std::string>(pattern(300'000));
    auto writer = eventer::spawn([to = pair.client, text] { return to->write_all(*text, 20s).has_value(); });
    std::string back(text->size(), ' ');
    CHECK(pair.client->read_exact(back, 20s).has_value());
    CHECK(back == *text);
    CHECK(writer.join());
    pair.client->close();
    echoing.join();
  });
}
