// Datagrams: one at a time and in batches, over UDP and unix sockets, from every kind of caller, and what goes wrong.
#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "../catch.hpp"
#include "../faults.hpp"
#include "../foreign_coroutines.hpp"
#include "eventer/eventer.hpp"

using namespace std::chrono_literals;
using eventer::datagram_slot;
using eventer::endpoint;
using eventer::errc;
using eventer::outgoing_datagram;
using eventer::udp_socket;
using eventer::unix_datagram_socket;
using call = faults::call;

namespace {

udp_socket bound() { return udp_socket::bind("127.0.0.1:0").value(); }

struct connected_sockets {
  udp_socket a, b;
};
connected_sockets connected_pair() {
  connected_sockets both{bound(), bound()};
  REQUIRE(both.a.connect_to(both.b.local()).has_value());
  REQUIRE(both.b.connect_to(both.a.local()).has_value());
  return both;
}
udp_socket connected_to_nobody() {
  const endpoint nobody = bound().local();
  return udp_socket::connect(nobody).value();
}

// What one receive gives: the bytes as text, or the error's message in angle brackets.
template <class Socket>
std::string receive_text(Socket& from, eventer::time_limit limit = 60s) {
  std::array<char, 256> bytes;
  const auto got = from.receive(bytes, limit);
  return got ? std::string(bytes.data(), *got) : "<" + got.error().message() + ">";
}

// Sends until the kernel takes no more; answers how often it did.
template <class Socket>
int fill(Socket& to) {
  int sent = 0;
  while (::send(to.native_handle(), "fill", 4, MSG_DONTWAIT) == 4) ++sent;
  return sent;
}

// Room for several datagrams.
struct room {
  explicit room(std::size_t count, std::size_t bytes = 64) : memory(count * bytes), slots(count) {
    for (std::size_t i = 0; i < count; ++i) slots[i].into = {memory.data() + i * bytes, bytes};
  }
  std::string text(std::size_t i) const { return {slots[i].into.data(), slots[i].size}; }
  std::vector<char> memory;
  std::vector<datagram_slot> slots;
};

std::string unix_name(const char* name) { return "unix:@eventer-udp-" + std::to_string(::getpid()) + "-" + name; }

template <class F>
void in_both_worlds(F&& function) {
  SECTION("on a plain thread") { function(); }
  SECTION("in a coroutine") { eventer::run(function); }
}

}  // namespace

TEST_CASE("a datagram comes with its sender, and an answer finds its way back, over IPv4 and IPv6") {
  in_both_worlds([] {
    for (const char* const where : {"127.0.0.1:0", "[::1]:0"}) {
      auto server = udp_socket::bind(where);
      if (!server && server.error() == std::errc::address_not_available) continue;  // no IPv6 here
      auto client = udp_socket::open(server->local().family()).value();
      CHECK(client.send_to("hello", server->local()).value() == 5);
      std::array<char, 64> bytes;
      const auto got = server->receive_from(bytes, 60s);
      REQUIRE(got.has_value());
      CHECK(std::string_view(bytes.data(), got->size) == "hello");
      CHECK(got->from.port() == client.local().port());
      CHECK(got->from.host() == server->local().host());
      CHECK_FALSE(got->truncated);
      CHECK(server->send_to({bytes.data(), got->size}, got->from, 60s).has_value());
      CHECK(receive_text(client) == "hello");
    }
  });
}

TEST_CASE("a receiver waits for its datagram, for each datagram, and not longer than its limit") {
  eventer::run([] {
    auto receiver = std::make_shared<udp_socket>(bound());
    auto sender = udp_socket::connect(receiver->local()).value();
    auto waiting = eventer::spawn([receiver] {
      std::string all;
      for (int i = 0; i < 4; ++i) all += receive_text(*receiver) + " ";
      return all;
    });
    for (const char* const text : {"one", "two", "three", "four"}) {
      eventer::sleep_for(0ms);
      CHECK(sender.send(text).has_value());
    }
    CHECK(waiting.join() == "one two three four ");
    std::array<char, 8> bytes;
    CHECK(receiver->receive(bytes, 1ms).error() == std::errc::timed_out);
    CHECK(receiver->receive_from(bytes, -1s).error() == std::errc::timed_out);
    room many(2);
    CHECK(receiver->receive_batch(many.slots, 1ms).error() == std::errc::timed_out);
    CHECK(sender.send("late").has_value());
    CHECK(receive_text(*receiver) == "late");
    CHECK(eventer::event_loop::current().stats().timers == 0);
  });
  auto nobody_sends = bound();
  CHECK(receive_text(nobody_sends, 1ms).find("timed out") != std::string::npos);
}

TEST_CASE("a short datagram does not make the next ones wait") {
  eventer::run([] {
    auto receiver = bound();
    auto sender = udp_socket::connect(receiver.local()).value();
    std::array<char, 64> bytes;
    CHECK(receiver.receive(bytes, 1ms).error() == std::errc::timed_out);  // registered, and known to be empty
    for (int round = 0; round < 3; ++round) {
      for (const char* const text : {"a", "b", "c"}) CHECK(sender.send(text).has_value());
      // All three were announced by one event.
      for (const char* const text : {"a", "b", "c"}) CHECK(receive_text(receiver) == text);
    }
  });
}

TEST_CASE("a datagram of no bytes is one, not an end") {
  in_both_worlds([] {
    auto [a, b] = connected_pair();
    CHECK(a.send("").value() == 0);
    CHECK(a.send("after it").has_value());
    CHECK(receive_text(b).empty());
    CHECK(receive_text(b) == "after it");
    CHECK(a.send_to("", b.local()).value() == 0);
    std::array<char, 8> bytes;
    const auto got = b.receive_from(bytes, 60s);
    REQUIRE(got.has_value());
    CHECK(got->size == 0);
    CHECK(got->from == a.local());
    const outgoing_datagram batch[] = {{"", {}}, {"x", {}}, {"", {}}};
    CHECK(a.send_batch(batch).value() == 3);
    room there(4);
    std::size_t count = 0;
    while (count < 3) count += b.receive_batch(std::span(there.slots).subspan(count), 60s).value();
    CHECK(there.text(0).empty());
    CHECK(there.text(1) == "x");
    CHECK(there.text(2).empty());
  });
}

TEST_CASE("a datagram longer than the buffer is cut, and says so") {
  in_both_worlds([] {
    auto [a, b] = connected_pair();
    std::array<char, 4> bytes;
    CHECK(a.send("12345678").has_value());
    const auto cut = b.receive_from(bytes, 60s);
    REQUIRE(cut.has_value());
    CHECK(cut->size == 4);
    CHECK(cut->truncated);
    CHECK(a.send("1234").has_value());
    CHECK_FALSE(b.receive_from(bytes, 60s).value().truncated);
    CHECK(a.send("12345").has_value());
    CHECK(b.receive(bytes, 60s).value() == 4);
    CHECK(a.send("x").has_value());
    CHECK(b.receive_from(eventer::buffer(), 60s).value().truncated);
    room small(2, 3);
    for (const char* const text : {"12", "12345"}) CHECK(a.send(text).has_value());
    std::size_t count = 0;
    while (count < 2) count += b.receive_batch(std::span(small.slots).subspan(count), 60s).value();
    CHECK_FALSE(small.slots[0].truncated);
    CHECK(small.slots[1].truncated);
    CHECK(small.text(1) == "123");
  });
}

TEST_CASE("batches carry many datagrams, each with its address, in their order") {
  in_both_worlds([] {
    auto server = bound(), client = bound();
    CHECK(server.set_receive_buffer(1 << 20).has_value());
    std::vector<std::string> texts;
    std::vector<outgoing_datagram> all;
    for (int i = 0; i < 150; ++i) texts.push_back("number " + std::to_string(i));
    for (const std::string& each : texts) all.push_back({each, server.local()});
    std::size_t done = 0;
    CHECK(client.send_batch(all, done, 60s).value() == 150);
    CHECK(done == 150);
    room there(100);
    std::size_t received = 0;
    while (received < 150) {
      const auto got = server.receive_batch(there.slots, 60s);
      REQUIRE(got.has_value());
      REQUIRE(*got <= 64);
      for (std::size_t i = 0; i < *got; ++i) {
        CHECK(there.text(i) == texts[received++]);
        CHECK(there.slots[i].from == client.local());
      }
    }
    CHECK(server.receive_batch({}, 60s).value() == 0);
    CHECK(client.send_batch({}).value() == 0);
  });
}

TEST_CASE("a batch takes one system call where single datagrams take one each") {
  auto server = bound(), client = bound();
  const std::vector<outgoing_datagram> all(60, outgoing_datagram{"x", server.local()});
  const faults counted;
  CHECK(client.send_batch(all).value() == 60);
  CHECK(counted.calls(call::sendmmsg) == 1);
  room there(60);
  CHECK(server.receive_batch(there.slots).value() == 60);
  CHECK(counted.calls(call::recvmmsg) == 1);
}

TEST_CASE("the connected peer alone is heard, and it needs no address") {
  in_both_worlds([] {
    auto [a, b] = connected_pair();
    auto stranger = bound();
    CHECK(stranger.send_to("from a stranger", b.local()).has_value());
    CHECK(a.send("from the peer").has_value());
    CHECK(receive_text(b) == "from the peer");
    CHECK(a.peer() == b.local());
    CHECK(stranger.send("to whom?").error() == std::errc::destination_address_required);
    CHECK(a.send(std::string(70'000, 'x')).error() == std::errc::message_size);
    CHECK(a.send("still works").has_value());
    CHECK(receive_text(b) == "still works");
  });
}

TEST_CASE("a peer that is not there is connection_refused, once, and the socket goes on") {
  in_both_worlds([] {
    auto socket = connected_to_nobody();
    std::array<char, 8> bytes;
    CHECK(socket.send("anybody?").has_value());
    CHECK(socket.receive(bytes, 60s).error() == std::errc::connection_refused);
    CHECK(socket.receive(bytes, 1ms).error() == std::errc::timed_out);
    CHECK(socket.send("anybody?").has_value());
    CHECK(socket.receive_from(bytes, 60s).error() == std::errc::connection_refused);
    CHECK(socket.send("anybody?").has_value());
    room there(2);
    CHECK(socket.receive_batch(there.slots, 60s).error() == std::errc::connection_refused);
    // Somebody comes.
    auto peer = udp_socket::bind(socket.peer()).value();
    CHECK(socket.send("hello").has_value());
    CHECK(receive_text(peer) == "hello");
    CHECK(peer.send_to("welcome", socket.local()).has_value());
    CHECK(receive_text(socket) == "welcome");
  });
}

TEST_CASE("a refusal wakes a receiver that waits") {
  eventer::run([] {
    auto socket = std::make_shared<udp_socket>(connected_to_nobody());
    auto waiting = eventer::spawn([socket] { return receive_text(*socket); });
    eventer::sleep_for(0ms);
    CHECK(socket->send("anybody?").has_value());
    CHECK(waiting.join().find("refused") != std::string::npos);
  });
}

TEST_CASE("a batch that fails midway says how many were sent") {
  in_both_worlds([] {
    auto server = bound(), client = bound();
    const std::string too_long(70'000, 'x');
    const outgoing_datagram all[] = {{"a", server.local()}, {"b", server.local()}, {too_long, server.local()}};
    std::size_t done = 99;
    CHECK(client.send_batch(all, done).error() == std::errc::message_size);
    CHECK(done == 2);
    CHECK(receive_text(server) == "a");
    CHECK(receive_text(server) == "b");
  });
}

TEST_CASE("a receiver and a sender wait at once; a second of either is busy") {
  eventer::run([] {
    auto pair = unix_datagram_socket::pair().value();
    auto mine = std::make_shared<unix_datagram_socket>(std::move(pair.first));
    auto other = std::move(pair.second);
    const int queued = fill(*mine);
    auto receiver = eventer::spawn([mine] { return receive_text(*mine); });
    auto sender = eventer::spawn([mine] { return mine->send("tail", 60s).has_value(); });
    eventer::sleep_for(0ms);
    CHECK_FALSE((receiver.done() || sender.done()));
    std::array<char, 8> bytes;
    CHECK(mine->receive(bytes).error() == errc::busy);
    CHECK(mine->receive_from(bytes).error() == errc::busy);
    CHECK(mine->send("x").error() == errc::busy);
    CHECK(mine->detach().error() == errc::busy);
    CHECK(other.send("for the receiver").has_value());
    CHECK(receiver.join() == "for the receiver");
    for (int i = 0; i < queued; ++i) CHECK(receive_text(other) == "fill");
    CHECK(receive_text(other) == "tail");
    CHECK(sender.join());
  });
}

TEST_CASE("close and release wake who waits with closed, and cancelling ends a wait") {
  for (const bool release : {false, true}) {
    eventer::run([release] {
      auto socket = std::make_shared<udp_socket>(bound());
      auto waiting = eventer::spawn([socket] {
        std::array<char, 8> bytes;
        return socket->receive_from(bytes).error() == errc::closed;
      });
      auto canceled = eventer::spawn([other = bound()]() mutable { return receive_text(other); });
      eventer::sleep_for(0ms);
      if (release)
        eventer::unique_fd(socket->release()).reset();
      else
        socket->close();
      CHECK(waiting.join());
      canceled.cancel();
      CHECK(canceled.try_join().error() == std::errc::operation_canceled);
      socket->close();
      CHECK(socket->send_to("x", endpoint()).error() == errc::closed);
      std::size_t done = 777;
      const eventer::outgoing_datagram one{"x", endpoint()};
      CHECK(socket->send_batch({&one, 1}, done).error() == errc::closed);
      CHECK(done == 0);
      CHECK(socket->set_broadcast(true).error() == errc::closed);
      CHECK(socket->bind_to(endpoint()).error() == errc::closed);
      CHECK(socket->detach().error() == errc::closed);
      CHECK_FALSE(socket->is_open());
      CHECK(socket->native_handle() == -1);
      CHECK(socket->local().to_string() == "(no address)");
      CHECK(eventer::event_loop::current().stats().timers == 0);
      CHECK(eventer::event_loop::current().stats().registrations == 0);
    });
  }
  udp_socket none;
  CHECK(none.send("x").error() == errc::closed);
  CHECK(none.release() == -1);
}

TEST_CASE("a socket moves to another loop when it is detached") {
  auto socket = bound();
  const auto on_a_loop = [&socket] {
    eventer::event_loop loop;
    auto handle = loop.spawn([&socket] {
      std::array<char, 8> bytes;
      return socket.receive(bytes, 1ms).error() == std::errc::timed_out && socket.detach().has_value();
    });
    loop.run();
    return handle.join();
  };
  CHECK(on_a_loop());
  CHECK(on_a_loop());
}

TEST_CASE("unix datagrams: by name, by path, in pairs, with a sender that has no address") {
  in_both_worlds([] {
    auto server = unix_datagram_socket::bind(unix_name("server")).value();
    auto client = unix_datagram_socket::bind(unix_name("client")).value();
    auto nameless = unix_datagram_socket::connect(server.local()).value();
    CHECK(client.send_to("named", server.local()).has_value());
    std::array<char, 64> bytes;
    auto got = server.receive_from(bytes, 60s);
    REQUIRE(got.has_value());
    CHECK(got->from == client.local());
    CHECK(got->from.path() == client.local().path());
    CHECK(server.send_to("answer", got->from).has_value());
    CHECK(receive_text(client) == "answer");
    CHECK(nameless.send("nameless").has_value());
    got = server.receive_from(bytes, 60s);
    REQUIRE(got.has_value());
    CHECK(got->from.path().empty());
    CHECK(got->from.host().empty());
    auto [a, b] = unix_datagram_socket::pair().value();
    CHECK(a.send(std::string(10'000, 'x')).value() == 10'000);
    std::vector<char> large(20'000);
    CHECK(b.receive(large, 60s).value() == 10'000);
    b.close();
    CHECK(a.send("x").error() == std::errc::connection_refused);
  });
  CHECK(unix_datagram_socket::bind("127.0.0.1:0").error() == errc::bad_address);
  CHECK(unix_datagram_socket::open(AF_INET).error() == errc::bad_address);
}

TEST_CASE("a sender waits while the queue of a unix peer to which it is not connected is full") {
  eventer::run([] {
    auto server = std::make_shared<unix_datagram_socket>(unix_datagram_socket::bind(unix_name("full")).value());
    auto filling = unix_datagram_socket::connect(server->local()).value();
    const int queued = fill(filling);
    auto client = unix_datagram_socket::open(AF_UNIX).value();
    CHECK(client.send_to("too late", server->local(), 5ms).error() == std::errc::timed_out);
    const outgoing_datagram batch[] = {{"too late", server->local()}};
    CHECK(client.send_batch(batch, 5ms).error() == std::errc::timed_out);
    auto sending = eventer::spawn([server, sender = std::move(client)]() mutable {
      const outgoing_datagram two[] = {{"second", server->local()}, {"third", server->local()}};
      return sender.send_to("first", server->local(), 60s).has_value() && sender.send_batch(two, 60s).has_value();
    });
    eventer::sleep_for(2ms);
    CHECK_FALSE(sending.done());
    for (int i = 0; i < queued; ++i) CHECK(receive_text(*server) == "fill");
    CHECK(receive_text(*server) == "first");
    CHECK(receive_text(*server) == "second");
    CHECK(receive_text(*server) == "third");
    CHECK(sending.join());
  });
}

TEST_CASE("what lies in the loop's scratch buffer is sent whole, although the sender has to wait") {
  eventer::run([] {
    for (const int how : {0, 1, 2}) {
      auto pair = unix_datagram_socket::pair().value();
      auto mine = std::move(pair.first);
      auto other = std::make_shared<unix_datagram_socket>(std::move(pair.second));
      auto [near, far] = eventer::unix_stream::pair().value();
      const int queued = fill(mine);
      auto sending = eventer::spawn([how, to = std::move(mine), from = std::move(near)]() mutable {
        const auto borrowed = from.read_borrowed(60s).value();
        const eventer::const_buffer whole(borrowed.data(), borrowed.size());
        if (how == 0) return to.send(whole, 60s).has_value();
        const outgoing_datagram parts[] = {{{borrowed.data(), 4}, {}}, {whole.after(4), {}}};
        return how == 1 ? to.send_batch(parts, 60s).value() == 2
                        : eventer::await(to.async_send_batch(parts, 60s)).value() == 2;
      });
      CHECK(far.write_all("mine, all of it").has_value());
      eventer::sleep_for(1ms);
      CHECK_FALSE(sending.done());
      auto [left, right] = eventer::unix_stream::pair().value();
      CHECK(left.write_all("overwritten by others").has_value());
      CHECK(right.read_borrowed(60s).has_value());
      for (int i = 0; i < queued; ++i) CHECK(receive_text(*other) == "fill");
      if (how == 0) {
        CHECK(receive_text(*other) == "mine, all of it");
      } else {
        CHECK(receive_text(*other) == "mine");
        CHECK(receive_text(*other) == ", all of it");
      }
      CHECK(sending.join());
    }
  });
}

TEST_CASE("each operation is awaited in a foreign coroutine, in a task and with when_any") {
  struct outcomes {
    std::vector<std::string> got;
    std::vector<std::error_code> errors;
  };
  const auto talk = [](std::shared_ptr<outcomes> out) -> eventer::task<> {
    auto server = bound(), client = bound();
    char bytes[64];
    const auto text = [&](std::size_t size) { return std::string(bytes, size); };
    // The address may go when the operation is made.
    auto sending = client.async_send_to("first", endpoint(server.local()));
    out->errors.push_back((co_await std::move(sending)).error());
    const auto first = co_await server.async_receive_from(bytes);
    out->got.push_back(text(first->size));
    out->errors.push_back(client.connect_to(server.local()).error());
    out->errors.push_back((co_await client.async_send("second")).error());
    out->got.push_back(text((co_await server.async_receive(bytes)).value()));
    const std::vector<outgoing_datagram> batch(3, outgoing_datagram{"third", {}});
    std::size_t done = 0;  // in the task's frame
    out->errors.push_back((co_await client.async_send_batch(batch, done)).error());
    CHECK(done == 3);
    room there(5);
    for (std::size_t count = 0; count < 3;) {
      const auto got = co_await server.async_receive_batch(std::span(there.slots).subspan(count), 60s);
      for (std::size_t i = 0; i < *got; ++i) out->got.push_back(there.text(count++));
    }
    const auto late = co_await server.async_receive_from(bytes, 1ms);
    out->got.push_back(late.error() == std::errc::timed_out ? "timed out" : "?");
  };
  const std::vector<std::string> expected{"first", "second", "third", "third", "third", "timed out"};
  const auto check = [&expected](const outcomes& result) {
    CHECK(result.got == expected);
    for (const std::error_code error : result.errors) CHECK_FALSE(error);
  };
  SECTION("a task on a coroutine") {
    eventer::run([&] {
      const auto result = std::make_shared<outcomes>();
      eventer::await(talk(result));
      check(*result);
    });
  }
  SECTION("a task on a plain thread") {
    const auto result = std::make_shared<outcomes>();
    eventer::await(talk(result));
    check(*result);
  }
  SECTION("a foreign coroutine") {
    const auto result = std::make_shared<outcomes>();
    eventer::event_loop loop;
    loop.post([&] { [](eventer::task<> all) -> fire_and_forget { co_await std::move(all); }(talk(result)); });
    loop.run();
    check(*result);
  }
  SECTION("when_any") {
    eventer::run([] {
      auto [a, b] = connected_pair();
      std::array<char, 8> bytes;
      CHECK(eventer::when_any(eventer::after(1ms), b.async_receive_from(bytes)).index == 0);
      CHECK(a.send("x").has_value());
      CHECK(eventer::when_any(eventer::after(60s), b.async_receive_from(bytes)).index == 1);
    });
  }
}

TEST_CASE("options: an address for several sockets, broadcast, the size of the kernel's buffer") {
  auto first = udp_socket::open(AF_INET).value(), second = udp_socket::open(AF_INET).value();
  CHECK(first.set_reuse_port(true).has_value());
  CHECK(second.set_reuse_port(true).has_value());
  CHECK(first.bind_to(endpoint::parse("127.0.0.1:0").value()).has_value());
  CHECK(second.bind_to(first.local()).has_value());
  CHECK(udp_socket::bind(first.local()).error() == std::errc::address_in_use);
  const auto broadcast = endpoint::parse("255.255.255.255:9").value();
  CHECK(first.send_to("x", broadcast).error() == std::errc::permission_denied);
  CHECK(first.set_broadcast(true).has_value());
  CHECK_FALSE(first.send_to("x", broadcast).error() == std::errc::permission_denied);
  for (const std::size_t bytes : {std::size_t{8192}, std::size_t{65536}, SIZE_MAX}) {
    CHECK(first.set_receive_buffer(bytes).has_value());
    int size = 0;
    socklen_t length = sizeof size;
    CHECK(::getsockopt(first.native_handle(), SOL_SOCKET, SO_RCVBUF, &size, &length) == 0);
    CHECK(size >= 8192);
  }
  auto v6 = udp_socket::open(AF_INET6);
  if (v6) CHECK(v6->set_v6_only(true).has_value());
  CHECK(first.set_v6_only(true).error());
}

TEST_CASE("addresses that are none are refused, and each call that can fail is an error that leaves nothing open",
          "[epoll]") {
  for (const char* const text : {"", "nonsense", "localhost:80", "unix:/tmp/x"}) {
    CHECK(udp_socket::bind(text).error() == errc::bad_address);
    CHECK(udp_socket::connect(text).error() == errc::bad_address);
  }
  CHECK(udp_socket::open(AF_UNIX).error() == errc::bad_address);
  CHECK(udp_socket::bind("203.0.113.1:0").error() == std::errc::address_not_available);
  CHECK(udp_socket::from_fd(-1).error() == std::errc::bad_file_descriptor);

  const auto next_free = [] { return eventer::unique_fd(::dup(0)).get(); };
  const int free_before = next_free();
  for (const auto& [which, error] :
       {std::pair{call::socket, EMFILE}, std::pair{call::bind, EACCES}, std::pair{call::connect, ENETUNREACH},
        std::pair{call::socketpair, ENFILE}, std::pair{call::fcntl, EBADF}}) {
    CAPTURE(static_cast<int>(which));
    faults injected;
    injected.fail(which, error, 3);
    if (which == call::fcntl) {
      const eventer::unique_fd mine(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
      CHECK(udp_socket::from_fd(mine.get()).error().value() == error);
    } else if (which == call::socketpair) {
      CHECK(unix_datagram_socket::pair().error().value() == error);
    } else {
      if (which != call::connect) CHECK(udp_socket::bind("127.0.0.1:0").error().value() == error);
      if (which != call::bind) CHECK(udp_socket::connect("127.0.0.1:9").error().value() == error);
    }
    CHECK(next_free() == free_before);
  }
  eventer::run([] {
    auto [a, b] = connected_pair();
    CHECK(a.send("x").has_value());
    room there(2);
    std::array<char, 8> bytes;
    const outgoing_datagram one[] = {{"x", {}}};
    const struct {
      call which;
      std::error_code (*make)(udp_socket&, udp_socket&, std::array<char, 8>&, room&, const outgoing_datagram (&)[1]);
    } calls[] = {
        {call::recv, [](auto&, auto& from, auto& into, auto&, auto&) { return from.receive(into).error(); }},
        {call::recvmsg, [](auto&, auto& from, auto& into, auto&, auto&) { return from.receive_from(into).error(); }},
        {call::recvmmsg, [](auto&, auto& from, auto&, auto& r, auto&) { return from.receive_batch(r.slots).error(); }},
        {call::send, [](auto& to, auto&, auto&, auto&, auto&) { return to.send("x").error(); }},
        {call::sendmsg,
         [](auto& to, auto& from, auto&, auto&, auto&) { return to.send_to("x", from.local()).error(); }},
        {call::sendmmsg, [](auto& to, auto&, auto&, auto&, auto& all) { return to.send_batch(all).error(); }},
    };
    for (const auto& [which, make] : calls) {
      CAPTURE(static_cast<int>(which));
      faults injected;
      for (const int error : {ENOBUFS, ENOMEM, EPERM}) {
        injected.fail(which, error);
        CHECK(make(a, b, bytes, there, one).value() == error);
        CHECK(injected.faults_left(which) == 0);
      }
      injected.fail(which, EINTR);  // tried again
      CHECK_FALSE(make(a, b, bytes, there, one));
      CHECK(a.send("x").has_value());
    }
    faults injected;
    injected.fail(call::epoll_ctl, ENOSPC);
    auto fresh = bound();
    CHECK(fresh.receive(bytes, 60s).error().value() == ENOSPC);
    CHECK(fresh.receive(bytes, 1ms).error() == std::errc::timed_out);
  });
  CHECK(next_free() == free_before);
}

TEST_CASE("an adopted socket works, and is given back open") {
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  auto socket = udp_socket::from_fd(fd).value();
  auto server = bound();
  CHECK(socket.send_to("adopted", server.local()).has_value());
  CHECK(receive_text(server) == "adopted");
  const eventer::unique_fd back(socket.release());
  CHECK(back.get() == fd);
  CHECK((::fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
}

TEST_CASE("a hundred coroutines talk over datagrams on stacks that they share") {
  eventer::run([] {
    auto server = std::make_shared<udp_socket>(bound());
    CHECK(server->set_receive_buffer(1 << 20).has_value());
    auto serving = eventer::spawn([server] {
      std::array<char, 64> bytes;
      while (const auto got = server->receive_from(bytes))
        if (!server->send_to({bytes.data(), got->size}, got->from)) return;
    });
    std::vector<eventer::join_handle<int>> all;
    for (int i = 0; i < 100; ++i)
      all.push_back(eventer::spawn([where = server->local(), i] {
        auto client = udp_socket::connect(where).value();
        int good = 0;
        for (int round = 0; round < 5; ++round) {
          const std::string text = std::to_string(i) + " in round " + std::to_string(round);
          if (client.send(text)) good += receive_text(client) == text;
        }
        return good;
      }));
    int sum = 0;
    for (auto& each : all) sum += each.join();
    CHECK(sum == 500);
    server->close();
    serving.join();
  });
}
