// What a loop may expect of every reactor: one table of cases, run with each. Where two of them differ, the case says
// how. kqueue runs over the imitation in tests/fake_kqueue.
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <atomic>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "../catch.hpp"
#include "../child.hpp"
#include "../faults.hpp"
#include "../plain_descriptors.hpp"
#include "../reactors.hpp"
#include "eventer/event/reactor/default_reactor.hpp"

using namespace std::chrono_literals;
using eventer::any;
using eventer::io_mask;
using eventer::no_deadline;
using eventer::reactor;
using eventer::time_point;
using eventer::unique_fd;
using call = faults::call;

namespace {

#define REACTOR_TEST(name) REACTORS_TEST(name, "[reactor]")

constexpr time_point only_look = time_point::min();
time_point in(eventer::duration limit) { return eventer::clock::now() + limit; }

using ends = plain_pair;
ends pipe_with_our(bool reader) {
  int both[2];
  if (::pipe2(both, O_CLOEXEC | O_NONBLOCK) != 0) throw std::runtime_error("pipe2");
  return {unique_fd(both[reader ? 0 : 1]), unique_fd(both[reader ? 1 : 0])};
}
// Bound to a port that nobody else gets.
struct bound {
  unique_fd fd;
  sockaddr_in address{};
};
bound tcp_socket() {
  bound result{unique_fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0))};
  result.address.sin_family = AF_INET;
  result.address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof result.address;
  auto* const address = reinterpret_cast<sockaddr*>(&result.address);
  if (::bind(result.fd.get(), address, size) != 0 || ::getsockname(result.fd.get(), address, &size) != 0)
    throw std::runtime_error("bind");
  return result;
}
int start_connect(const unique_fd& from, const bound& to) {
  return ::connect(from.get(), reinterpret_cast<const sockaddr*>(&to.address), sizeof to.address);
}
ends tcp_pair() {
  const bound listener = tcp_socket();
  ends result{unique_fd(), unique_fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0))};
  if (::listen(listener.fd.get(), 1) != 0 || start_connect(result.peer, listener) != 0)
    throw std::runtime_error("connect");
  result.ours = unique_fd(::accept4(listener.fd.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  return result;
}

void fill(const unique_fd& which) {
  const std::string block(std::size_t{64} << 10, 'f');
  while (::write(which.get(), block.data(), block.size()) > 0) {
  }
}
void empty(const unique_fd& which) {
  std::string block(std::size_t{64} << 10, ' ');
  while (::recv(which.get(), block.data(), block.size(), MSG_DONTWAIT) > 0) {
  }
}

// Everything that is reported for the token until that includes `wanted`; other tokens are a failure.
io_mask reported(reactor& from, std::uint64_t token, io_mask wanted) {
  io_mask all = io_mask::none;
  for (const time_point give_up = in(2s); (all & wanted) != wanted && eventer::clock::now() < give_up;)
    for (const eventer::reactor_event& each : from.wait(give_up)) {
      CHECK(each.token == token);
      all = all | each.ready;
    }
  return all;
}
// What the next report says.
io_mask next_report(reactor& from, std::uint64_t token) {
  for (const time_point give_up = in(2s); eventer::clock::now() < give_up;)
    if (const auto events = from.wait(give_up); !events.empty()) {
      CHECK(events.size() == 1);
      CHECK(events[0].token == token);
      return events[0].ready;
    }
  return io_mask::none;
}
bool silent(reactor& from) {
  for (int looks = 0; looks < 3; ++looks)
    if (!from.wait(only_look).empty()) return false;
  return true;
}
bool tells_reader(io_mask mask) { return any(mask & (io_mask::read | io_mask::special)); }
bool tells_writer(io_mask mask) { return any(mask & (io_mask::write | io_mask::error)); }
bool has(io_mask mask, io_mask wanted) { return (mask & wanted) == wanted; }

bool readable(int fd, int milliseconds = 0) {
  pollfd one{fd, POLLIN, 0};
  return ::poll(&one, 1, milliseconds) == 1;
}

// Makes the nth system call from here on fail, whichever it is.
class nth_call_fails {
 public:
  nth_call_fails(int nth, int error) {
    left_ = nth;
    error_ = error;
    eventer::syscalls::fault_hook = [](call) { return left_ > 0 && --left_ == 0 ? error_ : 0; };
  }
  ~nth_call_fails() { eventer::syscalls::fault_hook = nullptr; }
  static bool happened() { return left_ == 0; }

 private:
  static inline thread_local int left_, error_;
};

// Blocks signals, and lets what is still pending at its end happen: the default is to end the process.
class blocked_signals {
 public:
  blocked_signals(std::initializer_list<int> numbers) {
    ::sigemptyset(&set);
    for (const int number : numbers) ::sigaddset(&set, number);
    ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  }
  ~blocked_signals() { ::pthread_sigmask(SIG_UNBLOCK, &set, nullptr); }
  sigset_t set;
};

}  // namespace

// --- add ---

REACTOR_TEST("what is ready at the registration is reported at once") {
  const auto loop = tested_reactor::make();
  SECTION("room to write") {
    const ends pair = plain_socket_pair();
    REQUIRE_FALSE(loop->add(pair.ours.get(), 7));
    CHECK(next_report(*loop, 7) == io_mask::write);
  }
  SECTION("bytes") {
    const ends pair = plain_socket_pair();
    give(pair.peer, "x");
    REQUIRE_FALSE(loop->add(pair.ours.get(), 7));
    CHECK(next_report(*loop, 7) == (io_mask::read | io_mask::write));
  }
  SECTION("a connection") {
    const bound listener = tcp_socket();
    REQUIRE(::listen(listener.fd.get(), 1) == 0);
    const unique_fd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    REQUIRE(start_connect(client, listener) == 0);
    REQUIRE_FALSE(loop->add(listener.fd.get(), 7));
    CHECK(next_report(*loop, 7) == io_mask::read);
  }
  CHECK(silent(*loop));
}

REACTOR_TEST("what was reported is not reported again until something new comes") {
  const auto loop = tested_reactor::make();
  const ends pair = plain_socket_pair();
  REQUIRE_FALSE(loop->add(pair.ours.get(), 7));
  CHECK(next_report(*loop, 7) == io_mask::write);
  give(pair.peer, "one");
  CHECK(has(next_report(*loop, 7), io_mask::read));
  CHECK(silent(*loop));
  give(pair.peer, "two");
  CHECK(has(next_report(*loop, 7), io_mask::read));
  CHECK(silent(*loop));
  CHECK(take(pair.ours) == "onetwo");
  CHECK(silent(*loop));
  fill(pair.ours);
  CHECK(silent(*loop));
  empty(pair.peer);
  CHECK(has(next_report(*loop, 7), io_mask::write));
}

REACTOR_TEST("each token comes once in a wait, and nothing is lost when more is ready than one wait tells") {
  const auto loop = tested_reactor::make();
  std::vector<ends> pairs;
  std::uint64_t token = 0;
  const auto token_of = [](std::uint64_t index) { return index << 32 | (index * 2); };
  for (int i = 0; i < 150; ++i) {
    const ends& pair = pairs.emplace_back(plain_socket_pair());
    give(pair.ours, "x");
    give(pair.peer, "x");
    REQUIRE_FALSE(loop->add(pair.ours.get(), token_of(++token)));
    REQUIRE_FALSE(loop->add(pair.peer.get(), token_of(++token)));
  }
  std::vector<io_mask> seen(token + 1, io_mask::none);
  std::size_t waits = 0;
  for (;; ++waits) {
    const auto events = loop->wait(only_look);
    if (events.empty()) break;
    std::set<std::uint64_t> here;
    for (const auto& each : events) {
      CHECK(here.insert(each.token).second);
      seen[each.token >> 32] = seen[each.token >> 32] | each.ready;
    }
  }
  CHECK(waits >= 2);
  for (std::uint64_t i = 1; i <= token; ++i) CHECK(seen[i] == (io_mask::read | io_mask::write));
}

REACTOR_TEST("a half-close behind bytes is special, the bytes and then the end can be read, and writing goes on") {
  const auto loop = tested_reactor::make();
  const bool tcp = GENERATE(false, true), registered_before = GENERATE(false, true);
  const ends pair = tcp ? tcp_pair() : plain_socket_pair();
  if (registered_before) {
    REQUIRE_FALSE(loop->add(pair.ours.get(), 7));
    CHECK(next_report(*loop, 7) == io_mask::write);
  }
  give(pair.peer, "the last words");
  REQUIRE(::shutdown(pair.peer.get(), SHUT_WR) == 0);
  if (!registered_before) REQUIRE_FALSE(loop->add(pair.ours.get(), 7));
  const io_mask ready = reported(*loop, 7, io_mask::read | io_mask::special);
  CHECK(has(ready, io_mask::read | io_mask::special));
  CHECK_FALSE(any(ready & io_mask::error));
  CHECK(take(pair.ours) == "the last words");
  CHECK(take(pair.ours) == "<end>");
  give(pair.ours, "answer");
  CHECK(take(pair.peer) == "answer");
}

REACTOR_TEST("a reset behind pending writes tells the reader and the writer") {
  const auto loop = tested_reactor::make();
  ends pair = tcp_pair();
  REQUIRE_FALSE(loop->add(pair.ours.get(), 7));
  CHECK(next_report(*loop, 7) == io_mask::write);
  fill(pair.ours);
  while (!loop->wait(in(5ms)).empty()) {  // acknowledgements make room for a while
    fill(pair.ours);
  }
  pair.peer.reset();  // with unread bytes: a reset
  const io_mask ready = reported(*loop, 7, io_mask::write | io_mask::error | io_mask::special);
  CHECK(has(ready, io_mask::write | io_mask::error | io_mask::special));
  CHECK(tells_reader(ready));
  CHECK(take(pair.ours) == std::generic_category().message(ECONNRESET));
}

REACTOR_TEST("a refused connect is writable and an error, and the socket still knows which") {
  const auto loop = tested_reactor::make();
  const bound nobody_listens = tcp_socket();
  const unique_fd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  REQUIRE(start_connect(client, nobody_listens) == -1);
  REQUIRE(errno == EINPROGRESS);
  const bool once = GENERATE(false, true);
  REQUIRE_FALSE((once ? loop->arm_once(client.get(), 7, io_mask::write) : loop->add(client.get(), 7)));
  const io_mask ready = next_report(*loop, 7);
  CHECK(has(ready, io_mask::write | io_mask::error | io_mask::special));
  int error = 0;
  socklen_t size = sizeof error;
  REQUIRE(::getsockopt(client.get(), SOL_SOCKET, SO_ERROR, &error, &size) == 0);
  CHECK(error == ECONNREFUSED);
}

REACTOR_TEST("a connect that succeeds is writable and no error") {
  const auto loop = tested_reactor::make();
  const bound listener = tcp_socket();
  REQUIRE(::listen(listener.fd.get(), 1) == 0);
  const unique_fd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  REQUIRE(start_connect(client, listener) == -1);
  REQUIRE_FALSE(loop->add(client.get(), 7));
  CHECK(next_report(*loop, 7) == io_mask::write);
}

REACTOR_TEST("urgent data is special") {
  const auto loop = tested_reactor::make();
  const ends pair = tcp_pair();
  const bool once = GENERATE(false, true);
  if (!once) {
    REQUIRE_FALSE(loop->add(pair.ours.get(), 7));
    CHECK(next_report(*loop, 7) == io_mask::write);
  }
  REQUIRE(::send(pair.peer.get(), "!", 1, MSG_OOB | MSG_NOSIGNAL) == 1);
  if (once) REQUIRE_FALSE(loop->arm_once(pair.ours.get(), 7, io_mask::read));
  CHECK(has(reported(*loop, 7, io_mask::special), io_mask::special));
}

REACTOR_TEST("the end of a pipe tells the side that is left") {
  const auto loop = tested_reactor::make();
  const bool once = GENERATE(false, true), reader = GENERATE(false, true), registered_before = GENERATE(false, true);
  ends both = pipe_with_our(reader);
  if (!reader) fill(both.ours);
  const auto watch = [&] {
    const io_mask interest = reader ? io_mask::read : io_mask::write;
    return once ? loop->arm_once(both.ours.get(), 7, interest) : loop->add(both.ours.get(), 7);
  };
  if (registered_before) {
    REQUIRE_FALSE(watch());
    loop->wait(only_look);
  }
  both.peer.reset();
  if (!registered_before) {
    REQUIRE_FALSE(watch());
    CHECK(readable(loop->native_handle()));
  }
  const io_mask ready = next_report(*loop, 7);
  CHECK((reader ? tells_reader(ready) : tells_writer(ready)));
  // Which bits it is, differs.
  if (reader) CHECK(has(ready, io_mask::special | (tested_reactor::is_kqueue() ? io_mask::read : io_mask::error)));
  if (!reader) CHECK(has(ready, io_mask::error | io_mask::special));
  CHECK(silent(*loop));
  CHECK_FALSE(readable(loop->native_handle()));
}

REACTOR_TEST("what was to be told of a pipe's end is not, after a remove") {
  const auto loop = tested_reactor::make();
  ends both = pipe_with_our(false);
  both.peer.reset();
  REQUIRE_FALSE(loop->add(both.ours.get(), 7));
  loop->remove(both.ours.get());
  CHECK(silent(*loop));
  std::vector<ends> many;  // more than one wait tells
  for (int i = 0; i < 200; ++i) {
    ends& each = many.emplace_back(pipe_with_our(false));
    each.peer.reset();
    REQUIRE_FALSE(loop->arm_once(each.ours.get(), static_cast<std::uint64_t>(i), io_mask::write));
  }
  std::set<std::uint64_t> told;
  while (readable(loop->native_handle()))
    for (const auto& each : loop->wait(no_deadline)) CHECK(told.insert(each.token).second);
  CHECK(told.size() == 200);
}

// --- the end of a registration ---

REACTOR_TEST("closing ends a registration") {
  const auto loop = tested_reactor::make();
  ends pair = plain_socket_pair();
  REQUIRE_FALSE(loop->add(pair.ours.get(), 7));
  pair.ours.reset();
  CHECK(silent(*loop));
  CHECK_FALSE(readable(loop->native_handle()));
}

REACTOR_TEST("a duplicate keeps a closed registration with epoll, not with kqueue; remove ends it with both") {
  const auto loop = tested_reactor::make();
  ends pair = plain_socket_pair();
  REQUIRE_FALSE(loop->add(pair.ours.get(), 7));
  CHECK(next_report(*loop, 7) == io_mask::write);
  const unique_fd duplicate(::dup(pair.ours.get()));
  SECTION("closed") {
    pair.ours.reset();
    give(pair.peer, "x");
    CHECK(silent(*loop) == tested_reactor::is_kqueue());
  }
  SECTION("removed and closed") {
    loop->remove(pair.ours.get());
    pair.ours.reset();
    give(pair.peer, "x");
    CHECK(silent(*loop));
  }
}

REACTOR_TEST("removing twice, or what was never there or is closed, is harmless") {
  const auto loop = tested_reactor::make();
  ends pair = plain_socket_pair();
  const int number = pair.ours.get();
  loop->remove(number);
  REQUIRE_FALSE(loop->add(number, 7));
  loop->remove(number);
  loop->remove(number);
  give(pair.peer, "x");
  CHECK(silent(*loop));
  pair.ours.reset();
  loop->remove(number);
  loop->remove(-1);
  REQUIRE_FALSE(loop->add(pair.peer.get(), 8));
  CHECK(tells_writer(next_report(*loop, 8)));
}

REACTOR_TEST("a number that is used again is reported with its new token") {
  const auto loop = tested_reactor::make();
  const bool once = GENERATE(false, true);
  const auto watch = [&](int fd, std::uint64_t token) {
    return once ? loop->arm_once(fd, token, io_mask::read) : loop->add(fd, token);
  };
  constexpr int number = 200;
  for (std::uint64_t token = 1; token < 4; ++token) {
    ends pair = plain_socket_pair();
    pair.ours = unique_fd(::fcntl(pair.ours.get(), F_DUPFD_CLOEXEC, number));
    REQUIRE(pair.ours.get() == number);
    REQUIRE_FALSE(watch(number, token));
    give(pair.peer, "x");
    CHECK(has(reported(*loop, token, io_mask::read), io_mask::read));
    CHECK(silent(*loop));
    REQUIRE_FALSE(watch(number, token));
  }
}

REACTOR_TEST("what is no open descriptor is refused") {
  const auto loop = tested_reactor::make();
  ends pair = plain_socket_pair();
  const int number = pair.ours.get();
  pair.ours.reset();
  for (const int fd : {number, -1}) {
    CHECK(loop->add(fd, 7) == std::errc::bad_file_descriptor);
    CHECK(loop->arm_once(fd, 7, io_mask::read) == std::errc::bad_file_descriptor);
  }
}

REACTOR_TEST("a regular file is refused by epoll and always ready with kqueue") {
  const auto loop = tested_reactor::make();
  char path[] = "/tmp/eventer_reactor_XXXXXX";
  const unique_fd file(::mkstemp(path));
  REQUIRE(file);
  ::unlink(path);
  const bool at_end = GENERATE(false, true);
  REQUIRE(::write(file.get(), "text", 4) == 4);
  if (!at_end) ::lseek(file.get(), 0, SEEK_SET);
  if (!tested_reactor::is_kqueue()) {
    CHECK(loop->add(file.get(), 7) == std::errc::operation_not_permitted);
    CHECK(loop->arm_once(file.get(), 7, io_mask::read) == std::errc::operation_not_permitted);
    return;
  }
  for (int again = 0; again < 2; ++again) {
    REQUIRE_FALSE(loop->arm_once(file.get(), 7, io_mask::read));
    CHECK(next_report(*loop, 7) == io_mask::read);
    CHECK(silent(*loop));
  }
  REQUIRE_FALSE(loop->add(file.get(), 7));
  CHECK(next_report(*loop, 7) == (io_mask::read | io_mask::write));
  CHECK(silent(*loop));
}

// --- arm_once ---

REACTOR_TEST("one arming gives one report") {
  const auto loop = tested_reactor::make();
  const ends pair = plain_socket_pair();
  give(pair.peer, "x");
  for (const io_mask interest : {io_mask::read, io_mask::write, io_mask::read | io_mask::write}) {
    REQUIRE_FALSE(loop->arm_once(pair.ours.get(), 7, interest));
    CHECK(next_report(*loop, 7) == interest);
    give(pair.peer, "more");
    CHECK(silent(*loop));
  }
}

REACTOR_TEST("what is not armed for is not reported") {
  const auto loop = tested_reactor::make();
  const ends pair = plain_socket_pair();
  REQUIRE_FALSE(loop->arm_once(pair.ours.get(), 7, io_mask::read));
  CHECK(silent(*loop));  // though it is writable
  give(pair.peer, "x");
  CHECK(next_report(*loop, 7) == io_mask::read);
  fill(pair.ours);
  REQUIRE_FALSE(loop->arm_once(pair.ours.get(), 7, io_mask::write));
  give(pair.peer, "x");
  CHECK(silent(*loop));  // though it is readable
  empty(pair.peer);
  CHECK(next_report(*loop, 7) == io_mask::write);
}

REACTOR_TEST("after the writer's report the reader is armed still with kqueue, and not with epoll") {
  const auto loop = tested_reactor::make();
  const ends pair = plain_socket_pair();
  REQUIRE_FALSE(loop->arm_once(pair.ours.get(), 7, io_mask::read | io_mask::write));
  CHECK(next_report(*loop, 7) == io_mask::write);
  give(pair.peer, "x");
  CHECK(silent(*loop) != tested_reactor::is_kqueue());
  REQUIRE_FALSE(loop->arm_once(pair.ours.get(), 8, io_mask::read));  // which a loop does for whoever still waits
  CHECK(next_report(*loop, 8) == io_mask::read);
}

REACTOR_TEST("arming anew replaces what was armed") {
  const auto loop = tested_reactor::make();
  const ends pair = plain_socket_pair();
  fill(pair.ours);
  REQUIRE_FALSE(loop->arm_once(pair.ours.get(), 7, io_mask::write));
  REQUIRE_FALSE(loop->arm_once(pair.ours.get(), 8, io_mask::read));
  empty(pair.peer);
  CHECK(silent(*loop));
  give(pair.peer, "x");
  CHECK(next_report(*loop, 8) == io_mask::read);
  CHECK(silent(*loop));
}

REACTOR_TEST("a registration takes the place of an arming, and goes on after the first report") {
  const auto loop = tested_reactor::make();
  const ends pair = plain_socket_pair();
  REQUIRE_FALSE(loop->arm_once(pair.ours.get(), 7, io_mask::read));
  REQUIRE_FALSE(loop->add(pair.ours.get(), 8));
  CHECK(next_report(*loop, 8) == io_mask::write);
  for (int again = 0; again < 3; ++again) {
    give(pair.peer, "x");
    CHECK(has(next_report(*loop, 8), io_mask::read));
    CHECK(silent(*loop));
  }
}

REACTOR_TEST("an arming takes the place of a registration, and ends with its report") {
  const auto loop = tested_reactor::make();
  const ends pair = plain_socket_pair();
  REQUIRE_FALSE(loop->add(pair.ours.get(), 7));
  CHECK(next_report(*loop, 7) == io_mask::write);
  give(pair.peer, "x");
  CHECK(has(next_report(*loop, 7), io_mask::read));
  REQUIRE_FALSE(loop->arm_once(pair.ours.get(), 8, io_mask::read));
  CHECK(next_report(*loop, 8) == io_mask::read);  // unread bytes count
  give(pair.peer, "x");
  CHECK(silent(*loop));
}

REACTOR_TEST("a writer who waits is not told of a half-close, a reader is, each time") {
  const auto loop = tested_reactor::make();
  const ends pair = plain_socket_pair();
  fill(pair.ours);
  REQUIRE(::shutdown(pair.peer.get(), SHUT_WR) == 0);
  REQUIRE_FALSE(loop->arm_once(pair.ours.get(), 7, io_mask::write));
  CHECK(silent(*loop));
  CHECK_FALSE(readable(loop->native_handle()));
  for (int again = 0; again < 2; ++again) {
    REQUIRE_FALSE(loop->arm_once(pair.ours.get(), 7, io_mask::read));
    CHECK(next_report(*loop, 7) == (io_mask::read | io_mask::special));
  }
}

REACTOR_TEST("a peer that is gone tells a reader and a writer who wait together") {
  const auto loop = tested_reactor::make();
  ends pair = plain_socket_pair();
  fill(pair.ours);
  REQUIRE_FALSE(loop->arm_once(pair.ours.get(), 7, io_mask::read | io_mask::write));
  CHECK(silent(*loop));
  pair.peer.reset();
  const io_mask ready = next_report(*loop, 7);
  CHECK(tells_reader(ready));
  CHECK(tells_writer(ready));
}

// --- waiting ---

REACTOR_TEST("wake ends the next wait, many count as one, and it leaves nothing behind") {
  const auto loop = tested_reactor::make();
  for (int rounds = 0; rounds < 2; ++rounds) {
    for (int i = 0; i < 100; ++i) loop->wake();
    CHECK(readable(loop->native_handle()));
    CHECK(loop->wait(no_deadline).empty());
    CHECK_FALSE(readable(loop->native_handle()));
  }
  const time_point deadline = in(2ms);
  CHECK(loop->wait(deadline).empty());
  CHECK(eventer::clock::now() >= deadline);
}

REACTOR_TEST("wake on another thread ends a wait, whichever is first") {
  const auto loop = tested_reactor::make();
  std::atomic<int> heard{0};
  std::thread other([&] {
    for (int i = 0; i < 20; ++i) {
      loop->wake();
      heard.wait(i);
    }
  });
  for (int i = 0; i < 20; ++i) {
    CHECK(loop->wait(no_deadline).empty());
    ++heard;
    heard.notify_one();
  }
  other.join();
}

REACTOR_TEST("wake comes with what else is ready") {
  const auto loop = tested_reactor::make();
  const ends pair = plain_socket_pair();
  REQUIRE_FALSE(loop->add(pair.ours.get(), 7));
  loop->wake();
  CHECK(next_report(*loop, 7) == io_mask::write);
  CHECK(silent(*loop));
}

REACTOR_TEST("a deadline that has passed only looks") {
  const auto loop = tested_reactor::make();
  const time_point now = eventer::clock::now();
  const time_point whole_second(std::chrono::floor<std::chrono::seconds>(now.time_since_epoch()));
  for (const time_point deadline : {only_look, time_point(), now, now - 1h, whole_second})
    CHECK(loop->wait(deadline).empty());
  CHECK(eventer::clock::now() < now + 1s);
}

REACTOR_TEST("a deadline ends a wait, not before its time") {
  const auto loop = tested_reactor::make();
  for (const auto limit : {1ns, 1000ns, 100'000ns, 1'000'000ns, 2'500'000ns}) {
    const time_point deadline = in(limit);
    CHECK(loop->wait(deadline).empty());
    CHECK(eventer::clock::now() >= deadline);
  }
}

REACTOR_TEST("a deadline in less than a millisecond is not rounded up to one") {
  epoll_event event;
  const timespec now{};
  const unique_fd set(::epoll_create1(EPOLL_CLOEXEC));
  if (!tested_reactor::is_kqueue() && ::syscall(SYS_epoll_pwait2, set.get(), &event, 1, &now, nullptr, 0) != 0)
    EVENTER_SKIP("epoll_pwait2 is missing");
  const auto loop = tested_reactor::make();
  bool below = false;
  for (int tries = 0; tries < 30 && !below; ++tries) {
    const time_point begin = eventer::clock::now();
    CHECK(loop->wait(begin + 100us).empty());
    below = eventer::clock::now() - begin < 1ms;
  }
  CHECK(below);
}

REACTOR_TEST("a signal ends a wait with nothing to report") {
  const auto loop = tested_reactor::make();
  const ends pair = plain_socket_pair();
  SECTION("injected") {
    REQUIRE_FALSE(loop->add(pair.ours.get(), 7));
    faults injected;
    injected.fail(tested_reactor::waits_by(), EINTR);
    CHECK(loop->wait(no_deadline).empty());
    CHECK(next_report(*loop, 7) == io_mask::write);
  }
  SECTION("a real one") {
    struct sigaction handler {};
    struct sigaction before {};
    handler.sa_handler = [](int) {};
    REQUIRE(::sigaction(SIGALRM, &handler, &before) == 0);
    const itimerval soon{{0, 1000}, {0, 1000}}, never{};
    REQUIRE(::setitimer(ITIMER_REAL, &soon, nullptr) == 0);
    CHECK(loop->wait(no_deadline).empty());
    ::setitimer(ITIMER_REAL, &never, nullptr);
    ::sigaction(SIGALRM, &before, nullptr);
  }
}

// --- a parent that waits with the handle ---

REACTOR_TEST("the handle is readable while there is something to report") {
  const auto loop = tested_reactor::make();
  const ends pair = plain_socket_pair();
  CHECK_FALSE(readable(loop->native_handle()));
  REQUIRE_FALSE(loop->add(pair.ours.get(), 7));
  CHECK(readable(loop->native_handle()));
  CHECK(next_report(*loop, 7) == io_mask::write);
  CHECK_FALSE(readable(loop->native_handle()));
  give(pair.peer, "x");
  CHECK(readable(loop->native_handle(), 2000));
}

REACTOR_TEST("an announced deadline makes the handle readable, until wait has seen it") {
  const auto loop = tested_reactor::make();
  const int handle = loop->native_handle();
  for (int rounds = 0; rounds < 3; ++rounds) {
    const time_point deadline = in(1ms);
    loop->announce(deadline);
    CHECK(readable(handle, 2000));
    CHECK(eventer::clock::now() >= deadline);
    loop->announce(deadline);
    CHECK(readable(handle));
    CHECK(loop->wait(only_look).empty());
    CHECK_FALSE(readable(handle));
    loop->announce(deadline);  // it is still due
    CHECK(readable(handle, 2000));
    CHECK(loop->wait(no_deadline).empty());
  }
  CHECK_FALSE(readable(handle));
}

REACTOR_TEST("an edge-triggered parent hears each announced deadline") {
  const auto loop = tested_reactor::make();
  const unique_fd parent(::epoll_create1(EPOLL_CLOEXEC));
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  REQUIRE(::epoll_ctl(parent.get(), EPOLL_CTL_ADD, loop->native_handle(), &event) == 0);
  const auto hears = [&](int milliseconds) { return ::epoll_wait(parent.get(), &event, 1, milliseconds) == 1; };
  for (const auto limit : {1'000'000ns, 0ns, -1'000'000'000ns, 500'000ns}) {
    loop->announce(in(limit));
    CHECK(hears(2000));
    CHECK(loop->wait(only_look).empty());
    CHECK_FALSE(hears(0));
  }
  SECTION("and a wake-up, and what comes") {
    const ends pair = plain_socket_pair();
    REQUIRE_FALSE(loop->add(pair.ours.get(), 7));
    CHECK(hears(2000));
    CHECK(next_report(*loop, 7) == io_mask::write);
    loop->wake();
    CHECK(hears(2000));
    CHECK(loop->wait(only_look).empty());
    give(pair.peer, "x");
    CHECK(hears(2000));
  }
  SECTION("and one that is announced before the last was looked at") {
    loop->announce(in(0ns));
    CHECK(hears(2000));
    loop->announce(in(1ms));
    CHECK(hears(2000));
  }
}

REACTOR_TEST("the last announcement counts") {
  const auto loop = tested_reactor::make();
  const int handle = loop->native_handle();
  loop->announce(no_deadline);
  CHECK_FALSE(readable(handle));
  SECTION("an earlier one instead of a later one") {
    loop->announce(in(1h));
    loop->announce(in(1ms));
    CHECK(readable(handle, 2000));
  }
  SECTION("a later one instead of one that has passed") {
    loop->announce(in(0ns));
    CHECK(readable(handle, 2000));
    loop->announce(in(1h));
    CHECK_FALSE(readable(handle));
  }
  SECTION("none instead of one that has passed") {
    loop->announce(in(0ns));
    CHECK(readable(handle, 2000));
    loop->announce(no_deadline);
    CHECK_FALSE(readable(handle));
    loop->announce(in(0ns));
    CHECK(readable(handle, 2000));
  }
  SECTION("none instead of one that would come") {
    loop->announce(in(2ms));
    loop->announce(no_deadline);
    CHECK_FALSE(readable(handle, 5));
  }
}

REACTOR_TEST("times at the edge of what a clock says are announced like any other") {
  const auto loop = tested_reactor::make();
  const int handle = loop->native_handle();
  const auto whole_second = std::chrono::floor<std::chrono::seconds>(eventer::clock::now().time_since_epoch());
  for (const time_point passed : {time_point(whole_second), time_point(), only_look, time_point(-1ns)}) {
    loop->announce(passed);
    CHECK(readable(handle, 2000));
    CHECK(loop->wait(only_look).empty());
  }
  for (const time_point far : {no_deadline - 1ns, in(24h * 365 * 100)}) {
    loop->announce(far);
    CHECK_FALSE(readable(handle));
  }
}

REACTOR_TEST("an announcement costs system calls only when it changes something") {
  const auto loop = tested_reactor::make();
  loop->announce(in(1h));
  const time_point deadline = in(2h);
  faults counted;
  loop->announce(deadline);
  loop->announce(deadline);
  CHECK(counted.calls(call::timerfd_settime) + counted.calls(call::kevent) == 1);
}

// --- signals ---

REACTOR_TEST("a signal makes its source readable, is taken once, and does nothing when it is unblocked") {
  const auto loop = tested_reactor::make();
  const blocked_signals blocked{SIGUSR1, SIGUSR2};
  const auto source = loop->open_signals(blocked.set);
  CHECK_FALSE(readable(source->fd()));
  CHECK(source->take() == 0);
  for (const bool to_process : {false, true}) {
    CHECK((to_process ? ::kill(::getpid(), SIGUSR1) : ::raise(SIGUSR1)) == 0);
    CHECK(readable(source->fd(), 2000));
    CHECK(source->take() == SIGUSR1);
    CHECK(source->take() == 0);
    CHECK_FALSE(readable(source->fd()));
  }
  // Several: readable until the last is taken.
  ::raise(SIGUSR2);
  ::raise(SIGUSR1);
  ::raise(SIGUSR1);
  std::multiset<int> taken;
  while (readable(source->fd())) taken.insert(source->take());
  CHECK(taken == std::multiset<int>{SIGUSR1, SIGUSR2});
}

REACTOR_TEST("signals that were sent before their source was opened are not lost") {
  const auto loop = tested_reactor::make();
  const blocked_signals blocked{SIGUSR1, SIGUSR2, SIGCHLD};
  for (int rounds = 0; rounds < 2; ++rounds) {
    ::raise(SIGUSR2);
    ::raise(SIGUSR1);
    const auto source = loop->open_signals(blocked.set);
    std::multiset<int> taken;
    while (readable(source->fd())) taken.insert(source->take());
    taken.erase(0);
    CHECK(taken == std::multiset<int>{SIGUSR1, SIGUSR2});
    ::raise(SIGCHLD);
    CHECK(readable(source->fd()));
    CHECK(source->take() == SIGCHLD);
  }
}

REACTOR_TEST("two sources each have their signals") {
  const auto loop = tested_reactor::make();
  const blocked_signals first{SIGUSR1}, second{SIGUSR2};
  const auto one = loop->open_signals(first.set), two = loop->open_signals(second.set);
  ::raise(SIGUSR2);
  CHECK_FALSE(readable(one->fd()));
  CHECK(readable(two->fd()));
  CHECK(one->take() == 0);
  ::raise(SIGUSR1);
  CHECK(one->take() == SIGUSR1);
  CHECK(two->take() == SIGUSR2);
}

REACTOR_TEST("a signal source can be watched like any descriptor, also by a loop within a loop") {
  const auto loop = tested_reactor::make();
  const blocked_signals blocked{SIGUSR1};
  const auto source = loop->open_signals(blocked.set);
  const bool once = GENERATE(false, true);
  const auto parent = tested_reactor::make();
  REQUIRE_FALSE(parent->add(loop->native_handle(), 1));
  CHECK(silent(*parent));
  if (!once) REQUIRE_FALSE(loop->add(source->fd(), 7));
  for (int rounds = 0; rounds < 3; ++rounds) {
    if (once) REQUIRE_FALSE(loop->arm_once(source->fd(), 7, io_mask::read));
    CHECK(silent(*loop));
    ::raise(SIGUSR1);
    CHECK(next_report(*parent, 1) == io_mask::read);
    CHECK(next_report(*loop, 7) == io_mask::read);
    CHECK(source->take() == SIGUSR1);
  }
}

// --- rebuilding, and what fails ---

REACTOR_TEST("rebuilding forgets every registration, and neither a wake-up nor the announced deadline") {
  const auto loop = tested_reactor::make();
  const ends pair = plain_socket_pair();
  give(pair.peer, "x");
  REQUIRE_FALSE(loop->add(pair.ours.get(), 7));
  REQUIRE_FALSE(loop->arm_once(pair.peer.get(), 8, io_mask::write));
  REQUIRE_FALSE(loop->rebuild());
  CHECK(silent(*loop));
  CHECK_FALSE(readable(loop->native_handle()));
  REQUIRE_FALSE(loop->add(pair.ours.get(), 9));
  CHECK(next_report(*loop, 9) == (io_mask::read | io_mask::write));
  loop->wake();
  REQUIRE_FALSE(loop->rebuild());
  CHECK(loop->wait(no_deadline).empty());
  loop->announce(in(2ms));
  REQUIRE_FALSE(loop->rebuild());
  CHECK(silent(*loop));
  CHECK(readable(loop->native_handle(), 2000));
}

REACTOR_TEST("wake may be called while the set is made anew") {
  const auto loop = tested_reactor::make();
  std::thread other([&] {
    for (int i = 0; i < 500; ++i) loop->wake();
  });
  for (int i = 0; i < 50; ++i) CHECK_FALSE(loop->rebuild());
  other.join();
  loop->wake();
  CHECK(loop->wait(no_deadline).empty());
}

REACTORS_TEST("a forked child has a reactor of its own while another thread is inside its parent's",
              "[reactor][no-emulator]") {
  if (EVENTER_TSAN) EVENTER_SKIP("ThreadSanitizer does not follow threads that a forked child starts");
  const auto parent = run_in_child([] {
    std::atomic<bool> end{false};
    std::thread other([&end] {
      const auto loop = tested_reactor::make();
      const ends pipe = pipe_with_our(true);
      while (!end) {
        (void)loop->add(pipe.ours.get(), 1);
        loop->remove(pipe.ours.get());
      }
    });
    int ended = 0;
    for (int i = 0; i < 100; ++i) {
      const pid_t child = ::fork();
      if (child == 0) {
        ::alarm(10);  // seconds: ends a child that waits for a lock of the other thread
        const auto own = tested_reactor::make();
        own->wake();
        (void)own->wait(no_deadline);
        ::_exit(7);
      }
      int status = 0;
      ::waitpid(child, &status, 0);
      ended += WIFEXITED(status) && WEXITSTATUS(status) == 7;
      if (!WIFEXITED(status)) break;
    }
    end = true;
    other.join();
    std::printf("%d children", ended);
  });
  CHECK(parent.output == "100 children");
}

REACTOR_TEST("after a fork the child makes its own set and does not disturb its parent") {
  const auto loop = tested_reactor::make();
  const ends pair = plain_socket_pair();
  fill(pair.ours);
  REQUIRE_FALSE(loop->add(pair.ours.get(), 7));
  const time_point announced = in(1h);
  loop->announce(announced);
  const child_result child = run_in_child([&] {
    if (loop->rebuild()) ::_exit(1);
    {
      faults counted;
      loop->announce(announced);  // what the parent has announced is the parent's
      if (counted.calls(call::timerfd_settime) + counted.calls(call::kevent) == 0) ::_exit(6);
    }
    const ends own = plain_socket_pair();
    if (loop->add(own.ours.get(), 8) || next_report(*loop, 8) != io_mask::write) ::_exit(2);
    loop->announce(in(0ns));
    if (!readable(loop->native_handle(), 2000) || !loop->wait(only_look).empty()) ::_exit(3);
    loop->wake();
    if (!readable(loop->native_handle())) ::_exit(4);
    if (loop->rebuild()) ::_exit(5);
    ::_exit(42);
  });
  CHECK(child.exit_status == 42);
  CHECK_FALSE(readable(loop->native_handle()));
  CHECK(silent(*loop));
  empty(pair.peer);
  CHECK(has(next_report(*loop, 7), io_mask::write));
}

std::atomic<int> stage_of_waker{0};

REACTOR_TEST("a child that is forked while another thread is inside wake() can wake its own reactor") {
  if (EVENTER_TSAN) EVENTER_SKIP("ThreadSanitizer's runtime locks are held in such a child");
  const child_result parent = run_in_child([] {
    static const auto loop = tested_reactor::make();
    stage_of_waker = 0;
    std::thread waker([] {
      eventer::syscalls::fault_hook = [](call which) {
        if (which == call::write || which == call::kevent) {
          stage_of_waker = 1;
          while (stage_of_waker != 2) ::sched_yield();
        }
        return 0;
      };
      loop->wake();
      eventer::syscalls::fault_hook = nullptr;
    });
    while (stage_of_waker != 1) ::sched_yield();
    const pid_t child = ::fork();
    if (child == 0) {
      ::alarm(20);
      loop->wake();  // nothing of the parent's, and no dead lock
      if (loop->rebuild()) ::_exit(1);
      loop->wake();
      ::_exit(readable(loop->native_handle()) ? 42 : 2);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    stage_of_waker = 2;
    waker.join();
    ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 3);
  });
  CHECK(parent.exit_status == 42);
}

#if EVENTER_EXCEPTIONS

REACTOR_TEST("a wait that the kernel refuses throws, and the next one works") {
  const auto loop = tested_reactor::make();
  const ends pair = plain_socket_pair();
  REQUIRE_FALSE(loop->add(pair.ours.get(), 7));
  {
    faults injected;
    injected.fail(tested_reactor::waits_by(), ENOMEM);
    CHECK_THROWS_AS(loop->wait(only_look), std::system_error);
  }
  CHECK(next_report(*loop, 7) == io_mask::write);
}

REACTOR_TEST("a rebuild that fails leaves all as it was") {
  const auto loop = tested_reactor::make();
  const ends pair = plain_socket_pair();
  fill(pair.ours);
  REQUIRE_FALSE(loop->add(pair.ours.get(), 7));
  loop->wait(only_look);
  loop->announce(in(1h));
  int failures = 0;
  for (int nth = 1;; ++nth, ++failures) {
    const auto before = open_descriptors();
    {
      const nth_call_fails injected(nth, EMFILE);
      const std::error_code error = loop->rebuild();
      if (!injected.happened()) break;
      if (!error) {  // closing the old one "failed", which changes nothing
        CHECK(failures >= 2);
        break;
      }
      CHECK(error == std::errc::too_many_files_open);
    }
    CHECK(open_descriptors() == before);
    give(pair.peer, "x");
    CHECK(has(next_report(*loop, 7), io_mask::read));
    loop->wake();
    CHECK(loop->wait(no_deadline).empty());
  }
  CHECK(failures >= 2);
}

REACTOR_TEST("an announcement that fails throws, and can be repeated") {
  const time_point due = in(0ns);
  for (int nth = 1; nth < 10; ++nth) {
    const auto loop = tested_reactor::make();
    bool failed = false;
    {
      const nth_call_fails injected(nth, EMFILE);
      try {
        loop->announce(due);
      } catch (const std::system_error&) {
        failed = true;
      }
      CHECK(failed == injected.happened());
    }
    loop->announce(due);
    CHECK(readable(loop->native_handle(), 2000));
    if (!failed) break;
  }
}

REACTOR_TEST("whichever system call fails, there is an error or no harm, and no descriptor is left open") {
  const blocked_signals blocked{SIGUSR1};
  const auto use_everything = [&](const ends& pair, const ends& broken) {
    const auto loop = tested_reactor::make();
    (void)loop->add(pair.ours.get(), 1);
    (void)loop->arm_once(pair.peer.get(), 2, io_mask::read | io_mask::write);
    (void)loop->add(broken.ours.get(), 3);
    loop->wake();
    loop->wait(only_look);
    loop->announce(in(1h));
    const auto source = loop->open_signals(blocked.set);
    ::raise(SIGUSR1);
    (void)loop->add(source->fd(), 4);
    loop->wait(only_look);
    while (readable(source->fd())) source->take();
    (void)loop->rebuild();
    loop->remove(pair.ours.get());
    (void)loop->arm_once(pair.peer.get(), 5, io_mask::write);
    loop->wait(in(100us));
    loop->announce(no_deadline);
  };
  const ends pair = plain_socket_pair();
  ends broken = pipe_with_our(false);
  broken.peer.reset();
  use_everything(pair, broken);
  for (const int error : {EMFILE, ENOMEM, EINTR}) {
    for (int nth = 1;; ++nth) {
      REQUIRE(nth < 100);
      const auto before = open_descriptors();
      bool happened;
      {
        const nth_call_fails injected(nth, error);
        try {
          use_everything(pair, broken);
        } catch (const std::system_error& refused) {
          CHECK(refused.code().value() == error);
        }
        happened = injected.happened();
      }
      CHECK(open_descriptors() == before);
      const timespec now{};
      ::sigtimedwait(&blocked.set, nullptr, &now);
      if (!happened) break;
    }
  }
}

#endif

TEST_CASE("Linux's own reactor is epoll", "[epoll]") {
  const auto loop = eventer::make_default_reactor();
  CHECK(dynamic_cast<eventer::epoll_reactor*>(loop.get()) != nullptr);
}
